"""A T5 of random weights with a vocabulary of twenty words in two languages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from handloom.models.config import Fields
from handloom.models.registry import FAMILIES, new_model
from handloom.models.safetensors_file import write_safetensors

ENGLISH = ["cat", "dog", "fish", "bird", "sees", "hears", "likes", "big", "small", "red"]
GERMAN = ["Katze", "Hund", "Fisch", "Vogel", "sieht", "hört", "mag", "groß", "klein", "rot"]
CONFIG = {
    "model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0,
    "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "feed_forward_proj": "relu",
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 16, "tie_word_embeddings": True,
    "n_positions": 32,
}  # fmt: skip


def write(folder: Path, layers: int = 2) -> Path:
    """A T5 of random weights whose words are those above."""
    folder.mkdir(parents=True)
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *ENGLISH, *GERMAN, "short", ":"])}
    raw = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    raw.add_special_tokens(["<pad>", "</s>"])
    raw.save(str(folder / "tokenizer.json"))
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    values = {**CONFIG, "num_layers": layers, "vocab_size": len(vocabulary)}
    (folder / "config.json").write_text(json.dumps(values))
    model = new_model(FAMILIES["t5"].read_config(Fields(values)), "text2text-generation", np.random.default_rng(3))
    weights = {name: value.numpy() for name, value in model.parameters().items()}
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt"})
    return folder
