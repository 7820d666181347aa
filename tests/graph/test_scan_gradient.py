"""The gradient of a scan: that of the loop written out, with sums over steps taken after the scan where that can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.graph.node import Node, Spec, walk
from handloom.graph.reference import evaluate
from handloom.tensor import Tensor
from handloom.tensor.tensor import Trace, node_of

TIME, ROWS, WIDTH = 5, 3, 4


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32) * 0.5


GIVEN = {
    "h": normal(ROWS, WIDTH), "xs": normal(TIME, ROWS, WIDTH), "w": normal(WIDTH, WIDTH), "v": normal(2 * WIDTH, WIDTH),
    "bias": normal(WIDTH), "scale": normal(1, WIDTH), "table": normal(6, WIDTH),
}  # fmt: skip
NUMBERS = np.array([[0, 3, 3], [1, 5, 2], [0, 0, 0], [4, 2, 1], [5, 5, 4]], np.int32)

BODIES: dict[str, Any] = {
    "a weight": lambda p, h, x, n: ht.tanh(h @ p["w"] + x),
    "a weight and a bias": lambda p, h, x, n: ht.tanh(ht.linear(h, p["w"], p["bias"]) + x),
    "a weight twice": lambda p, h, x, n: ht.tanh(h @ p["w"] + ht.linear(x * h, p["w"])),
    "a part of a weight": lambda p, h, x, n: ht.tanh(ht.linear(h, p["v"][WIDTH:]) + x),
    "a weight turned": lambda p, h, x, n: ht.tanh(h @ p["w"].T + x),
    "a weight and a number a column": lambda p, h, x, n: ht.tanh(h @ p["w"] + x) * p["scale"],
    "a weight squared": lambda p, h, x, n: ht.tanh(h @ (p["w"] * p["w"]) + x),
    "a sum for each row": lambda p, h, x, n: ht.tanh(x * p["w"].sum() + h),
    "rows of a table": lambda p, h, x, n: ht.tanh(h @ p["w"] + ht.take(p["table"], n)),
    "slices side by side": lambda p, h, x, n: ht.concatenate(
        [ht.tanh(h[:, 2:]) + x[:, :2], h[:, :2] @ p["w"][:2, :2]], 1
    ),
}  # fmt: skip


def loss(body: Any, p: Any, reverse: bool, unrolled: bool) -> Any:
    h, numbers = p["h"], ht.tensor(NUMBERS)
    if not unrolled:
        def step(h: Any, xs: Any) -> Any:
            h = body(p, h, *xs)
            return h, h * 2.0

        last, ys = ht.scan(step, h, (p["xs"], numbers), reverse=reverse)
        return (last * last).sum() + (ys * ys * ys).sum()
    total = ht.tensor(0.0)
    for t in reversed(range(TIME)) if reverse else range(TIME):
        h = body(p, h, p["xs"][t], numbers[t])
        y = h * 2.0
        total = total + (y * y * y).sum()
    return (h * h).sum() + total


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_it_is_the_gradient_of_the_loop_written_out(name: str, reverse: bool) -> None:
    given = {key: ht.tensor(array) for key, array in GIVEN.items()}

    def both(p: Any) -> Any:
        return [ht.value_and_grad(lambda p, how=how: loss(BODIES[name], p, reverse, how))(p) for how in (False, True)]

    (value, slopes), (expected, others) = both(given)
    np.testing.assert_allclose(float(value), float(expected), rtol=1e-5)
    for key, slope in slopes.items():
        np.testing.assert_allclose(slope.numpy(), others[key].numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


def traced(body: Any) -> tuple[list[Node], dict[Node, np.ndarray]]:
    """The gradients' nodes, and the inputs' arrays."""
    trace = Trace()
    with trace.recording():
        p = {key: Tensor(trace.input(Spec(array.shape, "f32"), key)) for key, array in GIVEN.items()}
        slopes = ht.value_and_grad(lambda p: loss(body, p, False, False))(p)[1]
        nodes = [node_of(slope) for slope in slopes.values()]
    arrays = {p[key].value: array for key, array in GIVEN.items()} | dict(trace.captured.values())
    return nodes, arrays


def reverse_scan(outputs: list[Node]) -> Node:
    (found,) = {node for node in walk(outputs) if node.op == "scan" and node.attrs.reverse}
    return found


@pytest.mark.parametrize(("name", "carried"), [
    ("a weight", 1), ("a weight and a bias", 1), ("a weight twice", 1), ("a part of a weight", 1),
    ("a weight turned", 1), ("a weight and a number a column", 1), ("a weight squared", 1), ("a sum for each row", 1),
    ("rows of a table", 2),
])  # fmt: skip
def test_only_what_is_no_product_or_sum_over_rows_is_carried(name: str, carried: int) -> None:
    nodes, _ = traced(BODIES[name])
    assert reverse_scan(nodes).attrs.carried == carried


def test_products_of_the_steps_are_not_computed_again() -> None:
    nodes, arrays = traced(BODIES["a weight"])
    body = reverse_scan(nodes).attrs.body
    dots = [node for node in walk(body.outputs) if node.op == "dot"]
    assert len(dots) == 1  # the state's cotangent; the weight's is one product behind the scan
    outside = [node for node in walk(nodes) if node.op == "dot"]
    assert [node.inputs[0].shape for node in outside] == [(TIME * ROWS, WIDTH)]
    assert np.isfinite(evaluate(nodes, arrays)[0]).all()
