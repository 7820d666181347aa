"""The graph in the forms that kernels have.

Promises:
    a reduction is a sum or maximum over the last axis, or a sum over all axes but the last;
    an operand of a product, attention, gather, scatter, concatenation or padding lies in memory in a form they take;
    every view folds into an address;
    every output is a value of its own, in memory as it is returned.
"""

from __future__ import annotations

from collections.abc import Sequence

from handloom.graph import build as b
from handloom.graph.access import VIEWS, Access, access_of, base_of, dense_strides
from handloom.graph.node import Dimension, Node, same_volume
from handloom.graph.ops import OPS
from handloom.graph.rewrite import rebuild, transform

NOT_OUTPUTS = frozenset({"input", "constant", "iota", "random_uniform"})
DENSE_OPERANDS = frozenset({"scatter_add", "places", "put", "replay", "scan"})


def copy(node: Node) -> Node:
    """The same values in a buffer of their own."""
    return b.make("stop_gradient", node)


def legalise(outputs: Sequence[Node], inputs: Sequence[Node] = ()) -> list[Node]:
    legal = transform(outputs, _rule)
    seen: set[Node] = set()
    result = []
    for node in legal:
        base = base_of(node)
        access = access_of(node)
        dense = access is not None and access.dense and same_size(access)
        own = dense and base.op not in NOT_OUTPUTS and base not in seen and not _from_scan(base)
        node = node if own else _distinct(node, seen)
        seen.add(base_of(node))
        result.append(node)
    return result


def _from_scan(base: Node) -> bool:
    """Whether a value lies in a scan's stack instead of in a buffer of its own."""
    return base.op == "project" and base.inputs[0].op == "scan"


def _distinct(node: Node, taken: set[Node]) -> Node:
    """A copy that is no other output: where there is one already, a copy of that."""
    fresh = copy(node)
    while fresh in taken:
        fresh = copy(fresh)
    return fresh


def same_size(access: Access | None) -> bool:
    """Whether an output covers the whole of its buffer."""
    return access is not None and same_volume(access.shape, access.base.shape)


def _rule(node: Node) -> Node | None:
    if node.op in ("sum", "max"):
        return _reduction(node)
    if node.op in VIEWS:
        return None if access_of(node) is not None else rebuild(node, [copy(node.inputs[0])])
    if node.op == "dot":
        if node.inputs[0].shape[-2 if node.attrs.transpose_a else -1] == 0:
            return b.full(0, node.shape, node.dtype)
        laid_out = node.attrs.panels is not None
        return rebuild(node, [x if i and laid_out else _matrix(x) for i, x in enumerate(node.inputs)])
    if node.op == "panels":
        return rebuild(node, [_matrix(node.inputs[0])])
    if node.op == "take":
        table, ids = node.inputs
        if len(table.shape) == 1:
            return b.reshape(b.take(_dense(b.reshape(table, (table.shape[0], 1))), ids), node.shape)
        return rebuild(node, [_dense(table), copy(ids) if base_of(ids).op in ("constant", "iota") else ids])
    if node.op in ("attention", "attention_backward"):
        return rebuild(node, [_rows(x) if len(x.shape) == 2 else _stretch(x) for x in node.inputs])
    if node.op == "linear_cross_entropy":
        return rebuild(node, [_dense(x) for x in node.inputs])
    if node.op in ("concatenate", "pad"):
        return rebuild(node, [copy(x) if base_of(x).op in ("constant", "iota") else x for x in node.inputs])
    if node.op in DENSE_OPERANDS:
        return rebuild(node, [_dense(x) for x in node.inputs])
    return None


def _dense(x: Node) -> Node:
    access = access_of(x)
    if base_of(x).op in ("constant", "iota") or access is None or not access.dense or not same_size(access):
        return copy(x)
    return x


def _stretch(x: Node) -> Node:
    """Numbers that lie side by side, perhaps within others."""
    access = access_of(x)
    whole = access is not None and access.strides == dense_strides(x.shape)
    return x if whole and base_of(x).op not in ("constant", "iota") else copy(x)


def _rows(x: Node) -> Node:
    access = access_of(x)
    if base_of(x).op in ("constant", "iota") or access is None or access.strides[1] not in (0, 1):
        return copy(x)
    return x if access.forward and (access.strides[1] == 1 or x.shape[1] == 1) else copy(x)


def _matrix(x: Node) -> Node:
    if len(x.shape) > 2:
        return _dense(x)
    access = access_of(x)
    if base_of(x).op in ("constant", "iota") or access is None:
        return copy(x)
    unit = [size == 1 or stride == 1 for size, stride in zip(x.shape, access.strides, strict=True)]
    # a stride of 0 is a broadcast, which a product cannot read
    zero = any(size != 1 and stride == 0 for size, stride in zip(x.shape, access.strides, strict=True))
    return x if any(unit) and not zero and access.forward else copy(x)


def _reduction(node: Node) -> Node | None:
    x, axes = node.inputs[0], node.attrs.axes
    rank = len(x.shape)
    leading = tuple(range(rank - 1))
    if axes == (rank - 1,) and rank > 1:
        return None
    if node.op == "sum" and rank > 1 and set(axes) | {i for i in leading if x.shape[i] == 1} == set(leading):
        return None
    if rank == 1:
        columns = _divisor(x.shape[0])
        rows = x.shape[0] // columns
        return b.reshape(_both(node.op, _reshaped(x, (rows, columns))), (1,))
    if len(axes) == rank:
        return b.reshape(_both(node.op, x), (1,) * rank)
    order = [*(i for i in range(rank) if i not in axes), *axes]
    moved = copy(b.transpose(x, order)) if order != list(range(rank)) else x
    kept = len(order) - len(axes)
    columns_of: Dimension = 1
    for size in moved.shape[kept:]:
        columns_of = columns_of * size  # type: ignore[operator]
    flat = b.reshape(moved, (*moved.shape[:kept], columns_of))
    return b.reshape(b.reduce(node.op, flat, (kept,)), node.shape)


def _reshaped(x: Node, shape: tuple[Dimension, ...]) -> Node:
    """The vector in another shape, computed in it where it is element-wise: a view would be read from memory."""
    if x.op == "broadcast" and same_volume(x.inputs[0].shape, ()):
        return b.broadcast(b.reshape(x.inputs[0], (1,) * len(shape)), shape)
    if OPS[x.op].kind == "elementwise" and x.inputs and all(y.shape == x.shape for y in x.inputs):
        return rebuild(x, [_reshaped(y, shape) for y in x.inputs])
    return b.reshape(x, shape)


def _both(op: str, x: Node) -> Node:
    """Over all axes: rows first, then over the rows. Maxima go over one long row."""
    rank = len(x.shape)
    rows = b.reduce(op, x, (rank - 1,))
    if op == "sum":
        return b.reduce("sum", rows, range(rank - 1))
    total: Dimension = 1
    for size in rows.shape:
        total = total * size  # type: ignore[operator]
    return b.reduce("max", b.reshape(rows, (1, total)), (1,))


def _divisor(size: Dimension) -> int:
    """A row length for a sum over one axis: a power of two up to 1,024 that divides it, 1 where it is a symbol."""
    if not isinstance(size, int):
        return 1
    if size <= 4096:
        return max(size, 1)
    return next(width for width in (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1) if size % width == 0)
