"""Views folded into addresses: where element (i, j, …) of a node lies in the buffer of the node under its views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handloom.graph.node import Dimension, Node

VIEWS = frozenset({"broadcast", "reshape", "transpose", "slice", "flip"})


@dataclass(frozen=True)
class Access:
    """Element (i, j, …) of `shape` is element offset + i·strides[0] + j·strides[1] + … of `base`'s dense buffer."""

    base: Node
    offset: Dimension
    shape: tuple[Dimension, ...]
    strides: tuple[Dimension, ...]

    @property
    def forward(self) -> bool:
        """Whether no axis is walked from its end to its beginning."""
        return all(s >= 0 if isinstance(s, int) else min(factor for _, factor in s.terms) > 0 for s in self.strides)

    @property
    def dense(self) -> bool:
        return self.strides == dense_strides(self.shape) and self.offset == 0


def times(a: Dimension, b: Dimension) -> Dimension | None:
    """The product, where it is a linear expression."""
    if isinstance(b, int):
        return a * b
    return b * a if isinstance(a, int) else None


def dense_strides(shape: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Row-major strides; an axis of size 1 has stride 0, for its index is always 0.

    Raises ValueError where sizes known only at run time would have to be multiplied with each other.
    """
    strides: list[Dimension] = []
    step: Dimension = 1
    for axis in range(len(shape) - 1, -1, -1):
        strides.append(0 if shape[axis] == 1 else step)
        if axis and shape[axis] != 1:
            product = times(step, shape[axis])
            if product is None:
                if any(size != 1 for size in shape[:axis]):
                    raise ValueError(f"two sizes of {tuple(shape)} are unknown behind its first axis")
                product = step
            step = product
    return tuple(reversed(strides))


def stored_transposed(access: Access, transposed: bool) -> bool:
    """Whether a matrix that an operation takes as it is (or `transposed`) lies the other way round in memory."""
    return transposed if access.shape[-1] == 1 or access.strides[-1] == 1 else not transposed


def base_of(node: Node) -> Node:
    """The node under the views."""
    while node.op in VIEWS:
        node = node.inputs[0]
    return node


def access_of(node: Node) -> Access | None:
    """The access of a view, or of any node to its own buffer; None where a reshape cannot be folded."""
    if node.op not in VIEWS:
        return Access(node, 0, node.shape, dense_strides(node.shape))
    inner = access_of(node.inputs[0])
    if inner is None:
        return None
    if node.op == "broadcast":
        strides = tuple(0 if old == 1 else s for old, s in zip(inner.shape, inner.strides, strict=True))
        return Access(inner.base, inner.offset, node.shape, strides)
    if node.op == "transpose":
        return Access(inner.base, inner.offset, node.shape, tuple(inner.strides[axis] for axis in node.attrs.axes))
    if node.op == "slice":
        step = times(node.attrs.start, inner.strides[node.attrs.axis])
        if step is None:
            return None
        strides = tuple(0 if size == 1 else s for size, s in zip(node.shape, inner.strides, strict=True))
        return Access(inner.base, inner.offset + step, node.shape, strides)
    if node.op == "flip":
        axis, last = node.attrs.axis, times(node.shape[node.attrs.axis] + -1, inner.strides[node.attrs.axis])
        if last is None:
            return None
        strides = tuple(s * -1 if i == axis else s for i, s in enumerate(inner.strides))
        return Access(inner.base, inner.offset + last, node.shape, strides)
    return _reshaped(node, inner)


def _reshaped(node: Node, inner: Access) -> Access | None:
    if inner.strides == dense_strides(inner.shape):
        return Access(inner.base, inner.offset, node.shape, dense_strides(node.shape))
    # otherwise only axes of size 1 may come and go
    old = [(size, stride) for size, stride in zip(inner.shape, inner.strides, strict=True) if size != 1]
    if [size for size, _ in old] != [size for size in node.shape if size != 1]:
        return None
    left = iter(old)
    return Access(inner.base, inner.offset, node.shape, tuple(0 if size == 1 else next(left)[1] for size in node.shape))
