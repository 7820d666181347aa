"""BERTs with random weights, packed batches for them, and a step: the loss and the gradient of every parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

import handloom as hl
from handloom.models.bert import BertForTokenClassification, read_config
from handloom.models.config import Fields

Array = np.ndarray[Any, Any]
Step = Callable[[Any, Any], Any]
VOCABULARY, POSITIONS, LABELS = 60, 140, 5


@lru_cache(maxsize=4)
def bert_step(hidden: int, layers: int, heads: int, inner: int, dropout: float) -> tuple[Step, dict[str, Array]]:
    """step(parameters, batch) → (loss, gradients, logits), and parameters for it."""
    values = {
        "model_type": "bert", "vocab_size": VOCABULARY, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": inner, "max_position_embeddings": POSITIONS,
        "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
    }  # fmt: skip
    model = BertForTokenClassification(replace(read_config(Fields(values)), labels=()), LABELS)
    rng = np.random.default_rng(1)
    # wide enough for attention to choose; norms and biases away from 1 and 0
    parameters = {
        name: (value.numpy() + rng.standard_normal(value.shape) * (0.1 if value.ndim == 1 else 0.4 / hidden**0.25))
        .astype(np.float32)
        for name, value in model.parameters().items()
    }  # fmt: skip

    def step(parameters: Any, batch: Any) -> Any:
        def loss(parameters: Any) -> Any:
            with model.bound(parameters), hl.random.using(batch["state"], training=dropout > 0):
                logits = model(batch)
            total, weight = hl.cross_entropy(logits, batch["labels"])
            return total, weight, logits

        (total, weight, logits), gradients = hl.value_and_grad(loss, has_aux=True)(parameters)
        return (total, weight), gradients, logits

    return step, parameters


def tiny_bert() -> tuple[Step, dict[str, Array]]:
    """2 layers of 32, with dropout."""
    return bert_step(32, 2, 4, 48, 0.25)


def batch_of(lengths: Sequence[int], labelled: int, seed: int = 0) -> dict[str, Array]:
    """Random tokens; `labelled` of them, with repeats if need be, have labels, one in four of which is ignored."""
    rng = np.random.default_rng(seed)
    tokens = sum(lengths)
    labels = rng.integers(0, LABELS, labelled).astype(np.int32)
    labels[::4] = -100
    return {
        "ids": rng.integers(0, VOCABULARY, tokens).astype(np.int32),
        "positions": np.concatenate([np.arange(n) for n in (*lengths, 0)]).astype(np.int32),
        "types": rng.integers(0, 2, tokens).astype(np.int32),
        "starts": np.cumsum([0, *lengths]).astype(np.int32),
        "rows": np.sort(rng.integers(0, max(tokens, 1), labelled if tokens else 0)).astype(np.int32),
        "labels": labels if tokens else labels[:0],
        "state": np.array([9, 8, 7, 6], np.uint32),
    }


def assert_agree(found: Any, expected: Any) -> None:
    """(loss, gradients, logits) of two steps: ‖Δ‖ ≤ 1e-4 · max(‖g‖, 1e-3 · global norm) for every gradient."""
    for ours, truth in zip((*found[0], found[2]), (*expected[0], expected[2]), strict=True):
        np.testing.assert_allclose(ours.numpy(), truth.numpy(), rtol=1e-4, atol=1e-4)
    gradients = {name: g.numpy().astype(np.float64) for name, g in expected[1].items()}
    total = np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    assert set(found[1]) == set(gradients)
    for name, g in gradients.items():
        off = np.linalg.norm(found[1][name].numpy() - g)
        assert off <= 1e-4 * max(float(np.linalg.norm(g)), 1e-3 * total), f"{name}: {off}"
