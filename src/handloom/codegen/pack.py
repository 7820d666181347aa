"""Operands of a matrix product, packed into a thread's scratch: panels of B, tiles of A, and sums over k.

Each is one internal function of the module, shared by all products in it. What is packed is padded (rows and columns
beyond the matrix hold anything), so the micro-kernel has no tails; nothing outside the matrices is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handloom.codegen.blocking import ceil_div
from handloom.codegen.emit import Function, Module, Value, integer, vector, zero
from handloom.codegen.target import Target

SCALAR = "float"


@dataclass(frozen=True)
class Layout:
    """Where packed operands lie, in elements. `depth` is the most k's of a block, a multiple of 16.

    Panels of B: [panel][k][column]. A as rows: [row][k]; A transposed: [k][row].
    """

    target: Target
    depth: int
    transpose_a: bool

    @property
    def panel(self) -> int:
        """From one packed panel to the next; one more row, so that panels do not share the sets of a cache."""
        return (self.depth + 1) * self.target.columns

    @property
    def a_vectors(self) -> int:
        """Vectors that hold one k of a tile of transposed A."""
        return ceil_div(self.target.rows, self.target.lanes)

    @property
    def a_row(self) -> int:
        return 1 if self.transpose_a else self.depth + 16

    @property
    def a_depth(self) -> int:
        return self.a_vectors * self.target.lanes if self.transpose_a else 1

    @property
    def copied_stride(self) -> int:
        """From row to row of a copied tile; of transposed A, from k to k."""
        return self.a_depth if self.transpose_a else self.a_row

    @property
    def tile(self) -> int:
        """Elements of a copied tile of A."""
        return self.depth * self.a_depth if self.transpose_a else self.target.rows * self.a_row


def shared(module: Module, name: str, parameters: list[tuple[str, str]], body: Callable[[Function], None]) -> str:
    """Writes an internal function once a module; gives its name."""
    if not any(f" @{name}(" in text.split("\n", 1)[0] for text in module.functions):
        f = Function(module, name, parameters, attributes='noinline nounwind "no-builtins"', linkage="internal")
        body(f)
        f.finish()
    return name


def call(f: Function, name: str, *arguments: Value) -> None:
    """A call of a function that this module defines, or of a pointer to one ("%v3")."""
    callee = name if name.startswith("%") else "@" + name
    f.line(f"call void {callee}({', '.join(str(a) for a in arguments)})")


def pack_panels(module: Module, layout: Layout) -> str:
    """void (B, row stride, depth, columns, panels, to): B[k, n] at its block's corner, rows of n, into panels."""
    target = layout.target
    lanes, vectors, columns = target.lanes, target.vectors, target.columns
    type = vector(SCALAR, lanes)

    def body(f: Function) -> None:
        b, stride, depth, width, panels, to = f.parameters
        full = f.smin(panels, f.udiv(width, columns))

        def copy(k: Value, panel: Value, masks: list[Value | None]) -> None:
            source = f.at(b, f.add(f.mul(k, stride), f.mul(panel, columns)), SCALAR)
            place = f.at(to, f.add(f.mul(panel, layout.panel), f.mul(k, columns)), SCALAR)
            for j, mask in enumerate(masks):
                address = f.at(source, j * lanes, SCALAR)
                value = f.masked_load(type, address, mask) if mask else f.load(type, address)
                f.store(value, f.at(place, j * lanes, SCALAR))

        def row(k: Value, _: list[Value]) -> None:
            f.loop(0, full, 1, lambda panel, _: copy(k, panel, [None] * vectors), unroll=False)

        f.loop(0, depth, 1, row, nonempty=True, unroll=False)

        def last() -> None:
            left = f.sub(width, f.mul(full, columns))
            masks: list[Value | None] = [f.below(f.sub(left, j * lanes), lanes) for j in range(vectors)]
            f.loop(0, depth, 1, lambda k, _: copy(k, full, masks), nonempty=True, unroll=False)

        f.when(f.compare("icmp slt", full, panels), last)

    names = ["stride", "depth", "columns", "panels"]
    parameters = [("ptr noalias", "b"), *(("i64", name) for name in names), ("ptr noalias align 64", "to")]
    return shared(module, f"pack.panels.{lanes}x{vectors}.{layout.depth}", parameters, body)


def pack_panels_transposed(module: Module, layout: Layout) -> str:
    """void (B, row stride, depth, columns, panels, to): B[n, k], rows of k, turned into panels in registers."""
    target = layout.target
    lanes, vectors, columns = target.lanes, target.vectors, target.columns
    type = vector(SCALAR, lanes)

    def body(f: Function) -> None:
        b, stride, depth, width, panels, to = f.parameters
        whole = f.mul(f.udiv(depth, lanes), lanes)
        left = f.below(f.sub(depth, whole), lanes)
        starts = f.op(f"alloca [{lanes} x ptr], align 8", "ptr")

        def strip(number: Value, _: list[Value]) -> None:
            first = f.smin(f.mul(number, lanes), f.sub(width, 1))
            rows = f.sub(width, first)
            place = f.at(to, f.mul(f.udiv(number, vectors), layout.panel), SCALAR)
            place = f.at(place, f.mul(f.urem(number, vectors), lanes), SCALAR)
            at = f.at(b, f.mul(first, stride), SCALAR)
            for i in range(lanes):
                f.store(at, f.at(starts, i, "ptr"))
                more = f.compare("icmp sgt", rows, integer(i + 1))  # a row beyond the last repeats the last
                at = f.at(at, f.select(more, stride, integer(0)), SCALAR)

            def square(k: Value, mask: Value | None) -> None:
                # volatile: LLVM takes longer than for all else to find out how best to step so many pointers
                rows = [f.op(f"load volatile ptr, {f.at(starts, i, 'ptr')}, align 8", "ptr") for i in range(lanes)]
                addresses = [f.at(row, k, SCALAR) for row in rows]
                values = [f.masked_load(type, p, mask) if mask else f.load(type, p) for p in addresses]
                for i, value in enumerate(transposed(f, values)):
                    f.store(value, f.at(place, f.mul(f.add(k, i), columns), SCALAR))

            if lanes >= 8:  # masks cost nothing
                f.loop(0, depth, lanes, lambda k, _: square(k, f.below(f.sub(depth, k), lanes)), unroll=False)
            else:
                f.loop(0, whole, lanes, lambda k, _: square(k, None), unroll=False)
                f.when(f.compare("icmp slt", whole, depth), lambda: square(whole, left))

        f.loop(0, f.mul(panels, vectors), 1, strip, nonempty=True, unroll=False)

    names = ["stride", "depth", "columns", "panels"]
    parameters = [("ptr noalias", "b"), *(("i64", name) for name in names), ("ptr noalias align 64", "to")]
    return shared(module, f"pack.panels.transposed.{lanes}x{vectors}.{layout.depth}", parameters, body)


def pack_rows(module: Module, layout: Layout) -> str:
    """void (A, row stride, depth, rows, to): rows of a tile of A[m, k], copied to [row][k]."""
    lanes = layout.target.lanes
    type = vector(SCALAR, lanes)

    def body(f: Function) -> None:
        a, stride, depth, rows, to = f.parameters
        whole = f.mul(f.udiv(depth, lanes), lanes)
        left = f.below(f.sub(depth, whole), lanes)

        def row(i: Value, _: list[Value]) -> None:
            source = f.at(a, f.mul(i, stride), SCALAR)
            place = f.at(to, f.mul(i, layout.a_row), SCALAR)

            def copy(k: Value, mask: Value | None) -> None:
                address = f.at(source, k, SCALAR)
                value = f.masked_load(type, address, mask) if mask else f.load(type, address)
                f.store(value, f.at(place, k, SCALAR))

            f.loop(0, whole, lanes, lambda k, _: copy(k, None), unroll=False)
            f.when(f.compare("icmp slt", whole, depth), lambda: copy(whole, left))

        f.loop(0, rows, 1, row, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "a"), *(("i64", name) for name in ("stride", "depth", "rows"))]
    parameters += [("ptr noalias align 64", "to")]
    return shared(module, f"pack.rows.{layout.target.rows}.{layout.depth}", parameters, body)


def pack_rows_transposed(module: Module, layout: Layout) -> str:
    """void (A, row stride, depth, rows, to): a tile of A[k, m], copied to [k][row]."""
    lanes, vectors = layout.target.lanes, range(layout.a_vectors)
    type = vector(SCALAR, lanes)

    def body(f: Function) -> None:
        a, stride, depth, rows, to = f.parameters
        masks = [f.below(f.sub(rows, j * lanes), lanes) for j in vectors]

        def row(k: Value, _: list[Value]) -> None:
            source = f.at(a, f.mul(k, stride), SCALAR)
            place = f.at(to, f.mul(k, layout.a_depth), SCALAR)
            for j, mask in enumerate(masks):
                value = f.masked_load(type, f.at(source, j * lanes, SCALAR), mask)
                f.store(value, f.at(place, j * lanes, SCALAR))

        f.loop(0, depth, 1, row, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "a"), *(("i64", name) for name in ("stride", "depth", "rows"))]
    parameters += [("ptr noalias align 64", "to")]
    return shared(module, f"pack.rows.transposed.{layout.target.rows}.{layout.depth}", parameters, body)


def reach(layout: Layout) -> int:
    """Rows of A that have to exist for a tile to be read where it lies."""
    return max(layout.target.rows, layout.a_vectors * layout.target.lanes) if layout.transpose_a else layout.target.rows


def sum_rows(module: Module, layout: Layout) -> str:
    """void (tile, stride, depth, sums, first): sums[row] (+)= the tile's k's one after the other, in the order of k."""
    target = layout.target
    lanes, vectors = target.lanes, layout.a_vectors

    def body(f: Function) -> None:
        tile, row_stride, depth, sums, first = f.parameters
        type, parts = (vector(SCALAR, lanes), vectors) if layout.transpose_a else (SCALAR, target.rows)
        step = lanes if layout.transpose_a else 1
        places = [f.at(sums, i * step, SCALAR) for i in range(parts)]
        starts = f.when(
            f.compare("icmp ne", first, integer(0)),
            lambda: [zero(type)] * parts,
            lambda: [f.load(type, place) for place in places],
        )

        def add(k: Value, carried: list[Value]) -> list[Value]:
            if layout.transpose_a:
                places = [f.at(f.at(tile, f.mul(k, row_stride), SCALAR), i * lanes, SCALAR) for i in range(parts)]
            else:
                places = [f.at(f.at(tile, k, SCALAR), f.mul(row_stride, i), SCALAR) for i in range(parts)]
            loads = [f.load(type, place) for place in places]
            return [f.binary("fadd", total, value) for total, value in zip(carried, loads, strict=True)]

        for place, total in zip(places, f.loop(0, depth, 1, add, starts, nonempty=True, unroll=False), strict=True):
            f.store(total, place)

    parameters = [("ptr noalias", "tile"), ("i64", "stride"), ("i64", "depth")]
    parameters += [("ptr noalias", "sums"), ("i64", "first")]
    form = "transposed" if layout.transpose_a else "rows"
    return shared(module, f"pack.sums.{form}.{target.rows}.{layout.depth}", parameters, body)


def transposed(f: Function, rows: list[Value]) -> list[Value]:
    """A square of 4, 8 or 16 vectors turned in registers: first within groups of four lanes, then the groups."""
    lanes = rows[0].lanes
    fours = range(0, lanes, 4)

    def pair(x: Value, y: Value, picks: tuple[int, int, int, int]) -> Value:
        """Four picks from x (0–3) and y (4–7), the same in every group of four lanes."""
        return f.shuffle(x, y, [base + (p if p < 4 else p - 4 + lanes) for base in fours for p in picks])

    low, high, left, right = (0, 4, 1, 5), (2, 6, 3, 7), (0, 1, 4, 5), (2, 3, 6, 7)
    groups: list[Value] = []
    for i in fours:
        a, b, c, d = rows[i : i + 4]
        ab, cd, ab2, cd2 = pair(a, b, low), pair(c, d, low), pair(a, b, high), pair(c, d, high)
        groups += [pair(ab, cd, left), pair(ab, cd, right), pair(ab2, cd2, left), pair(ab2, cd2, right)]
    step = 4
    while step < lanes:  # exchange blocks of `step` lanes between vectors `step` apart
        out = list(groups)
        even = [block + i for block in range(0, lanes, 2 * step) for i in range(step)]
        odd = [e + step for e in even]
        for i in range(lanes):
            if not i & step:
                x, y = groups[i], groups[i + step]
                out[i] = f.shuffle(x, y, _merge(even, [lanes + e for e in even], step))
                out[i + step] = f.shuffle(x, y, _merge(odd, [lanes + e for e in odd], step))
        groups, step = out, 2 * step
    return groups


def _merge(first: list[int], second: list[int], step: int) -> list[int]:
    """Blocks of `step` from one list and the other in turn."""
    return [e for at in range(0, len(first), step) for part in (first, second) for e in part[at : at + step]]
