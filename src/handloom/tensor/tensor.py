"""The tensor: a NumPy array, or a node of the graph that is being traced.

Operations on arrays run at once on the reference; as soon as one operand is traced, they build graph. Python numbers
are weak: they take the other operand's dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Union

import numpy as np

from handloom.errors import HandloomError
from handloom.graph import build as b
from handloom.graph.node import Dimension, Node, Spec
from handloom.graph.ops import InputAttrs
from handloom.graph.reference import NUMPY, evaluate
from handloom.tensor.labels import Classes

Array = np.ndarray[Any, Any]
Operand = Union["Tensor", float, int, bool]

# keyed by dtypes themselves: their names take a microsecond each to put together, and say nothing of the byte order
_FROM_NUMPY = {
    np.dtype(name): own
    for name, own in {
        "float32": "f32", "float64": "f64", "int32": "i32", "uint32": "u32", "bool": "bool", "int64": "i32"
    }.items()
}  # fmt: skip
KEPT = frozenset(map(np.dtype, ("float32", "int32", "uint32", "bool")))


class TraceError(HandloomError):
    """Something that a traced function may not do."""


class Trace:
    """The graph that is being recorded: arrays that it meets become inputs of their own."""

    stack: list[Trace] = []  # noqa: RUF012  (the traces that are open, innermost last)

    def __init__(self) -> None:
        self.captured: dict[int, tuple[Node, Array]] = {}
        self.inputs: list[Node] = []
        self.labels: dict[Node, Classes] = {}  # inputs whose values are checked before the graph is run

    def input(self, spec: Spec, name: str) -> Node:
        # the serial number keeps the inputs of two traces apart, since equal nodes are one object
        Trace.serial += 1
        node = b.make("input", attrs=InputAttrs(Trace.serial, name, spec.shape, spec.dtype))
        self.inputs.append(node)
        return node

    serial = 0

    def capture(self, array: Array) -> Node:
        found = self.captured.get(id(array))
        if found is None:
            node = self.input(Spec(array.shape, dtype_of(array)), "captured")
            self.captured[id(array)] = found = (node, array)
        return found[0]

    @contextmanager
    def recording(self) -> Iterator[Trace]:
        Trace.stack.append(self)
        try:
            yield self
        finally:
            Trace.stack.pop()


def dtype_of(array: Array) -> str:
    try:
        return _FROM_NUMPY[array.dtype]
    except KeyError:
        raise HandloomError(
            f"arrays of {array.dtype.name} are not supported; there are {', '.join(map(str, _FROM_NUMPY))}"
        ) from None


class Tensor:
    """Values of one dtype in a dense array of any shape; immutable."""

    __slots__ = ("value",)
    __array_priority__ = 1000

    value: Array | Node

    def __init__(self, values: Any, dtype: str | None = None) -> None:
        """From numbers, nested lists, arrays: floats become f32 and whole numbers i32 unless `dtype` says otherwise.

        Unsigned arrays stay u32. Raises HandloomError for what is no number.
        """
        if isinstance(values, Node) or (
            isinstance(values, np.ndarray) and dtype is None and values.dtype in KEPT
        ):
            self.value = values
        elif isinstance(values, Tensor):
            self.value = values.value if dtype is None else values.astype(dtype).value
        else:
            self.value = _array(values, dtype)

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def traced(self) -> bool:
        return isinstance(self.value, Node)

    @property
    def shape(self) -> tuple[Dimension, ...]:
        return self.value.shape

    @property
    def dtype(self) -> str:
        return self.value.dtype if isinstance(self.value, Node) else dtype_of(self.value)

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    def numpy(self) -> Array:
        """The array. Raises TraceError inside a traced function, where there are no values yet."""
        if isinstance(self.value, Node):
            raise _untraceable("the values of a traced tensor are not known yet")
        return self.value

    def item(self) -> float | int | bool:
        return self.numpy().item()  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if isinstance(self.value, Node):
            raise _untraceable(
                "a traced tensor has no truth value; write hl.where(condition, a, b) instead of branching"
            )
        return bool(self.value)

    def __len__(self) -> int:
        size = self.shape[0]
        if not isinstance(size, int):
            raise _untraceable(f"the length is the symbol {size}")
        return size

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if isinstance(self.value, Node):
            return f"Tensor({self.value.spec}, traced)"
        return f"Tensor({np.array2string(self.value, threshold=20)}, {self.dtype})"

    # --- arithmetic ---------------------------------------------------------------------------------------------

    def __add__(self, other: Operand) -> Tensor:
        return apply(b.add, self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return apply(b.add, other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return apply(b.subtract, self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return apply(b.subtract, other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return apply(b.multiply, self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return apply(b.multiply, other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return apply(b.divide, self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return apply(b.divide, other, self)

    def __neg__(self) -> Tensor:
        return apply(b.negative, self)

    def __pow__(self, power: float | int) -> Tensor:
        return apply(lambda x: _power(x, power), self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return apply(b.dot, self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return apply(lambda x, y: b.binary("less", x, y), self, other)

    def __le__(self, other: Operand) -> Tensor:
        return apply(lambda x, y: b.binary("less_equal", x, y), self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return apply(lambda x, y: b.binary("less", y, x), self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return apply(lambda x, y: b.binary("less_equal", y, x), self, other)

    def equal(self, other: Operand) -> Tensor:
        """Element by element, bool."""
        return apply(lambda x, y: b.binary("equal", x, y), self, other)

    # --- shape --------------------------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """One size may be −1."""
        sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return apply(lambda x: b.reshape(x, _fill(x, sizes)), self)

    def transpose(self, *axes: int) -> Tensor:
        """Without axes, all of them reversed."""
        return apply(lambda x: b.transpose(x, axes or tuple(reversed(range(len(x.shape))))), self)

    @property
    def T(self) -> Tensor:
        return self.transpose()

    def broadcast(self, *shape: Dimension) -> Tensor:
        return apply(lambda x: b.broadcast(x, shape), self)

    def astype(self, dtype: str) -> Tensor:
        return apply(lambda x: b.cast(x, dtype), self)

    def __getitem__(self, key: Any) -> Tensor:
        """Whole numbers, slices of step 1, None for a new axis, `...`; a traced or eager i32 tensor takes rows."""
        if isinstance(key, Tensor):
            return apply(b.take, self, key)
        return apply(lambda x: _index(x, key), self)

    # --- reductions ---------------------------------------------------------------------------------------------

    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        return apply(lambda x: _reduce("sum", x, axis, keepdims), self)

    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        return apply(lambda x: _reduce("max", x, axis, keepdims), self)

    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Over axes whose sizes are known when tracing."""
        count = 1
        for i in _axes(self.ndim, axis):
            size = self.shape[i]
            if not isinstance(size, int):
                raise _untraceable(f"the mean over an axis of size {size}: return the sum and the count instead")
            count *= size
        return self.sum(axis, keepdims) / float(count)


def _array(values: Any, dtype: str | None) -> Array:
    array = np.asarray(values)
    if dtype is None:
        dtype = {"f": "f32", "i": "i32", "u": "u32", "b": "bool"}.get(array.dtype.kind)
        if dtype is None:
            raise HandloomError(f"no tensor from values of kind {array.dtype}: numbers and truth values are taken")
    if dtype not in NUMPY:
        raise HandloomError(f"unknown dtype {dtype!r}; there are {', '.join(NUMPY)}")
    return np.ascontiguousarray(array, NUMPY[dtype]).reshape(array.shape)


tensor = Tensor


def held(array: Array) -> Tensor:
    """A tensor around an array as it is, f64 too."""
    result = object.__new__(Tensor)
    result.value = array
    return result


def node_of(x: Operand | Array) -> Any:
    """The node of a tensor in the trace that is open; Python numbers stay what they are."""
    if isinstance(x, np.ndarray) or (isinstance(x, np.generic) and not isinstance(x, (float, int, bool))):
        x = tensor(x)
    if not isinstance(x, Tensor):
        return x
    return x.value if isinstance(x.value, Node) else Trace.stack[-1].capture(x.value)


def apply(function: Callable[..., Node], *operands: Any) -> Tensor:
    """`function` over nodes, given tensors: recorded if one of them is traced, else run at once on the reference."""
    return apply_all(lambda *nodes: (function(*nodes),), *operands)[0]


def apply_all(function: Callable[..., tuple[Node, ...]], *operands: Any) -> tuple[Tensor, ...]:
    """The same for a function of several results."""
    if any(isinstance(x, Tensor) and isinstance(x.value, Node) for x in operands):
        if not Trace.stack:
            raise TraceError("a traced tensor is used after its trace has ended: return it from the function instead")
        return tuple(map(Tensor, function(*[node_of(x) for x in operands])))
    trace = Trace()
    with trace.recording():
        nodes = function(*[node_of(x) for x in operands])
    values = evaluate(nodes, dict(trace.captured.values()))
    return tuple(held(np.ascontiguousarray(value).reshape(value.shape)) for value in values)


def _power(x: Node, power: float | int) -> Node:
    if power == 0.5:
        return b.unary("sqrt", x)
    if power == int(power) and 0 < abs(power) <= 64:
        result: Node | None = None
        square, left = x, int(abs(power))
        while left:
            if left & 1:
                result = square if result is None else b.multiply(result, square)
            left >>= 1
            square = b.multiply(square, square) if left else square
        assert result is not None
        return result if power > 0 else b.divide(1.0, result)
    if power == 0:
        return b.full(1, x.shape, x.dtype)
    return b.unary("exp", b.multiply(b.unary("log", x), float(power)))


def _fill(x: Node, sizes: Sequence[Any]) -> tuple[Dimension, ...]:
    if -1 not in [size if isinstance(size, int) else 0 for size in sizes]:
        return tuple(sizes)
    total: Any = 1
    for size in x.shape:
        total = size * total
    for size in sizes:
        if not (isinstance(size, int) and size == -1):
            if not isinstance(size, int):
                raise HandloomError("a reshape with −1 needs its other sizes known")
            total = total // size
    return tuple(total if isinstance(size, int) and size == -1 else size for size in sizes)


def _axes(rank: int, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not -rank <= a < rank for a in axes):
        raise HandloomError(f"axis {axis} of a tensor with {rank} axes")
    return tuple(sorted(a % rank for a in axes))


def _reduce(op: str, x: Node, axis: int | Sequence[int] | None, keepdims: bool) -> Node:
    axes = _axes(len(x.shape), axis)
    result = b.reduce(op, x, axes)
    return result if keepdims else b.reshape(result, [size for i, size in enumerate(x.shape) if i not in axes])


def _index(x: Node, key: Any) -> Node:
    keys = list(key) if isinstance(key, tuple) else [key]
    given = sum(k is not None and k is not Ellipsis for k in keys)
    rank = len(x.shape)
    if given > rank:
        raise HandloomError(f"{given} indices for a tensor with {rank} axes")
    if Ellipsis in [k for k in keys if k is None or k is Ellipsis]:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (rank - given)
    keys += [slice(None)] * (rank - sum(k is not None for k in keys))
    shape: list[Dimension] = []
    axis = 0
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        size = x.shape[axis]
        if isinstance(k, (int, np.integer)):
            start = int(k) if k >= 0 else size + int(k)
            if isinstance(size, int) and not 0 <= start < size:  # type: ignore[operator]
                raise HandloomError(f"index {k} on an axis of {size}")
            x = b.slice_axis(x, axis, start, 1)
        elif isinstance(k, slice) and k.step in (None, 1):
            start, stop = _bound(k.start, 0, size), _bound(k.stop, size, size)
            x = b.slice_axis(x, axis, start, stop + start * -1)
            shape.append(x.shape[axis])
        else:
            raise HandloomError(f"a tensor is indexed by whole numbers, slices of step 1, None and ...; not by {k!r}")
        axis += 1
    return b.reshape(x, shape)


def _bound(value: Any, missing: Dimension, size: Dimension) -> Dimension:
    if value is None:
        return missing
    if isinstance(value, int) and value < 0:
        return size + value
    if isinstance(value, int) and isinstance(size, int):
        return min(value, size)
    return value  # type: ignore[no-any-return]


def _untraceable(why: str) -> TraceError:
    """An error that names the line outside Handloom which asked."""
    frame = sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__", "")).startswith("handloom."):
        frame = frame.f_back
    return TraceError(f"{frame.f_code.co_filename}:{frame.f_lineno}: {why}")
