"""A shuffled order that is never stored: place → index by a keyed bijection.

A Feistel network permutes the numbers of an even count of bits; walking along its cycles until a number falls into
0 … count - 1 restricts it to any count (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). So whoever
knows the key and the place knows the index: a training that goes on after a billion steps looks nothing up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.errors import HandloomError

Array = NDArray[Any]

ROUNDS = 8
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def mixed(values: Array) -> Array:
    """u64 → u64: splitmix64's finaliser, every bit of which depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))  # type: ignore[no-any-return]


def key_of(*parts: int) -> int:
    """One 64-bit key from whole numbers, the order of which counts: `mixed`, number by number."""
    key = 0
    for part in parts:
        key = (key + part * _GOLDEN + _GOLDEN) & _MASK
        key = ((key ^ key >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        key = ((key ^ key >> 27) * 0x94D049BB133111EB) & _MASK
        key ^= key >> 31
    return key


def permuted(places: Array, count: int, key: int) -> Array:
    """i64 of the shape of `places`: where a permutation of 0 … count - 1 sends them.

    Raises HandloomError for a place outside of it, or a count that is not 1 to 2⁶².
    """
    if not 1 <= count <= 2**62:
        raise HandloomError(f"a permutation of {count} things; there must be 1 to 2⁶²")
    found = np.asarray(places, np.int64)
    if found.size and not (int(found.min()) >= 0 and int(found.max()) < count):
        raise HandloomError(f"places {int(found.min())} to {int(found.max())} of a permutation of {count}")
    half = np.uint64(max(1, (count - 1).bit_length() + 1 >> 1))
    keys = [np.uint64(key_of(key, number)) for number in range(ROUNDS)]
    values = _network(found.astype(np.uint64).reshape(-1), half, keys)
    outside = np.flatnonzero(values >= count)
    while outside.size:  # a cycle through a place inside comes back inside
        values[outside] = _network(values[outside], half, keys)
        outside = outside[values[outside] >= count]
    return values.astype(np.int64).reshape(found.shape)


def _network(values: Array, half: np.uint64, keys: list[np.uint64]) -> Array:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (mixed(right + key) & mask)
    return left << half | right  # type: ignore[no-any-return]
