"""Recomputation: the same gradients, from less that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom as hl
from handloom.graph import build as b
from handloom.graph.autodiff import gradients
from handloom.graph.node import Node, walk
from handloom.graph.ops import InputAttrs
from handloom.graph.segments import Segments, large
from handloom.tensor import tree

rng = np.random.default_rng(5)
T, H, LAYERS = 400, 16, 6
WEIGHTS = [rng.standard_normal((H, H)).astype(np.float32) / 4 for _ in range(LAYERS)]
X = rng.standard_normal((T, H)).astype(np.float32)
STATE = np.array([1, 2, 3, 4], np.uint32)


def loss(weights: Any, x: Any, state: Any) -> Any:
    """Layers with a residual and dropout."""
    with hl.random.using(state):
        for w in weights:
            x = hl.layer_norm(x + hl.dropout(hl.gelu(hl.linear(x, w)), 0.1), w[0], w[1])
    return (x * x * x).sum()


def step(recompute: bool) -> Any:
    return lambda weights, x, state: hl.value_and_grad(loss, recompute=recompute)(weights, x, state)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_the_same_bits_with_less_memory(precision: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_BACKEND", backend)
    arenas, results = [], []
    for recompute in (False, True):
        run = hl.compile(step(recompute), symbols={"x": ("t", H)}, precision=precision, capacity={"t": T})
        results.append([t.numpy() for t in tree.flatten(run(WEIGHTS, X, STATE))])
        if backend == "compiled":
            arenas.append(run.program.plan.bytes)
    for ours, truth in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, truth)
    if backend == "compiled":
        assert arenas[1] < (0.75 if precision == "f32" else 0.9) * arenas[0]


def test_each_piece_waits_for_its_cotangent() -> None:
    x = b.make("input", attrs=InputAttrs(0, "x", (T, H), "f32"))
    ws = [b.make("input", attrs=InputAttrs(i + 1, f"w{i}", (H, H), "f32")) for i in range(3)]
    y: Node = x
    for w in ws:
        y = b.unary("tanh", b.dot(y, w))
    head = b.reshape(b.reduce("sum", b.multiply(y, y), (0, 1)), ())
    plain, again = gradients(head, ws), gradients(head, ws, recompute=True)
    assert not any(node.op == "after" for node in walk(plain))
    waits = [node for node in walk(again) if node.op == "after"]
    assert len(waits) == 1  # between the first layer and the last: the ends are there anyway
    kept, cotangent = waits[0].inputs
    assert kept.shape == (T, H) and cotangent.shape == (T, H)
    forward = set(walk([head]))
    assert kept in forward and cotangent not in forward


def test_what_counts_as_large() -> None:
    x = b.make("input", attrs=InputAttrs(0, "x", (T, H), "f32"))
    assert not large(x) and large(b.unary("exp", x)) and not large(b.reduce("sum", x, (1,)))
    assert not large(b.reduce("sum", x, (0,))) and not large(b.reshape(b.unary("exp", x), (H, T)))
    assert Segments([x])._ends == {}


def test_what_is_differentiated_by_is_there_all_the_time() -> None:
    x = b.unary("exp", b.make("input", attrs=InputAttrs(0, "x", (T, H), "f32")))
    w = b.make("input", attrs=InputAttrs(1, "w", (H, H), "f32"))
    y: Node = x
    for _ in range(4):
        y = b.unary("tanh", b.dot(y, w))
    order = list(walk([b.add(y, x)]))  # x stays to the end: no tensor goes on alone
    assert Segments(order)._ends == {} and Segments(order, [x])._ends
