"""BERT, DistilBERT and RoBERTa with both heads against recordings of transformers: logits, loss, every gradient."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comparison import CASES, RECORDINGS, assert_gradients_agree, logits_of, loss_and_gradients

import handloom.tensor as ht
from handloom.models.registry import load_model
from handloom.models.safetensors_file import SafetensorsFile

TOTAL_LIMIT = 2**20  # bytes of all recordings together


def test_recordings_are_small_and_say_who_made_them() -> None:
    assert sum(path.stat().st_size for path in RECORDINGS.rglob("*") if path.is_file()) < TOTAL_LIMIT
    for case in CASES:
        versions = json.loads(SafetensorsFile(RECORDINGS / case / "recording.safetensors").metadata["versions"])
        assert {"torch", "transformers"} <= set(versions)


@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_gradients(case: str) -> None:
    folder = RECORDINGS / case
    task = case.split("-", 1)[1]
    file = SafetensorsFile(folder / "recording.safetensors")
    recorded = {name: file.read(name) for name in file.entries}
    model, config, report = load_model(folder, task)
    assert config.labels == ("red", "green", "blue")
    assert report.new == () and report.unexpected == () and report.notes == ()

    np.testing.assert_allclose(logits_of(model, recorded), recorded["logits"], rtol=1e-4, atol=1e-5)
    loss, gradients = loss_and_gradients(model, recorded)  # type: ignore[arg-type]
    np.testing.assert_allclose(loss, recorded["loss"].item(), rtol=1e-5)
    theirs = {name.removeprefix("gradient."): value for name, value in recorded.items() if name.startswith("gradient.")}
    assert_gradients_agree(gradients, theirs)


@pytest.mark.parametrize("case", CASES)
def test_a_sequence_alone_gives_the_same_logits(case: str) -> None:
    file = SafetensorsFile(RECORDINGS / case / "recording.safetensors")
    batch = {name: file.read(name) for name in ("ids", "positions", "types", "starts")}
    model, _, _ = load_model(RECORDINGS / case, case.split("-", 1)[1])
    together = logits_of(model, batch)
    first, last = batch["starts"][2:4]
    alone = logits_of(model, {**{name: batch[name][first:last] for name in ("ids", "positions", "types")},
                              "starts": np.array([0, last - first], np.int32)})
    same = together[first:last] if case.endswith("token-classification") else together[2:3]
    np.testing.assert_allclose(alone, same, atol=1e-6)


def test_rows_choose_the_logits() -> None:
    file = SafetensorsFile(RECORDINGS / "bert-token-classification" / "recording.safetensors")
    batch = {name: file.read(name) for name in ("ids", "positions", "types", "starts")}
    model, _, _ = load_model(RECORDINGS / "bert-token-classification", "token-classification")
    rows = np.array([3, 0, 20], np.int32)
    np.testing.assert_allclose(model({**batch, "rows": rows}).numpy(), logits_of(model, batch)[rows], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_one_program_for_every_size(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients traced with symbols for tokens and sequences, run on the reference."""
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    file = SafetensorsFile(RECORDINGS / case / "recording.safetensors")
    recorded = {name: file.read(name) for name in file.entries}
    model, _, _ = load_model(RECORDINGS / case, case.split("-", 1)[1])

    def step(parameters: Any, batch: Any) -> Any:
        def loss(parameters: Any) -> Any:
            with model.bound(parameters):
                return ht.cross_entropy(model(batch), batch["labels"])

        return ht.value_and_grad(loss, has_aux=True)(parameters)

    rows = ("tokens",) if case.endswith("token-classification") else ("sequences",)
    shapes = {**dict.fromkeys(("ids", "positions", "types"), ("tokens",)), "starts": ("sequences+1",), "labels": rows}
    program = ht.compile(step, symbols={"batch": shapes}, capacity={"tokens": 64, "sequences": 8})
    (total, weight), gradients = program(model.parameters(), {name: recorded[name] for name in shapes})
    np.testing.assert_allclose(total.numpy() / weight.numpy(), recorded["loss"].item(), rtol=1e-5)
    assert_gradients_agree({name: value.numpy() / weight.numpy() for name, value in gradients.items()},
                           {name.removeprefix("gradient."): value for name, value in recorded.items()
                            if name.startswith("gradient.")})
