"""Random numbers as a function of their place: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011) in NumPy.

Nothing is stored and no order matters: element (row, column) of the random op number `site`, at a step and micro-batch,
always gets the same 32 bits, here and in compiled code (codegen.philox).

    random state   u32[4] = (seed_low, seed_high, step, micro_batch)
    key            (seed_low, seed_high)
    counter        c0 = (column // 64) · 16 + column % 16
                   c1 = row
                   c2 = site + micro_batch · 2¹⁶   (mod 2³²; both stay below 2¹⁶ in practice)
                   c3 = step
    element        word (column % 64) // 16 of the four that the counter gives

So 64 neighbouring columns are the four words of 16 counters: a vector of 16, 8 or 4 lanes takes a word as it comes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
BLOCK, LANES = 64, 16
MICRO_BATCH_SHIFT = 16
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

Words = NDArray[np.uint32]


def philox4x32(counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[int, int]) -> tuple[Words, ...]:
    """The four output words, each of the counters' common shape."""
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, np.uint64) & _LOW for c in counter))
    for number in range(ROUNDS):
        k0, k1 = (np.uint64((k + number * w) & 0xFFFFFFFF) for k, w in zip(key, WEYL, strict=True))
        first, second = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        c0, c1, c2, c3 = (second >> _HALF) ^ c1 ^ k0, second & _LOW, (first >> _HALF) ^ c3 ^ k1, first & _LOW
    return tuple(word.astype(np.uint32) for word in (c0, c1, c2, c3))


def uniform_bits(state: ArrayLike, site: int, rows: int | ArrayLike, columns: int) -> Words:
    """u32[rows, columns]. `rows`: how many from 0, or the row numbers themselves (any integers, taken mod 2³²)."""
    low, high, step, micro_batch = (int(word) for word in np.asarray(state, np.uint32))
    numbers = np.arange(rows, dtype=np.uint64) if isinstance(rows, int) else np.asarray(rows).astype(np.uint64)
    blocks = -(-columns // BLOCK)
    position = np.arange(blocks * LANES, dtype=np.uint64)
    mixed = (site + (micro_batch << MICRO_BATCH_SHIFT)) & 0xFFFFFFFF
    words = philox4x32((position[None, :], numbers[:, None], mixed, step), (low, high))
    blocked = np.stack([word.reshape(len(numbers), blocks, LANES) for word in words], axis=2)
    return np.ascontiguousarray(blocked.reshape(len(numbers), blocks * BLOCK)[:, :columns])


def uniform(state: ArrayLike, site: int, rows: int | ArrayLike, columns: int) -> NDArray[np.float32]:
    """f32[rows, columns] in [0, 1): multiples of 2⁻²⁴."""
    bits = uniform_bits(state, site, rows, columns)
    values: NDArray[np.float32] = (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return values


def threshold(rate: float) -> int:
    """An element is kept when its bits are ≥ this: the chance of being dropped is `rate`, to 24 bits."""
    if not 0 <= rate < 1 - 2.0**-24:
        raise ValueError(f"a dropout rate lies in [0, 1), and is {rate}")
    return int(np.rint(rate * 2**24)) << 8


def keep(state: ArrayLike, site: int, rows: int | ArrayLike, columns: int, rate: float) -> NDArray[np.bool_]:
    """bool[rows, columns]: what dropout leaves, to be scaled by keep_scale(rate)."""
    kept: NDArray[np.bool_] = uniform_bits(state, site, rows, columns) >= np.uint32(threshold(rate))
    return kept


def keep_scale(rate: float) -> float:
    """1/(1 − rate), rounded to f32."""
    return float(np.float32(1 / (1 - rate)))
