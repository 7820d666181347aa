"""Operands of a matrix product, packed into a thread's scratch: panels of B, tiles of A, and sums over k.

Each is one internal function of the module, shared by all products in it. What is packed is padded (rows and columns
beyond the matrix hold anything), so the micro-kernel has no tails; nothing outside the matrices is read.

Packed operands consist of *groups* of four bytes: one k in f32, two k's side by side in bf16, the form that the
processors' bf16 instructions read. Beyond an odd number of k's stands a zero. AMX tiles hold 16 groups: zeros follow
after the last group, up to a multiple of 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handloom.codegen import mathfuns, scalars
from handloom.codegen.blocking import ceil_div
from handloom.codegen.emit import SIZES, Function, Module, Value, integer, vector, whole, zero
from handloom.codegen.target import TILE, Target

SCALAR = "float"


@dataclass(frozen=True)
class Layout:
    """Where packed operands lie, in groups. `depth` is the most groups of a block, a multiple of 16.

    Panels of B: [panel][group][column]. A as rows: [row][group]; A transposed: [group][row], or for AMX as rows, too.
    dtype: of what is multiplied. wide_b: B lies in memory as f32 all the same, and is rounded on its way. stored: the
    dtype of panels that were laid out before; bf16 and i8 are widened to be multiplied in f32.
    """

    target: Target
    depth: int
    transpose_a: bool
    dtype: str = "f32"
    wide_b: bool = False
    stored: str = "f32"

    @property
    def group(self) -> int:
        """k's in a group."""
        return 2 if self.dtype == "bf16" else 1

    @property
    def a_element(self) -> str:
        """An element of A in memory."""
        return "i16" if self.dtype == "bf16" else SCALAR

    @property
    def b_element(self) -> str:
        return "i16" if self.dtype == "bf16" and not self.wide_b else SCALAR

    @property
    def packed(self) -> str:
        """A group in registers."""
        return "i32" if self.dtype == "bf16" else SCALAR

    @property
    def panel_element(self) -> str:
        """A group of a panel in memory."""
        return SCALAR if self.stored == "f32" else scalars.MEMORY[self.stored]

    def name(self, stem: str) -> str:
        """A function's name that tells layouts apart."""
        form = self.dtype + (".wide" if self.wide_b else "") + (f".{self.stored}" if self.stored != "f32" else "")
        return f"{stem}.{form}.{self.target.lanes}x{self.target.vectors}x{self.target.rows}.{self.depth}"

    @property
    def panel(self) -> int:
        """From one packed panel to the next; one more row, so that panels do not share the sets of a cache."""
        return (self.depth + 1) * self.target.columns

    @property
    def by_groups(self) -> bool:
        """Whether a copied tile of A is [group][row]."""
        return self.transpose_a and not self.target.amx

    @property
    def a_vectors(self) -> int:
        """Vectors that hold one group of a tile of transposed A."""
        return ceil_div(self.target.rows, self.target.lanes)

    @property
    def a_row(self) -> int:
        return 1 if self.by_groups else self.depth + 16

    @property
    def a_depth(self) -> int:
        return self.a_vectors * self.target.lanes if self.by_groups else 1

    @property
    def copied_stride(self) -> int:
        """From row to row of a copied tile; of transposed A, from group to group."""
        return self.a_depth if self.by_groups else self.a_row

    @property
    def tile(self) -> int:
        """Groups of a copied tile of A."""
        return self.depth * self.a_depth if self.by_groups else self.target.rows * self.a_row


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
    """void (B, row stride, depth, k's left, columns, panels, to): B[k, n] at its block's corner, rows of n, into
    panels."""
    target = layout.target
    lanes, vectors, columns = target.lanes, target.vectors, target.columns

    def body(f: Function) -> None:
        b, stride, depth, left, width, panels, to = f.parameters
        full = f.smin(panels, f.udiv(width, columns))

        def copy(group: Value, panel: Value, masks: list[Value | None]) -> None:
            source = f.at(b, f.mul(panel, columns), layout.b_element)
            place = f.at(to, f.add(f.mul(panel, layout.panel), f.mul(group, columns)), SCALAR)
            for j, mask in enumerate(masks):
                part = f.at(source, j * lanes, layout.b_element)
                value = load_group(f, layout, layout.b_element, part, stride, group, left, mask)
                f.store(value, f.at(place, j * lanes, SCALAR))

        def row(group: Value, _: list[Value]) -> None:
            f.loop(0, full, 1, lambda panel, _: copy(group, panel, [None] * vectors), unroll=False)

        f.loop(0, depth, 1, row, nonempty=True, unroll=False)

        def last() -> None:
            rest = f.sub(width, f.mul(full, columns))
            masks: list[Value | None] = [f.below(f.sub(rest, j * lanes), lanes) for j in range(vectors)]
            f.loop(0, depth, 1, lambda group, _: copy(group, full, masks), nonempty=True, unroll=False)

        f.when(f.compare("icmp slt", full, panels), last)
        if target.amx:
            nothing = zero(vector(layout.packed, columns))

            def clear(group: Value, panel: Value) -> None:
                f.store(nothing, f.at(to, f.add(f.mul(panel, layout.panel), f.mul(group, columns)), SCALAR))

            def beyond(group: Value, _: list[Value]) -> None:
                f.loop(0, panels, 1, lambda panel, _: clear(group, panel), nonempty=True, unroll=False)

            f.loop(depth, f.mul(f.udiv(f.add(depth, TILE - 1), TILE), TILE), 1, beyond, unroll=False)

    names = ["stride", "depth", "left", "columns", "panels"]
    parameters = [("ptr noalias", "b"), *(("i64", name) for name in names), ("ptr noalias align 64", "to")]
    return shared(module, layout.name("pack.panels"), parameters, body)


def pack_panels_transposed(module: Module, layout: Layout) -> str:
    """void (B, row stride, depth, k's left, columns, panels, to): B[n, k], rows of k, turned into panels in
    registers."""
    target = layout.target
    lanes, vectors, columns = target.lanes, target.vectors, target.columns

    def body(f: Function) -> None:
        b, stride, depth, _, width, panels, to = f.parameters
        whole_depth = f.mul(f.udiv(depth, lanes), lanes)
        starts = f.op(f"alloca [{lanes} x ptr], align 8", "ptr")

        def strip(number: Value, _: list[Value]) -> None:
            first = f.smin(f.mul(number, lanes), f.sub(width, 1))
            rows = f.sub(width, first)
            place = f.at(to, f.mul(f.udiv(number, vectors), layout.panel), SCALAR)
            place = f.at(place, f.mul(f.urem(number, vectors), lanes), SCALAR)
            at = f.at(b, f.mul(first, stride), layout.b_element)
            for i in range(lanes):
                f.store(at, f.at(starts, i, "ptr"))
                more = f.compare("icmp sgt", rows, integer(i + 1))  # a row beyond the last repeats the last
                at = f.at(at, f.select(more, stride, integer(0)), layout.b_element)

            def square(group: Value, left: Value | None) -> None:
                # volatile: LLVM takes longer than for all else to find out how best to step so many pointers
                rows = [f.op(f"load volatile ptr, {f.at(starts, i, 'ptr')}, align 8", "ptr") for i in range(lanes)]
                places = [f.at(row, f.mul(group, layout.group), layout.b_element) for row in rows]
                values = [_groups(f, layout, p, left) for p in places]
                for i, value in enumerate(transposed(f, values)):
                    f.store(value, f.at(place, f.mul(f.add(group, i), columns), SCALAR))

            if lanes >= 8:  # masks cost nothing
                f.loop(0, depth, lanes, lambda group, _: square(group, f.sub(depth, group)), unroll=False)
            else:
                f.loop(0, whole_depth, lanes, lambda group, _: square(group, None), unroll=False)
                more = f.compare("icmp slt", whole_depth, depth)
                f.when(more, lambda: square(whole_depth, f.sub(depth, whole_depth)))

        f.loop(0, f.mul(panels, vectors), 1, strip, nonempty=True, unroll=False)

    names = ["stride", "depth", "left", "columns", "panels"]
    parameters = [("ptr noalias", "b"), *(("i64", name) for name in names), ("ptr noalias align 64", "to")]
    return shared(module, layout.name("pack.panels.transposed"), parameters, body)


def stored_groups(f: Function, layout: Layout, address: Value) -> Value:
    """A vector of groups of a panel that was laid out before, as they are multiplied."""
    lanes = layout.target.lanes
    if layout.stored == "f32":
        return f.load(vector(layout.packed, lanes), address, 4 * lanes)
    return scalars.convert(f, scalars.load(f, layout.stored, lanes, address), layout.stored, "f32")


def widen_panel(module: Module, layout: Layout) -> str:
    """void (panel, depth, to): a panel that is stored in less, as f32."""
    target, element = layout.target, layout.panel_element

    def body(f: Function) -> None:
        panel, depth, to = f.parameters

        def vectors(i: Value, _: list[Value]) -> None:
            for j in range(0, target.columns, target.lanes):
                at = f.add(f.mul(i, target.columns), j)
                f.store(stored_groups(f, layout, f.at(panel, at, element)), f.at(to, at, SCALAR))

        f.loop(0, depth, 1, vectors, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "panel"), ("i64", "depth"), ("ptr noalias align 64", "to")]
    return shared(module, layout.name("pack.widen"), parameters, body)


def pack_rows(module: Module, layout: Layout) -> str:
    """void (A, row stride, depth, k's left, rows, to): rows of a tile of A[m, k], copied to [row][group]."""
    lanes = layout.target.lanes
    type = vector(layout.packed, lanes)

    def body(f: Function) -> None:
        a, stride, depth, _, rows, to = f.parameters
        whole_depth = f.mul(f.udiv(depth, lanes), lanes)
        left = f.below(f.sub(depth, whole_depth), lanes)

        def row(i: Value, _: list[Value]) -> None:
            source = f.at(a, f.mul(i, stride), layout.a_element)
            place = f.at(to, f.mul(i, layout.a_row), SCALAR)

            def copy(group: Value, mask: Value | None) -> None:
                address, align = f.at(source, group, SCALAR), SIZES[layout.a_element]
                value = f.masked_load(type, address, mask, align=align) if mask else f.load(type, address, align)
                f.store(value, f.at(place, group, SCALAR))

            f.loop(0, whole_depth, lanes, lambda group, _: copy(group, None), unroll=False)
            f.when(f.compare("icmp slt", whole_depth, depth), lambda: copy(whole_depth, left))

        f.loop(0, rows, 1, row, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "a"), *(("i64", name) for name in ("stride", "depth", "left", "rows"))]
    parameters += [("ptr noalias align 64", "to")]
    return shared(module, layout.name("pack.rows"), parameters, body)


def pack_rows_transposed(module: Module, layout: Layout) -> str:
    """void (A, row stride, depth, k's left, rows, to): a tile of A[k, m], copied to [group][row]."""
    lanes, vectors = layout.target.lanes, range(layout.a_vectors)

    def body(f: Function) -> None:
        a, stride, depth, left, rows, to = f.parameters
        masks = [f.below(f.sub(rows, j * lanes), lanes) for j in vectors]

        def row(group: Value, _: list[Value]) -> None:
            place = f.at(to, f.mul(group, layout.a_depth), SCALAR)
            for j, mask in enumerate(masks):
                source = f.at(a, j * lanes, layout.a_element)
                value = load_group(f, layout, layout.a_element, source, stride, group, left, mask)
                f.store(value, f.at(place, j * lanes, SCALAR))

        f.loop(0, depth, 1, row, nonempty=True, unroll=False)

    parameters = [("ptr noalias", "a"), *(("i64", name) for name in ("stride", "depth", "left", "rows"))]
    parameters += [("ptr noalias align 64", "to")]
    return shared(module, layout.name("pack.rows.transposed"), parameters, body)


def load_group(
    f: Function, layout: Layout, element: str, source: Value, stride: Value, group: Value, left: Value,
    mask: Value | None,
) -> Value:  # fmt: skip
    """One group of some columns of a matrix [k, column] of which `left` k's are left: its row, or its two rows."""
    lanes = layout.target.lanes
    type = vector(element, lanes)

    def load(address: Value) -> Value:
        value = f.masked_load(type, address, mask) if mask is not None else f.load(type, address)
        if layout.group == 2 and element == SCALAR:
            return mathfuns.to_bf16(f, value)
        return value

    low = load(f.at(source, f.mul(f.mul(group, layout.group), stride), element))
    if layout.group == 1:
        return low
    second = f.add(f.mul(group, 2), 1)
    there = f.compare("icmp slt", second, left)
    row = f.select(there, second, f.mul(group, 2))
    high = load(f.at(source, f.mul(row, stride), element))
    wide = vector("i32", lanes)
    upper = f.binary("shl", f.cast("zext", high, wide), whole(16, wide))
    return f.binary("or", f.cast("zext", low, wide), f.select(there, upper, zero(wide)))


def _groups(f: Function, layout: Layout, address: Value, left: Value | None) -> Value:
    """`lanes` groups of a row of k's of B, of which `left` are there (None: all)."""
    lanes, type = layout.target.lanes, vector(layout.packed, layout.target.lanes)
    if layout.dtype == "f32" or not layout.wide_b:
        align = SIZES[layout.b_element]
        if left is None:
            return f.load(type, address, align)
        return f.masked_load(type, address, f.below(left, lanes), align=align)
    single = vector(SCALAR, lanes)
    halves = []
    for i in range(2):
        part = f.at(address, i * lanes, SCALAR)
        if left is None:
            halves.append(f.load(single, part))
        else:
            halves.append(f.masked_load(single, part, f.below(f.sub(f.mul(left, 2), i * lanes), lanes)))
    both = f.shuffle(halves[0], halves[1], range(2 * lanes))
    return f.cast("bitcast", mathfuns.to_bf16(f, both), type)


def reach(layout: Layout) -> int:
    """Rows of A that have to exist for a tile to be read where it lies."""
    return max(layout.target.rows, layout.a_vectors * layout.target.lanes) if layout.transpose_a else layout.target.rows


def sum_rows(module: Module, layout: Layout) -> str:
    """void (tile, stride in bytes, depth, sums, first): sums[row] (+)= the tile's k's one after the other; the second
    of a group comes first, as it does in bf16 products."""
    target = layout.target
    lanes, vectors = target.lanes, layout.a_vectors

    def body(f: Function) -> None:
        tile, row_stride, depth, sums, first = f.parameters
        parts = vectors if layout.transpose_a else target.rows
        step = lanes if layout.transpose_a else 1
        type = vector(SCALAR, lanes if layout.transpose_a else 0)
        places = [f.at(sums, i * step, SCALAR) for i in range(parts)]
        starts = f.when(
            f.compare("icmp ne", first, integer(0)),
            lambda: [zero(type)] * parts,
            lambda: [f.load(type, place) for place in places],
        )

        def add(group: Value, carried: list[Value]) -> list[Value]:
            if layout.transpose_a:
                row = f.at(tile, f.mul(group, row_stride), "i8")
                places = [f.at(row, i * lanes, SCALAR) for i in range(parts)]
            else:
                places = [f.at(f.at(tile, group, SCALAR), f.mul(row_stride, i), "i8") for i in range(parts)]
            totals = list(carried)
            for i, place in enumerate(places):
                loaded = f.load(vector(layout.packed, type_lanes), place, SIZES[layout.a_element])
                for value in [loaded] if layout.group == 1 else halves(f, loaded):
                    totals[i] = f.binary("fadd", totals[i], value)
            return totals

        type_lanes = lanes if layout.transpose_a else 0
        for place, total in zip(places, f.loop(0, depth, 1, add, starts, nonempty=True, unroll=False), strict=True):
            f.store(total, place)

    parameters = [("ptr noalias", "tile"), ("i64", "stride"), ("i64", "depth")]
    parameters += [("ptr noalias", "sums"), ("i64", "first")]
    form = "transposed" if layout.transpose_a else "rows"
    return shared(module, layout.name(f"pack.sums.{form}"), parameters, body)


def halves(f: Function, pairs: Value) -> list[Value]:
    """The second and the first k of groups of bf16, as f32."""
    single = vector(SCALAR, pairs.lanes)
    upper = f.binary("and", pairs, whole(-65536, pairs.type))
    lower = f.binary("shl", pairs, whole(16, pairs.type))
    return [f.cast("bitcast", upper, single), f.cast("bitcast", lower, single)]


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
