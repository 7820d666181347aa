"""Recomputation: the forward pass cut where one tensor alone goes on, and each piece computed again for its gradient.

Only the tensors at the cuts are kept from the forward pass. When differentiation reaches a piece, from its end, the
piece is built once more upon `after(cut, cotangent)`: the value of the cut, which cannot be used before the cotangent
is there. So nothing of the second computation can begin early, and equal nodes do not become one.

Chen, Xu, Zhang and Guestrin 2016, "Training Deep Nets with Sublinear Memory Cost".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handloom.graph import build as b
from handloom.graph.access import VIEWS
from handloom.graph.node import Node
from handloom.graph.ops import OPS
from handloom.graph.rewrite import rebuild

COUNTED = frozenset({"constant", "iota", "random_uniform"})
"""What is made of nothing, wherever it is wanted; element-wise code upon it, such as a dropout mask, is so, too."""


class Segments:
    """The pieces of a forward pass given in an order in which it can be computed. given: nodes that are there all the
    time, as inputs are."""

    def __init__(self, order: Sequence[Node], given: Iterable[Node] = ()) -> None:
        self._order = order
        self._given = frozenset(given)
        self._start: dict[Node, Node] = {}  # node → the cut that its piece begins with
        self._ends: dict[Node, Node] = {}  # the last cut of a piece → the first
        self._members: dict[Node, list[Node]] = {}  # the first cut of a piece → its nodes in order
        self._again: dict[Node, Node] = {}
        self._find()

    def _find(self) -> None:
        position = {node: i for i, node in enumerate(self._order)}
        last = dict(position)  # the last that reads a node, itself or by a view
        for node in reversed(self._order):
            for x in node.inputs:
                last[x] = max(last[x], last[node] if node.op in VIEWS else position[node])
        counted: set[Node] = set()
        for node in self._order:
            made = node.op in VIEWS or OPS[node.op].kind == "elementwise"
            if node.op in COUNTED or (made and all(x in counted for x in node.inputs)):
                counted.add(node)
        alive: set[Node] = set()
        cut: Node | None = None
        since: list[Node] = []
        for i, node in enumerate(self._order):
            since.append(node)
            alive = {x for x in alive if last[x] > i}
            if node not in counted and node not in self._given and large(node) and last[node] > i:
                alive.add(node)
            if len(alive) != 1:
                continue
            (only,) = alive
            if only is cut or only.op in VIEWS or isinstance(only.spec, tuple):
                continue
            if cut is not None and not any(OPS[x.op].kind in ("contract", "special") for x in since):
                continue  # nothing that is worth a piece of its own
            if cut is not None and only.spec == cut.spec and position[only] > position[cut]:
                self._ends[only] = cut
                self._members[cut] = since
                for member in since:
                    self._start[member] = cut
            cut, since = only, []
        if self._ends:  # the last piece is differentiated as soon as it is computed
            del self._members[self._ends.popitem()[1]]

    def enter(self, node: Node, cotangent: Node | None) -> None:
        """Called for every node from the last to the first, with its cotangent: at the end of a piece, the piece is
        built again."""
        cut = self._ends.get(node)
        if cut is None or cotangent is None or cotangent.spec != cut.spec:
            return
        fresh = {cut: b.make("after", cut, cotangent)}
        for member in self._members[cut]:
            if member is not cut:
                fresh[member] = rebuild(member, [fresh.get(x, x) for x in member.inputs])
        self._again.update((member, copy) for member, copy in fresh.items() if self._start.get(member) is cut)

    def again(self, node: Node) -> Node:
        """The node as the rule of its gradient is to see it."""
        return self._again.get(node, node)


def large(node: Node) -> bool:
    """Whether keeping a node takes memory in proportion to the rows and the columns of a batch."""
    if isinstance(node.spec, tuple):
        return True
    if node.op == "input" or node.op in VIEWS:
        return False
    return len(node.shape) >= 2 and node.shape[-1] != 1 and not all(size == 1 for size in node.shape[:-1])
