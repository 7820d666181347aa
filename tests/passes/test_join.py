"""Gradients of slices that make up a whole are put side by side, not added up among zeros."""

from __future__ import annotations

import numpy as np
import pytest

from handloom.compiler import build
from handloom.graph import build as b
from handloom.graph.node import Node, walk
from handloom.graph.ops import InputAttrs
from handloom.graph.reference import evaluate
from handloom.passes.join import MOST_TERMS, join


def given(index: int, *shape: int) -> Node:
    return b.make("input", attrs=InputAttrs(index, f"x{index}", shape, "f32"))


X = [given(i, 5, 32) for i in range(4)]
WHOLE = given(9, 5, 96)
ARRAYS = {x: np.random.default_rng(i).standard_normal(x.shape).astype(np.float32) for i, x in enumerate([*X, WHOLE])}


def part(i: int, width: int = 32, axis: int = 1, size: int = 96) -> Node:
    return b.pad_axis(X[i], axis, i * width, size)


JOINED = {
    "in order": b.add(b.add(part(0), part(1)), part(2)),
    "out of order": b.add(b.add(part(2), part(0)), part(1)),
    "in pairs": b.add(part(1), b.add(part(0), part(2))),
    "with another term": b.add(b.add(part(0), b.add(WHOLE, part(1))), part(2)),
    "rows": b.add(part(1, 5, 0, 10), part(0, 5, 0, 10)),
}
KEPT = {
    "one of them": part(1),
    "a gap": b.add(part(0), part(2)),
    "one twice": b.add(b.add(part(0), part(1)), b.add(part(1), part(2))),
    "an overlap": b.add(b.add(part(0), part(1, 30)), part(2)),
}


@pytest.mark.parametrize("name", JOINED)
def test_parts_of_a_whole_are_joined(name: str) -> None:
    (result,) = join([JOINED[name]])
    assert not any(node.op == "pad" for node in walk([result]))
    assert sum(node.op == "concatenate" for node in walk([result])) == 1
    np.testing.assert_array_equal(*evaluate([result, JOINED[name]], ARRAYS))


@pytest.mark.parametrize("name", KEPT)
def test_all_else_stays(name: str) -> None:
    assert join([KEPT[name]]) == [KEPT[name]]


def test_a_sum_that_doubles_itself_again_and_again_is_not_taken_apart() -> None:
    total = part(0)
    for _ in range(200):
        total = b.add(total, total)
    assert join([total]) == [total] and MOST_TERMS < 200


@pytest.mark.parametrize("width", [2, 7, 8, 31, 64])
@pytest.mark.parametrize("rows", [(1,), (3,), (2, 3)])
def test_what_makes_the_parts_stores_them_side_by_side(width: int, rows: tuple[int, ...]) -> None:
    """One loop computes parts that are element-wise, and one more of the same operands beside them."""
    x, y = given(0, *rows, width), given(1, *rows, width)
    numbers = b.reduce("max", x, (len(rows),))
    parts = [b.unary("tanh", x), b.multiply(x, y), b.broadcast(numbers, x.shape), b.zeros_like(x), y]
    outputs = [b.concatenate(parts, len(rows)), b.add(x, y), b.concatenate([y, x], len(rows))]
    program = build([x, y], outputs, {})
    arrays = [np.random.default_rng(i).standard_normal((*rows, width)).astype(np.float32) for i in range(2)]
    found = program(arrays, {})
    for mine, expected in zip(found, evaluate(outputs, dict(zip([x, y], arrays, strict=True))), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-7)
    assert len(program.steps) == 1  # type: ignore[attr-defined]
