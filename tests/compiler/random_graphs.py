"""Random graphs from recipes: a recipe is a list of steps (four numbers each) that always makes a valid graph.

Numbers choose the operation, its operand and the details, each modulo what there is to choose from; so hypothesis can
shrink a recipe to the fewest steps that still fail, and a failure can be written down as a list of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.graph import build as b
from handloom.graph.access import base_of
from handloom.graph.autodiff import vjp
from handloom.graph.node import Node
from handloom.graph.ops import InputAttrs, NormAttrs

Array = np.ndarray[Any, Any]
Step = tuple[int, int, int, int]

SIZES = (5, 16, 1, 17, 15, 33, 2, 0)
"""Rows and columns: around the width of a vector, one, none."""

MOST_ELEMENTS = 6000
STATE = np.array([11, 5, 3, 1], np.uint32)
DTYPE = {"float32": "f32", "int32": "i32", "uint32": "u32"}


@dataclass(frozen=True)
class Sample:
    """A graph: outputs are values and, last, the gradients of the inputs `wrt`."""

    inputs: list[Node]
    arrays: list[Array]
    outputs: list[Node]


class Builder:
    """Values made so far, and the inputs that they are made of."""

    def __init__(self, rows: int, columns: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.inputs: list[Node] = []
        self.arrays: list[Array] = []
        self.sites = 0
        self.values: list[Node] = [self.normal(rows, columns)]

    def input(self, array: Array) -> Node:
        index = len(self.inputs)
        node = b.make("input", attrs=InputAttrs(index, f"x{index}", array.shape, DTYPE[array.dtype.name]))
        self.inputs.append(node)
        self.arrays.append(array)
        return node

    def normal(self, *shape: int) -> Node:
        return self.input(self.random.standard_normal(shape).astype(np.float32))

    def partner(self, x: Node, choice: int) -> Node:
        """Another operand for x: a value that broadcasts with it, or a new row, column or tensor."""
        fitting = [v for v in self.values if _fits(v.shape, x.shape)]
        fresh: list[Callable[[], Node]] = [lambda: self.normal(*sizes(x))]
        if x.shape:
            fresh += [lambda: self.normal(sizes(x)[-1]), lambda: self.normal(*sizes(x)[:-1], 1)]
        choice %= len(fitting) + len(fresh)
        return fitting[choice] if choice < len(fitting) else fresh[choice - len(fitting)]()

    def truth(self, x: Node, choice: int) -> Node:
        """A condition for x that depends on inputs alone, so that no rounding decides it."""
        leaf = self.normal(*([sizes(x), sizes(x)[-1:], (*sizes(x)[:-1], 1)][choice % 3] if x.shape else ()))
        return b.binary("less", leaf, 0.3)

    def state(self) -> Node:
        found = [node for node in self.inputs if node.dtype == "u32"]
        return found[0] if found else self.input(STATE)


def sizes(x: Node) -> tuple[int, ...]:
    return tuple(int(size) for size in x.shape)  # type: ignore[arg-type]


def _fits(shape: Sequence[Any], goal: Sequence[Any]) -> bool:
    return len(shape) <= len(goal) and all(
        a in (1, g) for a, g in zip(reversed(shape), reversed(goal), strict=False)
    )


# --- the operations: each takes (builder, operand, two numbers) and gives a node, or None where it does not apply ----


def unary(m: Builder, x: Node, i: int, j: int) -> Node:
    positive = lambda: b.add(b.multiply(x, x), 0.5)  # noqa: E731
    made: list[Callable[[], Node]] = [
        lambda: b.unary("tanh", x),
        lambda: b.multiply(x, 1.5),
        lambda: b.negative(x),
        lambda: b.unary("exp", b.unary("tanh", x)),
        lambda: b.unary("sigmoid", x),
        lambda: b.unary("erf", x),
        lambda: b.unary("sin", x),
        lambda: b.unary("log", positive()),
        lambda: b.unary("sqrt", positive()),
        lambda: b.unary("rsqrt", positive()),
        lambda: b.subtract(1.0, x),
        lambda: b.make("gelu", x),
        lambda: b.make("gelu_tanh", x),
        lambda: b.make("silu", x),
        lambda: b.unary("stop_gradient", x),
    ]
    return made[i % len(made)]()


def binary(m: Builder, x: Node, i: int, j: int) -> Node:
    y = m.partner(x, j)
    made: list[Callable[[], Node]] = [
        lambda: b.add(x, y),
        lambda: b.multiply(x, b.unary("tanh", y)),
        lambda: b.subtract(y, x),
        lambda: b.divide(x, b.add(b.multiply(y, y), 0.7)),
        lambda: b.binary("maximum", x, m.normal(*sizes(x)[-1:])),
        lambda: b.multiply(x, y),
    ]
    return made[i % len(made)]()


def where(m: Builder, x: Node, i: int, j: int) -> Node:
    condition = m.truth(x, i)
    return b.where(condition, x, m.partner(x, j)) if i % 2 else b.where(condition, m.partner(x, j), x)


def total(m: Builder, x: Node, i: int, j: int) -> Node | None:
    rank = len(x.shape)
    if not rank:
        return None
    axes = [(rank - 1,), (0,), tuple(range(rank)), tuple(range(rank - 1)), (rank // 2,)][i % 5]
    made = b.reduce("sum", b.multiply(x, 0.5), axes)
    return b.reshape(made, [size for axis, size in enumerate(x.shape) if axis not in axes]) if j % 2 else made


def largest(m: Builder, x: Node, i: int, j: int) -> Node | None:
    """Of values that are apart from each other, so that rounding does not choose another maximum."""
    rank = len(x.shape)
    if not rank or 0 in x.shape:
        return None
    axes = [(rank - 1,), (0,), tuple(range(rank))][i % 3]
    apart = b.unary("tanh", x)
    for axis in axes:
        apart = b.add(apart, b.multiply(b.cast(b.iota(x.shape, axis), "f32"), 3.0 if axis == axes[0] else 0.013))
    if len(axes) > 1:
        apart = b.multiply(apart, m.normal())
    return b.reduce("max", apart, axes)


def product(m: Builder, x: Node, i: int, j: int) -> Node | None:
    if len(x.shape) < 2:
        return None
    ta, tb = bool(i & 1), bool(i & 2)
    k = sizes(x)[-2 if ta else -1]
    lead = sizes(x)[:-2]
    fitting = [v for v in m.values if len(v.shape) >= 2 and sizes(v)[:-2] == lead and sizes(v)[-1 if tb else -2] == k]
    choice = j % (len(fitting) + 2)
    if choice < len(fitting):
        y = fitting[choice]
    else:
        n = SIZES[(i >> 2) % len(SIZES)]
        y = m.normal(*lead, *((n, k) if tb else (k, n)))
    return b.multiply(b.dot(x, y, ta, tb), 1 / max(k, 1) ** 0.5)


def linear(m: Builder, x: Node, i: int, j: int) -> Node | None:
    """With a bias, and GELU or dropout behind it: what is fused into a product."""
    if len(x.shape) != 2:
        return None
    n = SIZES[j % len(SIZES)]
    y = b.add(b.multiply(b.dot(x, m.normal(n, sizes(x)[1]), False, True), 0.3), m.normal(n))
    return [y, b.make("gelu", y), dropout(m, y, i, j), b.unary("tanh", y)][i % 4]


def views(m: Builder, x: Node, i: int, j: int) -> Node | None:
    shape = sizes(x)
    if i % 4 == 0:
        count = int(np.prod(shape))
        shapes: list[tuple[int, ...]] = [(count,), (1, count), (count, 1), tuple(reversed(shape))]
        shapes += [(s, count // s) for s in (2, 3, 5) if count % s == 0]
        shapes += [(2, 3, count // 6)] if count % 6 == 0 else []
        shapes += [(shape[0], 2, shape[1] // 2)] if len(shape) == 2 and shape[1] % 2 == 0 else []
        return b.reshape(x, shapes[j % len(shapes)])
    if not shape:
        return None
    if i % 4 == 1:
        orders = [tuple(reversed(range(len(shape)))), (*range(1, len(shape)), 0)]
        return b.transpose(x, orders[j % 2])
    axis = j % len(shape)
    if not shape[axis]:
        return None
    start = (j // 3) % shape[axis]
    size = min(1 + (j // 7) % 4 + (0 if i % 4 == 2 else 12), shape[axis] - start)
    return b.slice_axis(x, axis, start, size)


def joined(m: Builder, x: Node, i: int, j: int) -> Node | None:
    if not x.shape:
        return None
    axis = i % len(x.shape)
    others = [v for v in m.values if len(v.shape) == len(x.shape) and all(
        p == q or a == axis for a, (p, q) in enumerate(zip(v.shape, x.shape, strict=True)))]
    parts = [x, others[j % len(others)], *([x] if i % 5 == 4 else [])]
    return b.concatenate(parts, axis)


def turned(m: Builder, x: Node, i: int, j: int) -> Node | None:
    return b.flip(x, i % len(x.shape)) if x.shape else None


def padded(m: Builder, x: Node, i: int, j: int) -> Node | None:
    if not x.shape:
        return None
    axis = i % len(x.shape)
    return b.pad_axis(x, axis, j % 3, sizes(x)[axis] + j % 3 + i % 4)


def taken(m: Builder, x: Node, i: int, j: int) -> Node | None:
    if not x.shape or not x.shape[0]:
        return None
    count = SIZES[j % len(SIZES)]
    return b.take(x, m.input(m.random.integers(0, sizes(x)[0], count).astype(np.int32)))


def scattered(m: Builder, x: Node, i: int, j: int) -> Node | None:
    if not x.shape:
        return None
    rows = 1 + j % 20
    return b.scatter_add(m.input(m.random.integers(0, rows, sizes(x)[0]).astype(np.int32)), x, rows)


def normalised(m: Builder, x: Node, i: int, j: int) -> Node | None:
    if not x.shape or not x.shape[-1]:
        return None
    width = sizes(x)[-1]
    made: list[Callable[[], Node]] = [
        lambda: b.make("softmax", x),
        lambda: b.make("layer_norm", x, m.normal(width), m.normal(width), attrs=NormAttrs(1e-2)),
        lambda: b.make("log_softmax", x),
        lambda: b.make("rms_norm", x, m.normal(width), attrs=NormAttrs(1e-2)),
    ]
    return made[i % len(made)]()


def dropout(m: Builder, x: Node, i: int, j: int) -> Node:
    m.sites += 1
    rate = (0.25, 0.5)[j % 2]
    kept = b.binary("less_equal", b.full(rate, x.shape, "f32"), b.random_uniform(m.state(), x.shape, m.sites))
    return b.where(kept, b.multiply(x, 1 / (1 - rate)), b.zeros_like(x))


OPERATIONS: tuple[Callable[[Builder, Node, int, int], Node | None], ...] = (
    unary, binary, total, views, normalised, product, linear, dropout, where, joined, taken, largest, scattered, padded,
    turned,
)  # fmt: skip


def sample(rows: int, columns: int, recipe: Sequence[Step], seed: int = 0) -> Sample:
    """The graph of a recipe: every value that nothing else reads is an output, and so is each gradient of them."""
    m = Builder(rows, columns, seed)
    for op, operand, i, j in recipe:
        x = m.values[-1 - operand % len(m.values)]
        made = OPERATIONS[op % len(OPERATIONS)](m, x, i, j)
        if made is not None and np.prod(sizes(made)) <= MOST_ELEMENTS:
            m.values.append(made)
    read = {base_of(x) for v in m.values for x in v.inputs} | {x for v in m.values for x in v.inputs}
    results = [v for v in m.values if v not in read] or m.values[-1:]
    if len(m.values) > 3 and recipe[-1][3] % 3 == 0:
        results.append(m.values[2])  # read by others and an output, too
    wrt = [x for x in m.inputs if x.dtype == "f32"]
    cotangents: list[Node | None] = [m.normal(*sizes(x)) for x in results]
    gradients = vjp(results, cotangents, wrt)
    return Sample(m.inputs, m.arrays, [*results, *(g for g in gradients if g is not None)])
