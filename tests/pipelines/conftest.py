"""A tiny Chinese BERT with a masked-language-model head, as bert-base-chinese is: a vocab.txt of single characters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from handloom.models.config import Fields
from handloom.models.registry import FAMILIES, new_model
from handloom.models.safetensors_file import write_safetensors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"我爱北京天安门是中国的首都，。小猫在家", "cat", "##s"]
CONFIG = {
    "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": len(WORDS), "hidden_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48, "max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture(scope="session")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = new_model(FAMILIES["bert"].read_config(Fields(CONFIG)), "fill-mask", np.random.default_rng(0))
    rng = np.random.default_rng(1)
    tensors = {name: value.numpy() + (0.3 * rng.standard_normal(value.shape)).astype(np.float32)
               for name, value in model.parameters().items()}  # fmt: skip
    write_safetensors(folder / "model.safetensors", tensors)
    return folder
