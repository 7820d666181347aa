"""Reverse-mode differentiation, graph in and graph out. What nobody asks for is never built."""

from __future__ import annotations

from collections.abc import Sequence

from handloom.graph import build as b
from handloom.graph.gradients import GRADIENTS
from handloom.graph.node import FLOATS, Node, walk
from handloom.graph.segments import Segments


def vjp(
    outputs: Sequence[Node], cotangents: Sequence[Node | None], wrt: Sequence[Node], recompute: bool = False
) -> list[Node | None]:
    """Cotangents of `wrt`, given those of `outputs`; None where no output depends on it.

    recompute: what the rules read of the forward pass is computed again, segment by segment (graph/segments.py).
    """
    order = list(walk(outputs))
    segments = Segments(order, wrt) if recompute else None
    reaches = set(wrt)
    for node in order:
        if any(x in reaches for x in node.inputs):
            reaches.add(node)
    again = segments.again if segments is not None else lambda node: node
    # a node's cotangent; for an operation of several results, result number → cotangent
    sums: dict[Node, Node] = {}
    parts: dict[Node, dict[int, Node]] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in reaches:
            sums[output] = b.add(sums[output], cotangent) if output in sums else cotangent
    for node in reversed(order):
        if segments is not None:
            segments.enter(node, sums.get(node))
        if node not in reaches or not any(x in reaches for x in node.inputs):
            continue
        if node.op == "project":
            if node in sums:
                held = parts.setdefault(node.inputs[0], {})
                index = node.attrs.index
                held[index] = b.add(held[index], sums[node]) if index in held else sums[node]
            continue
        if isinstance(node.spec, tuple):
            if node not in parts:
                continue
            found = GRADIENTS[node.op](again(node), tuple(parts[node].get(i) for i in range(len(node.spec))))
        elif node in sums:
            found = GRADIENTS[node.op](again(node), sums[node])
        else:
            continue
        for x, g in zip(node.inputs, found, strict=True):
            if g is not None and x in reaches:
                sums[x] = b.add(sums[x], g) if x in sums else g
    return [sums.get(x) for x in wrt]


def gradients(output: Node, wrt: Sequence[Node], recompute: bool = False) -> list[Node]:
    """d output / d wrt for a scalar output; zeros where it does not depend on it.

    Raises ValueError for an output that is no floating-point scalar.
    """
    if output.shape != () or output.dtype not in FLOATS:
        raise ValueError(f"only a floating-point scalar has a gradient; this is {output.spec}")
    found = vjp([output], [b.constant(1.0, output.dtype)], wrt, recompute)
    return [g if g is not None else b.zeros_like(x) for g, x in zip(found, wrt, strict=True)]
