"""Tiny decoders of every variant, and packed batches for them."""

from __future__ import annotations

from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.models.config import Fields
from handloom.models.registry import FAMILIES, new_model

VOCABULARY, LAYERS, LONGEST = 80, 2, 16  # a sequence of the batches is longer than the training's texts were
LENGTHS = (5, 18, 1)

GPT2 = {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": LAYERS, "n_head": 3, "n_positions": 40, "bos_token_id": 1,
        "eos_token_id": 2}
LLAMA = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 40, "max_position_embeddings": LONGEST, "bos_token_id": 1,
         "eos_token_id": 2}


def rope(kind: str, **rest: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, "factor": 4.0, **rest}}


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "gpt2-free": ("gpt2", {**GPT2, "tie_word_embeddings": False, "n_inner": 40, "scale_attn_weights": False}),
    "gpt2-untied": ("gpt2", {**GPT2, "tie_word_embeddings": False}),
    "llama": ("llama", LLAMA),
    "llama-biased": ("llama", {**LLAMA, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-linear": ("llama", {**LLAMA, **rope("linear")}),
    "llama-dynamic": ("llama", {**LLAMA, **rope("dynamic"), "num_key_value_heads": 4}),
    "llama-yarn": ("llama", {**LLAMA, **rope("yarn", original_max_position_embeddings=8)}),
    "llama-llama3": ("llama", {**LLAMA, "head_dim": 16, "num_key_value_heads": 1, **rope(
        "llama3", original_max_position_embeddings=8, low_freq_factor=1.0, high_freq_factor=4.0)}),
    "mistral": ("mistral", {**LLAMA, "sliding_window": 5, "head_dim": 8}),
    "mistral-all": ("mistral", {**LLAMA, "sliding_window": None}),
    "qwen2": ("qwen2", {**LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen2-all": ("qwen2", {**LLAMA, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {**LLAMA, "head_dim": 8, "tie_word_embeddings": True, "attention_bias": True}),
    "qwen3-free": ("qwen3", {**LLAMA, "head_dim": 8}),
}
FAMILY_VARIANTS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")  # one of each family


def rows_of(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCABULARY, length).astype(np.int32) for length in lengths]


def packed(rows: list[np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "ids": np.concatenate(rows),
        "positions": np.concatenate([np.arange(len(row), dtype=np.int32) for row in rows]),
        "starts": np.cumsum([0, *map(len, rows)]).astype(np.int32),
    }


def next_words(rows: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """i32[T]: the token after each one, −100 after a sequence's last."""
    return np.concatenate([[*row[1:], -100] for row in rows]).astype(np.int32)


def tiny(variant: str, seed: int = 0) -> Any:
    """A language model with random weights, norms away from 1 and biases away from 0."""
    model_type, values = VARIANTS[variant]
    model = new_model(FAMILIES[model_type].read_config(Fields(values)), "text-generation", np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    model.load({name: value.numpy() + (0.2 * rng.standard_normal(value.shape)).astype(np.float32)
                for name, value in model.parameters().items()})
    return model


def tensors(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: ht.tensor(value) for name, value in batch.items()}


def step(model: Any) -> Any:
    """(parameters, batch with labels) -> (loss, weight), gradients, logits."""

    def run(parameters: Any, batch: Any) -> Any:
        def loss(parameters: Any) -> Any:
            with model.bound(parameters):
                hidden = model.encode(batch)
                return *model.loss(hidden, batch["labels"]), model.score(hidden, batch)

        (total, weight, logits), gradients = ht.value_and_grad(loss, has_aux=True)(parameters)
        return (total, weight), gradients, logits

    return run
