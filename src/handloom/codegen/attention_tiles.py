"""The inner parts of attention: transposed panels, and two small matrix products that keep their results in registers.

*wide* multiplies some rows with panels of transposed keys (as many columns as there are keys); *narrow* multiplies
some rows with rows of head_size elements. Each exists for 1 … ROWS rows. An element of a result is one chain of fused
multiply-adds in the order of the summed index, whatever tile it falls into.

A transposed block of `keys` rows lies in panels of `panel` keys: [panel][head_size][keys in the panel], where the last
one is as wide as is left, in whole vectors; the surplus repeats the last key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handloom.codegen import scalars
from handloom.codegen.emit import Function, Module, Value, integer, vector, zero
from handloom.codegen.target import Target

ROWS = 6
LOCAL: dict[str, str] = {"linkage": "internal", "attributes": "noinline nounwind"}


@dataclass(frozen=True)
class Shape:
    """What the parts are made for. `vectors` is the width of a tile: ROWS times that many accumulators."""

    name: str
    lanes: int
    vectors: int
    head_size: int

    @property
    def panel(self) -> int:
        """Keys in a panel."""
        return self.lanes * self.vectors

    @property
    def head_vectors(self) -> int:
        return -(-self.head_size // self.lanes)


def shape_for(name: str, head_size: int, target: Target) -> Shape:
    """32 vector registers hold 24 accumulators, 16 hold 12."""
    few = target.lanes == 8 or target.name == "sse2"
    return Shape(name, target.lanes, 2 if few else 4, head_size)


def tail_mask(lanes: int, count: int) -> Value | None:
    """A constant mask of the first `count` lanes; None for all of them."""
    if count >= lanes:
        return None
    return Value("<" + ", ".join(f"i1 {int(i < count)}" for i in range(lanes)) + ">", vector("i1", lanes))


def load_part(f: Function, shape: Shape, row: Value, start: int) -> Value:
    """Elements start … start + lanes − 1 of a head's row; zeros after its end, which is not read."""
    address = f.at(row, start, "float")
    type = vector("float", shape.lanes)
    mask = tail_mask(shape.lanes, shape.head_size - start)
    return f.load(type, address) if mask is None else f.masked_load(type, address, mask)


def store_part(f: Function, shape: Shape, value: Value, row: Value, start: int) -> None:
    address = f.at(row, start, "float")
    mask = tail_mask(shape.lanes, shape.head_size - start)
    if mask is None:
        f.store(value, address)
    else:
        f.masked_store(value, address, mask)


def emit_widen(module: Module, shape: Shape) -> str:
    """void (ptr rows, i64 stride, i64 count, ptr to): rows of bf16 as f32 [count][head_size]; returns its name."""
    name = f"{shape.name}_widen"
    parameters = [("ptr", "rows"), ("i64", "stride"), ("i64", "count"), ("ptr", "to")]
    f = Function(module, name, parameters, **LOCAL)
    rows, stride, count, to = f.parameters

    def row(i: Value, _: list[Value]) -> None:
        source, place = f.at(rows, f.mul(i, stride), "i16"), f.at(to, f.mul(i, shape.head_size), "float")
        for start in range(0, shape.head_size, shape.lanes):
            mask = tail_mask(shape.lanes, shape.head_size - start)
            store_part(f, shape, scalars.load(f, "bf16", shape.lanes, f.at(source, start, "i16"), mask), place, start)

    f.loop(0, count, 1, row, unroll=False)
    f.finish()
    return name


def emit_round(module: Module, shape: Shape) -> str:
    """void (ptr from, i64 count, ptr rows, i64 stride): f32 [count][head_size] as rows of bf16; returns its name."""
    name = f"{shape.name}_round"
    parameters = [("ptr", "from"), ("i64", "count"), ("ptr", "rows"), ("i64", "stride")]
    f = Function(module, name, parameters, **LOCAL)
    source, count, rows, stride = f.parameters

    def row(i: Value, _: list[Value]) -> None:
        place, line = f.at(rows, f.mul(i, stride), "i16"), f.at(source, f.mul(i, shape.head_size), "float")
        for start in range(0, shape.head_size, shape.lanes):
            mask = tail_mask(shape.lanes, shape.head_size - start)
            scalars.store(f, "bf16", load_part(f, shape, line, start), f.at(place, start, "i16"), mask)

    f.loop(0, count, 1, row, unroll=False)
    f.finish()
    return name


def emit_transpose(module: Module, shape: Shape) -> str:
    """void (ptr rows, i64 stride, i64 count, i64 padded, ptr panels); returns its name."""
    name = f"{shape.name}_transpose"
    parameters = [("ptr", "rows"), ("i64", "stride"), ("i64", "count"), ("i64", "padded"), ("ptr", "panels")]
    f = Function(module, name, parameters, **LOCAL)
    rows, stride, count, padded, panels = f.parameters
    lanes, last = shape.lanes, f.sub(count, 1)

    def group(key: Value, _: list[Value]) -> None:
        begin = f.mul(f.udiv(key, shape.panel), shape.panel)
        width = f.smin(f.sub(padded, begin), shape.panel)
        target = f.at(panels, f.add(f.mul(begin, shape.head_size), f.sub(key, begin)), "float")
        sources = [f.at(rows, f.mul(f.smin(f.add(key, r), last), stride), "float") for r in range(lanes)]

        def block(start: Value, size: int) -> None:
            if size == lanes:
                values = [f.load(vector("float", lanes), f.at(source, start, "float")) for source in sources]
            else:
                values = [load_part(f, shape, source, int(start.text)) for source in sources]
            for d, value in enumerate(_transposed(f, values)[:size]):
                f.store(value, f.at(target, f.mul(f.add(start, d), width), "float"))

        whole_blocks = shape.head_size // lanes * lanes
        f.loop(0, whole_blocks, lanes, lambda start, _: block(start, lanes), unroll=False)
        if whole_blocks < shape.head_size:
            block(integer(whole_blocks), shape.head_size - whole_blocks)

    f.loop(0, count, lanes, group, unroll=False)
    f.finish()
    return name


def _transposed(f: Function, rows: list[Value]) -> list[Value]:
    """A square of vectors by rounds of zips: each round zips row i with row i + half."""
    lanes = len(rows)
    low = [lane for i in range(lanes // 2) for lane in (i, lanes + i)]
    high = [lane + lanes // 2 for lane in low]
    size = 1
    while size < lanes:
        pairs = zip(rows[: lanes // 2], rows[lanes // 2 :], strict=True)
        rows = [zipped for a, b in pairs for zipped in (f.shuffle(a, b, low), f.shuffle(a, b, high))]
        size *= 2
    return rows


def _product(
    f: Function,
    rows: int,
    count: Value | int,
    left: Callable[[int, Value], Value],
    right: Callable[[Value], Sequence[Value]],
    initial: list[Value],
) -> list[Value]:
    """Accumulators [row][vector] of Σ_t left(row, t) · right(t); `left` gives addresses, `right` vectors."""
    vectors = len(initial) // rows
    lanes = initial[0].lanes

    def step(t: Value, sums: list[Value]) -> list[Value]:
        b = right(t)
        following = []
        for r in range(rows):
            a = f.splat(f.load("float", left(r, t)), lanes)
            following += [f.fma(a, b[v], sums[r * vectors + v]) for v in range(vectors)]
        return following

    return f.loop(0, count, 1, step, initial, unroll=False)


def emit_wide(module: Module, shape: Shape) -> str:
    """void (ptr a, i64 a_row, ptr panels, ptr c, i64 c_row, i64 first, i64 last, i64 padded) for each number of rows.

    c[r][first … last − 1] = Σ_d a[r][d] · key[d]; `first` begins a panel, `last` ends a vector.
    Returns the name, to which the number of rows is added.
    """
    for rows in range(1, ROWS + 1):
        _emit_wide(module, shape, rows)
    return f"{shape.name}_wide"


def _emit_wide(module: Module, shape: Shape, rows: int) -> None:
    pointers, names = {"a", "panels", "c"}, ["a", "a_row", "panels", "c", "c_row", "first", "last", "padded"]
    parameters = [("ptr" if n in pointers else "i64", n) for n in names]
    f = Function(module, f"{shape.name}_wide{rows}", parameters, **LOCAL)
    a, a_row, panels, c, c_row, first, last, padded = f.parameters
    lanes, type = shape.lanes, vector("float", shape.lanes)
    bases = [f.at(a, f.mul(a_row, r), "float") for r in range(rows)]

    def tile(source: Value, width: Value, target: Value, vectors: int) -> None:
        def right(t: Value) -> list[Value]:
            line = f.at(source, f.mul(t, width), "float")
            return [f.load(type, f.at(line, v * lanes, "float")) for v in range(vectors)]

        sums = _product(
            f, rows, shape.head_size, lambda r, t: f.at(bases[r], t, "float"), right, [zero(type)] * (rows * vectors)
        )
        for r in range(rows):
            line = f.at(target, f.mul(c_row, r), "float")
            for v in range(vectors):
                f.store(sums[r * vectors + v], f.at(line, v * lanes, "float"))

    def panel(begin: Value, _: list[Value]) -> None:
        width = f.smin(f.sub(padded, begin), shape.panel)
        todo = f.smin(f.sub(last, begin), width)
        source = f.at(panels, f.mul(begin, shape.head_size), "float")
        done, vectors = integer(0), shape.vectors
        while vectors:
            # of the panel's vectors, `vectors` at a time: 4, 2, 1
            def part(done: Value = done, vectors: int = vectors) -> list[Value]:
                tile(f.at(source, done, "float"), width, f.at(c, f.add(begin, done), "float"), vectors)
                return [f.add(done, vectors * lanes)]

            def nothing(done: Value = done) -> list[Value]:
                return [done]

            fits = f.compare("icmp sle", f.add(done, vectors * lanes), todo)
            [done] = f.when(fits, part, nothing)
            vectors //= 2

    f.loop(first, last, shape.panel, panel, unroll=False)
    f.finish()


def emit_narrow(
    module: Module, shape: Shape, label: str, *, columns: bool = False, accumulate: bool = False, scaled: bool = False
) -> str:
    """void (ptr a, i64 a_row, ptr b, i64 b_row, ptr c, i64 c_row, i64 count[, ptr factors]) for each number of rows.

    c[r][d] = Σ_t a[r][t] · b[t][d], t < count, d < head_size; with `columns` it is a[t][r]; with `accumulate` the sum
    goes on from c; with `scaled` row r is multiplied by factors[r] in the end. Returns the name, to which the number
    of rows is added.
    """
    for rows in range(1, ROWS + 1):
        _emit_narrow(module, shape, label, rows, columns, accumulate, scaled)
    return f"{shape.name}_{label}"


def _emit_narrow(
    module: Module, shape: Shape, label: str, rows: int, columns: bool, accumulate: bool, scaled: bool
) -> None:
    pointers, names = {"a", "b", "c", "factors"}, ["a", "a_row", "b", "b_row", "c", "c_row", "count"]
    parameters = [("ptr" if n in pointers else "i64", n) for n in names + ["factors"] * scaled]
    f = Function(module, f"{shape.name}_{label}{rows}", parameters, **LOCAL)
    a, a_row, b, b_row, c, c_row, count = f.parameters[:7]
    type = vector("float", shape.lanes)
    lines = [f.at(c, f.mul(c_row, r), "float") for r in range(rows)]
    bases = [f.at(a, r if columns else f.mul(a_row, r), "float") for r in range(rows)]
    factors = [f.splat(f.load("float", f.at(f.parameters[7], r, "float")), shape.lanes) for r in range(rows * scaled)]

    def left(r: int, t: Value) -> Value:
        return f.at(bases[r], f.mul(t, a_row) if columns else t, "float")

    def part(starts: list[int]) -> None:
        def right(t: Value) -> list[Value]:
            row = f.at(b, f.mul(t, b_row), "float")
            return [load_part(f, shape, row, start) for start in starts]

        places = [(line, start) for line in lines for start in starts]
        initial = [load_part(f, shape, *place) if accumulate else zero(type) for place in places]
        sums = _product(f, rows, count, left, right, initial)
        for index, (value, place) in enumerate(zip(sums, places, strict=True)):
            value = f.binary("fmul", value, factors[index // len(starts)]) if scaled else value
            store_part(f, shape, value, *place)

    total, parts = shape.head_vectors, -(-shape.head_vectors // shape.vectors)
    for p in range(parts):
        part([v * shape.lanes for v in range(p * total // parts, (p + 1) * total // parts)])
    f.finish()


def call(f: Function, name: str, *arguments: Value) -> None:
    """A call of a function of this module."""
    f.line(f"call void @{name}({', '.join(map(str, arguments))})")


def by_rows(f: Function, count: Value, body: Callable[[int], None]) -> None:
    """Runs body(rows) for the constant that equals `count` (1 … ROWS), found by halving."""

    def choose(low: int, high: int) -> None:
        if low == high:
            body(low)
            return
        middle = (low + high) // 2
        f.when(
            f.compare("icmp sle", count, integer(middle)), lambda: choose(low, middle), lambda: choose(middle + 1, high)
        )

    choose(1, ROWS)


def even_tiles(f: Function, count: Value, most: int, body: Callable[[Value, Value], None]) -> None:
    """Cuts 0 … count − 1 into the fewest runs of at most `most`, as even as can be: body(start, length)."""
    tiles = f.udiv(f.add(count, most - 1), most)

    def tile(index: Value, carried: list[Value]) -> list[Value]:
        stop = f.udiv(f.mul(count, f.add(index, 1)), tiles)
        body(carried[0], f.sub(stop, carried[0]))
        return [stop]

    f.loop(0, tiles, 1, tile, [integer(0)], unroll=False)
