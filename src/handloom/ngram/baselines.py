"""Two ways to smooth that Kneser–Ney is measured by: adding k to every count, and "stupid" back-off."""

from __future__ import annotations

import math

import numpy as np

from handloom.ngram.corpus import UNKNOWN, Array
from handloom.ngram.counts import Counted
from handloom.ngram.table import Level, Unseen, kept, packed


def add_k(levels: list[Counted], thresholds: list[int], k: float) -> tuple[list[Level], Array, Unseen]:
    """p(w | h) = (c(hw) + k) / (c(h) + kV), of the longest h that the order allows, seen or not (Lidstone; k = 1 is
    Laplace). V: the vocabulary with <unk> and </s>."""
    keep = kept(levels, thresholds)
    size = int(keep[0].sum()) - 1
    probabilities, floors = [], []
    contexts = 1
    for level, stays in zip(levels, keep, strict=True):
        count = np.where(stays, level.count, 0)
        total = np.bincount(level.context, weights=count, minlength=contexts) + k * size
        probabilities.append((count + k) / total[level.context])
        floors.append(k / total)
        contexts = len(level)
    made = packed(levels, keep, probabilities, [*floors[1:], np.ones(contexts)])
    return made, keep[0], Unseen(adds=False, missing=-math.log10(size))


def stupid_backoff(levels: list[Counted], thresholds: list[int], factor: float) -> tuple[list[Level], Array, Unseen]:
    """S(w | h) = c(hw) / c(h), or factor · S(w | shorter h) for what was not seen: Brants et al. (2007), equation 5.

    Scores, not probabilities: they do not sum to 1. An unknown word counts as one seen once.
    """
    keep = kept(levels, thresholds)
    probabilities, contexts = [], 1
    for level in levels:
        total = np.bincount(level.context, weights=level.count, minlength=contexts)
        probabilities.append(level.count / total[level.context])
        contexts = len(level)
    probabilities[0][UNKNOWN] = 1 / levels[0].count.sum()
    factors = [np.full(len(level), factor) for level in levels]
    factors[-1][:] = 1  # nothing is longer
    return packed(levels, keep, probabilities, factors), keep[0], Unseen(missing=math.log10(factor))
