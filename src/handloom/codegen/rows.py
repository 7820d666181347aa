"""Loops over rows: element-wise chains, reductions along a row and sums over rows, fused into one kernel.

A task owns some rows. For each row there is a loop over columns for every level of reductions: what the second loop
needs of the first is kept in the thread's scratch, in L1. Sums over rows go to one partial sum a task, which
`emit_finish` adds up in the order of the tasks. A space without structure (element-wise, everything dense) is walked
as one long row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handloom.codegen import scalars
from handloom.codegen.emit import Function, Module, Value, integer, number, vector, whole, zero
from handloom.codegen.evaluate import Argument, Evaluator, Place, Pointer, varies
from handloom.codegen.target import Target
from handloom.graph.access import VIEWS, access_of, dense_strides
from handloom.graph.build import scalar_value
from handloom.graph.node import FLOATS, Dimension, Node, size_value, volume
from handloom.graph.ops import OPS
from handloom.graph.unit import Unit, side_by_side

TASK_ELEMENTS = 1 << 15
FLAT_CHUNK = 1 << 14
MOST_ROWS = 256


@dataclass(frozen=True)
class LoopKernel:
    """A kernel, what its arguments are, and how many tasks it has for given sizes."""

    name: str
    arguments: tuple[Argument, ...]
    space: tuple[Dimension, ...]
    chunk: int  # rows a task; elements a task where flat
    flat: bool
    saved: int  # rows of scratch
    partials: tuple[Node, ...]

    def tasks(self, env: dict[str, int]) -> int:
        count = volume(self.space if self.flat else self.space[:-1], env)
        return -(-count // self.chunk)

    def scratch(self, env: dict[str, int]) -> int:
        """Bytes, for the largest sizes."""
        return self.saved * _padded(size_value(self.space[-1], env)) * 8 if self.saved else 0


def _padded(columns: int) -> int:
    return -(-columns // 16) * 16 + 64


def _of_parts(node: Node) -> bool:
    """Whether a loop goes over the places of a node's operands instead of its own."""
    return OPS[node.op].kind == "reduce" or side_by_side(node)


def _stored(node: Node) -> tuple[Node, ...]:
    """What is stored for a root, one beside the other."""
    return node.inputs if side_by_side(node) else (node,)


def over_rows(node: Node) -> bool:
    return node.op == "sum" and node.attrs.axes != (len(node.shape) - 1,)


class _Graph:
    """What a unit computes, in order, and on which level of reductions."""

    def __init__(self, unit: Unit, materialised: Callable[[Node], bool]) -> None:
        self.unit = unit
        self.materialised = materialised
        self.nodes: list[Node] = []
        self.level: dict[Node, int] = {}
        for member in sorted(unit.roots, key=lambda node: unit.roots.index(node)):
            self._visit(member)

    def outside(self, x: Node) -> bool:
        """Whether a value is read from memory."""
        return self.materialised(x) and x not in self.unit.members

    def _visit(self, start: Node) -> None:
        stack = [(start, False)]
        while stack:
            node, ready = stack.pop()
            if node in self.level:
                continue
            if self.outside(node) or node.op == "constant":
                self.level[node] = 0
            elif ready:
                inner = max((self.level[x] for x in node.inputs), default=0)
                self.level[node] = inner + (OPS[node.op].kind == "reduce" and not over_rows(node))
                if node.op not in VIEWS:
                    self.nodes.append(node)
            else:
                stack.append((node, True))
                hidden = node.op == "random_uniform"
                stack.extend((x, False) for x in node.inputs if not hidden)
                if hidden:
                    self.level.update({x: 0 for x in node.inputs})


def is_flat(unit: Unit, nodes: Sequence[Node], outside: Callable[[Node], bool]) -> bool:
    """Whether the space can be walked as one long row."""
    dense = dense_strides(unit.space)
    for node in nodes:
        if node.op in ("random_uniform", "take", "iota") or OPS[node.op].kind == "reduce":
            return False
        if node.shape != unit.space and any(size != 1 for size in node.shape):
            return False
        for x in node.inputs:
            if scalar_value(x) is not None:
                continue
            access = access_of(x)
            if access is None:
                return False
            if outside(access.base) and access.strides != dense and any(stride != 0 for stride in access.strides):
                return False
    return True


def emit_loop(
    module: Module, name: str, unit: Unit, target: Target, materialised: Callable[[Node], bool]
) -> LoopKernel:
    return _Writer(module, name, unit, target, materialised).write()


class _Loop(Evaluator):
    """An evaluator whose reductions and saved values come from loops that have run."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.saved: dict[Node, Value] = {}  # node → its row in scratch
        self.available: set[Node] = set()

    def vector(self, x: Node, place: Place) -> Value:
        if x in self.available and x not in place.values:
            type = scalars.type_of(x.dtype, self.target.lanes)
            if x.dtype == "bool":
                raw = self.f.load(vector("i8", self.target.lanes), self.f.at(self.saved[x], place.column, "i8"))
                place.values[x] = scalars.from_memory(self.f, "bool", raw)
            else:
                place.values[x] = self.f.load(
                    type, self.f.at(self.saved[x], place.column, type.split(" x ")[-1].rstrip(">"))
                )
        return super().vector(x, place)


class _Writer:
    def __init__(
        self, module: Module, name: str, unit: Unit, target: Target, materialised: Callable[[Node], bool]
    ) -> None:
        self.module, self.name, self.unit, self.target = module, name, unit, target
        self.graph = _Graph(unit, materialised)
        self.f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias align 64", "scratch")])
        args, self.task, self.scratch = self.f.parameters
        self.flat = is_flat(unit, self.graph.nodes, self.graph.outside)
        self.e = _Loop(self.f, args, target, unit.space, self.graph.outside)
        self.sums = [root for root in unit.roots if over_rows(root)]
        self.stores = [root for root in unit.roots if not over_rows(root)]

    def write(self) -> LoopKernel:
        if self.flat:
            return self.write_flat()
        f, e, unit = self.f, self.e, self.unit
        columns: Dimension = unit.space[-1] if unit.space else 1
        chunk = max(8, min(MOST_ROWS, TASK_ELEMENTS // max(columns, 1))) if isinstance(columns, int) else 8
        e.declare(self.graph.nodes, self.stores)
        partials = {root: e.slot(Pointer(root, role="partial")) for root in self.sums}
        rows: Value = integer(1)
        for size in unit.space[:-1]:
            rows = f.mul(rows, e.slot(size))
        width = e.slot(columns)
        first = f.mul(self.task, chunk)
        last = f.smin(f.add(first, chunk), rows)
        self.partial = {}
        for root, base in partials.items():
            memory = scalars.MEMORY[root.dtype]
            wide = width if varies(root) else integer(1)
            self.partial[root] = f.at(base, f.mul(self.task, wide), memory)
            self.clear(self.partial[root], wide, memory)
        self.width = width
        saved = self.plan()
        for i, node in enumerate(saved):
            stride = f.mul(f.add(f.mul(f.udiv(f.add(width, 15), 16), 16), 64), 8)
            e.saved[node] = f.at(self.scratch, f.mul(stride, i), "i8")
        f.loop(first, last, 1, self.row)
        f.finish()
        return LoopKernel(self.name, tuple(e.arguments), unit.space, chunk, False, len(saved), tuple(self.sums))

    def clear(self, address: Value, count: Value, memory: str) -> None:
        f = self.f
        f.loop(0, count, 1, lambda i, _: f.store(zero(memory), f.at(address, i, memory)))

    # --- levels -------------------------------------------------------------------------------------------------

    def plan(self) -> list[Node]:
        """Which nodes each level's loop computes, and which of them a later loop reads from scratch."""
        graph = self.graph
        most = max((graph.level[node] for node in graph.nodes), default=0)
        self.targets: list[list[Node]] = [[] for _ in range(most + 1)]
        for node in graph.nodes:
            if OPS[node.op].kind == "reduce" and varies(node.inputs[0]):
                self.targets[graph.level[node.inputs[0]]].append(node)
            elif node in self.unit.roots and varies(node):
                self.targets[graph.level[node]].append(node)
        self.work: list[list[Node]] = []
        computed: dict[Node, int] = {}
        saved: list[Node] = []
        for level, targets in enumerate(self.targets):
            needed: list[Node] = []
            seen: set[Node] = set()
            stack = [x for t in targets for x in (t.inputs if _of_parts(t) else (t,))]
            while stack:
                x = stack.pop()
                while x.op == "broadcast":
                    x = x.inputs[0]
                if (
                    x in seen
                    or not varies(x)
                    or graph.outside(x)
                    or scalar_value(x) is not None
                    or x.op not in OPS
                    or self._view(x)
                ):
                    continue
                seen.add(x)
                if x in computed and not self.cheap(x):
                    if x not in saved:
                        saved.append(x)
                    continue
                needed.append(x)
                stack.extend(x.inputs if x.op not in ("random_uniform", "take") else ())
            for x in needed:
                computed.setdefault(x, level)
            self.work.append(needed)
        self.first_level = computed
        return saved

    def _view(self, x: Node) -> bool:
        return x.op in VIEWS and x.op != "broadcast"

    def cheap(self, x: Node) -> bool:
        """Cheaper to compute again than to keep: one operation on what lies in memory."""
        if x.op == "iota":
            return True
        return (
            OPS[x.op].kind == "elementwise"
            and x.op in ("add", "subtract", "multiply", "negative", "stop_gradient")
            and all(
                scalar_value(y) is not None
                or not varies(y)
                or (y.op == "broadcast" and not varies(y.inputs[0]))
                or self._in_memory(y)
                for y in x.inputs
            )
        )

    def _in_memory(self, y: Node) -> bool:
        access = access_of(y)
        return access is not None and self.graph.outside(access.base)

    def row(self, row: Value, _: list[Value]) -> None:
        e, f = self.e, self.f
        e.begin_row(row)
        e.available = set()
        self.results: dict[Node, Value] = {}
        e.reduced = self.result  # type: ignore[method-assign]
        for level, targets in enumerate(self.targets):
            if targets:
                self.columns(level, targets)
        numbers = {root: e.number(root) for root in self.stores if not varies(root)}
        for root in self.unit.roots:
            if over_rows(root) and not varies(root):
                address = self.partial[root]
                total = f.binary(
                    "fadd" if root.dtype in ("f32", "f64") else "add",
                    f.load(scalars.MEMORY[root.dtype], address),
                    e.number(root.inputs[0]),
                )
                f.store(total, address)
            elif root in numbers:
                scalars.store(f, root.dtype, numbers[root], e.goal(root))

    def result(self, x: Node) -> Value:
        if x not in self.results:
            # a reduction of something that does not vary along the columns it is taken over: one column
            return self.e.number(x.inputs[0])
        return self.results[x]

    def columns(self, level: int, targets: Sequence[Node]) -> None:
        """One loop over the columns of the row: its reductions, its stores, and what later loops read."""
        f, e, lanes = self.f, self.e, self.target.lanes
        work = self.work[level]
        keep = [x for x in e.saved if x in work and self.first_level[x] == level]
        reductions = [t for t in targets if OPS[t.op].kind == "reduce" and not over_rows(t)]
        stores = [t for t in targets if OPS[t.op].kind != "reduce"]
        sums = [t for t in targets if over_rows(t)]
        operands = [*work, *filter(_of_parts, targets)]
        e.prepare(operands)
        for root in stores:
            e.goal(root)
        random = any(x.op == "random_uniform" for x in work)
        unroll = 64 // lanes if random else 4 if len(work) <= 12 else 2
        step = unroll * lanes
        type = {t: scalars.type_of(t.dtype, lanes) for t in reductions}
        identity = [zero(type[t]) if t.op == "sum" else _lowest(t, type[t]) for t in reductions for _ in range(unroll)]

        def position(
            column: Value, mask: Value | None, shift: int | None, place: Place, sum_in: list[Value]
        ) -> list[Value]:
            out = []
            for t, before in zip(reductions, sum_in, strict=True):
                value = e.vector(t.inputs[0], place)
                if mask is not None:
                    value = f.select(mask, value, zero(value.type) if t.op == "sum" else _lowest(t, value.type))
                out.append(_combine(f, t, before, value))
            for t in sums:
                memory = scalars.MEMORY[t.dtype]
                address = f.at(self.partial[t], column, memory)
                old = scalars.load(f, t.dtype, lanes, address, mask)
                scalars.store(f, t.dtype, _combine(f, t, old, e.vector(t.inputs[0], place)), address, mask)
            # all values before the first store: a result may take the memory of what another one reads (donated state)
            for t, values in [(t, [e.vector(x, place) for x in _stored(t)]) for t in stores]:
                at = column
                for value in values:
                    scalars.store(f, t.dtype, value, f.at(e.goal(t), at, scalars.MEMORY[t.dtype]), mask)
                    at = f.add(at, self.width)
            for x in keep:
                value = e.vector(x, place)
                if x.dtype == "bool":
                    value = f.cast("zext", value, vector("i8", lanes))
                f.store(value, f.at(e.saved[x], column, value.element))
            return out

        def main(column: Value, totals: list[Value]) -> list[Value]:
            out: list[list[Value]] = []
            words: dict[tuple[Node, int], list[Value]] = {}
            for u in range(unroll):
                at = f.add(column, u * lanes)
                place = Place(at, None, u * lanes, words=words)
                out.append(
                    position(at, None, u * lanes, place, [totals[i * unroll + u] for i in range(len(reductions))])
                )
            return [out[u][i] for i in range(len(reductions)) for u in range(unroll)]

        def tail(column: Value, totals: list[Value]) -> list[Value]:
            mask = f.below(f.sub(self.width, column), lanes)
            place = Place(column, mask)
            new = position(column, mask, None, place, [totals[i * unroll] for i in range(len(reductions))])
            return [new[i] if u == 0 else totals[i * unroll + u] for i in range(len(reductions)) for u in range(unroll)]

        columns = self.unit.space[-1]
        known = isinstance(columns, int)
        full = f.sub(self.width, f.urem(self.width, step))
        totals = identity
        if not known or columns >= step:  # type: ignore[operator]
            totals = f.loop(0, full, step, main, totals)
        if not known or columns % step:  # type: ignore[operator]
            totals = f.loop(full, self.width, lanes, tail, totals)
        for i, t in enumerate(reductions):
            parts = totals[i * unroll : (i + 1) * unroll]
            while len(parts) > 1:
                parts = [_combine(f, t, parts[j], parts[j + 1]) for j in range(0, len(parts), 2)]
            self.results[t] = f.tree(lambda a, b, t=t: _combine(f, t, a, b), parts[0])  # type: ignore[misc]
        e.available |= set(keep)

    # --- one long row -------------------------------------------------------------------------------------------

    def write_flat(self) -> LoopKernel:
        f, e, lanes = self.f, self.e, self.target.lanes
        e.declare(self.graph.nodes, self.stores)
        total: Value = integer(1)
        for size in self.unit.space:
            total = f.mul(total, e.slot(size))
        first = f.mul(self.task, FLAT_CHUNK)
        last = f.smin(f.add(first, FLAT_CHUNK), total)
        flat = _Flat(e, self.graph.outside)
        flat.prepare(self.graph.nodes, self.stores)
        unroll = 2 if len(self.graph.nodes) > 8 else 4

        def main(column: Value, _: list[Value]) -> None:
            for u in range(unroll):
                flat.store(self.stores, f.add(column, u * lanes), None)

        def tail(column: Value, _: list[Value]) -> None:
            flat.store(self.stores, column, f.below(f.sub(last, column), lanes))

        count = f.sub(last, first)
        full = f.add(first, f.sub(count, f.urem(count, unroll * lanes)))
        f.loop(first, full, unroll * lanes, main)
        f.loop(full, last, lanes, tail)
        f.finish()
        return LoopKernel(self.name, tuple(e.arguments), self.unit.space, FLAT_CHUNK, True, 0, ())


class _Flat:
    """Evaluation where every tensor is either dense over the whole space or one number."""

    def __init__(self, e: Evaluator, outside: Callable[[Node], bool]) -> None:
        self.e, self.f, self.outside = e, e.f, outside
        self.numbers: dict[Node, Value] = {}

    def _access(self, x: Node) -> tuple[Pointer, bool] | None:
        access = access_of(x)
        if access is None or not self.outside(access.base):
            return None
        return Pointer(access.base, access.offset), all(stride == 0 for stride in access.strides)

    def prepare(self, nodes: Sequence[Node], stores: Sequence[Node]) -> None:
        """Numbers are loaded once a task. A space of a single element counts as dense."""
        single = all(size == 1 for size in self.e.space)
        for node in nodes:
            for x in node.inputs:
                found = self._access(x) if scalar_value(x) is None else None
                if found is not None and found[1] and not single and x not in self.numbers:
                    self.numbers[x] = scalars.load(self.f, x.dtype, 0, self.e.slot(found[0]))

    def value(self, x: Node, place: Place) -> Value:
        f, lanes = self.f, self.e.target.lanes
        constant = scalar_value(x)
        if constant is not None:
            return scalars.constant(constant, x.dtype, lanes)
        if x not in place.values:
            found = self._access(x)
            if x in self.numbers:
                place.values[x] = f.splat(self.numbers[x], lanes)
            elif found is not None:
                address = f.at(self.e.slot(found[0]), place.column, scalars.MEMORY[x.dtype])
                place.values[x] = scalars.load(f, x.dtype, lanes, address, place.mask)
            elif x.op == "broadcast":
                place.values[x] = self.value(x.inputs[0], place)
            else:
                place.values[x] = scalars.SCALARS[x.op](f, [self.value(y, place) for y in x.inputs], x)
        return place.values[x]

    def store(self, roots: Sequence[Node], column: Value, mask: Value | None) -> None:
        place = Place(column, mask)
        values = [self.value(root, place) for root in roots]
        for root, value in zip(roots, values, strict=True):
            address = self.f.at(self.e.slot(Pointer(root)), column, scalars.MEMORY[root.dtype])
            scalars.store(self.f, root.dtype, value, address, mask)


def _lowest(t: Node, type: str) -> Value:
    """What a maximum begins with."""
    if t.dtype in FLOATS:
        return number(float("-inf"), type)
    return whole(-(2**31), type) if t.dtype == "i32" else zero(type)


def _combine(f: Function, t: Node, a: Value, b: Value) -> Value:
    if t.op == "sum":
        return f.binary("fadd" if a.element in ("float", "double") else "add", a, b)
    return scalars.SCALARS["maximum"](f, [a, b], t)


FINISH_COLUMNS = 256


def emit_finish(module: Module, name: str, count: int, target: Target, element: str = "float") -> None:
    """Adds up partial sums [parts, columns] of `count` tensors: slots are the partials, the results, parts, columns.

    A task owns 256 columns. The order is that of the parts.
    """
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    pointers = [f.load("ptr", f.at(args, i, "i64")) for i in range(2 * count)]
    parts, columns = (f.load("i64", f.at(args, 2 * count + i, "i64")) for i in range(2))
    first = f.mul(task, FINISH_COLUMNS)
    last = f.smin(f.add(first, FINISH_COLUMNS), columns)
    type = vector(element, target.lanes)
    plus = "fadd" if element in ("float", "double") else "add"

    def body(column: Value, _: list[Value]) -> None:
        mask = f.below(f.sub(last, column), target.lanes)

        def part(p: Value, totals: list[Value]) -> list[Value]:
            offset = f.add(f.mul(p, columns), column)
            return [
                f.binary(plus, total, f.masked_load(type, f.at(base, offset, element), mask))
                for total, base in zip(totals, pointers[:count], strict=True)
            ]

        for total, out in zip(f.loop(0, parts, 1, part, [zero(type)] * count), pointers[count:], strict=True):
            f.masked_store(total, f.at(out, column, element), mask)

    f.loop(first, last, target.lanes, body)
    f.finish()
