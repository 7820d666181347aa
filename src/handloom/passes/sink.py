"""Gathers moved up: where only some rows of a tensor are read, only those are computed.

`take(f(x), rows)` becomes `f(take(x, rows))` as far as every operation on the way works row by row and nobody else
reads what it makes. So the last layer of a classifier computes the rows that its head reads; since differentiation
starts from the graph that comes out, so does its backward pass.

Promises: no gather of rows reads a value made row by row that nobody else reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handloom.graph import build as b
from handloom.graph.infer import infer
from handloom.graph.node import Dimension, Node, intern, walk
from handloom.graph.ops import OPS, AxesAttrs

ROW_WISE = frozenset({"layer_norm", "rms_norm", "gelu", "gelu_tanh", "silu", "softmax", "log_softmax"})
"""Composites whose rows depend on the same rows of the first operand; the others are vectors."""


def sink(outputs: Sequence[Node], *, redraw: bool = False) -> list[Node]:
    """`outputs` with gathers moved up. With `redraw` random numbers are drawn for the gathered rows alone: other ones,
    as good; without it gathers stop below them."""
    result = list(outputs)
    tried: set[Node] = set()
    while True:
        order = list(walk(result))
        gather = next((node for node in reversed(order) if node not in tried and _moves(node, order, result)), None)
        if gather is None:
            return result
        tried.add(gather)
        rows = _rows_of(gather, order, result, redraw)
        if rows:
            result = _moved(gather, rows, order, result)


def stays(node: Node, outputs: Sequence[Node], order: Sequence[Node]) -> bool:
    """Whether a gather has nothing left to be moved up over."""
    return not (_moves(node, order, outputs) and _rows_of(node, order, outputs, redraw=False))


def _moves(node: Node, order: Sequence[Node], outputs: Sequence[Node]) -> bool:
    """A gather of rows of a matrix that is computed."""
    if node.op != "take" or len(node.inputs[0].shape) != 2:
        return False
    rows, picked = node.inputs[0].shape[0], node.inputs[1].shape[0]
    return not (isinstance(rows, int) and isinstance(picked, int) and picked >= rows)


def _rows_of(gather: Node, order: Sequence[Node], outputs: Sequence[Node], redraw: bool) -> set[Node]:
    """The nodes that may be computed for the gathered rows alone."""
    source = gather.inputs[0]
    users: dict[Node, set[Node]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(x, set()).add(node)
    kept = set(outputs)
    found: set[Node] = set()
    for node in reversed(order):
        if node is not source and not (users.get(node, set()) & found):
            continue
        readers = users.get(node, set()) - found - {gather}
        if not readers and node not in kept and _by_rows(node, source.shape[0], redraw):
            found.add(node)
    return found if source in found else set()


def _by_rows(node: Node, rows: Dimension, redraw: bool) -> bool:
    """Whether row i of a node depends on the rows i of its operands, and on what all rows share."""
    if isinstance(node.spec, tuple) or len(node.shape) != 2 or node.shape[0] != rows:
        return False
    if OPS[node.op].kind == "elementwise" or node.op in ROW_WISE:
        return True
    if node.op == "random_uniform":
        return redraw
    if node.op in ("sum", "max"):
        return bool(node.attrs == AxesAttrs((1,)))
    if node.op == "dot":
        return not node.attrs.transpose_a
    return node.op == "broadcast" and len(node.inputs[0].shape) in (0, 2)


def _moved(gather: Node, rows: set[Node], order: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
    ids = gather.inputs[1]
    count, before = ids.shape[0], gather.inputs[0].shape[0]
    picked: dict[Node, Node] = {}

    def of_rows(node: Node, x: Node, place: int) -> Node:
        """An operand, for the gathered rows."""
        if x in picked:
            return picked[x]
        shared = len(x.shape) != 2 or x.shape[0] != before or (node.op == "dot" and place == 1)
        shared = shared or (node.op in ROW_WISE and place > 0) or node.op == "random_uniform"
        if shared:
            return x
        value = b.scalar_value(x)
        return b.full(value, (count, x.shape[1]), x.dtype) if value is not None else b.take(x, ids)

    for node in order:
        if node in rows:
            inputs = [of_rows(node, x, place) for place, x in enumerate(node.inputs)]
            attrs = node.attrs
            if node.op in ("broadcast", "random_uniform"):
                attrs = replace(attrs, shape=(count, *node.shape[1:]))
            picked[node] = intern(node.op, tuple(inputs), attrs, infer(node.op, [x.spec for x in inputs], attrs))
    done: dict[Node, Node] = {gather: picked[gather.inputs[0]]}
    for node in order:
        if node not in done and node not in rows:
            fresh = tuple(done.get(x, x) for x in node.inputs)
            done[node] = node if fresh == node.inputs else intern(node.op, fresh, node.attrs, node.spec)
    return [done[output] for output in outputs]
