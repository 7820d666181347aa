"""Sums of paddings that lie beside each other become concatenations.

The gradient of what is taken apart by slices is the sum of their gradients, each in its place among zeros. Where the
places fill the whole axis there are no zeros, and nothing has to be added.

Promises: no sum whose terms are the parts of a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from handloom.graph import build as b
from handloom.graph.node import Dimension, Node
from handloom.graph.rewrite import transform


def join(outputs: Sequence[Node]) -> list[Node]:
    return transform(outputs, joined)


def joined(node: Node) -> Node | None:
    """A sum with those of its terms joined that are parts of a whole; None if there are none."""
    if node.op != "add":
        return None
    terms = _terms(node)
    for axis in dict.fromkeys(x.attrs.axis for x in terms if x.op == "pad"):
        parts = [x for x in terms if x.op == "pad" and x.attrs.axis == axis]
        parts.sort(key=lambda x: _start(x.attrs.low))
        if len(parts) > 1 and _whole(parts, axis, node.shape[axis]):
            total = b.concatenate([x.inputs[0] for x in parts], axis)
            for term in terms:
                if term not in parts:
                    total = b.add(total, term)
            return total
    return None


MOST_TERMS = 32


def _terms(node: Node) -> list[Node]:
    """What is added up to a node: at most so many terms, of which some may be sums."""
    terms = [node]
    at = 0
    while at < len(terms) < MOST_TERMS:
        if terms[at].op == "add":
            terms[at : at + 1] = terms[at].inputs
        else:
            at += 1
    return terms


def _start(low: Dimension) -> int:
    return low if isinstance(low, int) else -1


def _whole(parts: Sequence[Node], axis: int, size: Dimension) -> bool:
    at: Dimension = 0
    for part in parts:
        if part.attrs.low != at:
            return False
        at = at + part.inputs[0].shape[axis]
    return at == size
