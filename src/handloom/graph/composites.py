"""Composites, defined by primitives. The reference runs these definitions, and so does code generation after `expand`.

A composite's gradient rule (gradients.py) uses the same statistics as its definition. Equal nodes are one object, so
forward and backward share them without anyone looking for patterns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from handloom.graph import build as b
from handloom.graph.node import Dimension, Node

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715


def count(sizes: Sequence[Dimension]) -> int:
    """How many elements sizes known at tracing make."""
    total = 1
    for size in sizes:
        if not isinstance(size, int):
            raise ValueError(f"needs a known size, not {size}")
        total *= size
    return total


def last(x: Node) -> tuple[int, ...]:
    return (len(x.shape) - 1,)


def mean_last(x: Node) -> Node:
    return b.multiply(b.reduce("sum", x, last(x)), 1.0 / count(x.shape[-1:]))


def softmax(x: Node) -> Node:
    powers = b.unary("exp", b.subtract(x, b.reduce("max", x, last(x))))
    return b.divide(powers, b.reduce("sum", powers, last(x)))


def log_softmax(x: Node) -> Node:
    shifted = b.subtract(x, b.reduce("max", x, last(x)))
    return b.subtract(shifted, b.unary("log", b.reduce("sum", b.unary("exp", shifted), last(x))))


def layer_norm_statistics(x: Node, epsilon: float) -> tuple[Node, Node]:
    """(mean, reciprocal deviation) of each row, [..., 1]."""
    mean = mean_last(x)
    centred = b.subtract(x, mean)
    return mean, b.unary("rsqrt", b.add(mean_last(b.multiply(centred, centred)), epsilon))


def layer_norm(x: Node, weight: Node, bias: Node, epsilon: float) -> Node:
    """Ba, Kiros and Hinton 2016, over the last axis."""
    mean, deviation = layer_norm_statistics(x, epsilon)
    return b.add(b.multiply(b.multiply(b.subtract(x, mean), deviation), weight), bias)


def rms_norm_statistics(x: Node, epsilon: float) -> Node:
    return b.unary("rsqrt", b.add(mean_last(b.multiply(x, x)), epsilon))


def rms_norm(x: Node, weight: Node, epsilon: float) -> Node:
    """Zhang and Sennrich 2019, over the last axis."""
    return b.multiply(b.multiply(x, rms_norm_statistics(x, epsilon)), weight)


def normal_cdf(x: Node) -> Node:
    return b.multiply(b.add(b.unary("erf", b.multiply(x, SQRT_HALF)), 1.0), 0.5)


def gelu(x: Node) -> Node:
    """x · Φ(x) (Hendrycks and Gimpel 2016), by the error function."""
    return b.multiply(x, normal_cdf(x))


def gelu_tanh(x: Node) -> Node:
    """The tanh approximation of GELU."""
    cube = b.multiply(b.multiply(x, x), x)
    inner = b.multiply(b.add(x, b.multiply(cube, GELU_CUBIC)), SQRT_2_OVER_PI)
    return b.multiply(b.multiply(x, 0.5), b.add(b.unary("tanh", inner), 1.0))


def silu(x: Node) -> Node:
    return b.multiply(x, b.unary("sigmoid", x))


EXPANSIONS: dict[str, Callable[[Sequence[Node], Any], Node]] = {
    "softmax": lambda inputs, attrs: softmax(*inputs),
    "log_softmax": lambda inputs, attrs: log_softmax(*inputs),
    "layer_norm": lambda inputs, attrs: layer_norm(inputs[0], inputs[1], inputs[2], attrs.epsilon),
    "rms_norm": lambda inputs, attrs: rms_norm(inputs[0], inputs[1], attrs.epsilon),
    "gelu": lambda inputs, attrs: gelu(*inputs),
    "gelu_tanh": lambda inputs, attrs: gelu_tanh(*inputs),
    "silu": lambda inputs, attrs: silu(*inputs),
}
