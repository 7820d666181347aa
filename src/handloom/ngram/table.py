"""The n-grams of a model, one level for each order: sorted keys, and two numbers for each.

An n-gram's number is its place in its level. Its key is (number of the n-gram without its last word) · V + last word,
so that a level sorted by its keys has the n-grams of one context side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from handloom.ngram.corpus import SPECIAL, START, Array
from handloom.ngram.counts import Counted

NEVER = -99.0
"""What stands for the logarithm of 0 in an ARPA file."""


class Index:
    """Places of keys by their hashes: open addressing, all keys at once.

    Bisection costs ten times as much: each of its steps waits for another line of a large table.
    """

    def __init__(self, keys: Array) -> None:
        self.keys = keys
        self.bits = (5 * len(keys) // 2).bit_length()
        self.slots = np.full(1 << self.bits, -1, np.int32 if len(keys) < 1 << 31 else np.int64)
        left, at = np.arange(len(keys), dtype=self.slots.dtype), self._hash(keys)
        while len(left):
            free = self.slots[at] < 0
            self.slots[at[free]] = left[free]
            lost = self.slots[at] != left
            left, at = left[lost], self._next(at[lost])

    def _hash(self, keys: Array) -> Array:
        golden = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: the upper bits of key · 2^64 / golden ratio
        mixed: Array = (keys.view(np.uint64) * golden) >> np.uint64(64 - self.bits)
        return mixed.view(np.int64)

    def _next(self, at: Array) -> Array:
        return (at + 1) & ((1 << self.bits) - 1)

    def find(self, wanted: Array) -> Array:
        """See `Level.find`."""
        at = self._hash(wanted)
        found = self.slots[at]
        open_ = np.flatnonzero((found >= 0) & (self.keys[found] != wanted))
        while len(open_):
            at[open_] = self._next(at[open_])
            found[open_] = self.slots[at[open_]]
            open_ = open_[(found[open_] >= 0) & (self.keys[found[open_]] != wanted[open_])]
        return found.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one order. keys: i64[n], ascending; log10: f32[n], of the probability of the last word after the
    others; backoff: f32[n], what a longer n-gram that is not there finds at its context (`table.Unseen`)."""

    keys: Array
    log10: Array
    backoff: Array

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def index(self) -> Index:
        return Index(self.keys)

    def find(self, wanted: Array) -> Array:
        """The place of each wanted key, i64, or -1 where it is not there."""
        if not len(self):
            return np.full(len(wanted), -1)
        if "index" in self.__dict__ or 16 * len(wanted) > len(self):
            return self.index.find(wanted)
        at = np.searchsorted(self.keys, wanted)  # too few to make an index for
        at[at == len(self)] = 0
        return np.where(self.keys[at] == wanted, at, -1)


@dataclass(frozen=True, slots=True)
class Unseen:
    """What a word gets after a context that it was never seen after, in log10.

    `adds`: the score after the context shortened by a word, plus the context's `backoff`; else the `backoff` alone.
    `missing`: the `backoff` of a context that was never seen itself.
    """

    adds: bool = True
    missing: float = 0.0


def children(level: Level, size: int, context: int) -> tuple[slice, Array]:
    """Where a level holds the n-grams of one context, and their last words."""
    first, last = np.searchsorted(level.keys, [context * size, (context + 1) * size])
    return slice(first, last), level.keys[first:last] % size


def words_of(levels: list[Level], size: int, order: int, numbers: Array) -> list[Array]:
    """The words of some n-grams of one order, as `order` columns of ids."""
    columns = []
    for level in levels[order - 1 : 0 : -1]:
        numbers, word = np.divmod(level.keys[numbers], size)
        columns.append(word)
    return [numbers, *reversed(columns)]


def kept(levels: list[Counted], thresholds: list[int]) -> list[Array]:
    """Which n-grams stay: those that the corpus holds more often than their order's threshold, and the marks."""
    keep = [level.count > threshold for level, threshold in zip(levels, thresholds, strict=False)]
    keep[0][: len(SPECIAL)] = True
    return keep


def packed(levels: list[Counted], keep: list[Array], probabilities: list[Array], backoffs: list[Array]) -> list[Level]:
    """Tables of what is kept, renumbered; empty orders at the top fall away."""
    size = int(keep[0].sum())
    number = np.zeros(1, np.int64)  # new numbers of the level below, by old ones
    word = np.cumsum(keep[0]) - 1
    made = []
    for level, stays, probability, backoff in zip(levels, keep, probabilities, backoffs, strict=True):
        if not stays.any():
            break
        keys = number[level.context[stays]] * size + word[level.word[stays]]
        with np.errstate(divide="ignore"):
            log10 = [np.log10(values[stays]).astype(np.float32) for values in (probability, backoff)]
        made.append(Level(keys, *log10))
        number = np.cumsum(stays) - 1
    made[0].log10[START] = NEVER
    return made
