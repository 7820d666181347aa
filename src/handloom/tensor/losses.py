"""Losses, as (sum, weight): summed over micro-batches first and divided once, so that packing never changes a mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handloom.graph import build as b
from handloom.graph import composites
from handloom.graph.node import Dimension, Node
from handloom.graph.ops import CrossEntropyAttrs
from handloom.tensor.labels import Classes
from handloom.tensor.tensor import Tensor, Trace, apply_all


def _pair(build: Callable[..., tuple[Node, ...]], *operands: Tensor) -> tuple[Tensor, Tensor]:
    total, weight = apply_all(build, *operands)
    return total, weight


def _total(x: Node) -> Node:
    return b.reshape(b.reduce("sum", x, range(len(x.shape))), ())


def _expect(labels: Tensor, count: Dimension, ignore: int) -> None:
    """Checks labels that are known, and has every call of a program check those that are given to it."""
    value = labels.value
    if not isinstance(count, int):
        return
    if not isinstance(value, Node):
        Classes(count, ignore).check(value)
        return
    while value.op == "reshape":
        value = value.inputs[0]
    for trace in Trace.stack:
        if value in trace.inputs:
            trace.labels[value] = Classes(count, ignore)


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, smoothing: float = 0.0, ignore: int = -100
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of labels i32 [n] under softmax(logits [n, classes]).

    Rows labelled `ignore` count nothing. The weight is the number of the others, or the sum of their classes' weights.
    `smoothing` spreads that share of a label evenly over all classes (Szegedy et al. 2016). Raises HandloomError for a
    label that is out of range, which names its row; of a compiled function, when it is called.
    """
    _expect(labels, logits.shape[-1], ignore)

    def build(x: Node, y: Node, *weights: Node) -> Any:
        rows, classes = x.shape
        labels = b.reshape(y, (rows, 1))
        counted = b.binary("equal", labels, b.full(ignore, (rows, 1), "i32"))
        real = b.cast(b.unary("logical_not", counted), "f32")
        hit = b.cast(b.binary("equal", b.broadcast(labels, x.shape), b.iota(x.shape, 1)), "f32")
        logp = b.make("log_softmax", x)
        weighted = b.multiply(hit, weights[0]) if weights else hit
        weight = b.reduce("sum", weighted, (1,)) if weights else real
        loss = b.negative(b.reduce("sum", b.multiply(logp, weighted), (1,)))
        if smoothing:
            spread = b.multiply(logp, weights[0]) if weights else logp
            even = b.multiply(b.reduce("sum", spread, (1,)), -smoothing / composites.count((classes,)))
            loss = b.add(b.multiply(loss, 1 - smoothing), b.multiply(even, real))
        return _total(loss), _total(weight)

    return _pair(build, logits, labels, *([] if class_weights is None else [class_weights]))


def linear_cross_entropy(
    x: Tensor, weight: Tensor, labels: Tensor, ignore: int = -100, bias: Tensor | None = None, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`cross_entropy(linear(x, weight, bias), labels, smoothing=…)` without the logits: x [rows, hidden], weight
    [classes, hidden], bias [classes].

    Loss and gradients are computed some rows at a time; the logits of all rows are never in memory. The gradient goes
    through the sum that is returned, times any number. Raises HandloomError as `cross_entropy` does.
    """
    _expect(labels, weight.shape[0], ignore)

    def build(x: Node, w: Node, y: Node, *bias: Node) -> Any:
        attrs = CrossEntropyAttrs(ignore, smoothing)
        losses = b.project(b.make("linear_cross_entropy", x, w, y, *bias, attrs=attrs), 0)
        real = b.cast(b.unary("logical_not", b.binary("equal", y, b.full(ignore, y.shape, "i32"))), "f32")
        return _total(losses), _total(real)

    return _pair(build, x, weight, labels, *([] if bias is None else [bias]))


def binary_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """−y·log σ(x) − (1 − y)·log(1 − σ(x)) of every element, times its weight. The weight returned is the number of
    rows.

    Computed as max(x, 0) − x·y + log(1 + exp(−|x|)), which no x overflows. weights: of the shape of logits.
    """

    def build(x: Node, y: Node, *weights: Node) -> Any:
        tail = b.unary("log", b.add(b.unary("exp", b.negative(b.unary("absolute", x))), 1.0))
        loss = b.add(b.subtract(b.binary("maximum", x, 0.0), b.multiply(x, y)), tail)
        return _total(b.multiply(loss, weights[0]) if weights else loss), _rows(x)

    return _pair(build, logits, targets, *([] if weights is None else [weights]))


def mean_squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(x − y)² of every element; the weight is the number of elements."""

    def build(x: Node, y: Node) -> Any:
        difference = b.subtract(x, y)
        return _total(b.multiply(difference, difference)), _total(b.full(1, x.shape, x.dtype))

    return _pair(build, outputs, targets)


def _rows(x: Node) -> Node:
    return _total(b.full(1, x.shape[:1] or (), "f32"))
