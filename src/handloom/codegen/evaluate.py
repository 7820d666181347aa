"""The value of a node at a place: a vector of columns of one row, or one number a row.

An `Evaluator` belongs to one kernel. It gives every tensor that the kernel reads or writes a slot of the arguments,
and writes expressions down to what lies in memory. Values that do not vary along the columns are computed once a row,
before the loops over columns (`prepare`), so that both the main loop and its tail may use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from handloom.codegen import philox, scalars
from handloom.codegen.emit import SIZES, Function, Value, integer, iota, vector, whole, zero
from handloom.codegen.target import Target
from handloom.graph.access import VIEWS, Access, access_of, dense_strides
from handloom.graph.build import scalar_value
from handloom.graph.node import Dimension, Node
from handloom.graph.ops import OPS


@dataclass(frozen=True)
class Pointer:
    """An argument: element `offset` of the buffer of `node`; `role` tells a tensor from its partial sums."""

    node: Node
    offset: Dimension = 0
    role: str = "value"


@dataclass(frozen=True)
class Site:
    """The site of a random node or of attention: an argument, so that kernels which differ only in it are one."""

    node: Node

    def value(self, env: dict[str, int]) -> int:
        return int(self.node.attrs.site)


@dataclass(frozen=True)
class Computed:
    """An argument that only Python can work out: another step's number of tasks, a count of bytes."""

    count: Callable[[dict[str, int]], int]

    def value(self, env: dict[str, int]) -> int:
        return self.count(env)


Argument = Pointer | Site | Computed | Dimension


@dataclass
class Place:
    """Columns column … column + lanes − 1 of the row at hand. `whole` says that column is a multiple of 64 plus a known
    `shift`, so that random words are shared between the vectors of an iteration."""

    column: Value
    mask: Value | None
    shift: int | None = None
    values: dict[Node, Value] = field(default_factory=dict)
    words: dict[tuple[Node, int], list[Value]] = field(default_factory=dict)


def varies(node: Node) -> bool:
    """Whether a value varies along the columns."""
    return bool(node.shape) and node.shape[-1] != 1


def one_a_row(node: Node) -> bool:
    """Whether a value is one number a row, in any shape."""
    return not varies(node) or (node.op == "broadcast" and one_a_row(node.inputs[0]))


class Evaluator:
    def __init__(
        self,
        f: Function,
        args: Value,
        target: Target,
        space: tuple[Dimension, ...],
        materialised: Callable[[Node], bool],
        first_slot: int = 0,
    ) -> None:
        self.f, self.args, self.target, self.space = f, args, target, space
        self.materialised = materialised
        self.first_slot = first_slot
        self.arguments: list[Argument] = []
        self._slots: dict[Argument, Value] = {}
        self.row: Value = integer(0)
        self.axes: list[Value] = []
        self.rows: dict[Node, Value] = {}  # numbers of the row at hand
        self.starts: dict[Node, Value] = {}  # where the row at hand begins in each tensor
        self.goals: dict[Node, Value] = {}  # and where it begins in each root
        self.sites: dict[Node, Value] = {}
        self.states: dict[Node, philox.State] = {}
        self.given: dict[Node, Value] = {}  # values from elsewhere, such as a product's sums

    # --- arguments --------------------------------------------------------------------------------------------------

    def slot(self, argument: Argument) -> Value:
        """The loaded argument. Call it where it dominates its uses: at the start, or `declare` it."""
        if isinstance(argument, int):
            return integer(argument)
        if argument not in self._slots:
            place = self.f.at(self.args, self.first_slot + len(self.arguments), "i64")
            self.arguments.append(argument)
            self._slots[argument] = self.f.load("ptr" if isinstance(argument, Pointer) else "i64", place)
        return self._slots[argument]

    def declare(self, nodes: Iterable[Node], roots: Iterable[Node]) -> None:
        """Loads every argument that computing `nodes` and storing `roots` will need, and the random states."""
        for size in self.space:
            self.slot(size)
        for node in nodes:
            for x in node.inputs:
                if scalar_value(x) is None:
                    self._declare(x)
            if node.op == "take":
                rows = node.inputs[0].shape[0]
                self.slot(rows)
            if node.op == "random_uniform":
                self.sites[node] = self.f.cast("trunc", self.slot(Site(node)), "i32")
                for stride in self._own_strides(node):
                    self.slot(stride)
                if node.inputs[0] not in self.states:
                    self.states[node.inputs[0]] = philox.load_state(self.f, self.slot(Pointer(node.inputs[0])))
        for root in roots:
            self.slot(Pointer(root))
            for stride in _strides(root):
                self.slot(stride)

    def _declare(self, x: Node) -> None:
        access = access_of(x)
        if access is not None and self.materialised(access.base):
            self.slot(Pointer(access.base, access.offset))
            for stride in access.strides:
                self.slot(stride)

    # --- rows -------------------------------------------------------------------------------------------------------

    def begin_row(self, row: Value) -> None:
        """Everything that belongs to the row before is forgotten."""
        self.row = row
        self.rows, self.starts, self.goals = dict(self.given), {}, {}
        f, leading = self.f, self.space[:-1]
        self.axes = []
        if len(leading) > 1:
            left = row
            for size in reversed(leading):
                length = self.slot(size)
                self.axes.insert(0, f.urem(left, length))
                left = f.udiv(left, length)
        elif leading:
            self.axes = [row]

    def row_offset(self, strides: Sequence[Dimension], axes: Sequence[Value] | None = None) -> Value:
        """Elements from the start of a tensor to this row."""
        f, total = self.f, integer(0)
        for index, stride in zip(axes if axes is not None else self.axes, strides, strict=True):
            if stride != 0:
                total = f.add(total, f.mul(index, self.slot(stride)))
        return total

    def own_row(self, x: Node) -> Value:
        """The row of x that belongs to the row at hand: another number where x has fewer rows, broadcast to all."""
        strides = self._own_strides(x)
        return self.row_offset(strides) if strides else self.row

    def _own_strides(self, x: Node) -> tuple[Dimension, ...]:
        """The strides by which rows of x are counted; none where they are those of the space."""
        leading, rows = x.shape[:-1], self.space[:-1]
        return () if leading == rows or len(leading) != len(rows) else dense_strides(leading)

    def prepare(self, nodes: Iterable[Node]) -> None:
        """What computing `nodes` (that vary along columns) needs once a row: numbers, and where rows begin."""
        for node in nodes:
            if node.op == "take":
                self.start(node)
            for x in node.inputs:
                if node.op == "take" or node.op == "random_uniform" or scalar_value(x) is not None:
                    continue
                if one_a_row(x):
                    self.number(x)
                elif self._leaf(x) is not None:
                    self.start(x)

    def _leaf(self, x: Node) -> Access | None:
        access = access_of(x)
        return (
            access if access is not None and self.materialised(access.base) and access.base not in self.given else None
        )

    def start(self, x: Node) -> Value:
        """The address of this row's first column in the tensor under `x` (or in the row that a `take` takes)."""
        if x not in self.starts:
            f = self.f
            if x.op == "take" and not self.materialised(x):
                access = access_of(x.inputs[0])
                assert access is not None
                offset = f.add(
                    f.mul(self.taken(x), self.slot(access.strides[0])),
                    self.row_offset(access.strides[1:-1], self.axes[1:]),
                )
            else:
                access = access_of(x)
                assert access is not None
                offset = self.row_offset(access.strides[:-1])
            base = self.slot(Pointer(access.base, access.offset))
            self.starts[x] = f.at(base, offset, scalars.MEMORY[x.dtype])
        return self.starts[x]

    def goal(self, root: Node) -> Value:
        """The address of this row's first column where a root is stored."""
        if root not in self.goals:
            offset = self.row_offset(_strides(root)[:-1], self.axes if len(root.shape) > 1 else [])
            self.goals[root] = self.f.at(self.slot(Pointer(root)), offset, scalars.MEMORY[root.dtype])
        return self.goals[root]

    def taken(self, x: Node) -> Value:
        """The row number that a `take` reads, held within the table."""
        f = self.f
        ids = access_of(x.inputs[1])
        assert ids is not None
        address = f.at(self.slot(Pointer(ids.base, ids.offset)), f.mul(self.axes[0], self.slot(ids.strides[0])), "i32")
        number = f.cast("sext", f.load("i32", address), "i64")
        last = f.sub(self.slot(x.inputs[0].shape[0]), 1)
        number = f.smin(number, last)
        return f.select(f.compare("icmp slt", number, integer(0)), integer(0), number)

    def number(self, x: Node) -> Value:
        """A value that is one number a row."""
        constant = scalar_value(x)
        if constant is not None:
            return scalars.constant(constant, x.dtype, 0)
        if x in self.rows:
            return self.rows[x]
        f = self.f
        access = self._leaf(x)
        if access is not None:
            address = f.at(
                self.slot(Pointer(access.base, access.offset)), self._number_offset(access), scalars.MEMORY[x.dtype]
            )
            value = scalars.load(f, x.dtype, 0, address)
        elif x.op == "broadcast":
            value = self.number(x.inputs[0])
        elif x.op == "iota":
            value = self._counted(x)
        elif x.op == "take":
            table = access_of(x.inputs[0])
            assert table is not None
            offset = f.add(
                f.mul(self.taken(x), self.slot(table.strides[0])), self.row_offset(table.strides[1:-1], self.axes[1:])
            )
            value = scalars.load(
                f, x.dtype, 0, f.at(self.slot(Pointer(table.base, table.offset)), offset, scalars.MEMORY[x.dtype])
            )
        elif x.op == "random_uniform":
            row = f.cast("trunc", self.own_row(x), "i32")
            words = philox.philox_words(f, self.states[x.inputs[0]], 4, self.sites[x], row, integer(0, "i32"))
            value = self._uniform(f.extract(words[0], 0))
        elif OPS[x.op].kind == "reduce":
            value = self.reduced(x)
        else:
            value = scalars.SCALARS[x.op](f, [self.number(y) for y in x.inputs], x)
        self.rows[x] = value
        return value

    def _counted(self, x: Node) -> Value:
        """An iota along an axis of rows."""
        axis = x.attrs.axis
        if axis >= len(self.axes) or x.shape[axis] == 1:
            return integer(0, "i32")
        return self.f.cast("trunc", self.axes[axis], "i32")

    def reduced(self, x: Node) -> Value:
        raise AssertionError(f"{x!r} is asked for before its loop")

    def _number_offset(self, access: Access) -> Value:
        axes = self.axes if len(access.strides) == len(self.axes) + 1 else []
        return self.row_offset(access.strides[:-1], axes) if axes else integer(0)

    # --- vectors ----------------------------------------------------------------------------------------------------

    def vector(self, x: Node, place: Place) -> Value:
        """A value along the columns of a place; numbers are splatted."""
        lanes = self.target.lanes
        constant = scalar_value(x)
        if constant is not None:
            return scalars.constant(constant, x.dtype, lanes)
        if x in place.values:
            return place.values[x]
        f = self.f
        access = self._leaf(x) if x not in self.given else None
        if one_a_row(x):
            value = f.splat(self.number(x), lanes)
        elif access is not None:
            value = self._load(x, access.strides[-1], place)
        elif x.op == "broadcast":
            value = self.vector(x.inputs[0], place)
        elif x.op == "iota":
            if x.attrs.axis == len(x.shape) - 1:
                first = f.splat(f.cast("trunc", place.column, "i32"), lanes)
                value = f.binary("add", first, iota(lanes))
            else:
                value = f.splat(self._counted(x), lanes)
        elif x.op == "take":
            value = self._load(x, 1, place)
        elif x.op == "random_uniform":
            value = self._random(x, place)
        else:
            value = scalars.SCALARS[x.op](f, [self.vector(y, place) for y in x.inputs], x)
        place.values[x] = value
        return value

    def _load(self, x: Node, stride: Dimension, place: Place) -> Value:
        f, lanes = self.f, self.target.lanes
        memory = scalars.MEMORY[x.dtype]
        step = self.slot(stride)
        address = f.at(self.start(x), f.mul(place.column, step), memory)
        if stride == 1:
            return scalars.load(f, x.dtype, lanes, address, place.mask)
        offsets = f.mul(f.splat(step, lanes), iota(lanes, "i64"))
        pointers = f.op(f"getelementptr {memory}, {address}, {offsets}", vector("ptr", lanes))
        mask = place.mask or whole(1, vector("i1", lanes))
        letter = {"float": "f32", "double": "f64"}.get(memory, memory)
        type = vector(memory, lanes)
        raw = f.call(
            f"llvm.masked.gather.v{lanes}{letter}.v{lanes}p0", type, pointers, integer(SIZES[memory], "i32"), mask,
            zero(type),
        )  # fmt: skip
        return scalars.from_memory(f, x.dtype, raw)

    def _uniform(self, bits: Value) -> Value:
        f = self.f
        high = f.binary("lshr", bits, whole(8, bits.type))
        return f.binary(
            "fmul", f.cast("uitofp", high, vector("float", bits.lanes)), scalars.constant(2.0**-24, "f32", bits.lanes)
        )

    def _random(self, x: Node, place: Place) -> Value:
        f, lanes = self.f, self.target.lanes
        parts = 16 // lanes
        row = f.cast("trunc", self.own_row(x), "i32")
        if place.shift is not None:
            word, part = place.shift % 64 // 16, place.shift % 16 // lanes
            key = (x, part)
            if key not in place.words:
                block = f.udiv(f.sub(place.column, place.shift), 4)  # 16 counters for 64 columns
                first = f.add(f.cast("trunc", block, "i32"), part * lanes)
                place.words[key] = philox.philox_words(f, self.states[x.inputs[0]], lanes, self.sites[x], row, first)
            return self._uniform(place.words[key][word])
        inside = f.urem(place.column, 64)
        block = f.mul(f.udiv(place.column, 64), 16)
        part_start = f.urem(inside, 16) if parts > 1 else integer(0)
        first = f.cast("trunc", f.add(block, part_start), "i32")
        words = philox.philox_words(f, self.states[x.inputs[0]], lanes, self.sites[x], row, first)
        chosen, which = words[0], f.udiv(inside, 16)
        for index, drawn in enumerate(words[1:], 1):
            chosen = f.select(f.compare("icmp eq", which, integer(index)), drawn, chosen)
        return self._uniform(chosen)


def _strides(node: Node) -> tuple[Dimension, ...]:
    access = access_of(node)
    assert access is not None
    return access.strides


__all__ = ["VIEWS", "Argument", "Evaluator", "Place", "Pointer", "varies"]
