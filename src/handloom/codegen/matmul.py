"""Matrix products: C[M, N] = op(A) · op(B) with an epilogue, one kernel of independent tasks.

A task owns some tiles (rows) × some panels (columns) of C over all of K (`blocking`). For every block of K it packs its
panels of B into its thread's scratch (`pack`), then goes tile by tile: copies the tile's rows of A, and runs the
micro-kernel on each panel. Accumulators stay in registers over a block of K and wait in scratch between blocks: storing
and loading them is exact, so every element of C is one chain of fused multiply-adds in the order of k, from zero,
whatever the blocks, the tile and the neighbours are. After the last block the epilogue gets C row by row.

On AMX, products of bf16 have another micro-kernel and another order of sums (`amx`), the same for every row, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from handloom.codegen import amx, pack
from handloom.codegen.blocking import blocking, ceil_div, emit_ceil, emit_depth, emit_grid, grid
from handloom.codegen.emit import SIZES, Function, Module, Value, integer, vector, zero
from handloom.codegen.micro import ACROSS, LINE, micro_kernel, row_kernel, row_variants
from handloom.codegen.target import TILE, Target

A, B, M, N, K, A_STRIDE, B_STRIDE, A_BATCH, B_BATCH, ROW_SUMS, BATCH, EPILOGUE = range(12)
"""Slots of a product's arguments: pointers, sizes, strides in elements; EPILOGUE is the first that belongs to it."""

ALIAS = 4096
"""Row strides of A [M, K] that are multiples of this many bytes put a tile's rows into one set of the first cache: the
tile is copied (measured: 0.95 of the ceiling instead of 0.70). Of a transposed A, a tile as wide as a cache line gains
nothing from a copy (0.93 instead of 0.88); a narrower one does, because the next tiles need the same lines."""

SUMS = 32
"""Room for the sums of a tile's rows, in elements."""


@dataclass(frozen=True)
class Product:
    """What is multiplied. A is [M, K], or [K, M] if transposed; B is [K, N], or [N, K] if transposed."""

    transpose_a: bool = False
    transpose_b: bool = False
    m: int | None = None  # sizes that are known; None: read from the slot
    n: int | None = None
    k: int | None = None
    row_sums: bool = False
    """Also write the sum over k of op(A)[m, k] to slot ROW_SUMS, f32 [batch, M], unless that is 0."""
    dtype: str = "f32"
    """Of what is multiplied, f32 or bf16; sums and C are f32."""
    wide_b: bool = False
    """In bf16: B lies in memory as f32, and is rounded where it is packed."""
    panels: bool = False
    """B lies in memory as panels (PanelsAttrs), and nothing of it is packed."""
    stored: str = "f32"
    """Of panels for a product in f32: f32, bf16 or i8. One row widens them as it reads them; for more rows they are
    widened into scratch."""


class Epilogue(Protocol):
    """What happens to finished rows of C. `columns` and `store` may be called for several copies of the code."""

    def prepare(self, f: Function, args: Value, batch: Value) -> None:
        """Once a task: load pointers and sizes from the slots from EPILOGUE on; `batch` (i64): which product."""

    def columns(self, f: Function, column: Value, masks: Sequence[Value | None]) -> None:
        """Once a panel: what belongs to columns `column` …; a mask for each vector where not all columns exist."""

    def store(
        self, f: Function, row: Value, column: Value, vectors: list[Value], masks: Sequence[Value | None]
    ) -> None:
        """One row of the panel: `target.vectors` vectors of `target.lanes` sums."""

    def output(self, f: Function, row: Value, column: Value) -> tuple[Value, Value] | None:
        """Address of the output at (row, column) and bytes from row to row, so that it can be brought near; or None."""


class StoreEpilogue:
    """Stores C, f32: slot EPILOGUE is its address, then its row stride and its batch stride in elements."""

    def __init__(self, *, accumulate: bool = False, first_slot: int = EPILOGUE) -> None:
        """`accumulate` adds to what C holds."""
        self._accumulate, self._slot = accumulate, first_slot

    def prepare(self, f: Function, args: Value, batch: Value) -> None:
        base = f.load("ptr", f.at(args, self._slot, "i64"))
        self._stride = f.load("i64", f.at(args, self._slot + 1, "i64"))
        step = f.load("i64", f.at(args, self._slot + 2, "i64"))
        self._base = f.at(base, f.mul(batch, step), "float")

    def columns(self, f: Function, column: Value, masks: Sequence[Value | None]) -> None:
        pass

    def output(self, f: Function, row: Value, column: Value) -> tuple[Value, Value] | None:
        return f.at(self._base, f.add(f.mul(row, self._stride), column), "float"), f.mul(self._stride, 4)

    def store(
        self, f: Function, row: Value, column: Value, vectors: list[Value], masks: Sequence[Value | None]
    ) -> None:
        place = f.at(self._base, f.add(f.mul(row, self._stride), column), "float")
        for j, (value, mask) in enumerate(zip(vectors, masks, strict=True)):
            address = f.at(place, j * value.lanes, "float")
            if self._accumulate:
                old = f.masked_load(value.type, address, mask) if mask else f.load(value.type, address)
                value = f.binary("fadd", old, value)
            if mask:
                f.masked_store(value, address, mask)
            else:
                f.store(value, address)


@dataclass(frozen=True)
class ProductKernel:
    """A kernel `void (ptr args, i64 task, ptr scratch)` and what the driver has to know of it."""

    name: str
    product: Product
    target: Target
    scratch: int
    """Bytes of scratch, aligned to 64."""

    def tasks(self, m: int, n: int, k: int, batch: int = 1) -> int:
        """How many tasks there are for these sizes; 0 where C is empty. A K that is known must be at least 1."""
        if min(m, n, batch) < 1:
            return 0
        if k < 1 and self.product.k is not None:
            raise ValueError(f"{self.name}: a product needs at least one k; it has {m} × {n} × {k}")
        narrow = self.product.dtype == "bf16"
        cut = grid(m, n, ceil_div(k, 2) if narrow else k, self.target, copies_tiles(self.product, self.target))
        return batch * cut.row_blocks * cut.column_blocks


def copies_tiles(product: Product, target: Target) -> bool:
    """Whether every tile of A is copied because of its form: transposed and narrower than a cache line (see ALIAS), or
    of two k's that do not lie side by side."""
    return product.transpose_a and (target.lanes < LINE or product.dtype == "bf16")


def emit_product(module: Module, name: str, product: Product, target: Target, epilogue: Epilogue) -> ProductKernel:
    """Writes the kernel into the module. Raises ValueError for a dtype that has no product, and for rows of bf16 with
    an odd or unknown number of k's, which cannot be read two by two."""
    if product.dtype not in ("f32", "bf16"):
        raise ValueError(f"{name}: no product for {product.dtype}; there is one for f32 and one for bf16")
    if not in_groups(product):
        raise ValueError(f"{name}: rows of bf16 need an even number of k's, not {product.k}")
    target = target.shaped(product.dtype)
    writer = _Writer(module, name, product, target, epilogue)
    writer.write()
    return ProductKernel(name, product, target, writer.scratch)


PANELS_PER_TASK = 4


def emit_panels(module: Module, name: str, product: Product, target: Target) -> None:
    """Writes the kernel that lays out the product's B, of known sizes, as panels. Slots: B, its row stride, panels."""
    assert product.k is not None and product.n is not None
    target = target.shaped(product.dtype)
    narrow = product.dtype == "bf16"
    groups = ceil_div(product.k, 2) if narrow else product.k
    layout = pack.Layout(target, ceil_div(groups, 16) * 16, False, product.dtype, narrow and product.wide_b)
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    b, stride, to = (f.load(type, f.at(args, i, "i64")) for i, type in enumerate(("ptr", "i64", "ptr")))
    first = f.mul(task, PANELS_PER_TASK)
    count = f.smin(f.sub(integer(ceil_div(product.n, target.columns)), first), PANELS_PER_TASK)
    column = f.mul(first, target.columns)
    packer = (pack.pack_panels_transposed if product.transpose_b else pack.pack_panels)(module, layout)
    corner = f.at(b, f.mul(column, stride) if product.transpose_b else column, layout.b_element)
    place = f.at(to, f.mul(first, layout.panel), "float")
    pack.call(f, packer, corner, stride, integer(groups), integer(product.k), f.sub(integer(product.n), column), count,
              place)  # fmt: skip
    f.finish()


def in_groups(product: Product) -> bool:
    """Whether the operands can be read in groups of k's: always in f32; in bf16 pairs lie in one row or in two."""
    along_columns = product.transpose_a and not product.transpose_b
    return product.dtype == "f32" or along_columns or (product.k is not None and product.k % 2 == 0)


class _Writer:
    """One kernel being written: values that belong to the task are attributes."""

    def __init__(self, module: Module, name: str, product: Product, target: Target, epilogue: Epilogue) -> None:
        self.product, self.target, self.epilogue = product, target, epilogue
        table = blocking(target)
        self.group = group = 2 if product.dtype == "bf16" else 1
        groups = None if product.k is None else ceil_div(product.k, group)
        depth = table.depth if groups is None else min(table.depth, ceil_div(groups, 16) * 16)
        self.layout = layout = pack.Layout(target, depth, product.transpose_a, product.dtype, product.wide_b)
        self.in_memory = replace(layout, stored=product.stored)
        self.widened = product.panels and product.stored != "f32"
        # tiles of AMX add in another order
        self.strips = product.panels and not product.transpose_a and not target.amx
        self.a_size, self.b_size = SIZES[layout.a_element], SIZES[layout.b_element]
        self.module = module
        # scratch, in groups: panels of B, tiles of A, accumulators, sums of rows
        self.cell = target.rows * target.columns
        packed = 0 if product.panels and not self.widened else table.most_panels * layout.panel
        sizes = [packed, layout.tile, table.most_tiles * table.most_panels * self.cell]
        sizes.append(table.most_tiles * SUMS if product.row_sums else 0)
        self.offsets = [sum(sizes[:i]) for i in range(4)]
        self.scratch = 4 * sum(sizes)
        self.f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias align 64", "scratch")])

    def write(self) -> None:
        f, product = self.f, self.product
        args, task, scratch = f.parameters
        known = {M: product.m, N: product.n, K: product.k}

        def slot(number: int, type: str = "i64") -> Value:
            size = known.get(number)
            return integer(size) if size is not None else f.load(type, f.at(args, number, "i64"))

        self.m, self.n, self.all_k = slot(M), slot(N), slot(K)
        self.k = f.udiv(f.add(self.all_k, self.group - 1), self.group)  # blocks, starts and depths count groups
        # a K of the batch may be 0: then C is zeros, and no operand has anything to read
        self.empty = f.compare("icmp eq", self.k, integer(0)) if product.k is None else None
        self.a_stride, self.b_stride = slot(A_STRIDE), slot(B_STRIDE)
        if product.transpose_a:  # groups of two k's do not lie side by side
            self.slow_in_place = integer(int(copies_tiles(product, self.target)), "i1")
        else:
            self.slow_in_place = f.compare("icmp eq", f.urem(self.a_stride, ALIAS // self.a_size), integer(0))
        self.a_steps = self.steps(self.a_stride, self.a_size, product.transpose_a)
        self.b_steps = self.steps(self.b_stride, self.b_size, not product.transpose_b)
        tiles, panels, row_blocks, column_blocks = emit_grid(
            f, self.m, self.n, self.k, self.target, copies_tiles(product, self.target)
        )
        across = f.udiv(task, row_blocks)
        row_block, column_block = f.urem(task, row_blocks), f.urem(across, column_blocks)
        batch = f.udiv(across, column_blocks)
        self.tiles = [f.udiv(f.mul(f.add(row_block, i), tiles), row_blocks) for i in (0, 1)]
        self.panels = [f.udiv(f.mul(f.add(column_block, i), panels), column_blocks) for i in (0, 1)]
        self.width = f.sub(self.panels[1], self.panels[0])
        self.a = f.at(slot(A, "ptr"), f.mul(batch, slot(A_BATCH)), self.layout.a_element)
        self.b = f.at(slot(B, "ptr"), f.mul(batch, slot(B_BATCH)), self.layout.b_element)
        self.to_panels, self.to_tiles, self.to_sums, self.to_rows = (f.at(scratch, at, "float") for at in self.offsets)
        if product.row_sums:
            address = slot(ROW_SUMS)
            asked = f.compare("icmp ne", address, integer(0))
            self.sums_asked, self.column_block, self.column_blocks = asked, column_block, column_blocks
            base = f.op(f"inttoptr {address} to ptr", "ptr")
            self.sums = f.at(base, f.mul(batch, self.m), "float")
        self.epilogue.prepare(f, args, batch)
        depth = emit_depth(f, self.k, self.layout.depth)
        self.more = f.compare("icmp slt", depth, self.k)  # more than one block: every tile keeps its accumulators
        if self.target.amx:
            amx.configure(f)
        f.loop(0, self.k, depth, lambda k, _: self.block(k, depth), nonempty=True, unroll=False)
        if self.target.amx:
            amx.release(f)
        f.finish()

    def steps(self, stride: Value, size: int, along_columns: bool) -> tuple[Value, Value, Value]:
        """How a stretch of LINE groups lies in an operand, in bytes: from line to line, to the next stretch, and to
        the other line that belongs to a line's groups."""
        f = self.f
        row = f.mul(stride, size)
        if along_columns:
            return f.mul(row, self.group), f.mul(row, LINE * self.group), row
        across = LINE * self.group * size
        return row, integer(across), integer(across // 2 if across > 64 else 0)

    def block(self, k: Value, depth: Value) -> None:
        """One block of K, from group k on."""
        f, layout = self.f, self.layout
        self.start, self.depth = k, f.smin(f.sub(self.k, k), depth)
        self.first = f.compare("icmp eq", k, integer(0))
        self.last = f.compare("icmp sge", f.add(k, depth), self.k)
        self.left = f.sub(self.all_k, f.mul(k, self.group))
        if self.widened:
            widen = pack.widen_panel(self.module, self.in_memory)

            def one(j: Value, _: list[Value]) -> None:
                to = f.at(self.to_panels, f.mul(j, layout.panel), "float")
                pack.call(f, widen, self.memory_at(j), self.depth, to)

            f.loop(self.across(self.m), self.width, 1, one, unroll=False)
        elif not self.product.panels:
            column = f.mul(self.panels[0], self.target.columns)
            pack_b = pack.pack_panels_transposed if self.product.transpose_b else pack.pack_panels
            packer, corner = pack_b(self.module, layout), self.b_at(k, column)
            given = (corner, self.b_stride, self.depth, self.left, f.sub(self.n, column), self.width, self.to_panels)
            self.unless_empty(lambda: pack.call(f, packer, *given))
        f.loop(self.tiles[0], self.tiles[1], 1, lambda tile, _: self.tile(tile), nonempty=True, unroll=False)

    def tile(self, tile: Value) -> None:
        """One tile of A times all panels of the task."""
        f, target = self.f, self.target
        m = f.mul(tile, target.rows)
        rows = f.smin(f.sub(self.m, m), target.rows)
        source = self.a_at(m, self.start)
        # A is read where it lies, unless that reaches beyond its last row, or is slow
        copied = f.compare("icmp sgt", f.add(m, pack.reach(self.layout)), self.m)
        copied = f.binary("or", copied, self.slow_in_place)
        if target.amx:  # zeros have to follow after the last group
            copied = f.binary("or", copied, f.compare("icmp ne", f.urem(self.depth, TILE), integer(0)))
        if self.empty is not None:
            copied = f.binary("and", copied, f.binary("xor", self.empty, integer(1, "i1")))
        turn = amx.pack_rows if target.amx else pack.pack_rows_transposed
        packer = (turn if self.product.transpose_a else pack.pack_rows)(self.module, self.layout)
        given = (source, self.a_stride, self.depth, self.left, rows, self.to_tiles)
        f.when(copied, lambda: pack.call(f, packer, *given))
        a = f.select(copied, self.to_tiles, source)
        stride = f.select(copied, integer(4 * self.layout.copied_stride), f.mul(self.a_stride, self.a_size))
        number = f.sub(tile, self.tiles[0])
        if self.product.row_sums:
            mine = f.compare("icmp eq", f.urem(tile, self.column_blocks), self.column_block)
            sums = f.at(self.to_rows, f.mul(number, SUMS), "float")
            f.when(f.binary("and", self.sums_asked, mine), lambda: self.sum(a, stride, m, rows, sums))
        kernel = self.chosen_kernel(rows)
        waiting = f.select(self.more, f.mul(f.mul(number, self.width), self.cell), integer(0))
        cells = f.at(self.to_sums, waiting, "float")

        done = self.across(self.m if self.widened else rows)
        if self.strips:
            f.loop(0, done, ACROSS, lambda j, _: self.strip(a, m, j, cells), unroll=False)
        after, wanted_after = self.tile_ahead(tile)

        def panel(j: Value, _: list[Value]) -> None:
            # the first panel asks for the next tile of A, the last ones for the next block of B
            leading = f.compare("icmp eq", j, integer(0))
            strip, wanted = self.strip_ahead(tile, j)
            useful = f.select(leading, wanted_after, wanted)
            ahead = f.select(useful, f.select(leading, after, strip), self.to_panels)
            steps = [f.select(leading, x, y) for x, y in zip(self.a_steps, self.b_steps, strict=True)]
            ahead_steps = [f.select(useful, step, integer(0)) for step in steps]
            b = self.panel_at(j)
            cell = f.at(cells, f.select(self.more, f.mul(j, self.cell), integer(0)), "float")
            first = f.cast("zext", self.first, "i64")
            near = (ahead, *ahead_steps, *self.output_ahead(m, j))
            operands = (a, stride, b, self.depth, cell, first, *near)
            self.unless_empty(lambda: pack.call(f, kernel, *operands), lambda: self.clear(cell, self.cell))
            f.when(self.last, lambda: self.finish_cell(m, rows, f.add(self.panels[0], j), cell))

        f.loop(done, self.width, 1, panel, nonempty=not self.product.panels, unroll=False)

    def across(self, rows: Value) -> Value:
        """How many of the task's panels are taken several at once: where there is a single row, all but a rest."""
        f = self.f
        if not self.strips:
            return integer(0)
        one = f.compare("icmp eq", rows, integer(1))
        return f.select(one, f.mul(f.udiv(self.width, ACROSS), ACROSS), integer(0))

    def strip(self, a: Value, m: Value, j: Value, cells: Value) -> None:
        """One row times ACROSS panels at once, from number j on."""
        f = self.f
        cell = f.at(cells, f.select(self.more, f.mul(j, self.cell), integer(0)), "float")
        step = f.mul(self.panel_rows(), self.target.columns)
        given = (a, self.memory_at(j), step, self.depth, cell, integer(self.cell), f.cast("zext", self.first, "i64"))
        pack.call(f, row_kernel(self.module, self.in_memory), *given)

        def finish(i: Value, _: list[Value]) -> None:
            place = f.at(cell, f.mul(i, self.cell), "float")
            self.finish_cell(m, integer(1), f.add(f.add(self.panels[0], j), i), place)

        f.when(self.last, lambda: f.loop(0, ACROSS, 1, finish, nonempty=True, unroll=False))

    def panel_rows(self) -> Value:
        """Groups from a panel of B to the next."""
        return self.f.add(self.f.mul(emit_ceil(self.f, self.k, 16), 16), 1)

    def panel_at(self, j: Value) -> Value:
        """Where this block of the task's panel number j lies: in scratch, or in B itself."""
        if not self.product.panels or self.widened:
            f = self.f
            return f.at(self.to_panels, f.mul(j, self.layout.panel), "float")
        return self.memory_at(j)

    def memory_at(self, j: Value) -> Value:
        """Where this block of the task's panel number j lies in B, which has been laid out."""
        f = self.f
        first = f.add(f.mul(f.add(self.panels[0], j), self.panel_rows()), self.start)
        return f.at(self.b, f.mul(first, self.target.columns), self.in_memory.panel_element)

    def unless_empty(self, work: Callable[[], object], instead: Callable[[], object] = lambda: None) -> None:
        """What is done for a block, where K may be 0."""

        def done(action: Callable[[], object]) -> Callable[[], Sequence[Value]]:
            return lambda: (action(), ())[1]

        if self.empty is None:
            work()
        else:
            self.f.when(self.empty, done(instead), done(work))

    def clear(self, to: Value, count: int) -> None:
        f = self.f
        f.loop(0, count, 1, lambda i, _: f.store(zero("float"), f.at(to, i, "float")), nonempty=True, unroll=False)

    def tile_ahead(self, tile: Value) -> tuple[Value, Value]:
        """The next tile of A, or the first of the next block; and whether there is one."""
        f = self.f
        inside = f.compare("icmp slt", f.add(tile, 1), self.tiles[1])
        k = f.add(self.start, self.depth)
        m = f.mul(f.select(inside, f.add(tile, 1), self.tiles[0]), self.target.rows)
        if self.product.transpose_a:  # this tile has already met the cache line in which the next one begins
            m = f.add(m, self.target.rows - 1)
        place = self.a_at(m, f.select(inside, self.start, k))
        return place, f.binary("or", inside, f.compare("icmp slt", k, self.k))

    def strip_ahead(self, tile: Value, j: Value) -> tuple[Value, Value]:
        """A strip of the next block of B, counted from the end of this block's work; and whether it is wanted."""
        f = self.f
        if self.product.panels:  # read in order: the processor sees that itself
            return self.to_tiles, integer(0, "i1")
        others = f.sub(self.width, 1)
        columns = LINE if self.product.transpose_b else 64 // self.b_size
        number = f.add(f.mul(f.sub(f.sub(self.tiles[1], 1), tile), others), f.sub(others, j))
        inside = f.compare("icmp slt", number, f.mul(self.width, ceil_div(self.target.columns, columns)))
        more = f.compare("icmp slt", f.add(self.start, self.depth), self.k)
        k = f.add(self.start, self.depth)
        n = f.add(f.mul(self.panels[0], self.target.columns), f.mul(number, columns))
        return self.b_at(k, n), f.binary("and", inside, more)

    def output_ahead(self, m: Value, j: Value) -> tuple[Value, Value]:
        """Where the epilogue will store this cell, if this is the last block, and the stride of its rows in bytes."""
        f = self.f
        column = f.mul(f.add(self.panels[0], j), self.target.columns)
        place, stride = self.epilogue.output(f, m, column) or (self.to_panels, integer(0))
        return f.select(self.last, place, self.to_panels), f.select(self.last, stride, integer(0))

    def a_at(self, m: Value, k: Value) -> Value:
        k = self.f.mul(k, self.group)
        row, offset = (k, m) if self.product.transpose_a else (m, k)
        return self.f.at(self.a, self.f.add(self.f.mul(row, self.a_stride), offset), self.layout.a_element)

    def b_at(self, k: Value, n: Value) -> Value:
        k = self.f.mul(k, self.group)
        row, offset = (n, k) if self.product.transpose_b else (k, n)
        return self.f.at(self.b, self.f.add(self.f.mul(row, self.b_stride), offset), self.layout.b_element)

    def sum(self, a: Value, stride: Value, m: Value, rows: Value, sums: Value) -> None:
        """Adds up the tile's rows of A; stores them after the last block."""
        f = self.f
        summer = (amx.sum_rows if self.target.amx else pack.sum_rows)(self.module, self.layout)
        given = (a, stride, self.depth, sums, f.cast("zext", self.first, "i64"))
        self.unless_empty(lambda: pack.call(f, summer, *given), lambda: self.clear(sums, SUMS))

        def store(i: Value, _: list[Value]) -> None:
            f.store(f.load("float", f.at(sums, i, "float")), f.at(self.sums, f.add(m, i), "float"))

        f.when(self.last, lambda: f.loop(0, rows, 1, store, nonempty=True, unroll=False))

    def chosen_kernel(self, rows: Value) -> str:
        """The address of the smallest micro-kernel that has these rows."""
        f = self.f
        chosen: Value | None = None
        for count in sorted(row_variants(self.target), reverse=True):
            kernel = (amx.micro_kernel if self.target.amx else micro_kernel)(self.module, self.layout, count)
            function = Value("@" + kernel, "ptr")
            fits = f.compare("icmp sle", rows, integer(count))
            chosen = function if chosen is None else f.select(fits, function, chosen)
        assert chosen is not None
        return chosen.text

    def finish_cell(self, m: Value, rows: Value, panel: Value, cell: Value) -> None:
        """Hands the rows of a finished tile × panel to the epilogue."""
        f, columns, lanes = self.f, self.target.columns, self.target.lanes
        column = f.mul(panel, columns)
        vectors = range(self.target.vectors)
        type = vector("float", lanes)

        def rows_of(masks: Sequence[Value | None]) -> None:
            self.epilogue.columns(f, column, masks)

            def row(i: Value, _: list[Value]) -> None:
                at = f.at(cell, f.mul(i, columns), "float")
                values = [f.load(type, f.at(at, j * lanes, "float"), 4 * lanes) for j in vectors]
                self.epilogue.store(f, f.add(m, i), column, values, masks)

            f.loop(0, rows, 1, row, nonempty=True, unroll=False)

        def whole() -> Sequence[Value]:
            rows_of([None] * len(vectors))
            return ()

        def masked() -> Sequence[Value]:
            left = f.sub(self.n, column)
            rows_of([f.below(f.sub(left, j * lanes), lanes) for j in vectors])
            return ()

        if self.product.n is not None and self.product.n % columns == 0:
            whole()
        elif lanes == 16:  # masks cost nothing
            masked()
        else:
            f.when(f.compare("icmp sle", f.add(column, columns), self.n), whole, masked)
