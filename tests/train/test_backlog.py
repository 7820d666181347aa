"""Updates that are put off end in the bits of updates that are not, whatever happens between the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_bert import HIDDEN, INNER, LAYERS

import handloom.tensor as ht
from handloom.models.bert import BertForSequenceClassification, read_config
from handloom.models.config import Fields
from handloom.nn import Module
from handloom.tasks.task import Array, Batch, Feature
from handloom.tasks.text_classification import TextClassification
from handloom.text.encoding import Encoding
from handloom.train import backlog
from handloom.train.batches import capacity
from handloom.train.engine import Engine
from handloom.train.optimisers import Optimiser, adam, adamw, optimiser, sgd

WORDS, TOKENS, SEQUENCES = 4200, 96, 8
TASK = TextClassification(["a", "b", "c"])


class Reader(Module):
    """The class of a text from the row of its first id; `also`: what else is read of the table."""

    def __init__(self, also: str = "") -> None:
        rng = np.random.default_rng(0)
        self.table = ht.tensor(rng.standard_normal((WORDS, 12)).astype(np.float32))
        self.head = ht.tensor(rng.standard_normal((3, 12)).astype(np.float32))
        self.also = also

    def forward(self, batch: Batch) -> ht.Tensor:
        first = batch["starts"][:-1]
        rows = ht.dropout(ht.tanh(ht.take(self.table, batch["ids"])), 0.1)
        if self.also == "other rows":
            rows = rows + ht.take(self.table, batch["positions"])
        head = self.table[:3] if self.also == "output" else self.head
        return ht.linear(ht.take(rows, first), head)


def bert() -> BertForSequenceClassification:
    config = read_config(Fields({
        "model_type": "bert", "vocab_size": WORDS, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "intermediate_size": INNER, "max_position_embeddings": 64,
    }))  # fmt: skip
    made = BertForSequenceClassification(replace(config, labels=()), 3)
    rng = np.random.default_rng(0)
    made.load({name: rng.standard_normal(x.shape).astype(np.float32) * 0.1 for name, x in made.parameters().items()})
    return made


def feature(ids: Any, index: int, label: int | None) -> Feature:
    length = len(ids)
    zeros, places = np.zeros(length, np.int32), np.arange(length, dtype=np.int32)
    coded = Encoding(np.asarray(ids, np.int32), zeros, np.zeros((length, 2), np.int32), zeros > 0, places, zeros)
    return Feature(coded, index, np.array(label, np.int32) if label is not None else None, places, length)


def batch(number: int) -> list[Feature]:
    """Some ids are in every batch, some in some of them, most in none, and all repeat. Batch 5 has no labels: its loss
    is 0 / 0, and nothing may move."""
    rng = np.random.default_rng(number)
    known = [3, 3, 4, *rng.integers(5, 60, 20), WORDS - 1]
    texts = [rng.choice(known, rng.integers(1, 12)) for _ in range(1 + number % 7)]
    return [feature(ids, i, None if number == 5 else int(rng.integers(3))) for i, ids in enumerate(texts)]


def engine(
    put_off: bool, rule: str = "adamw", decay: float = 0.1, made: Module | None = None, **options: Any
) -> Engine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "MANY_ROWS", 4096 if put_off else WORDS + 1)
        given = {"capacity": capacity(TOKENS, SEQUENCES), "threads": 2, "seed": 3, "clip": 0.5, **options}
        return Engine(made or Reader(), TASK, optimiser(rule, decay), **given)


def kinds(made: Engine) -> set[str]:
    return {step.kind for step in made.program().steps}  # type: ignore[attr-defined]


Between = Callable[[Engine, int], object]


def trained(made: Engine, steps: int = 9, between: Between = lambda engine, step: None) -> dict[str, bytes]:
    """The results of all steps, the weights and the moments."""
    results = []
    for number in range(steps):
        results.append(made.step([batch(number)], number, 0.01 / (number + 1)))
        between(made, number)
    state = {**made.weights(), **made.moment_arrays()}
    return {
        **{f"step {i}": repr(result).encode() for i, result in enumerate(results)},
        **{name: array.tobytes() for name, array in state.items()},
    }


@pytest.fixture(scope="module")
def dense() -> dict[str, bytes]:
    return trained(engine(False))


@pytest.mark.parametrize("options", [
    {}, {"threads": 1}, {"rule": "adam", "decay": 0.0}, {"rule": "sgd"}, {"decay": 0.0}, {"precision": "bf16"},
], ids=str)  # fmt: skip
def test_the_bits_of_an_optimiser_that_moves_every_row(dense: dict[str, bytes], options: dict[str, Any]) -> None:
    made = engine(True, **options)
    found = trained(made)
    same = {**options, "threads": 2}
    assert found == (dense if same == {"threads": 2} else trained(engine(False, **same)))
    assert b"nan" in found["step 5"]
    assert kinds(made) >= {"replay", "put"} and "copy" not in kinds(made)  # in place


def test_the_bits_of_a_bert_that_computes_its_forward_pass_again() -> None:
    found = trained(engine(True, made=bert(), recompute=True, threads=1), 4)
    assert found == trained(engine(False, made=bert(), recompute=True), 4)


def test_looking_at_the_state_changes_nothing(dense: dict[str, bytes]) -> None:
    def look(made: Engine, number: int) -> object:
        return made.weights() if number % 3 else made.ask(batch(1)) if number % 2 else made.moment_arrays()

    assert trained(engine(True), between=look) == dense


def test_weights_that_are_asked_are_up_to_date() -> None:
    whole, late = engine(False), engine(True)
    for number in range(3):
        for made in (whole, late):
            made.step([batch(number)], number, 0.01)
    unread = [feature([100, 4199, 7], 0, 1)]
    assert late.total([unread]) == whole.total([unread])
    for made in (whole, late):
        made.step([batch(3)], 3, 0.01)
    assert late.ask(unread).tobytes() == whole.ask(unread).tobytes()


def test_a_full_backlog(dense: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST", 3)
    assert trained(engine(True)) == dense


def test_from_a_checkpoint(dense: dict[str, bytes]) -> None:
    first, second = engine(True), engine(True)
    trained(first, 4)
    second.restore(first.trainable(), first.moment_arrays())
    results = [second.step([batch(number)], number, 0.01 / (number + 1)) for number in range(4, 9)]
    assert [repr(result).encode() for result in results] == [dense[f"step {number}"] for number in range(4, 9)]
    assert {name: array.tobytes() for name, array in second.weights().items()}.items() <= dense.items()


def test_steps_of_several_parts_move_every_row() -> None:
    def alternating(made: Engine) -> list[str]:
        parts = [[batch(number)] if number % 2 else [batch(number), batch(number + 20)] for number in range(4)]
        found = [repr(made.step(part, number, 0.01)) for number, part in enumerate(parts)]
        return [*found, *(array.tobytes().hex() for array in made.weights().values())]

    assert alternating(engine(True)) == alternating(engine(False))
    accumulating = engine(True, accumulates=True)
    assert not accumulating._backlog.seen


# --- other ways to read a table -----------------------------------------------------------------------------------


def weights_of(made: Engine) -> dict[str, Array]:
    for number in range(5):
        made.step([batch(number)], number, 0.01)
    return {name: array.copy() for name, array in made.weights().items()}


def test_a_table_that_is_the_output_layer_too_is_moved_whole() -> None:
    made = engine(True, made=Reader("output"))
    found, wanted = weights_of(made), weights_of(engine(False, made=Reader("output")))
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)
    assert "put" not in kinds(made)


def test_a_table_that_is_read_twice() -> None:
    """The norm of its gradient is summed in another order; without clipping nothing depends on that."""
    made = engine(True, made=Reader("other rows"), clip=None)
    found, wanted = weights_of(made), weights_of(engine(False, made=Reader("other rows"), clip=None))
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)
    assert "put" in kinds(made)


def test_on_the_reference_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = weights_of(engine(True))
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    found = weights_of(engine(True))
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-6)


def test_a_frozen_table_has_no_backlog() -> None:
    assert engine(True)._backlog.seen.keys() == {"table"}
    assert not engine(True, frozen=["table"])._backlog.seen


# --- rows at rest -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [adamw(0.1), adamw(0.0), adam(0.0), sgd(0.1), sgd(0.1, momentum=0.0)])
def test_what_rest_makes_is_what_update_makes(rule: Optimiser) -> None:
    assert rule.rest is not None
    at_rest = rule.rest
    param = np.array([1.5, -2.0, 0.0, -0.0, 1e-38, -3e-39, 1e30, np.inf, np.nan], np.float32)
    zeros = {name: np.zeros_like(param) for name in rule.names}

    @ht.compile
    def both(param: Any, moments: Any, grad: Any, given: Any) -> Any:
        return rule.update(param, grad, moments, given, True), at_rest(param, given, True)

    given = {key: np.float32(value) for key, value in rule.scalars(0.01, 7).items()}
    (updated, moments), rested = both(param, zeros, np.zeros_like(param), given)
    assert updated.numpy().tobytes() == rested.numpy().tobytes()
    assert not any(moment.numpy().tobytes().strip(b"\0") for moment in moments.values())


def test_decay_that_makes_moments_never_rests() -> None:
    assert adam(0.1).rest is None
    assert not engine(True, rule="adam", decay=0.1)._backlog.seen
