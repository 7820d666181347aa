"""Tiny encoder–decoders of every variant, and packed batches for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from handloom.models.config import Fields
from handloom.models.encoder_decoder import teach
from handloom.models.registry import FAMILIES, new_model

VOCABULARY, START = 80, 3
SOURCES, TARGETS = (7, 2, 21, 1), (3, 9, 1, 14)

# distances pass the farthest bucket within a sequence; heads share nothing with the hidden size
T5 = {"vocab_size": VOCABULARY, "d_model": 20, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": START,
      "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

BART = {"vocab_size": VOCABULARY, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 32, "max_position_embeddings": 40,
        "decoder_start_token_id": START, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        "forced_eos_token_id": 1}  # fmt: skip

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", {**T5, "num_decoder_layers": 3}),
    "t5-gated": ("t5", {**T5, **GATED}),
    "mt5": ("mt5", {**T5, **GATED}),
    "bart": ("bart", BART),
    "bart-scaled": ("bart", {**BART, "scale_embedding": True, "activation_function": "relu"}),
    "marian": ("marian", {**BART, "scale_embedding": True, "activation_function": "swish"}),
}
FAMILY_VARIANTS = ("t5", "mt5", "bart", "marian")  # one of each family


def pairs(seed: int = 0) -> list[tuple[list[int], list[int]]]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(4, VOCABULARY, s).tolist(), rng.integers(4, VOCABULARY, t).tolist())
            for s, t in zip(SOURCES, TARGETS, strict=True)]  # fmt: skip


def batch_of(rows: list[tuple[list[int], list[int]]]) -> dict[str, np.ndarray[Any, Any]]:
    return teach(rows, START)


def tiny(variant: str, seed: int = 0) -> Any:
    """A model with random weights, norms away from 1 and biases away from 0."""
    model_type, values = VARIANTS[variant]
    config = FAMILIES[model_type].read_config(Fields(values)).with_dropout(0.0)
    model = new_model(config, "text2text-generation", np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    model.load({name: centre(name) + (0.3 * rng.standard_normal(value.shape)).astype(np.float32)
                for name, value in model.parameters().items()})  # fmt: skip
    return model


def centre(name: str) -> float:
    return 1.0 if "norm" in name and name.endswith("weight") else 0.0
