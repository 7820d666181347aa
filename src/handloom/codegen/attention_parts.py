"""What attention forward and backward share: arguments, sizes, which keys a query sees, walks along a row of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

from handloom.codegen import mathfuns, philox
from handloom.codegen.attention_tiles import Shape, call, emit_round, emit_widen
from handloom.codegen.emit import SIZES, Function, Value, integer, iota, number, splat_constant, vector
from handloom.codegen.scalars import MEMORY
from handloom.graph import philox as random
from handloom.graph.attention_reference import AttentionLike

Step = Callable[[Value, list[Value], Value | None], list[Value]]
"""step(column, carried, kept lanes or None) → carried"""


@dataclass(frozen=True)
class AttentionKernel:
    """What a caller has to know of an emitted kernel `void @name(ptr args, i64 task, ptr scratch)`.

    slots: the names of the 64-bit arguments in their order: addresses of f32 or bf16 (log_sum: f32; starts, key_starts,
    key_ends: i32; state: u32[4]) and row strides counted in elements. "state" and "site" are there only with dropout:
    the options' own site does not count, so that layers share a kernel. Those of the bias are there only with `reach`,
    those of terms only with `buckets`.
    log_sum is [tokens, heads] without gaps.
    """

    name: str
    slots: tuple[str, ...]
    options: AttentionLike
    tasks_per_sequence: int
    products: int
    scratch: Callable[[int, int], int]

    def tasks(self, sequences: int) -> int:
        return sequences * self.tasks_per_sequence

    def scratch_bytes(self, queries: int, keys: int | None = None) -> int:
        """Bytes of a thread's scratch, for sequences of at most so many queries and keys (None: as many)."""
        return self.scratch(queries, queries if keys is None else keys)

    def flops(self, lengths: Sequence[tuple[int, int]]) -> int:
        """Of the matrix products, for the (queries, keys) of each sequence; those of hidden keys are counted."""
        pairs = sum(queries * keys for queries, keys in lengths)
        return 2 * self.products * pairs * self.options.heads * self.options.head_size


def check(options: AttentionLike) -> None:
    """Raises ValueError for options that make no sense."""
    if options.head_size < 1 or options.key_value_heads < 1 or options.heads % options.key_value_heads:
        raise ValueError(f"attention needs a head_size ≥ 1 and heads that are a multiple of key_value_heads: {options}")
    if options.window is not None and options.window < 1:
        raise ValueError(f"an attention window is at least 1, and is {options.window}")
    if options.reach is not None and options.reach < 0:
        raise ValueError(f"an attention bias reaches 0 places or more, and not {options.reach}")
    if options.buckets is not None and (options.buckets < 1 or options.far < 0):
        raise ValueError(f"attention's terms have 1 bucket or more, and reach 0 places or more: {options}")
    if options.soft_cap is not None and not options.soft_cap > 0:
        raise ValueError(f"a soft cap is greater than 0, and is {options.soft_cap}")
    random.threshold(options.dropout)


def row_stride(keys: int) -> int:
    """f32 from row to row of scores: an odd number of cache lines, so that rows do not fight for one cache set."""
    return (-(-keys // 16) | 1) * 16


def whole_vectors(count: int, lanes: int = 16) -> int:
    return -(-count // lanes) * lanes


def round_up(f: Function, count: Value, lanes: int) -> Value:
    return f.mul(f.udiv(f.add(count, lanes - 1), lanes), lanes)


@dataclass(frozen=True)
class Slots:
    """The kernel's arguments by name."""

    f: Function
    args: Value
    names: tuple[str, ...]

    def size(self, name: str) -> Value:
        return self.f.load("i64", self.f.at(self.args, self.names.index(name), "i64"))

    def pointer(self, name: str) -> Value:
        return self.f.load("ptr", self.f.at(self.args, self.names.index(name), "i64"))


@dataclass(frozen=True)
class Rows:
    """One head of one sequence in a buffer: the address of its first row and the stride in elements."""

    f: Function
    base: Value
    stride: Value
    element: str = "float"

    def at(self, row: Value) -> Value:
        return self.f.at(self.base, self.f.mul(row, self.stride), self.element)


class Stage:
    """Rows of bf16 as f32 in scratch, one behind the other: what the parts of attention work on. Rows of f32 stay where
    they are."""

    def __init__(self, f: Function, shape: Shape, dtype: str, room: Value) -> None:
        """room: scratch for `STAGED` times as many rows as are staged at once."""
        self.f, self.shape, self.narrow, self._room = f, shape, dtype == "bf16", room
        if self.narrow:
            self._widen, self._round = emit_widen(f.module, shape), emit_round(f.module, shape)

    def rows(self, given: Rows, count: Value, *, read: bool = True) -> Rows:
        """The rows to work on: `given`, or a copy (with `read`, of what is in them)."""
        if not self.narrow:
            return given
        f, place = self.f, self._room
        self._room = f.at(place, f.mul(round_up(f, count, 16), self.shape.head_size), "float")
        if read:
            call(f, self._widen, given.base, given.stride, count, place)
        return Rows(f, place, integer(self.shape.head_size))

    def fork(self) -> Stage:
        """A stage whose rows begin where the next of this one would."""
        return copy(self)

    def put_back(self, rows: Rows, given: Rows, count: Value) -> None:
        """Stores the rows that have been worked on."""
        if self.narrow:
            call(self.f, self._round, rows.base, count, given.base, given.stride)


def staged_bytes(dtype: str, shape: Shape, *counts: int) -> int:
    """Scratch for rows that are staged."""
    return sum(4 * whole_vectors(count) * shape.head_size for count in counts) if dtype == "bf16" else 0


@dataclass(frozen=True)
class Extent:
    """A sequence: its first rows, n queries and m keys (i64), m in whole vectors, and the stride of a row of scores."""

    first_query: Value
    first_key: Value
    n: Value
    m: Value
    padded: Value
    stride: Value


def load_extent(f: Function, slots: Slots, sequence: Value, lanes: int) -> Extent:
    def edge(name: str, index: Value) -> Value:
        return f.cast("sext", f.load("i32", f.at(slots.pointer(name), index, "i32")), "i64")

    first_query, first_key = edge("starts", sequence), edge("key_starts", sequence)
    n, m = f.sub(edge("starts", f.add(sequence, 1)), first_query), f.sub(edge("key_ends", sequence), first_key)
    lines = f.binary("or", f.udiv(f.add(m, 15), 16), integer(1))
    return Extent(first_query, first_key, n, m, round_up(f, m, lanes), f.mul(lines, 16))


def head_rows(
    f: Function, slots: Slots, name: str, first: Value, head: Value, head_size: int, dtype: str = "f32"
) -> Rows:
    stride, element = slots.size(f"{name}_stride"), MEMORY[dtype]
    start = f.at(slots.pointer(name), f.add(f.mul(first, stride), f.mul(head, head_size)), element)
    return Rows(f, start, stride, element)


PREFETCHED = 128
"""Rows asked for at once: a head's slices of neighbouring rows lie too far apart for the processor to guess."""


def prefetch(f: Function, shape: Shape, count: Value, reads: Sequence[Rows], writes: Sequence[Rows]) -> None:
    """Asks for the first rows of a sequence while there is other work to do."""

    def row(i: Value, _: list[Value]) -> None:
        for write, several in enumerate((reads, writes)):
            for rows in several:
                for start in range(0, shape.head_size, 64 // SIZES[rows.element]):
                    flags = [integer(flag, "i32") for flag in (write, 3, 1)]
                    f.call("llvm.prefetch.p0", "void", f.at(rows.at(i), start, rows.element), *flags)

    f.loop(0, f.smin(count, PREFETCHED), 1, row, unroll=False)


def visible(f: Function, options: AttentionLike, extent: Extent, query: Value) -> tuple[Value, Value, Value]:
    """(position among the keys, first key seen, one past the last key seen) of a query of the sequence."""
    position = f.add(query, f.sub(extent.m, extent.n))
    low, high = integer(0), extent.m
    if options.window is not None:
        low = _at_least_zero(f, f.sub(position, options.window - 1))
    if options.causal or options.window is not None:
        reach = 1 if options.causal else options.window or 1
        high = _at_least_zero(f, f.smin(f.add(position, reach), extent.m))
    return position, low, high


def tile_range(
    f: Function, options: AttentionLike, extent: Extent, start: Value, rows: Value, lanes: int
) -> tuple[Value, Value, Value]:
    """(first, high, last) of the keys that rows from `start` see.

    `first` is a multiple of 64, so that it begins a panel and a block of random numbers; `high` is one past the last
    key and `last` the same in whole vectors.
    """
    low = visible(f, options, extent, start)[1]
    high = visible(f, options, extent, f.add(start, f.sub(rows, 1)))[2]
    return f.mul(f.udiv(low, random.BLOCK), random.BLOCK), high, round_up(f, high, lanes)


RandomSource = tuple[philox.State, Value]
"""The random state, and the site (i32): an argument, so that all layers share one kernel."""


def random_source(f: Function, slots: Slots) -> RandomSource:
    return philox.load_state(f, slots.pointer("state")), f.cast("trunc", slots.size("site"), "i32")


class Distances:
    """Something of one head for every distance between a key and a query, in scratch, so that a row of scores finds
    what it needs side by side: element e is for key − query = e − (keys − 1)."""

    def __init__(self, f: Function, extent: Extent, reach: int, room: Value) -> None:
        """room: scratch of `distance_floats`."""
        self.f, self.extent, self.reach, self.room = f, extent, reach, room
        self.count = f.add(extent.padded, extent.n)

    def _places(self, each: Callable[[Value, Value], None]) -> None:
        """each(address of an element, its place in a row of the bias)"""
        f, reach = self.f, self.reach

        def element(e: Value, _: list[Value]) -> None:
            far = f.sub(e, f.sub(self.extent.m, 1))
            each(f.at(self.room, e, "float"), _at_least_zero(f, f.smin(f.add(far, reach), 2 * reach)))

        f.loop(0, self.count, 1, element, unroll=False)

    def clear(self) -> None:
        f = self.f
        f.loop(0, self.count, 1, lambda e, _: f.store(number(0.0), f.at(self.room, e, "float")), unroll=False)

    def spread(self, row: Value) -> None:
        """From a row of the bias."""
        f = self.f
        self._places(lambda to, place: f.store(f.load("float", f.at(row, place, "float")), to))

    def gather(self, row: Value) -> None:
        """Adds up what a row of the bias stands for, and writes it there."""
        f = self.f
        f.loop(0, 2 * self.reach + 1, 1, lambda i, _: f.store(number(0.0), f.at(row, i, "float")), unroll=False)

        def add(source: Value, place: Value) -> None:
            to = f.at(row, place, "float")
            f.store(f.binary("fadd", f.load("float", to), f.load("float", source)), to)

        self._places(add)

    def at(self, position: Value, column: Value) -> Value:
        """Where those of a query and the keys from `column` begin."""
        f = self.f
        return f.at(self.room, f.add(f.sub(column, position), f.sub(self.extent.m, 1)), "float")


def distance_floats(options: AttentionLike, queries: int, keys: int) -> int:
    return 0 if options.reach is None else whole_vectors(keys) + whole_vectors(queries)


class Row:
    """A row of scores being worked on: one query and head."""

    def __init__(
        self,
        f: Function,
        shape: Shape,
        options: AttentionLike,
        extent: Extent,
        head: Value,
        query: Value,
        bias: Distances | None,
        source: RandomSource | None,
        bits: Value,
    ) -> None:
        """`bits`: room for BLOCK random words."""
        self.f, self.shape, self.options = f, shape, options
        self.bias, self.source, self.bits = bias, source, bits
        self.position, self.low, self.high = visible(f, options, extent, query)
        token = f.add(f.mul(f.add(extent.first_query, query), options.heads), head)
        self.random_row = f.cast("trunc", token, "i32")

    def scores(self, line: Value, column: Value, hidden: float) -> tuple[Value, Value]:
        """The scores at `column` … as the softmax takes them, `hidden` where no key is seen; and the lanes seen."""
        f, lanes = self.f, self.shape.lanes
        raw = f.load(vector("float", lanes), f.at(line, column, "float"))
        keys = f.add(f.splat(f.cast("trunc", column, "i32"), lanes), iota(lanes))
        scaled = f.binary("fmul", raw, number(self.options.scale, raw.type))
        if self.bias:
            scaled = f.binary("fadd", scaled, f.load(raw.type, self.bias.at(self.position, column)))
        if self.options.soft_cap is not None:
            cap = number(self.options.soft_cap, raw.type)
            scaled = f.binary("fmul", mathfuns.tanh(f, f.binary("fdiv", scaled, cap)), cap)
        seen = f.compare("icmp slt", keys, f.splat(f.cast("trunc", self.high, "i32"), lanes))
        if self.options.window is not None:
            low = f.splat(f.cast("trunc", self.low, "i32"), lanes)
            seen = f.select(seen, f.compare("icmp sge", keys, low), splat_constant("false", seen.type))
        return f.select(seen, scaled, number(hidden, raw.type)), seen

    def walk(self, first: Value, last: Value, step: Step, carried: Sequence[Value]) -> list[Value]:
        """`step` for each vector of columns first … last − 1, with the lanes that dropout keeps."""
        f, lanes, source = self.f, self.shape.lanes, self.source
        if source is None:
            return f.loop(first, last, lanes, lambda column, c: step(column, c, None), carried, unroll=False)
        state, site = source
        words = vector("i32", lanes)

        def block(begin: Value, values: list[Value]) -> list[Value]:
            counter = f.cast("trunc", f.udiv(begin, random.BLOCK // random.LANES), "i32")
            for part in range(random.LANES // lanes):
                place = f.add(counter, part * lanes)
                drawn = philox.philox_words(f, state, lanes, site, self.random_row, place)
                for index, word in enumerate(drawn):
                    f.store(word, f.at(self.bits, index * random.LANES + part * lanes, "i32"))

            def one(column: Value, carried: list[Value]) -> list[Value]:
                word = f.load(words, f.at(self.bits, f.sub(column, begin), "i32"))
                return step(column, carried, philox.keep_mask(f, word, self.options.dropout))

            stop = f.smin(f.add(begin, random.BLOCK), last)
            return f.loop(begin, stop, lanes, one, values, nonempty=True, unroll=False)

        return f.loop(first, last, random.BLOCK, block, carried, unroll=False)


def _at_least_zero(f: Function, x: Value) -> Value:
    return f.select(f.compare("icmp sgt", x, integer(0)), x, integer(0))
