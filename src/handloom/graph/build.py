"""Nodes made by function call, with NumPy's broadcasting and the simplifications that always hold.

Gradient rules, composites and the Tensor API are all written with these functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handloom.graph.infer import ShapeError, infer
from handloom.graph.node import FLOATS, Dimension, Node, intern
from handloom.graph.ops import (
    AxesAttrs,
    AxisAttrs,
    ConstantAttrs,
    DotAttrs,
    DtypeAttrs,
    IotaAttrs,
    NormAttrs,
    PadAttrs,
    PanelsAttrs,
    PermutationAttrs,
    ProjectAttrs,
    RandomAttrs,
    RowsAttrs,
    ShapeAttrs,
    SliceAttrs,
)

Operand = Node | float | int | bool


def make(op: str, *inputs: Node, attrs: Any = None) -> Node:
    return intern(op, inputs, attrs, infer(op, [node.spec for node in inputs], attrs))


def constant(value: float | int | bool, dtype: str) -> Node:
    kind = float if dtype in FLOATS else bool if dtype == "bool" else int
    return make("constant", attrs=ConstantAttrs(kind(value), dtype))


def scalar_value(node: Node) -> float | int | bool | None:
    """The number that fills `node`, where that is known."""
    while node.op in ("broadcast", "reshape", "transpose", "slice", "flip"):
        node = node.inputs[0]
    return node.attrs.value if node.op == "constant" else None


def full(value: float | int | bool, shape: Sequence[Dimension], dtype: str) -> Node:
    return broadcast(constant(value, dtype), tuple(shape))


def zeros_like(x: Node) -> Node:
    return full(0, x.shape, x.dtype)


# --- views ------------------------------------------------------------------------------------------------------


def reshape(x: Node, shape: Sequence[Dimension]) -> Node:
    shape = tuple(shape)
    if x.shape == shape:
        return x
    if x.op == "reshape":
        return reshape(x.inputs[0], shape)
    return make("reshape", x, attrs=ShapeAttrs(shape))


def broadcast(x: Node, shape: Sequence[Dimension]) -> Node:
    """NumPy's rule: axes are added in front, and sizes of 1 are repeated."""
    shape = tuple(shape)
    if len(x.shape) > len(shape):
        raise ShapeError(f"broadcast({x.spec}): does not fit {shape}")
    x = reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
    return x if x.shape == shape else make("broadcast", x, attrs=ShapeAttrs(shape))


def transpose(x: Node, axes: Sequence[int]) -> Node:
    axes = tuple(axes)
    if axes == tuple(range(len(axes))) and len(axes) == len(x.shape):
        return x
    if x.op == "transpose":
        inner = x.attrs.axes
        return transpose(x.inputs[0], [inner[axis] for axis in axes])
    return make("transpose", x, attrs=PermutationAttrs(axes))


def slice_axis(x: Node, axis: int, start: Dimension, size: Dimension) -> Node:
    if start == 0 and size == x.shape[axis]:
        return x
    return make("slice", x, attrs=SliceAttrs(axis, start, size))


def flip(x: Node, axis: int) -> Node:
    """x from the end of an axis to its beginning. It goes through products, on towards what lies in memory."""
    if x.shape[axis] == 1 or (x.op == "broadcast" and x.inputs[0].shape[axis] == 1):
        return x
    if x.op == "flip" and x.attrs.axis == axis:
        return x.inputs[0]
    if x.op == "broadcast":
        return broadcast(flip(x.inputs[0], axis), x.shape)
    if x.op == "multiply":
        return multiply(*(flip(part, axis) for part in x.inputs))
    return make("flip", x, attrs=AxisAttrs(axis))


def pad_axis(x: Node, axis: int, low: Dimension, size: Dimension) -> Node:
    if low == 0 and size == x.shape[axis]:
        return x
    return make("pad", x, attrs=PadAttrs(axis, low, size))


def concatenate(parts: Sequence[Node], axis: int) -> Node:
    """One after the other; parts that are such themselves are taken apart."""
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.inputs if part.op == "concatenate" and part.attrs.axis == axis else [part])
    return flat[0] if len(flat) == 1 else make("concatenate", *flat, attrs=AxisAttrs(axis))


# --- element by element -----------------------------------------------------------------------------------------


def together(*operands: Operand) -> list[Node]:
    """Operands as nodes of one shape and, where Python numbers are among them, one dtype."""
    nodes = [x for x in operands if isinstance(x, Node)]
    dtype = nodes[0].dtype
    if any(isinstance(x, float) for x in operands) and dtype not in FLOATS:
        raise ShapeError(f"a Python float with {nodes[0].spec}: cast to f32 first")
    shape = common_shape([node.shape for node in nodes])
    return [broadcast(x if isinstance(x, Node) else constant(x, dtype), shape) for x in operands]


def common_shape(shapes: Sequence[Sequence[Dimension]]) -> tuple[Dimension, ...]:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result: list[Dimension] = []
    for sizes in zip(*padded, strict=True):
        others = {size for size in sizes if size != 1}
        if len(others) > 1:
            raise ShapeError(f"shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast together")
        result.append(others.pop() if others else 1)
    return tuple(result)


def unary(op: str, x: Node) -> Node:
    if op == "negative" and x.op == "negative":
        return x.inputs[0]
    return make(op, x)


def add(x: Operand, y: Operand) -> Node:
    a, b = together(x, y)
    if scalar_value(a) == 0:
        return b
    return a if scalar_value(b) == 0 else make("add", a, b)


def subtract(x: Operand, y: Operand) -> Node:
    a, b = together(x, y)
    return a if scalar_value(b) == 0 else make("subtract", a, b)


def multiply(x: Operand, y: Operand) -> Node:
    a, b = together(x, y)
    if scalar_value(a) == 1:
        return b
    return a if scalar_value(b) == 1 else make("multiply", a, b)


def divide(x: Operand, y: Operand) -> Node:
    a, b = together(x, y)
    return a if scalar_value(b) == 1 else make("divide", a, b)


def binary(op: str, x: Operand, y: Operand) -> Node:
    return make(op, *together(x, y))


def negative(x: Node) -> Node:
    return unary("negative", x)


def where(condition: Node, x: Operand, y: Operand) -> Node:
    if not isinstance(x, Node) and not isinstance(y, Node):
        raise ShapeError("where of two Python numbers has no dtype: make one of them a tensor")
    a, b = together(x, y)
    shape = common_shape([condition.shape, a.shape])
    return make("where", broadcast(condition, shape), broadcast(a, shape), broadcast(b, shape))


def cast(x: Node, dtype: str) -> Node:
    if x.dtype == dtype:
        return x
    value = scalar_value(x)
    if value is not None:
        return full(value, x.shape, dtype)
    return make("cast", x, attrs=DtypeAttrs(dtype))


def iota(shape: Sequence[Dimension], axis: int) -> Node:
    return make("iota", attrs=IotaAttrs(tuple(shape), axis))


# --- the rest ---------------------------------------------------------------------------------------------------


def reduce(op: str, x: Node, axes: Sequence[int]) -> Node:
    """ "sum" or "max" over axes, which stay with size 1."""
    kept = tuple(axis for axis in sorted(axes) if x.shape[axis] != 1)
    return make(op, x, attrs=AxesAttrs(kept)) if kept else x


def sum_to(x: Node, shape: Sequence[Dimension]) -> Node:
    """The adjoint of broadcasting `shape` to x's shape."""
    shape = tuple(shape)
    extra = len(x.shape) - len(shape)
    axes = [i for i, size in enumerate(x.shape) if i < extra or (shape[i - extra] == 1 and size != 1)]
    return reshape(reduce("sum", x, axes), shape)


def dot(a: Node, b: Node, transpose_a: bool = False, transpose_b: bool = False, narrow: bool = False) -> Node:
    return make("dot", a, b, attrs=DotAttrs(transpose_a, transpose_b, narrow))


def panels(w: Node, columns: int, transposed: bool = False, narrow: bool = False) -> Node:
    """The matrix as products read it; see PanelsAttrs."""
    return make("panels", w, attrs=PanelsAttrs(columns, transposed, narrow))


def take(table: Node, ids: Node) -> Node:
    return make("take", table, ids)


def put(table: Node, ids: Node, rows: Node) -> Node:
    return make("put", table, ids, rows)


def places(ids: Node, rows: Dimension) -> Node:
    return make("places", ids, attrs=RowsAttrs(rows))


def scatter_add(ids: Node, updates: Node, rows: Dimension) -> Node:
    return make("scatter_add", ids, updates, attrs=RowsAttrs(rows))


def random_uniform(state: Node, shape: Sequence[Dimension], site: int) -> Node:
    return make("random_uniform", state, attrs=RandomAttrs(tuple(shape), site))


def layer_norm(x: Node, weight: Node, bias: Node, epsilon: float) -> Node:
    return make("layer_norm", x, weight, bias, attrs=NormAttrs(epsilon))


def rms_norm(x: Node, weight: Node, epsilon: float) -> Node:
    return make("rms_norm", x, weight, attrs=NormAttrs(epsilon))


def project(node: Node, index: int) -> Node:
    return make("project", node, attrs=ProjectAttrs(index))
