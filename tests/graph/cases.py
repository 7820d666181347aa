# ruff: noqa: E501  (a row of the table is a line)
"""Sample inputs for every operation of the graph: one table that all tests of operations walk.

A case is a function from input nodes to nodes and the arrays to feed it. Edges live here: an axis of size 1, no rows
at all, row numbers that repeat, equal maxima, a sequence without tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.compiler import target
from handloom.graph import build as b
from handloom.graph.node import Node
from handloom.graph.ops import (
    AttentionAttrs,
    Body,
    ConstantAttrs,
    CrossEntropyAttrs,
    DotAttrs,
    InputAttrs,
    NormAttrs,
    ReplayAttrs,
    ScanAttrs,
)

Array = np.ndarray[Any, Any]
Function = Callable[..., "Node | Sequence[Node]"]


@dataclass(frozen=True)
class Case:
    """`function` of nodes, one for each array; `tolerance` is for compiled against reference, relative."""

    op: str
    label: str
    function: Function
    arrays: tuple[Array, ...]
    differentiate: bool = True
    tolerance: float = 2e-6

    def __str__(self) -> str:
        return f"{self.op}: {self.label}" if self.label else self.op

    def nodes(self) -> list[Node]:
        return [input_node(i, array) for i, array in enumerate(self.arrays)]

    def outputs(self, nodes: Sequence[Node]) -> list[Node]:
        result = self.function(*nodes)
        return [result] if isinstance(result, Node) else list(result)


DTYPE = {"float32": "f32", "float64": "f64", "int32": "i32", "uint32": "u32", "bool": "bool"}


def input_node(index: int, array: Array) -> Node:
    return b.make("input", attrs=InputAttrs(index, f"x{index}", array.shape, DTYPE[array.dtype.name]))


rng = np.random.default_rng(20)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return rng.uniform(0.3, 3, shape).astype(np.float32)


def away_from_zero(*shape: int) -> Array:
    """So that a finite difference does not straddle a kink."""
    return (rng.uniform(0.2, 2, shape) * rng.choice([-1.0, 1.0], shape)).astype(np.float32)


def distinct(*shape: int) -> Array:
    """Values at least 0.1 apart, in any order: no maximum changes within a finite difference."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) * 0.1 - count * 0.05).astype(np.float32)


def integers(low: int, high: int, *shape: int) -> Array:
    return rng.integers(low, high, shape).astype(np.int32)


def truths(*shape: int) -> Array:
    return rng.random(shape) < 0.5


STATE = np.array([7, 3, 2, 1], np.uint32)


def _reduce(op: str, *axes: int) -> Function:
    return lambda x: b.reduce(op, x, axes)


def _make(op: str, attrs: Any = None) -> Function:
    return lambda *x: b.make(op, *x, attrs=attrs)


def _dot(transpose_a: bool = False, transpose_b: bool = False) -> Function:
    return lambda x, y: b.dot(x, y, transpose_a, transpose_b)


def _linear_cross_entropy(smoothing: float = 0.0) -> Function:
    attrs = CrossEntropyAttrs(smoothing=smoothing)
    return lambda *x: b.reduce("sum", b.project(b.make("linear_cross_entropy", *x, attrs=attrs), 0), (0,))


def _panels(transposed: bool, narrow: bool = False) -> Function:
    """A product by a matrix that is laid out beforehand."""

    def function(x: Node, w: Node) -> Node:
        x = b.cast(x, "bf16") if narrow else x
        n = w.shape[0 if transposed else 1]
        laid_out = b.panels(w, target().columns, transposed, narrow)
        return b.make("dot", x, laid_out, attrs=DotAttrs(narrow=narrow, panels=n))

    return function


# --- attention ----------------------------------------------------------------------------------------------------


def _attention(**options: Any) -> Function:
    attrs = AttentionAttrs(**{"heads": 2, "key_value_heads": 2, "head_size": 8, "scale": 0.4, **options})
    return lambda q, k, v, starts, edges, *x: b.project(
        b.make("attention", q, k, v, starts, *_bounds(edges), *x, attrs=attrs), 0
    )


def _bounds(edges: Node) -> tuple[Node, Node]:
    """Where sequences begin and where they end."""
    count = edges.shape[0] - 1
    return b.slice_axis(edges, 0, 0, count), b.slice_axis(edges, 0, 1, count)


def _attention_with_gaps(*x: Node) -> Node:
    attrs = AttentionAttrs(2, 1, 8, 0.4, causal=True)
    return b.project(b.make("attention", *x, attrs=attrs), 0)


def _attention_backward(q: Node, k: Node, v: Node, g: Node, starts: Node) -> Sequence[Node]:
    attrs = AttentionAttrs(2, 2, 8, 0.4, causal=True)
    places = (starts, *_bounds(starts))
    forward = b.make("attention", q, k, v, *places, attrs=attrs)
    made = b.make("attention_backward", q, k, v, b.project(forward, 0), b.project(forward, 1), g, *places, attrs=attrs)
    return [b.project(made, i) for i in range(3)]


STARTS = np.array([0, 1, 4, 4, 11], np.int32)  # a sequence of one token, and one of none
KEY_STARTS = np.array([0, 3, 5, 6, 13], np.int32)

# --- scan ---------------------------------------------------------------------------------------------------------

_serial = -1000


def body_input(shape: tuple[int, ...], dtype: str = "f32") -> Node:
    global _serial
    _serial -= 1
    return b.make("input", attrs=InputAttrs(_serial, "step", shape, dtype))


def _scan(reverse: bool) -> Function:
    """h ← tanh(h·w + x), stacking h · 2 and, for the reverse scan, what every step was given."""

    def function(h: Node, xs: Node, w: Node) -> Sequence[Node]:
        before, x, weight = (body_input(shape) for shape in ((3, 4), (3, 4), (4, 4)))
        after = b.unary("tanh", b.add(b.dot(before, weight), x))
        body = Body((before, x, weight), (after, b.multiply(after, 2.0), before))
        node = b.make("scan", h, xs, w, attrs=ScanAttrs(body, 1, 1, xs.shape[0], reverse))
        return [b.project(node, 0), b.project(node, 1)]

    return function


# --- replay -------------------------------------------------------------------------------------------------------


def _replay(states: int) -> Function:
    """x ← a·x − b·m, m ← c·m …; where m is zero, x ← a·x."""

    def function(*nodes: Node) -> Sequence[Node]:
        x, m, n, *numbers = (body_input(()) for _ in range(6))
        given = [x, m, n][:states]
        after = [b.subtract(b.multiply(x, numbers[0]), b.multiply(given[-1], numbers[1]))]
        after += [b.multiply(state, numbers[2]) for state in given[1:]]
        rest = b.multiply(x, numbers[0])
        if states == 1:
            after = [rest]
        bodies = Body((*given, *numbers), tuple(after)), Body((x, *numbers), (rest,))
        node = b.make("replay", *nodes, attrs=ReplayAttrs(*bodies))
        return [b.project(node, i) for i in range(states)]

    return function


def _missed(rows: int, columns: int, states: int) -> tuple[Array, ...]:
    """Rows of which some have missed no step and some have moments of zero; −0 is not a moment of zero."""
    values = [normal(rows, columns) for _ in range(states)]
    for state in values[1:]:
        state[1::3] = 0
        state[2::9] = -0.0
    return (*values, positive(9, 3), (np.arange(rows) * 7 % 9).astype(np.int32), np.array(8, np.int32))


# --- the table ----------------------------------------------------------------------------------------------------

_SMOOTH = ("negative", "exp", "tanh", "erf", "sigmoid", "sin", "cos", "stop_gradient")
_ROOTS = ("log", "sqrt", "rsqrt")
_COMPOSITES = ("softmax", "log_softmax", "gelu", "gelu_tanh", "silu")

CASES: tuple[Case, ...] = (
    Case("input", "", lambda x: x, (normal(3, 5),)),
    Case("constant", "", lambda x: b.add(x, 2.5), (normal(3, 5),)),
    Case("constant", "as an output", lambda x: [b.full(2.5, (3, 4), "f32"), b.constant(7, "i32"), x], (normal(2),)),
    Case("iota", "rows", lambda x: b.add(x, b.cast(b.iota((3, 5), 0), "f32")), (normal(3, 5),)),
    Case("iota", "columns", lambda x: b.add(x, b.cast(b.iota((3, 21), 1), "f32")), (normal(3, 21),)),
    Case("iota", "as an output", lambda x: [b.iota((4, 5, 2), 1), x], (normal(2),)),
    *(Case(op, "", _make(op), (normal(3, 19),)) for op in _SMOOTH),
    *(Case(op, "", _make(op), (positive(3, 19),)) for op in _ROOTS),
    Case("negative", "i32", _make("negative"), (integers(-9, 9, 3, 5),), False),
    Case("absolute", "", _make("absolute"), (away_from_zero(3, 19),)),
    Case("absolute", "i32", _make("absolute"), (integers(-9, 9, 3, 5),), False),
    Case("sign", "", _make("sign"), (np.array([-2, -0.0, 0, 3, 1e-30], np.float32),)),
    Case("sign", "i32", _make("sign"), (integers(-2, 3, 3, 7),), False),
    Case("floor", "", _make("floor"), (away_from_zero(3, 5) * np.float32(3),), False),
    Case("is_finite", "", _make("is_finite"), (np.array([1, np.inf, -np.inf, np.nan, 0], np.float32),), False),
    Case("logical_not", "", _make("logical_not"), (truths(3, 19),), False),
    *(Case(op, "", _make(op), (normal(3, 19), normal(3, 19))) for op in ("add", "subtract", "multiply")),
    *(Case(op, "i32", _make(op), (integers(-9, 9, 3, 19), integers(-9, 9, 3, 19)), False)
      for op in ("add", "subtract", "multiply", "maximum", "minimum", "less", "less_equal", "equal")),
    *(Case(op, "u32", _make(op), (rng.integers(0, 2**32, (40,), np.uint32), rng.integers(1, 2**32, (40,), np.uint32)), False)
      for op in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal")),
    Case("multiply", "with itself", lambda x: b.multiply(x, x), (normal(3, 19),)),
    Case("divide", "", _make("divide"), (normal(3, 19), away_from_zero(3, 19))),
    Case("divide", "i32, rounded down", _make("divide"), (integers(-20, 20, 60), np.resize(np.array([3, -4, 7], np.int32), 60)), False),
    *(Case(op, "", _make(op), (distinct(3, 19), distinct(3, 19) + np.float32(0.05))) for op in ("maximum", "minimum")),
    *(Case(op, "of NaN", _make(op), (np.array([1, np.nan, 2, np.nan], np.float32), np.array([np.nan, 1, 3, np.nan], np.float32)), False)
      for op in ("maximum", "minimum")),
    *(Case(op, "", _make(op), (np.array([1, 2, 3, np.nan], np.float32), np.array([2, 2, 1, 0], np.float32)), False)
      for op in ("less", "less_equal", "equal")),
    *(Case(op, "", _make(op), (truths(3, 19), truths(3, 19)), False) for op in ("logical_and", "logical_or")),
    Case("equal", "bool", _make("equal"), (truths(3, 19), truths(3, 19)), False),
    Case("after", "", _make("after"), (normal(3, 19), normal(3, 19))),
    Case("where", "", _make("where"), (truths(3, 19), normal(3, 19), normal(3, 19))),
    Case("where", "i32", _make("where"), (truths(3, 19), integers(0, 9, 3, 19), integers(0, 9, 3, 19)), False),
    Case("where", "bool", _make("where"), (truths(3, 19), truths(3, 19), truths(3, 19)), False),
    Case("cast", "f32 to i32", lambda x: b.cast(x, "i32"), (normal(3, 5) * np.float32(9),), False),
    Case("cast", "i32 to f32", lambda x: b.cast(x, "f32"), (integers(-9, 9, 3, 5),), False),
    Case("cast", "bool to f32 and i32", lambda x: [b.cast(x, "f32"), b.cast(x, "i32")], (truths(3, 5),), False),
    Case("cast", "to bool", lambda x: b.cast(x, "bool"), (np.array([0, -0.0, 2, np.nan], np.float32),), False),
    Case("cast", "i32 to bool", lambda x: b.cast(x, "bool"), (integers(-1, 2, 9),), False),
    Case("cast", "u32 to f32", lambda x: b.cast(x, "f32"), (np.array([0, 1, 2**31, 2**32 - 1], np.uint32),), False),
    Case("cast", "u32 to i32", lambda x: b.cast(x, "i32"), (np.array([0, 1, 2**31, 2**32 - 1], np.uint32),), False),
    Case("cast", "through bf16", lambda x: b.cast(b.cast(x, "bf16"), "f32"), (normal(3, 19),), False),
    Case("cast", "through i8", lambda x: b.cast(b.cast(b.multiply(x, 40.0), "i8"), "f32"), (normal(3, 19),), False),
    Case("cast", "through i8 in memory", lambda x, y: b.dot(b.cast(b.cast(x, "i8"), "f32"), y), (normal(5, 19) * np.float32(40), normal(19, 3)), False),
    Case("cast", "through f64", lambda x: b.cast(b.multiply(b.cast(x, "f64"), 1.1), "f32"), (normal(3, 19),)),
    Case("broadcast", "a row", lambda x: b.broadcast(x, (3, 5)), (normal(5),)),
    Case("broadcast", "a column", lambda x: b.broadcast(x, (3, 5)), (normal(3, 1),)),
    Case("broadcast", "the middle", lambda x: b.broadcast(x, (3, 4, 5)), (normal(3, 1, 5),)),
    Case("broadcast", "a scalar", lambda x: b.broadcast(x, (2, 3)), (normal(),)),
    Case("reshape", "", lambda x: b.reshape(x, (5, 3, 2)), (normal(6, 5),)),
    Case("reshape", "of a transpose", lambda x: b.reshape(b.transpose(x, (1, 0)), (10, 3)), (normal(6, 5),)),
    Case("reshape", "to a scalar", lambda x: b.reshape(x, ()), (normal(1, 1),)),
    Case("transpose", "", lambda x: b.transpose(x, (1, 0)), (normal(6, 5),)),
    Case("transpose", "3-D", lambda x: b.transpose(x, (2, 0, 1)), (normal(3, 4, 5),)),
    Case("slice", "rows", lambda x: b.slice_axis(x, 0, 2, 3), (normal(6, 5),)),
    Case("slice", "columns", lambda x: b.slice_axis(x, 1, 1, 3), (normal(6, 5),)),
    Case("slice", "nothing", lambda x: b.slice_axis(x, 0, 2, 0), (normal(6, 5),)),
    Case("concatenate", "slices that are summed", lambda x: b.add(b.add(
        b.pad_axis(b.slice_axis(x, 1, 5, 4), 1, 6, 11), b.pad_axis(b.slice_axis(x, 1, 3, 2), 1, 4, 11)),
        b.pad_axis(b.slice_axis(x, 1, 0, 3), 1, 1, 11)), (normal(6, 9),)),
    Case("flip", "rows", lambda x: b.flip(x, 0), (normal(6, 5),)),
    Case("flip", "columns", lambda x: b.flip(x, 1), (normal(6, 37),)),
    Case("flip", "nothing", lambda x: b.flip(x, 0), (normal(0, 5),)),
    Case("flip", "of a slice of a transpose", lambda x: b.flip(b.slice_axis(b.transpose(x, (1, 0)), 0, 1, 3), 0),
         (normal(6, 5),)),
    Case("flip", "of products, to what is in memory", lambda x, y: b.add(
        b.flip(b.multiply(x, b.broadcast(y, x.shape)), 1), x), (normal(4, 2, 9), normal(4, 1, 9))),
    Case("flip", "operands of a product", lambda x, y: b.dot(b.flip(x, 0), b.flip(y, 1)), (normal(7, 5), normal(5, 9))),
    Case("slice", "of a transpose", lambda x: b.slice_axis(b.transpose(x, (1, 0)), 0, 1, 3), (normal(6, 5),)),
    Case("pad", "rows", lambda x: b.pad_axis(x, 0, 2, 9), (normal(4, 5),)),
    Case("pad", "columns", lambda x: b.pad_axis(x, 1, 0, 9), (normal(4, 5),)),
    Case("pad", "the middle", lambda x: b.pad_axis(x, 1, 2, 9), (normal(2, 4, 5),)),
    Case("pad", "i32", lambda x: b.pad_axis(x, 0, 2, 9), (integers(0, 9, 4),), False),
    Case("pad", "nothing", lambda x: b.pad_axis(x, 0, 2, 5), (normal(0, 5),)),
    Case("concatenate", "rows", lambda *x: b.concatenate(x, 0), (normal(2, 5), normal(1, 5), normal(0, 5), normal(3, 5))),
    Case("concatenate", "columns", lambda *x: b.concatenate(x, 1), (normal(4, 5), normal(4, 1), normal(4, 17))),
    Case("concatenate", "a value twice", lambda x: b.concatenate((x, x), 1), (normal(4, 5),)),
    Case("concatenate", "bool", lambda *x: b.concatenate(x, 0), (truths(4), truths(3)), False),
    *(Case("sum", f"{axes} of 2", _reduce("sum", *axes), (normal(6, 21),)) for axes in ((0,), (1,), (0, 1))),
    *(Case("sum", f"{axes} of 3", _reduce("sum", *axes), (normal(3, 4, 5),))
      for axes in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))),
    Case("sum", "of 1", _reduce("sum", 0), (normal(21),)),
    Case("sum", "of nothing", _reduce("sum", 0), (normal(0, 5),)),
    Case("sum", "along nothing", _reduce("sum", 1), (normal(5, 0),)),
    Case("sum", "i32", lambda x: [b.reduce("sum", x, (i,)) for i in (0, 1)], (integers(-9, 9, 6, 21),), False),
    Case("sum", "of numbers", lambda x: b.reduce("sum", b.full(1, x.shape, "f32"), (0, 1)), (normal(6, 5),)),
    *(Case("max", f"{axes} of 2", _reduce("max", *axes), (distinct(6, 21),)) for axes in ((0,), (1,), (0, 1))),
    *(Case("max", f"{axes} of 3", _reduce("max", *axes), (distinct(3, 4, 5),))
      for axes in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))),
    Case("max", "of 1", _reduce("max", 0), (distinct(21),)),
    Case("max", "i32", lambda x: [b.reduce("max", x, (i,)) for i in (0, 1)], (integers(-9, 9, 6, 21),), False),
    Case("max", "u32", lambda x: b.reduce("max", x, (1,)), (rng.integers(0, 2**32, (6, 21), np.uint32),), False),
    Case("max", "NaN", _reduce("max", 1), (np.array([[1, np.nan, 0], [1, 2, -np.inf]], np.float32),), False),
    Case("max", "equal ones", _reduce("max", 1), (np.array([[1, 2, 2], [0, 0, 0]], np.float32),), False),
    Case("dot", "", _dot(), (normal(5, 7), normal(7, 6)), tolerance=1e-5),
    Case("dot", "transposed a", _dot(True), (normal(7, 5), normal(7, 6)), tolerance=1e-5),
    Case("dot", "transposed b", _dot(False, True), (normal(5, 7), normal(6, 7)), tolerance=1e-5),
    Case("dot", "both transposed", _dot(True, True), (normal(7, 5), normal(6, 7)), tolerance=1e-5),
    Case("dot", "of one row", _dot(), (normal(1, 7), normal(7, 6)), tolerance=1e-5),
    Case("dot", "to one column", _dot(), (normal(5, 7), normal(7, 1)), tolerance=1e-5),
    Case("dot", "inner size 1", _dot(), (normal(5, 1), normal(1, 6)), tolerance=1e-5),
    Case("dot", "no rows", _dot(), (normal(0, 7), normal(7, 6)), tolerance=1e-5),
    Case("dot", "over nothing", _dot(True), (normal(0, 5), normal(0, 6)), tolerance=1e-5),
    Case("dot", "batches", _dot(), (normal(3, 5, 7), normal(3, 7, 6)), tolerance=1e-5),
    Case("dot", "batches transposed", _dot(True, True), (normal(2, 3, 7, 5), normal(2, 3, 6, 7)), tolerance=1e-5),
    Case("dot", "with itself", lambda x: b.dot(x, x, True), (normal(5, 7),), tolerance=1e-5),
    *(Case("panels", f"{k} × {n}", _panels(transposed), (normal(3, k), normal(n, k) if transposed else normal(k, n)), False, 1e-5)
      for k, n in ((1, 1), (5, 7), (15, 16), (16, 31), (17, 32), (33, 33), (300, 65)) for transposed in (False, True)),
    *(Case("panels", f"bf16, {k} × {n}", _panels(transposed, True), (normal(3, k), normal(n, k) if transposed else normal(k, n)), False, 1e-5)
      for k, n in ((2, 1), (30, 31), (32, 33), (34, 65), (600, 17)) for transposed in (False, True)),
    Case("panels", "of a transpose", lambda x, w: _panels(True)(x, b.transpose(w, (1, 0))), (normal(3, 21), normal(21, 40)), False, 1e-5),
    Case("panels", "of some rows", lambda x, w: _panels(True)(x, b.slice_axis(w, 0, 3, 30)), (normal(3, 21), normal(40, 21)), False, 1e-5),
    Case("take", "", b.take, (normal(6, 5), np.array([3, 0, 3, 5, 3], np.int32))),
    Case("take", "numbers", b.take, (normal(6), np.array([3, 0, 3], np.int32))),
    Case("take", "3-D", b.take, (normal(6, 2, 5), np.array([3, 0, 3], np.int32))),
    Case("take", "nothing", b.take, (normal(6, 5), np.zeros(0, np.int32))),
    Case("take", "i32", b.take, (integers(0, 99, 6, 5), np.array([3, 0], np.int32)), False),
    Case("take", "of a column of ids", lambda t, i: b.take(t, b.reshape(b.slice_axis(i, 1, 1, 1), (4,))), (normal(6, 5), integers(0, 6, 4, 3))),
    Case("take", "of a transpose", lambda t, i: b.take(b.transpose(t, (1, 0)), i), (normal(6, 5), integers(0, 5, 4))),
    Case("put", "", b.put, (normal(6, 5), np.array([3, 0, 5], np.int32), normal(3, 5))),
    Case("put", "a number a row", b.put, (normal(6), np.array([3, 0], np.int32), normal(2))),
    Case("put", "3-D", b.put, (normal(6, 2, 5), np.array([4, 0], np.int32), normal(2, 2, 5))),
    Case("put", "nothing", b.put, (normal(6, 5), np.zeros(0, np.int32), normal(0, 5))),
    Case("put", "i32, many", b.put, (integers(0, 9, 200, 3), rng.permutation(200)[:150].astype(np.int32), integers(0, 9, 150, 3)), False),
    Case("put", "of what is computed", lambda t, i, x: b.put(b.multiply(t, 2.0), i, b.transpose(x, (1, 0))), (normal(6, 5), np.array([3, 0, 5], np.int32), normal(5, 3))),
    Case("put", "numbers outside", b.put, (normal(6, 17), np.array([-1, 0, 6, 2, -9], np.int32), normal(5, 17)), False),
    *(Case("replay", f"{states} states of {columns}", _replay(states), _missed(rows, columns, states), False, 0.0)
      for states, rows, columns in ((1, 9, 33), (2, 17, 5), (3, 20, 16), (3, 7, 71), (2, 0, 8), (2, 8, 1))),
    Case("places", "", lambda i: b.places(i, 7), (np.array([3, 0, 3, 5, 3], np.int32),), False),
    Case("places", "nothing", lambda i: b.places(i, 3), (np.zeros(0, np.int32),), False),
    Case("places", "a row and a lane", lambda i: b.places(i, 17), (integers(0, 17, 40),), False),
    Case("scatter_add", "", lambda i, x: b.scatter_add(i, x, 6), (np.array([3, 0, 3, 5, 3], np.int32), normal(5, 7))),
    Case("scatter_add", "numbers", lambda i, x: b.scatter_add(i, x, 6), (np.array([3, 0, 3], np.int32), normal(3))),
    Case("scatter_add", "3-D", lambda i, x: b.scatter_add(i, x, 6), (np.array([3, 0, 3], np.int32), normal(3, 2, 5))),
    Case("scatter_add", "nothing", lambda i, x: b.scatter_add(i, x, 6), (np.zeros(0, np.int32), normal(0, 5))),
    Case("random_uniform", "", lambda s, x: b.multiply(b.random_uniform(s, (5, 70), 3), x), (STATE, normal(5, 70)), tolerance=0.0),
    Case("random_uniform", "as an output", lambda s: [b.random_uniform(s, shape, 3) for shape in ((5, 130), (7,), (2, 3, 65))], (STATE,), tolerance=0.0),
    *(Case(op, "", _make(op), (normal(5, 21),), tolerance=1e-5) for op in _COMPOSITES),
    *(Case(op, "one column", _make(op), (normal(5, 1),), tolerance=1e-5) for op in ("softmax", "log_softmax")),
    Case("softmax", "large", _make("softmax"), (normal(5, 21) * np.float32(200),), False),
    Case("log_softmax", "large", _make("log_softmax"), (normal(5, 21) * np.float32(200),), False),
    Case("softmax", "3-D", _make("softmax"), (normal(2, 3, 17),), tolerance=1e-5),
    Case("layer_norm", "", _make("layer_norm", NormAttrs(1e-5)), (normal(5, 21), normal(21), normal(21)), tolerance=1e-5),
    Case("layer_norm", "3-D", _make("layer_norm", NormAttrs(1e-5)), (normal(2, 3, 9), normal(9), normal(9)), tolerance=1e-5),
    Case("layer_norm", "no rows", _make("layer_norm", NormAttrs(1e-5)), (normal(0, 21), normal(21), normal(21))),
    Case("rms_norm", "", _make("rms_norm", NormAttrs(1e-5)), (normal(5, 21), normal(21)), tolerance=1e-5),
    Case("linear_cross_entropy", "", _linear_cross_entropy(), (normal(7, 6), normal(9, 6), np.array([0, 8, -100, 3, 3, 5, 1], np.int32))),
    Case("linear_cross_entropy", "bias", _linear_cross_entropy(), (normal(7, 6), normal(9, 6), np.array([0, 8, -100, 3, 3, 5, 1], np.int32), normal(9))),
    Case("linear_cross_entropy", "smoothing", _linear_cross_entropy(0.3), (normal(7, 6), normal(9, 6), np.array([0, 8, -100, 3, 3, 5, 1], np.int32), normal(9))),
    Case("attention", "", _attention(), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS), tolerance=1e-5),
    Case("attention", "causal", _attention(causal=True), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS), tolerance=1e-5),
    Case("attention", "window", _attention(window=2), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS), tolerance=1e-5),
    Case("attention", "causal window", _attention(causal=True, window=3), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS), tolerance=1e-5),
    Case("attention", "grouped heads", _attention(heads=4), (normal(11, 32), normal(11, 16), normal(11, 16), STARTS, STARTS), tolerance=1e-5),
    Case("attention", "other keys", _attention(), (normal(11, 16), normal(13, 16), normal(13, 16), STARTS, KEY_STARTS), tolerance=1e-5),
    Case("attention", "keys with gaps", _attention_with_gaps, (normal(11, 16), normal(20, 8), normal(20, 8), STARTS, np.array([9, 1, 0, 12], np.int32), np.array([12, 7, 0, 20], np.int32)), tolerance=1e-5),
    Case("attention", "dropout", _attention(dropout=0.3, site=2), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS, STATE), tolerance=1e-5),
    Case("attention", "bias", _attention(reach=2), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS, normal(2, 5)), tolerance=1e-5),
    Case("attention", "bias and soft cap", _attention(reach=3, soft_cap=1.5, causal=True), (normal(11, 16), normal(13, 16), normal(13, 16), STARTS, KEY_STARTS, normal(2, 7)), tolerance=1e-5),
    Case("attention", "bias and dropout", _attention(reach=1, dropout=0.3, site=2), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS, normal(2, 3), STATE), tolerance=1e-5),
    Case("attention", "terms", _attention(buckets=3, far=2), (normal(11, 16), normal(13, 16), normal(13, 16), STARTS, KEY_STARTS, normal(2, 11, 3), normal(2, 13, 3), np.array([2, 1, 0, 0, 1], np.int32)), tolerance=1e-5),
    Case("attention", "bias, terms and dropout", _attention(reach=1, buckets=2, far=1, dropout=0.3, site=2), (normal(11, 16), normal(11, 16), normal(11, 16), STARTS, STARTS, normal(2, 3), normal(2, 11, 2), normal(2, 11, 2), np.array([1, 0, 1], np.int32), STATE), tolerance=1e-5),
    Case("attention_backward", "", _attention_backward, (normal(11, 16), normal(11, 16), normal(11, 16), normal(11, 16), STARTS), False, 1e-5),
    Case("scan", "", _scan(False), (normal(3, 4), normal(5, 3, 4), normal(4, 4)), tolerance=1e-5),
    Case("scan", "reverse", _scan(True), (normal(3, 4), normal(5, 3, 4), normal(4, 4)), tolerance=1e-5),
    Case("scan", "one step", _scan(False), (normal(3, 4), normal(1, 3, 4), normal(4, 4)), tolerance=1e-5),
    Case("scan", "no step", _scan(False), (normal(3, 4), normal(0, 3, 4), normal(4, 4)), tolerance=1e-5),
    Case("project", "", lambda *x: [_scan(False)(*x)[1]], (normal(3, 4), normal(2, 3, 4), normal(4, 4)), tolerance=1e-5),
)  # fmt: skip

__all__ = ["CASES", "Case", "ConstantAttrs", "input_node"]
