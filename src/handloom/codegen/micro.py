"""The micro-kernel of matrix products: one tile of A times one panel of B, accumulators in registers.

While it multiplies it asks for cache lines that are needed soon; that is what brings products near the ceiling.
"""

from __future__ import annotations

from handloom.codegen import pack
from handloom.codegen.blocking import ceil_div
from handloom.codegen.emit import SIZES, Function, Module, Value, integer, vector, zero
from handloom.codegen.target import TILE, Target

LINE = 16
"""Groups in a cache line, and the groups between two looks ahead."""


def prefetch(f: Function, address: Value, *, write: bool) -> None:
    """Asks for a cache line: to be read soon from the second cache, or to be written from the first."""
    level = 3 if write else 2
    f.call("llvm.prefetch.p0", "void", address, integer(int(write), "i32"), integer(level, "i32"), integer(1, "i32"))


def multiply_add(f: Function, target: Target, x: Value, y: Value, z: Value) -> Value:
    """x · y + z, rounded once, or twice where the processor has no such instruction (a library call otherwise)."""
    return f.fma(x, y, z) if target.fma else f.binary("fadd", f.binary("fmul", x, y), z)


def row_variants(target: Target) -> tuple[int, ...]:
    """Row counts that micro-kernels exist for; a tile with fewer rows takes the next larger one."""
    rows = target.rows
    if target.amx:
        return (TILE, rows)
    return tuple(sorted({rows, ceil_div(rows * 4, 7), ceil_div(rows * 2, 7), 1}))


def multiply_add_groups(f: Function, layout: pack.Layout, x: Value, y: Value, z: Value) -> Value:
    """Groups of x times groups of y, added to z (f32). Of two k's the second is added first, everywhere."""
    target = layout.target
    if layout.group == 1:
        return multiply_add(f, target, x, y, z)
    if target.bf16_dot:
        pairs = vector("bfloat", 2 * target.lanes)
        given = [f.cast("bitcast", operand, pairs) for operand in (x, y)]
        return f.call("llvm.x86.avx512bf16.dpbf16ps.512", z.type, z, *given)
    for left, right in zip(pack.halves(f, x), pack.halves(f, y), strict=True):
        z = multiply_add(f, target, left, right, z)
    return z


ACROSS = 4
"""Panels that one row is multiplied with at once: a single panel's few chains of sums would wait for each other, while
one row, new words one at a time, should take no longer than memory takes to give the panels."""
UNROLLED = 4


def row_kernel(module: Module, layout: pack.Layout) -> str:
    """void (row of A, panels of B, elements from one to the next, depth, cells, elements from one to the next, first):
    the first row of ACROSS cells (+)= A · B, in the order of k."""
    target = layout.target
    lanes, vectors, element = target.lanes, range(target.vectors), layout.panel_element
    type = vector("float", lanes)

    def body(f: Function) -> None:
        a, b, panel_step, depth, cells, cell_step, first = f.parameters
        starts = [f.at(cells, f.mul(cell_step, i), "float") for i in range(ACROSS)]
        places = [f.at(start, j * lanes, "float") for start in starts for j in vectors]
        sums = f.when(
            f.compare("icmp ne", first, integer(0)),
            lambda: [zero(type)] * len(places),
            lambda: [f.load(type, place, 4 * lanes) for place in places],
        )
        panels = [f.at(b, f.mul(panel_step, i), element) for i in range(ACROSS)]

        def step(k: Value, sums: list[Value]) -> list[Value]:
            x = f.splat(f.load(layout.packed, f.at(a, k, "float"), SIZES[layout.a_element]), lanes)
            at = f.mul(k, target.columns)
            rows = [f.at(panel, at, element) for panel in panels]
            right = [pack.stored_groups(f, layout, f.at(row, j * lanes, element)) for row in rows for j in vectors]
            return [multiply_add_groups(f, layout, x, y, z) for y, z in zip(right, sums, strict=True)]

        def several(k: Value, sums: list[Value]) -> list[Value]:
            for i in range(UNROLLED):
                sums = step(f.add(k, i), sums)
            return sums

        whole = f.mul(f.udiv(depth, UNROLLED), UNROLLED)
        sums = f.loop(0, whole, UNROLLED, several, sums, unroll=False)
        sums = f.loop(whole, depth, 1, step, sums, unroll=False)
        for place, total in zip(places, sums, strict=True):
            f.store(total, place, 4 * lanes)

    parameters = [("ptr noalias", "a"), ("ptr noalias align 64", "b"), ("i64", "panel.step"), ("i64", "depth")]
    parameters += [("ptr noalias align 64", "cells"), ("i64", "cell.step"), ("i64", "first")]
    return pack.shared(module, layout.name("product.row"), parameters, body)


PARAMETERS = [
    *(("ptr noalias", "a"), ("i64", "stride"), ("ptr noalias align 64", "b"), ("i64", "depth")),
    *(("ptr noalias align 64", "cell"), ("i64", "first")),
    *(("ptr", "ahead"), ("i64", "ahead.stride"), ("i64", "ahead.step"), ("i64", "ahead.other")),
    *(("ptr", "out"), ("i64", "out.stride")),
]
"""Of every micro-kernel: what it multiplies, and what `look_ahead` asks for."""


def look_ahead(f: Function, layout: pack.Layout, at: Value, place: Value) -> list[Value]:
    """Asks for LINE cache lines from `at` on and for a row of the output at `place`; gives where both go on."""
    _, stride, step, other, _, out_stride = f.parameters[6:]
    following = [f.at(at, step, "i8"), f.at(place, out_stride, "i8")]
    for _ in range(LINE):
        prefetch(f, at, write=False)
        if layout.group == 2:
            prefetch(f, f.at(at, other, "i8"), write=False)
        at = f.at(at, stride, "i8")
    for line in range(0, layout.target.columns, LINE):
        prefetch(f, f.at(place, line, "float"), write=True)
    return following


def micro_kernel(module: Module, layout: pack.Layout, rows: int) -> str:
    """void (tile of A, stride in bytes, panel of B, depth, cell, first, …): cell[rows, columns] (+)= A · B, in the
    order of k."""
    target = layout.target
    lanes, vectors = target.lanes, range(target.vectors)
    type, groups = vector("float", lanes), vector(layout.packed, lanes)

    def body(f: Function) -> None:
        a, stride, b, depth, cell, first, ahead, *_, out, _ = f.parameters
        places = [f.at(cell, i * target.columns + j * lanes, "float") for i in range(rows) for j in vectors]
        starts = f.when(
            f.compare("icmp ne", first, integer(0)),
            lambda: [zero(type)] * len(places),
            lambda: [f.load(type, place, 4 * lanes) for place in places],
        )

        def left(k: Value, i: int) -> Value:
            """The group of row i, in all lanes."""
            if layout.transpose_a:
                address = f.at(f.at(a, f.mul(k, stride), "i8"), i, "float")
            else:
                address = f.at(f.at(a, k, "float"), f.mul(stride, i), "i8")
            return f.splat(f.load(layout.packed, address, SIZES[layout.a_element]), lanes)

        def step(k: Value, sums: list[Value]) -> list[Value]:
            panel = f.at(b, f.mul(k, target.columns), "float")
            right = [f.load(groups, f.at(panel, j * lanes, "float"), 4 * lanes) for j in vectors]
            out: list[Value] = []
            for i in range(rows):
                x = left(k, i)
                out += [multiply_add_groups(f, layout, x, right[j], sums[i * len(vectors) + j]) for j in vectors]
            return out

        def stretch(start: Value, carried: list[Value]) -> list[Value]:
            """LINE groups, and as many cache lines asked for ahead, and a row of the output."""
            at, place, *sums = carried
            following = look_ahead(f, layout, at, place)
            stop = f.smin(depth, f.add(start, LINE))
            return [*following, *f.loop(start, stop, 1, step, sums, nonempty=True, unroll=False)]

        _, _, *totals = f.loop(0, depth, LINE, stretch, [ahead, out, *starts], nonempty=True, unroll=False)
        for place, total in zip(places, totals, strict=True):
            f.store(total, place, 4 * lanes)

    form = "transposed" if layout.transpose_a else "rows"
    return pack.shared(module, layout.name(f"product.{form}.{rows}"), PARAMETERS, body)
