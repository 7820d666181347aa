"""A unit of the partitioned graph: what becomes one kernel, or a call of one of the shaped generators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from handloom.graph.access import VIEWS, base_of
from handloom.graph.node import Dimension, Node

LOOP_OPS_EXTRA = frozenset({"iota", "random_uniform", "take"})


@dataclass(eq=False)
class Unit:
    """`members` are computed here, `roots` of them are stored, in graph order. `anchor` is the node of a shaped
    generator (a product with the members as its epilogue, attention …); without one the unit is a loop over `space`.
    """

    space: tuple[Dimension, ...]
    anchor: Node | None = None
    members: set[Node] = field(default_factory=set)
    roots: list[Node] = field(default_factory=list)
    row_sums: Node | None = None  # a sum over rows that rides on a product, see partition.ride

    @property
    def kind(self) -> str:
        return self.anchor.op if self.anchor is not None else "loop"


def side_by_side(node: Node) -> bool:
    """Whether a node puts parts of one width beside each other: a loop over the parts' shape stores them all."""
    if node.op != "concatenate" or len(node.shape) < 2 or node.attrs.axis != len(node.shape) - 1:
        return False
    width = node.inputs[0].shape[-1]
    return isinstance(width, int) and width > 1 and all(x.shape[-1] == width for x in node.inputs)


def vectorised(node: Node, space: tuple[Dimension, ...]) -> bool:
    """Whether a value varies along the columns of a space; otherwise it is one number a row."""
    return bool(space) and bool(node.shape) and node.shape[-1] != 1


def operands(node: Node, materialised: Callable[[Node], bool]) -> Iterator[tuple[Node, bool]]:
    """What a computation of `node` reads from memory: (base node, whether only through broadcasts).

    Looks through views and through nodes that are not materialised.
    """
    seen: set[Node] = set()
    stack = list(node.inputs)
    while stack:
        x = stack.pop()
        plain = True
        while x.op in VIEWS:
            plain = plain and x.op == "broadcast"
            x = x.inputs[0]
        if x.op == "constant":
            continue
        if materialised(x):
            yield x, plain
        elif x not in seen:
            seen.add(x)
            stack.extend(x.inputs)


__all__ = ["Unit", "base_of", "operands", "side_by_side", "vectorised"]
