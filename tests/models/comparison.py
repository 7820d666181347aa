"""How a model of ours is set beside what transformers computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.models.encoder import Classifier
from handloom.models.safetensors_file import write_safetensors

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
CASES = [f"{model}-{task}" for model in ("bert", "distilbert", "roberta")
         for task in ("text-classification", "token-classification")]
INPUTS = ("ids", "positions", "types", "starts")


def save_model(model: Classifier, folder: Path) -> None:
    """config.json and model.safetensors, without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", {name: value.numpy() for name, value in model.parameters().items()})
    config = model.config.to_json(type(model).__name__, model.config.labels)
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")


def logits_of(model: Any, batch: dict[str, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = model({name: ht.tensor(batch[name]) for name in INPUTS}).numpy()
    return found


def loss_and_gradients(model: Classifier, batch: dict[str, Any]) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
    """The mean loss over real labels, and the gradient of every parameter."""
    inputs = {name: ht.tensor(batch[name]) for name in INPUTS}
    labels = ht.tensor(batch["labels"])

    def loss(parameters: Any) -> Any:
        with model.bound(parameters):
            total, weight = ht.cross_entropy(model(inputs), labels)
        return total / weight

    value, gradients = ht.value_and_grad(loss)(model.parameters())
    return float(value.numpy()), {name: gradient.numpy() for name, gradient in gradients.items()}


def assert_gradients_agree(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """‖Δ‖ ≤ 1e-4 · max(‖g‖, 1e-3 · global norm), for every parameter."""
    total = np.sqrt(sum(np.sum(gradient.astype(np.float64) ** 2) for gradient in theirs.values()))
    assert total > 0
    for name, gradient in ours.items():
        expected = theirs.get(name, np.zeros_like(gradient)).astype(np.float64)
        allowed = 1e-4 * max(float(np.linalg.norm(expected)), 1e-3 * total)
        assert np.linalg.norm(gradient - expected) <= allowed, name
    assert set(theirs) <= set(ours)
