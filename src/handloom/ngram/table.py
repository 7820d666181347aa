"""The n-grams of a model, one level for each order: sorted keys, and two numbers for each.

An n-gram's number is its place in its level. Its key is (number of the n-gram without its last word) · V + last word,
so that a level sorted by its keys has the n-grams of one context side by side, and a key is found by bisection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handloom.ngram.corpus import SPECIAL, START, Array
from handloom.ngram.counts import Counted

NEVER = -99.0
"""What stands for the logarithm of 0 in an ARPA file."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The n-grams of one order. keys: i64[n], ascending; log10: f32[n], of the probability of the last word after the
    others; backoff: f32[n], what a longer n-gram that is not there finds at its context (`table.Unseen`)."""

    keys: Array
    log10: Array
    backoff: Array

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Unseen:
    """What a word gets after a context that it was never seen after, in log10.

    `adds`: the score after the context shortened by a word, plus the context's `backoff`; else the `backoff` alone.
    `missing`: the `backoff` of a context that was never seen itself.
    """

    adds: bool = True
    missing: float = 0.0


def find(keys: Array, wanted: Array) -> Array:
    """The place of each wanted key in `keys`, i64, or -1 where it is not there.

    Sorted first: bisection in a large table costs twenty times as much for keys that come in any order.
    """
    order = np.argsort(wanted)
    ascending = wanted[order]
    at = np.searchsorted(keys, ascending)
    at[at == len(keys)] = 0
    found = np.empty(len(wanted), np.int64)
    found[order] = np.where(keys[at] == ascending, at, -1) if len(keys) else -1
    return found


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
