"""Gathers of rows moved up: the same values, computed for the gathered rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom as hl
from handloom.graph import build as b
from handloom.graph.node import Node, walk
from handloom.graph.ops import InputAttrs
from handloom.graph.reference import evaluate
from handloom.passes.sink import sink

T, H, F, R = 11, 8, 12, 3
rng = np.random.default_rng(3)


def given(index: int, *shape: int, dtype: str = "f32") -> Node:
    return b.make("input", attrs=InputAttrs(index, f"x{index}", shape, dtype))


X, W, BIAS, IDS, STATE = given(0, T, H), given(1, F, H), given(2, F), given(3, R, dtype="i32"), given(4, 4, dtype="u32")
VALUES = {
    X: rng.standard_normal((T, H)).astype(np.float32),
    W: rng.standard_normal((F, H)).astype(np.float32),
    BIAS: rng.standard_normal(F).astype(np.float32),
    IDS: np.array([7, 0, 7], np.int32),
    STATE: np.array([1, 2, 3, 4], np.uint32),
}


def layer() -> Node:
    """[T, F]: a linear layer, an activation, a norm."""
    y = b.add(b.dot(b.multiply(X, 2.0), W, False, True), BIAS)
    return b.layer_norm(b.make("gelu", y), b.full(1.5, (F,), "f32"), BIAS, 1e-5)


def rows_computed(outputs: list[Node]) -> set[int]:
    return {node.shape[0] for node in walk(outputs) if node.op in ("dot", "gelu", "layer_norm")}  # type: ignore[misc]


def test_a_layer_is_computed_for_the_gathered_rows() -> None:
    before = [b.take(layer(), IDS)]
    after = sink(before)
    assert rows_computed(before) == {T} and rows_computed(after) == {R}
    np.testing.assert_allclose(evaluate(after, VALUES, {})[0], evaluate(before, VALUES, {})[0], rtol=1e-5, atol=1e-6)
    (gather,) = (node for node in walk(after) if node.op == "take")
    assert gather.inputs[0] is X


def test_what_others_read_stays_whole() -> None:
    whole = layer()
    for outputs in ([b.take(whole, IDS), whole], [b.take(whole, IDS), b.reduce("sum", whole, (0,))]):
        assert sink(outputs) == outputs
    hidden = b.unary("tanh", X)
    upper = b.multiply(b.unary("exp", hidden), hidden)
    outputs = [b.take(upper, IDS), b.reduce("sum", hidden, (0, 1))]
    after = sink(outputs)
    assert {node.op: node.shape[0] for node in walk(after)}["exp"] == R
    assert {node.op: node.shape[0] for node in walk(after)}["tanh"] == T
    for ours, truth in zip(evaluate(after, VALUES, {}), evaluate(outputs, VALUES, {}), strict=True):
        np.testing.assert_array_equal(ours, truth)


def test_rows_that_depend_on_other_rows_stay() -> None:
    mixed = b.add(X, b.broadcast(b.reduce("sum", X, (0,)), (T, H)))  # the sum itself is of all rows
    after = sink([b.take(b.unary("exp", mixed), IDS)])
    np.testing.assert_allclose(
        evaluate(after, VALUES, {})[0], np.exp(VALUES[X] + VALUES[X].sum(0))[[7, 0, 7]], rtol=1e-5
    )
    turned = b.take(b.dot(X, given(5, T, F), True, False), IDS)  # [H, F] from sums over the rows
    assert sink([turned]) == [turned]


def test_more_rows_than_there_are_stay() -> None:
    many = b.take(layer(), given(6, T + 1, dtype="i32"))
    assert sink([many]) == [many]


def test_random_numbers_are_drawn_again_only_where_that_is_allowed() -> None:
    kept = b.binary("less_equal", b.full(0.5, (T, H), "f32"), b.random_uniform(STATE, (T, H), 5))
    outputs = [b.take(b.where(kept, b.unary("exp", X), b.zeros_like(X)), IDS)]
    np.testing.assert_array_equal(evaluate(sink(outputs), VALUES, {})[0], evaluate(outputs, VALUES, {})[0])
    (drawn,) = (node for node in walk(sink(outputs, redraw=True)) if node.op == "random_uniform")
    assert drawn.shape == (R, H)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_a_step_of_a_classifier_computes_what_its_head_reads(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradients, against the head that reads all rows and is asked for some."""
    monkeypatch.setenv("HANDLOOM_BACKEND", backend)

    def loss(p: Any, x: Any, ids: Any, late: bool) -> Any:
        y = hl.layer_norm(hl.gelu(hl.linear(x, p["w"], p["b"])), p["b"], p["b"])
        chosen = hl.take(y, ids)
        if late:
            return ((chosen * chosen).sum() + 0.0 * y.sum()).sum()  # somebody reads all of them
        return (chosen * chosen).sum()

    p = {"w": VALUES[W], "b": VALUES[BIAS]}
    step = hl.value_and_grad(loss)
    shapes: dict[str, Any] = {"x": ("t", H), "ids": ("r",)}
    results = []
    for late in (False, True):
        compiled = hl.compile(lambda p, x, ids, late=late: step(p, x, ids, late), symbols=shapes)
        results.append(compiled(p, VALUES[X], VALUES[IDS]))
    (value, slopes), (right_value, right) = results
    assert value.item() == pytest.approx(right_value.item(), rel=1e-5)
    for name in p:
        np.testing.assert_allclose(slopes[name].numpy(), right[name].numpy(), rtol=1e-4, atol=1e-4)
