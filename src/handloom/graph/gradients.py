"""The gradient rule of every operation: rule(node, g) gives the cotangents of its inputs, None where there is none.

`g` is the cotangent of the result, shaped like it; for an operation of several results a tuple, None for those that
nobody used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from handloom.graph import build as b
from handloom.graph import composites as c
from handloom.graph.node import FLOATS, Dimension, Node
from handloom.graph.ops import OPS, AttentionAttrs

Cotangents = Sequence[Node | None]
Rule = Callable[[Node, Any], Cotangents]

ONE_OVER_SQRT_2_PI = 1 / math.sqrt(2 * math.pi)


def _square(x: Node) -> Node:
    return b.multiply(x, x)


def _chain(derivative: Callable[[Node, Node], Node]) -> Rule:
    """An element-wise function of x with result y, from derivative(x, y)."""
    return lambda node, g: (b.multiply(g, derivative(node.inputs[0], node)),)


def _extreme(node: Node, g: Node) -> Cotangents:
    """To the operand that was taken; half to each where they are equal."""
    x, y = node.inputs
    half = b.where(b.binary("equal", x, y), b.multiply(g, 0.5), g)
    zero = b.zeros_like(g)
    return tuple(b.where(b.binary("equal", operand, node), half, zero) for operand in (x, y))


def _divide(node: Node, g: Node) -> Cotangents:
    y = node.inputs[1]
    return b.divide(g, y), b.negative(b.divide(b.multiply(g, node), y))


def _where(node: Node, g: Node) -> Cotangents:
    zero = b.zeros_like(g)
    return None, b.where(node.inputs[0], g, zero), b.where(node.inputs[0], zero, g)


def _cast(node: Node, g: Node) -> Cotangents:
    source = node.inputs[0].dtype
    return (b.cast(g, source) if source in FLOATS and node.dtype in FLOATS else None,)


def _transpose(node: Node, g: Node) -> Cotangents:
    axes = node.attrs.axes
    return (b.transpose(g, [axes.index(i) for i in range(len(axes))]),)


def _slice(node: Node, g: Node) -> Cotangents:
    a = node.attrs
    return (b.pad_axis(g, a.axis, a.start, node.inputs[0].shape[a.axis]),)


def _flip(node: Node, g: Node) -> Cotangents:
    return (b.flip(g, node.attrs.axis),)


def _pad(node: Node, g: Node) -> Cotangents:
    a = node.attrs
    return (b.slice_axis(g, a.axis, a.low, node.inputs[0].shape[a.axis]),)


def _concatenate(node: Node, g: Node) -> Cotangents:
    parts: list[Node] = []
    start: Dimension = 0
    for part in node.inputs:
        parts.append(b.slice_axis(g, node.attrs.axis, start, part.shape[node.attrs.axis]))
        start = start + part.shape[node.attrs.axis]
    return parts


def _max(node: Node, g: Node) -> Cotangents:
    """Shared evenly among equal maxima."""
    x = node.inputs[0]
    hit = b.where(b.binary("equal", x, b.broadcast(node, x.shape)), b.full(1, x.shape, x.dtype), 0)
    return (b.multiply(hit, b.divide(g, b.reduce("sum", hit, node.attrs.axes))),)


def _dot(node: Node, g: Node) -> Cotangents:
    a, w = node.inputs
    ta, tb, narrow = node.attrs.transpose_a, node.attrs.transpose_b, node.attrs.narrow
    if node.attrs.panels is not None:
        raise NotImplementedError("dot: a gradient through panels, which a pass lays out after differentiation")
    da = b.dot(w, g, tb, True, narrow) if ta else b.dot(g, w, False, not tb, narrow)
    dw = b.dot(g, a, True, ta, narrow) if tb else b.dot(a, g, not ta, False, narrow)
    return b.cast(da, a.dtype), b.cast(dw, w.dtype)


def _softmax(node: Node, g: Node) -> Cotangents:
    return (b.multiply(node, b.subtract(g, b.reduce("sum", b.multiply(g, node), c.last(g)))),)


def _log_softmax(node: Node, g: Node) -> Cotangents:
    return (b.subtract(g, b.multiply(b.unary("exp", node), b.reduce("sum", g, c.last(g)))),)


def _layer_norm(node: Node, g: Node) -> Cotangents:
    x, weight, bias = node.inputs
    mean, deviation = c.layer_norm_statistics(x, node.attrs.epsilon)
    normal = b.multiply(b.subtract(x, mean), deviation)
    scaled = b.multiply(g, weight)
    inner = b.subtract(
        b.subtract(scaled, c.mean_last(scaled)), b.multiply(normal, c.mean_last(b.multiply(scaled, normal)))
    )
    return b.multiply(inner, deviation), b.sum_to(b.multiply(g, normal), weight.shape), b.sum_to(g, bias.shape)


def _rms_norm(node: Node, g: Node) -> Cotangents:
    x, weight = node.inputs
    deviation = c.rms_norm_statistics(x, node.attrs.epsilon)
    normal = b.multiply(x, deviation)
    scaled = b.multiply(g, weight)
    inner = b.subtract(scaled, b.multiply(normal, c.mean_last(b.multiply(scaled, normal))))
    return b.multiply(inner, deviation), b.sum_to(b.multiply(g, normal), weight.shape)


def _gelu(x: Node, y: Node) -> Node:
    density = b.multiply(b.unary("exp", b.multiply(_square(x), -0.5)), ONE_OVER_SQRT_2_PI)
    return b.add(c.normal_cdf(x), b.multiply(x, density))


def _gelu_tanh(x: Node, y: Node) -> Node:
    inner = b.multiply(b.add(x, b.multiply(b.multiply(_square(x), x), c.GELU_CUBIC)), c.SQRT_2_OVER_PI)
    t = b.unary("tanh", inner)
    slope = b.multiply(b.add(b.multiply(_square(x), 3 * c.GELU_CUBIC), 1.0), c.SQRT_2_OVER_PI)
    steep = b.multiply(b.multiply(x, 0.5), b.multiply(b.subtract(1.0, _square(t)), slope))
    return b.add(b.multiply(b.add(t, 1.0), 0.5), steep)


def _silu(x: Node, y: Node) -> Node:
    s = b.unary("sigmoid", x)
    return b.multiply(s, b.add(b.multiply(x, b.subtract(1.0, s)), 1.0))


MANY_ROWS = 4096
"""A table with fewer rows gets a gradient that is stored; a larger one's is made of the rows that were taken."""


def _take(node: Node, g: Node) -> Cotangents:
    table, ids = node.inputs
    rows = table.shape[0]
    if not isinstance(rows, int) or rows < MANY_ROWS:
        return b.scatter_add(ids, g, rows), None
    # sums where a row number stands first, and a row of zeros behind them: what reads the gradient gathers from there
    places = b.places(ids, rows)
    return b.take(b.scatter_add(b.take(places, ids), g, ids.shape[0] + 1), places), None


def _put(node: Node, g: Node) -> Cotangents:
    _, ids, rows = node.inputs
    return b.put(g, ids, b.zeros_like(rows)), None, b.take(g, ids)


def _attention(node: Node, g: Sequence[Node | None]) -> Cotangents:
    attrs: AttentionAttrs = node.attrs
    if g[1] is not None:
        raise NotImplementedError("attention: a gradient through the log-sum-exp")
    assert g[0] is not None
    q, k, v, *rest = node.inputs
    backward = b.make("attention_backward", q, k, v, b.project(node, 0), b.project(node, 1), g[0], *rest, attrs=attrs)
    found: list[Node | None] = [*(b.project(backward, i) for i in range(3)), None, None, None]
    if attrs.reach is not None:
        found.append(b.reshape(b.reduce("sum", b.project(backward, 3), (0,)), rest[3].shape))
    if attrs.buckets is not None:
        found += [b.project(backward, len(found) - 3 + i) for i in (0, 1)]
    return (*found, *(None for _ in node.inputs[len(found) :]))


def _linear_cross_entropy(node: Node, g: Sequence[Node | None]) -> Cotangents:
    """From a node that computes loss and gradients at once; `prune` lets it give the loss, too."""
    if node.attrs.gradients or g[0] is None:
        raise NotImplementedError("linear_cross_entropy: a gradient through its gradients")
    scale = g[0]
    while scale.op in ("broadcast", "reshape"):
        scale = scale.inputs[0]
    if scale.shape not in ((), (1,), (1, 1)):
        raise NotImplementedError("linear_cross_entropy: rows whose losses have different weights")
    both = b.make("linear_cross_entropy", *node.inputs, attrs=replace(node.attrs, gradients=True))
    scale = b.reshape(scale, (1, 1))
    x, w, _, *bias = node.inputs
    dx, dw = (b.cast(b.multiply(b.project(both, i + 1), scale), operand.dtype) for i, operand in enumerate((x, w)))
    return dx, dw, None, *(b.multiply(b.project(both, 3), b.reshape(scale, (1,))) for _ in bias)


def _scan(node: Node, g: Sequence[Node | None]) -> Cotangents:
    from handloom.graph.scan_gradient import scan_gradient  # which differentiates the body

    return scan_gradient(node, g)


NONE: Rule = lambda node, g: (None,) * len(node.inputs)  # noqa: E731

GRADIENTS: dict[str, Rule] = {
    **{name: NONE for name, op in OPS.items() if not op.differentiable or op.kind == "leaf"},
    "negative": lambda node, g: (b.negative(g),),
    "exp": _chain(lambda x, y: y),
    "log": lambda node, g: (b.divide(g, node.inputs[0]),),
    "sqrt": lambda node, g: (b.divide(b.multiply(g, 0.5), node),),
    "rsqrt": _chain(lambda x, y: b.multiply(b.multiply(_square(y), y), -0.5)),
    "tanh": _chain(lambda x, y: b.subtract(1.0, _square(y))),
    "erf": _chain(lambda x, y: b.multiply(b.unary("exp", b.negative(_square(x))), 2 / math.sqrt(math.pi))),
    "sigmoid": _chain(lambda x, y: b.multiply(y, b.subtract(1.0, y))),
    "absolute": _chain(lambda x, y: b.unary("sign", x)),
    "sin": _chain(lambda x, y: b.unary("cos", x)),
    "cos": _chain(lambda x, y: b.negative(b.unary("sin", x))),
    "add": lambda node, g: (g, g),
    "subtract": lambda node, g: (g, b.negative(g)),
    "multiply": lambda node, g: (b.multiply(g, node.inputs[1]), b.multiply(g, node.inputs[0])),
    "divide": _divide,
    "maximum": _extreme,
    "minimum": _extreme,
    "where": _where,
    "after": lambda node, g: (g, None),
    "cast": _cast,
    "broadcast": lambda node, g: (b.sum_to(g, node.inputs[0].shape),),
    "reshape": lambda node, g: (b.reshape(g, node.inputs[0].shape),),
    "transpose": _transpose,
    "slice": _slice,
    "flip": _flip,
    "pad": _pad,
    "concatenate": _concatenate,
    "sum": lambda node, g: (b.broadcast(g, node.inputs[0].shape),),
    "max": _max,
    "dot": _dot,
    "take": _take,
    "put": _put,
    "scatter_add": lambda node, g: (None, b.take(g, node.inputs[0])),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "gelu": _chain(_gelu),
    "gelu_tanh": _chain(_gelu_tanh),
    "silu": _chain(_silu),
    "attention": _attention,
    "linear_cross_entropy": _linear_cross_entropy,
    "scan": _scan,
}
