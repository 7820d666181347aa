"""The micro-kernel of matrix products: one tile of A times one panel of B, accumulators in registers.

While it multiplies it asks for cache lines that are needed soon; that is what brings products near the ceiling.
"""

from __future__ import annotations

from handloom.codegen import pack
from handloom.codegen.blocking import ceil_div
from handloom.codegen.emit import Function, Module, Value, integer, vector, zero
from handloom.codegen.target import Target

LINE = 16
"""f32 in a cache line, and the k's between two looks ahead."""


def prefetch(f: Function, address: Value, *, write: bool) -> None:
    """Asks for a cache line: to be read soon from the second cache, or to be written from the first."""
    level = 3 if write else 2
    f.call("llvm.prefetch.p0", "void", address, integer(int(write), "i32"), integer(level, "i32"), integer(1, "i32"))


def multiply_add(f: Function, target: Target, x: Value, y: Value, z: Value) -> Value:
    """x · y + z, rounded once, or twice where the processor has no such instruction (a library call otherwise)."""
    return f.binary("fadd", f.binary("fmul", x, y), z) if target.name == "sse2" else f.fma(x, y, z)


def row_variants(target: Target) -> tuple[int, ...]:
    """Row counts that micro-kernels exist for; a tile with fewer rows takes the next larger one."""
    rows = target.rows
    return tuple(sorted({rows, ceil_div(rows * 4, 7), ceil_div(rows * 2, 7), 1}))


def micro_kernel(module: Module, layout: pack.Layout, rows: int) -> str:
    """void (tile of A, panel of B, depth, cell, first): cell[rows, columns] (+)= A · B, in the order of k."""
    target = layout.target
    lanes, vectors = target.lanes, range(target.vectors)
    type = vector("float", lanes)

    def body(f: Function) -> None:
        a, stride, b, depth, cell, first, ahead, ahead_stride, ahead_step, out, out_stride = f.parameters
        a_row, a_depth = (integer(1), stride) if layout.transpose_a else (stride, integer(1))
        places = [f.at(cell, i * target.columns + j * lanes, "float") for i in range(rows) for j in vectors]
        starts = f.when(
            f.compare("icmp ne", first, integer(0)),
            lambda: [zero(type)] * len(places),
            lambda: [f.load(type, place, 4 * lanes) for place in places],
        )

        def step(k: Value, sums: list[Value]) -> list[Value]:
            panel = f.at(b, f.mul(k, target.columns), "float")
            right = [f.load(type, f.at(panel, j * lanes, "float"), 4 * lanes) for j in vectors]
            column = f.at(a, f.mul(k, a_depth), "float")
            out: list[Value] = []
            for i in range(rows):
                left = f.splat(f.load("float", f.at(column, f.mul(a_row, i), "float")), lanes)
                out += [multiply_add(f, target, left, right[j], sums[i * len(vectors) + j]) for j in vectors]
            return out

        def stretch(start: Value, carried: list[Value]) -> list[Value]:
            """LINE k's, and as many cache lines asked for ahead, and a row of the output."""
            at, place, *sums = carried
            following = [f.at(at, ahead_step, "float"), f.at(place, out_stride, "i8")]
            for _ in range(LINE):
                prefetch(f, at, write=False)
                at = f.at(at, ahead_stride, "float")
            for line in range(0, target.columns, LINE):
                prefetch(f, f.at(place, line, "float"), write=True)
            stop = f.smin(depth, f.add(start, LINE))
            return [*following, *f.loop(start, stop, 1, step, sums, nonempty=True, unroll=False)]

        _, _, *totals = f.loop(0, depth, LINE, stretch, [ahead, out, *starts], nonempty=True, unroll=False)
        for place, total in zip(places, totals, strict=True):
            f.store(total, place, 4 * lanes)

    parameters = [("ptr noalias", "a"), ("i64", "stride"), ("ptr noalias align 64", "b"), ("i64", "depth")]
    parameters += [("ptr noalias align 64", "cell"), ("i64", "first")]
    parameters += [("ptr", "ahead"), ("i64", "ahead.stride"), ("i64", "ahead.step")]
    parameters += [("ptr", "out"), ("i64", "out.stride")]
    form = "transposed" if layout.transpose_a else "rows"
    return pack.shared(module, f"product.{form}.{rows}x{target.vectors}x{lanes}.{layout.depth}", parameters, body)
