"""Kernels that move values: strided copies, zeros, and the sums of rows by number."""

from __future__ import annotations

from handloom.codegen.emit import SIZES, Function, Module, Value, integer, vector, whole, zero
from handloom.codegen.target import Target

COPY_ROWS = 64
SCATTER_PARTS = 64


def emit_copy(module: Module, name: str, element: str, rank: int) -> None:
    """to[i, j, …] = from[i, j, …], both strided. Slots: from, to, the sizes, from's strides, to's strides.

    A task owns 64 rows (all axes but the last).
    """
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    source, goal = (f.load("ptr", f.at(args, i, "i64")) for i in range(2))
    numbers = [f.load("i64", f.at(args, 2 + i, "i64")) for i in range(3 * rank)]
    sizes, from_strides, to_strides = numbers[:rank], numbers[rank : 2 * rank], numbers[2 * rank :]
    rows: Value = integer(1)
    for size in sizes[:-1]:
        rows = f.mul(rows, size)
    first = f.mul(task, COPY_ROWS)
    last = f.smin(f.add(first, COPY_ROWS), rows)
    one = integer(1)
    unit = f.binary("and", f.compare("icmp eq", from_strides[-1], one), f.compare("icmp eq", to_strides[-1], one))

    def row(number: Value, _: list[Value]) -> None:
        left, here, there = number, source, goal
        for axis in range(rank - 2, -1, -1):
            index, left = f.urem(left, sizes[axis]), f.udiv(left, sizes[axis])
            here = f.at(here, f.mul(index, from_strides[axis]), element)
            there = f.at(there, f.mul(index, to_strides[axis]), element)

        def together() -> None:
            f.call("llvm.memcpy.p0.p0.i64", "void", there, here, f.mul(sizes[-1], SIZES[element]), whole(0, "i1"))

        def scalars() -> None:
            def body(column: Value, _: list[Value]) -> None:
                value = f.load(element, f.at(here, f.mul(column, from_strides[-1]), element))
                f.store(value, f.at(there, f.mul(column, to_strides[-1]), element))

            f.loop(0, sizes[-1], 1, body)

        f.when(unit, together, scalars)

    f.loop(first, last, 1, row)
    f.finish()


ZERO_BYTES = 1 << 18


def emit_zero(module: Module, name: str, target: Target) -> None:
    """Zeros. Slots: address, bytes. A task owns 256 KiB."""
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    base, count = f.load("ptr", f.at(args, 0, "i64")), f.load("i64", f.at(args, 1, "i64"))
    first = f.mul(task, ZERO_BYTES)
    length = f.smin(f.sub(count, first), ZERO_BYTES)
    f.call("llvm.memset.p0.i64", "void", f.at(base, first, "i8"), whole(0, "i8"), length, whole(0, "i1"))
    f.finish()


def emit_scatter_add(module: Module, name: str, target: Target) -> None:
    """out[ids[i]] += updates[i] over zeros, f32. Slots: ids, updates, out, number of ids, columns, rows.

    A task owns a 64th of the rows: it clears them, then looks through all ids in their order, so that every row has one
    owner and one order of additions for any number of threads. Row numbers outside of the table are passed over.
    """
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    ids, updates, out = (f.load("ptr", f.at(args, i, "i64")) for i in range(3))
    count, columns, rows = (f.load("i64", f.at(args, 3 + i, "i64")) for i in range(3))
    share = f.udiv(f.add(rows, SCATTER_PARTS - 1), SCATTER_PARTS)
    first = f.smin(f.mul(task, share), rows)
    last = f.smin(f.add(first, share), rows)
    size = f.mul(f.mul(f.sub(last, first), columns), 4)
    f.call(
        "llvm.memset.p0.i64", "void", f.at(out, f.mul(first, columns), "float"), whole(0, "i8"), size, whole(0, "i1")
    )
    type = vector("float", target.lanes)

    def each(i: Value, _: list[Value]) -> None:
        row = f.cast("sext", f.load("i32", f.at(ids, i, "i32")), "i64")
        mine = f.binary("and", f.compare("icmp sge", row, first), f.compare("icmp slt", row, last))

        def add() -> None:
            here, there = f.at(updates, f.mul(i, columns), "float"), f.at(out, f.mul(row, columns), "float")

            def body(column: Value, _: list[Value]) -> None:
                mask = f.below(f.sub(columns, column), target.lanes)
                total = f.binary(
                    "fadd",
                    f.masked_load(type, f.at(there, column, "float"), mask),
                    f.masked_load(type, f.at(here, column, "float"), mask),
                )
                f.masked_store(total, f.at(there, column, "float"), mask)

            f.loop(0, columns, target.lanes, body)

        f.when(mine, add)

    f.loop(0, count, 1, each)
    f.finish()


PUT_ROWS = 64


def emit_put(module: Module, name: str) -> None:
    """out[ids[i]] = rows[i]. Slots: ids, rows, out, number of ids, bytes of a row, rows of out.

    A task owns 64 ids. Row numbers outside of the table are passed over.
    """
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    ids, given, out = (f.load("ptr", f.at(args, i, "i64")) for i in range(3))
    count, size, rows = (f.load("i64", f.at(args, 3 + i, "i64")) for i in range(3))
    first = f.mul(task, PUT_ROWS)

    def each(i: Value, _: list[Value]) -> None:
        row = f.cast("sext", f.load("i32", f.at(ids, i, "i32")), "i64")
        there = f.binary("and", f.compare("icmp sge", row, integer(0)), f.compare("icmp slt", row, rows))
        here, goal = f.at(given, f.mul(i, size), "i8"), f.at(out, f.mul(row, size), "i8")

        def copy() -> None:
            f.call("llvm.memcpy.p0.p0.i64", "void", goal, here, size, whole(0, "i1"))

        f.when(there, copy)

    f.loop(first, f.smin(f.add(first, PUT_ROWS), count), 1, each, unroll=False)
    f.finish()


def emit_places(module: Module, name: str, target: Target) -> None:
    """out[row] = the first i with ids[i] = row, or how many ids there are; i32. Slots: ids, out, number of ids, rows.

    One task: a table is a few hundred KB at most. Row numbers outside of it are passed over.
    """
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, _, _ = f.parameters
    ids, out = (f.load("ptr", f.at(args, i, "i64")) for i in range(2))
    count, rows = (f.load("i64", f.at(args, 2 + i, "i64")) for i in range(2))
    nowhere = f.splat(f.cast("trunc", count, "i32"), target.lanes)

    def clear(i: Value, _: list[Value]) -> None:
        f.masked_store(nowhere, f.at(out, i, "i32"), f.below(f.sub(rows, i), target.lanes))

    def each(i: Value, _: list[Value]) -> None:
        place = f.sub(f.sub(count, 1), i)  # from the last to the first, which stays
        row = f.cast("sext", f.load("i32", f.at(ids, place, "i32")), "i64")
        there = f.binary("and", f.compare("icmp sge", row, integer(0)), f.compare("icmp slt", row, rows))
        f.when(there, lambda: f.store(f.cast("trunc", place, "i32"), f.at(out, row, "i32")))

    f.loop(0, rows, target.lanes, clear)
    f.loop(0, count, 1, each)
    f.finish()


__all__ = [
    "COPY_ROWS",
    "PUT_ROWS",
    "SCATTER_PARTS",
    "ZERO_BYTES",
    "emit_copy",
    "emit_places",
    "emit_put",
    "emit_scatter_add",
    "emit_zero",
    "zero",
]
