"""A decoder learns to classify: from a GGUF file to a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from gguf_bytes import LLAMA, gguf
from tokenizers import pre_tokenizers

from handloom.models.safetensors_file import SafetensorsFile
from handloom.train.estimators import TextClassifier
from handloom.train.progress import silent

WIDTH, INNER = 32, 48


def tiny_llama(folder: Path) -> Path:
    """One layer over single bytes and the words of the toy data."""
    words = ["Ġ" + word for word in (*tiny_bert.GOOD, *tiny_bert.BAD)]
    pieces = {word[:end]: None for word in words for end in range(2, len(word) + 1)}
    tokens = list(dict.fromkeys(["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces]))
    metadata: dict[str, Any] = {
        **LLAMA, "llama.block_count": 1, "llama.embedding_length": WIDTH, "llama.feed_forward_length": INNER,
        "llama.context_length": 64, "llama.rope.dimension_count": 8, "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.merges": [f"{piece[:-1]} {piece[-1]}" for piece in pieces],
    }  # fmt: skip
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (16, WIDTH), "attn_v": (16, WIDTH), "attn_output": (WIDTH, WIDTH),
              "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    rng = np.random.default_rng(0)
    tensors = {f"blk.0.{name}.weight": rng.standard_normal(shape) * 0.1 for name, shape in shapes.items()}
    tensors |= {f"{name}.weight": np.ones(WIDTH) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    tensors["token_embd.weight"] = rng.standard_normal((len(tokens), WIDTH)) * 0.3
    (folder / "tiny.gguf").write_bytes(gguf(metadata, tensors))
    return folder / "tiny.gguf"


def test_from_a_gguf_file_to_a_folder(tmp_path: Path) -> None:
    model = TextClassifier.from_pretrained(tiny_llama(tmp_path))
    model.fit(tiny_bert.opinions(120), test=tiny_bert.opinions(40, seed=1), out=tmp_path / "run", epochs=5,
              batch_size=16, lr=5e-3, listener=silent)
    assert model.scores is not None and model.scores["accuracy"] >= 0.75
    again = TextClassifier.load(tmp_path / "run")
    assert again.predict("a great film") == model.predict("a great film")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"] and config["model_type"] == "llama"
    assert {"score.weight", "model.norm.weight"} <= set(SafetensorsFile(tmp_path / "run" / "model.safetensors").entries)


@pytest.mark.parity
def test_transformers_says_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = TextClassifier.from_pretrained(tiny_llama(tmp_path))
    model.fit(tiny_bert.opinions(40), out=tmp_path / "run", epochs=1, batch_size=16, lr=1e-2, listener=silent)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    for text in ("a great film", "the book was awful and sad", "é"):
        ids = tokenizer(text)["input_ids"]
        assert ids == model.tokenizer.encode(text).ids.tolist()
        with torch.no_grad():
            logits = theirs(input_ids=torch.tensor([ids])).logits[0]
        found = (logits / model.task.calibration.temperature).softmax(-1).numpy()
        np.testing.assert_allclose(list(model.predict(text).scores.values()), found, atol=1e-4)
