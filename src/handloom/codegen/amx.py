"""Products of bf16 on AMX: the configuration of its tile registers, the micro-kernel, and what differs in packing.

A tile register is 16 rows of 64 bytes. In a tile of A a row is a row of A, of which it holds 16 groups of two k's; in a
tile of B a row is a group of 16 columns, which is how panels are packed; in a tile of sums a row is a row of C.

What TDPBF16PS computes (Intel's Software Developer's Manual, volume 2), for each element of C by itself: the first k's
of the 16 groups are multiplied and added one after the other, from zero, each sum rounded to f32 once; so are the
second k's; the two sums are added, and their sum is added to what the accumulator holds. What is denormal counts as
zero. So an element of C depends on its row of A, its column of B and the number of k's alone: a row has the same bits
in any place of a tile, beside any neighbours. They are not the bits of the other levels, which add k after k.

Beyond the last k stand zeros, in A and in B: zero times what happens to lie there might be NaN. Rows and columns beyond
the matrices hold anything, as elsewhere; sums of theirs are never read.

Instructions name registers by number, so LLVM's intrinsics take constants, and LLVM allocates nothing.
"""

from __future__ import annotations

from handloom.codegen import pack
from handloom.codegen.emit import SIZES, Function, Module, Value, integer, vector, zero
from handloom.codegen.micro import PARAMETERS, look_ahead
from handloom.codegen.target import TILE

SUMS, ROWS, COLUMNS = 0, 4, 6
"""The first of four registers of sums, of two for A, of two for B."""
REGISTERS_OF_SUMS = 4


def configure(f: Function) -> None:
    """Gives all eight registers 16 rows of 64 bytes, filled with zeros: once a task. `f` must be in its first block.

    The 64 bytes of a configuration: palette 1 in byte 0; bytes of a row, 16 bits a register, from byte 16 on; rows,
    8 bits a register, from byte 48 on.
    """
    place = f.op("alloca [8 x i64], align 64", "ptr")
    bytes_of_rows, rows = 0x0040_0040_0040_0040, 0x1010_1010_1010_1010
    for i, word in enumerate([1, 0, bytes_of_rows, bytes_of_rows, 0, 0, rows, 0]):
        f.store(integer(word), f.at(place, i, "i64"))
    f.call("llvm.x86.ldtilecfg", "void", place)


def release(f: Function) -> None:
    """Gives the registers back: the operating system saves them for a thread that holds some."""
    f.call("llvm.x86.tilerelease", "void")


def multiply_add(f: Function, total: int, left: int, right: int) -> None:
    """Register `total` += register `left` · register `right`."""
    f.call("llvm.x86.tdpbf16ps", "void", *(integer(number, "i8") for number in (total, left, right)))


def micro_kernel(module: Module, layout: pack.Layout, rows: int) -> str:
    """void (tile of A, stride in bytes, panel of B, depth, cell, first, …): cell[rows, columns] (+)= A · B, for 16 or
    32 rows; 16 groups at a time are read, also where fewer are left."""
    columns = layout.target.columns

    def body(f: Function) -> None:
        a, stride, b, depth, cell, first, ahead, *_, out, _ = f.parameters
        across, down = range(columns // TILE), range(rows // TILE)
        sums = {(i, j): SUMS + i * len(across) + j for i in down for j in across}
        row_bytes = integer(4 * columns)  # of a panel, and of a cell

        def load(number: int, address: Value, stride: Value) -> None:
            f.call("llvm.x86.tileloadd64", "void", integer(number, "i8"), address, stride)

        def place(i: int, j: int) -> Value:
            return f.at(cell, (i * columns + j) * TILE, "float")

        def clear() -> None:
            for number in sums.values():
                f.call("llvm.x86.tilezero", "void", integer(number, "i8"))

        def resume() -> None:
            for at, number in sums.items():
                load(number, place(*at), row_bytes)

        f.when(f.compare("icmp ne", first, integer(0)), clear, resume)

        def step(group: Value, carried: list[Value]) -> list[Value]:
            following = look_ahead(f, layout, *carried)
            panel = f.at(b, f.mul(group, columns), "float")
            for i in down:
                load(ROWS + i, f.at(f.at(a, group, "float"), f.mul(stride, i * TILE), "i8"), stride)
                for j in across:
                    if i == 0:
                        load(COLUMNS + j, f.at(panel, j * TILE, "float"), row_bytes)
                    multiply_add(f, sums[i, j], ROWS + i, COLUMNS + j)
            return following

        f.loop(0, depth, TILE, step, [ahead, out], nonempty=True, unroll=False)
        for at, number in sums.items():
            f.call("llvm.x86.tilestored64", "void", integer(number, "i8"), place(*at), row_bytes)

    return pack.shared(module, layout.name(f"product.tiles.{rows}"), PARAMETERS, body)


def pack_rows(module: Module, layout: pack.Layout) -> str:
    """void (A, row stride, depth, k's left, rows, to): a tile of A[k, m], turned to [row][group], a square in registers
    after the other."""
    lanes = layout.target.lanes

    def body(f: Function) -> None:
        a, stride, depth, left, rows, to = f.parameters

        def square(row: Value, start: Value) -> None:
            source = f.at(a, row, layout.a_element)
            wanted = f.sub(rows, row)
            groups = []
            for i in range(lanes):
                group = f.add(start, i)
                inside = f.compare("icmp slt", group, depth)
                mask = f.below(f.select(inside, wanted, integer(0)), lanes)
                groups.append(pack.load_group(f, layout, layout.a_element, source, stride, group, left, mask))
            for i, value in enumerate(pack.transposed(f, groups)):
                f.store(value, f.at(to, f.add(f.mul(f.add(row, i), layout.a_row), start), pack.SCALAR))

        def strip(row: Value, _: list[Value]) -> None:
            f.loop(0, depth, lanes, lambda group, _: square(row, group), nonempty=True, unroll=False)

        f.loop(0, rows, lanes, strip, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "a"), *(("i64", name) for name in ("stride", "depth", "left", "rows"))]
    parameters += [("ptr noalias align 64", "to")]
    return pack.shared(module, layout.name("pack.rows.turned"), parameters, body)


def sum_rows(module: Module, layout: pack.Layout) -> str:
    """void (tile, stride in bytes, depth, sums, first): sums[row] (+)= the tile's k's, each row in `lanes` sums of
    which a tree makes one; eight rows at a time."""
    target = layout.target
    lanes, together = target.lanes, 8
    type = vector(layout.packed, lanes)

    def body(f: Function) -> None:
        tile, row_stride, depth, sums, first = f.parameters
        anew = f.compare("icmp ne", first, integer(0))

        def plus(x: Value, y: Value) -> Value:
            return f.binary("fadd", x, y)

        def rows(row: Value, _: list[Value]) -> None:
            starts = [f.at(tile, f.mul(f.add(row, i), row_stride), "i8") for i in range(together)]

            def add(group: Value, totals: list[Value]) -> list[Value]:
                added = []
                for start, total in zip(starts, totals, strict=True):
                    groups = f.load(type, f.at(start, group, pack.SCALAR), SIZES[layout.a_element])
                    second, first_k = pack.halves(f, groups)
                    added.append(plus(plus(total, second), first_k))
                return added

            nothing = [zero(vector(pack.SCALAR, lanes))] * together
            for i, total in enumerate(f.loop(0, depth, lanes, add, nothing, nonempty=True, unroll=False)):
                place = f.at(sums, f.add(row, i), pack.SCALAR)
                before = f.select(anew, zero(pack.SCALAR), f.load(pack.SCALAR, place))
                f.store(plus(before, f.tree(plus, total)), place)

        f.loop(0, target.rows, together, rows, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "tile"), ("i64", "stride"), ("i64", "depth")]
    parameters += [("ptr noalias", "sums"), ("i64", "first")]
    return pack.shared(module, layout.name("pack.sums.tiles"), parameters, body)
