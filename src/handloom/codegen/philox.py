"""Philox4x32-10 as IR: the bits of graph.philox, whose docstring says which element gets which word.

The rounds run in 64-bit lanes, where one multiplication gives both halves of a product and the garbage above 32 bits
is ignored by the next one; even and odd counters are two vectors, put together at the end. What is the same for all
columns of a row is computed once, as a scalar.
"""

from __future__ import annotations

from dataclasses import dataclass

from handloom.codegen.emit import Function, Value, integer, vector, whole
from handloom.graph import philox as reference

_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class State:
    """The random state, loaded: round keys and counter words as i64 scalars (mod 2³²). Make it outside of loops."""

    keys: tuple[tuple[Value, Value], ...]
    step: Value
    micro_batch: Value


def load_state(f: Function, address: Value) -> State:
    """From the address of u32[4] = (seed_low, seed_high, step, micro_batch)."""
    low, high, step, micro_batch = (f.cast("zext", f.load("i32", f.at(address, i, "i32")), "i64") for i in range(4))
    # the key's carries stay above 32 bits: were they cleared here, LLVM would drop the masks before products, and with
    # them what tells it that a 32-bit multiplication is enough
    keys = tuple(
        (f.add(low, number * reference.WEYL[0]), f.add(high, number * reference.WEYL[1]))
        for number in range(reference.ROUNDS)
    )
    return State(keys, step, f.mul(micro_batch, 1 << reference.MICRO_BATCH_SHIFT))


def philox_words(f: Function, state: State, lanes: int, site: int | Value, row: Value, first: Value) -> list[Value]:
    """Four vectors of i32 for `lanes` (16, 8 or 4) neighbouring counters c0 = first, first + 1 …

    `site` and `row` (i32) name the row. With part = 0 … 16/lanes − 1 and first (i32) = 16·block + part·lanes, word w
    belongs to the columns 64·block + 16·w + part·lanes + (0 … lanes − 1).
    """
    site = whole(site, "i32") if isinstance(site, int) else site
    c2 = f.binary("and", f.add(f.cast("zext", site, "i64"), state.micro_batch), integer(_LOW))
    c1 = f.cast("zext", row, "i64")
    start = f.cast("zext", first, "i64")
    half = vector("i64", lanes // 2)
    halves = []
    for parity in (0, 1):
        offsets = [2 * i + parity for i in range(lanes // 2)]
        # the first product is linear in c0: a scalar product and a constant vector
        base = f.splat(f.mul(start, reference.MULTIPLIERS[0]), lanes // 2)
        products = Value("<" + ", ".join(f"i64 {i * reference.MULTIPLIERS[0]}" for i in offsets) + ">", half)
        halves.append(_rounds(f, state, f.binary("add", base, products), [c1, c2, state.step]))
    return [_interleave(f, even, odd, lanes) for even, odd in zip(*halves, strict=True)]


def keep_mask(f: Function, bits: Value, rate: float) -> Value:
    """The lanes that dropout keeps; they are to be multiplied by graph.philox.keep_scale(rate)."""
    threshold = reference.threshold(rate)
    signed = threshold - (1 << 32) if threshold >> 31 else threshold
    return f.compare("icmp uge", bits, whole(signed, bits.type))


def _rounds(f: Function, state: State, first: Value, counter: list[Value]) -> list[Value]:
    """Ten rounds over words that are i64 scalars, while they are the same in every lane, or vectors of i64.

    `first` is the first round's product of c0, `counter` is c1, c2, c3.
    """
    c1, c2, c3 = counter
    c0 = first
    for number, (k0, k1) in enumerate(state.keys):
        first = _product(f, c0, reference.MULTIPLIERS[0]) if number else first
        second = _product(f, c2, reference.MULTIPLIERS[1])
        high = [f.binary("lshr", p, whole(32, p.type)) for p in (first, second)]
        c0, c1, c2, c3 = _xor(f, high[1], _xor(f, c1, k0)), second, _xor(f, high[0], _xor(f, c3, k1)), first
    return [c0, c1, c2, c3]


def _product(f: Function, x: Value, multiplier: int) -> Value:
    return f.mul(f.binary("and", x, whole(_LOW, x.type)), multiplier)


def _xor(f: Function, x: Value, y: Value) -> Value:
    lanes = max(x.lanes, y.lanes)
    x, y = (f.splat(v, lanes) if v.lanes != lanes else v for v in (x, y))
    return f.binary("xor", x, y)


def _interleave(f: Function, even: Value, odd: Value, lanes: int) -> Value:
    """The low halves of both, alternating, as i32 (lane 2i of `even` comes before that of `odd` in memory order)."""
    low = f.binary("and", even, whole(_LOW, even.type))
    high = f.binary("shl", odd, whole(32, odd.type))
    return f.cast("bitcast", f.binary("or", low, high), vector("i32", lanes))
