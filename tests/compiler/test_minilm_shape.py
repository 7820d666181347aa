"""A model as wide as MiniLM on texts of mixed lengths: every gradient, and a row's bits alone and packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bert_program import assert_agree, batch_of, bert_step

import handloom as hl

LENGTHS = (1, 2, 17, 64, 40, 15, 16, 128, 3)
SYMBOLS = {
    **dict.fromkeys(("ids", "positions", "types"), ("tokens",)),
    "starts": ("sequences+1",), "rows": ("labelled",), "labels": ("labelled",),
}  # fmt: skip
CAPACITY = {"tokens": 320, "sequences": 16, "labelled": 320}


@pytest.fixture(scope="module")
def program() -> tuple[Any, Any, Any]:
    step, parameters = bert_step(384, 2, 12, 1536, 0.0)
    return step, parameters, hl.compile(step, symbols={"batch": SYMBOLS}, capacity=CAPACITY)


def test_loss_logits_and_every_gradient(program: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    step, parameters, run = program
    batch = batch_of(LENGTHS, labelled=120)
    found = run(parameters, batch)
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    assert_agree(found, hl.compile(step)(parameters, batch))


def test_with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    step, parameters = bert_step(384, 1, 12, 1536, 0.1)
    batch = batch_of((33, 1, 40), labelled=20)
    found = hl.compile(step, symbols={"batch": SYMBOLS}, capacity=CAPACITY)(parameters, batch)
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    assert_agree(found, hl.compile(step)(parameters, batch))


def test_a_text_alone_has_the_bits_of_the_text_among_others(program: tuple[Any, Any, Any]) -> None:
    _, parameters, run = program
    batch = batch_of(LENGTHS, labelled=0)
    tokens = len(batch["ids"])
    everything = {**batch, "rows": np.arange(tokens, dtype=np.int32), "labels": np.zeros(tokens, np.int32)}
    packed = run(parameters, everything)[2].numpy().copy()
    for begin, end in zip(batch["starts"][:-1], batch["starts"][1:], strict=True):
        alone = {
            **{name: batch[name][begin:end] for name in ("ids", "positions", "types")},
            "starts": np.array([0, end - begin], np.int32),
            "rows": np.arange(end - begin, dtype=np.int32),
            "labels": np.zeros(end - begin, np.int32),
            "state": batch["state"],
        }
        logits = run(parameters, alone)[2].numpy()
        assert logits.tobytes() == packed[begin:end].tobytes(), f"the text of {end - begin} tokens"


def test_the_order_of_texts_does_not_change_their_bits(program: tuple[Any, Any, Any]) -> None:
    _, parameters, run = program
    batch = batch_of(LENGTHS, labelled=0)
    starts = batch["starts"]
    order = [5, 0, 8, 3, 1, 7, 2, 6, 4]
    places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in order])

    def run_on(places: Any, starts: Any) -> Any:
        tokens = len(places)
        whole = {
            **{name: batch[name][places] for name in ("ids", "positions", "types")},
            "starts": starts.astype(np.int32),
            "rows": np.arange(tokens, dtype=np.int32),
            "labels": np.zeros(tokens, np.int32),
            "state": batch["state"],
        }
        return run(parameters, whole)[2].numpy().copy()

    moved = run_on(places, np.cumsum([0, *(LENGTHS[i] for i in order)]))
    assert moved.tobytes() == run_on(np.arange(len(places)), starts)[places].tobytes()
