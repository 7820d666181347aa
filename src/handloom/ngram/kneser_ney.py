"""Interpolated modified Kneser–Ney smoothing: S. F. Chen and J. Goodman, "An empirical study of smoothing techniques
for language modeling", Computer Speech & Language 13 (1999), equations 24 to 27.

What is left open there is done as by KenLM's lmplz (Heafield et al., ACL 2013), so that both give the same model: words
are interpolated with the uniform distribution over the vocabulary and <unk>; n-grams that begin a sentence keep their
counts; pruning goes by the counts in the corpus, and what is pruned goes to the shorter context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handloom.ngram.corpus import Array
from handloom.ngram.counts import Counted
from handloom.ngram.table import Level, kept, packed

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where a corpus is too small or too uniform to tell them; lmplz's, too."""


@dataclass(frozen=True, slots=True)
class Discounts:
    """What is taken from counts of 1, of 2, and of 3 and more; whether the corpus told them."""

    amounts: tuple[float, float, float]
    estimated: bool

    def of(self, counts: Array) -> Array:
        return np.array([0.0, *self.amounts])[np.minimum(counts, 3)]


def discounts(counts: Array) -> Discounts:
    """Equation 26, from the numbers of n-grams that are counted once, twice, three and four times.

    >>> discounts(np.array([1] * 8 + [2] * 4 + [3] * 2 + [4]))
    Discounts(amounts=(0.5, 1.25, 2.0), estimated=True)
    """
    one, two, three, four = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (one and two and three):
        return Discounts(FALLBACK, False)
    share = one / (one + 2 * two)
    found = (1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three)
    return Discounts(found, True) if min(found) > 0 else Discounts(FALLBACK, False)


def adjusted(levels: list[Counted]) -> list[Array]:
    """Counts that a model of this order is made of: of the highest order those in the corpus; below, in how many
    different ways an n-gram goes on to the left, except where a sentence begins with it."""
    counts = []
    for level, above in zip(levels, [*levels[1:], None], strict=True):
        if above is None:
            counts.append(level.count)
        else:
            counts.append(np.where(level.starts, level.count, np.bincount(above.suffix, minlength=len(level))))
    return counts


def smooth(levels: list[Counted], thresholds: list[int]) -> tuple[list[Level], Array, list[Discounts]]:
    """The model's levels; which words of the vocabulary they keep, bool[V]; the discounts of each order.

    thresholds: one for each order, not decreasing, so that what an n-gram is made of stays if it stays.
    """
    keep, counts = kept(levels, thresholds), adjusted(levels)
    found = [discounts(count) for count in counts]
    lower = np.full(len(levels[0]), 1 / (int(keep[0].sum()) - 1))  # below words all are alike; START is never predicted
    probabilities: list[Array] = []
    shares: list[Array] = []
    for level, count, stays, discount in zip(levels, counts, keep, found, strict=True):
        contexts = len(lower) if shares else 1
        taken = np.where(stays, discount.of(count), count)
        total, left = (np.bincount(level.context, weights=part, minlength=contexts) for part in (count, taken))
        shares.append(np.divide(left, total, out=np.ones(contexts), where=total > 0))
        own = np.divide(count - taken, total[level.context], out=np.zeros(len(level)), where=count > 0)
        lower = own + shares[-1][level.context] * lower[level.suffix]
        probabilities.append(lower)
    ones = np.ones(len(levels[-1]))
    return packed(levels, keep, probabilities, [*shares[1:], ones]), keep[0], found
