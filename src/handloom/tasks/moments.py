"""Scores of numbers beside numbers, from sums over examples: how far they are apart, and how they go together.

A row of moments holds 1, a, b, a², b², a·b, d, d², |d| and whether d = 0, of one example's true g and its predicted p:
a and b are g and p less the means of all, d is g − p. All metrics here are functions of the sums of such rows, so that
resampling costs sums alone.
Where a ratio has an empty denominator it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handloom.tasks.metrics import Floats, Summed, mean_of, ratio

WIDTH = 10


def moments(gold: Sequence[float] | Floats, guess: Sequence[float] | Floats) -> Floats:
    """f64 [examples, 10]."""
    g, p = np.asarray(gold, np.float64), np.asarray(guess, np.float64)
    a, b = (side - side.mean() if len(side) and np.ptp(side) else np.zeros_like(side) for side in (g, p))
    d = g - p
    return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b, d, d * d, np.abs(d), d == 0], -1)


def _spread(sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Variances of g and p, their covariance, and the difference of their means."""
    count = np.maximum(sums[..., 0], 1)
    a, b, aa, bb, ab, apart = (sums[..., i] / count for i in range(1, 7))
    return np.maximum(aa - a * a, 0.0), np.maximum(bb - b * b, 0.0), ab - a * b, apart


def pearson(sums: Floats) -> Floats:
    one, other, both, _ = _spread(sums)
    return np.clip(ratio(both, np.sqrt(one * other)), -1.0, 1.0)


def quadratic_kappa(sums: Floats) -> Floats:
    """Cohen's kappa with quadratic weights (Cohen 1968) of steps 0, 1, 2 …: one less the mean squared distance over
    that of the same steps paired by chance, which is var g + var p + (ḡ − p̄)²."""
    one, other, both, apart = _spread(sums)
    return ratio(2 * both, one + other + apart * apart)


mean_squared_error, mean_absolute_error, same = (mean_of(place) for place in (7, 8, 9))


#: Metrics of steps of an order, of moments of their numbers.
OF_STEPS: dict[str, Summed] = {
    "quadratic_kappa": quadratic_kappa, "mean_absolute_error": mean_absolute_error, "accuracy": same,
}  # fmt: skip
CORRELATIONS: dict[str, Summed] = {"spearman": lambda sums: pearson(sums[..., WIDTH:]), "pearson": pearson}
#: Metrics of numbers, of moments of them with those of their ranks behind.
OF_NUMBERS: dict[str, Summed] = {
    **CORRELATIONS,
    "mean_absolute_error": mean_absolute_error,
    "mean_squared_error": mean_squared_error,
}


def ranks(values: Sequence[float] | Floats) -> Floats:
    """From 1; equal values share the mean of their ranks."""
    _, place, count = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def ranked_moments(gold: Sequence[float] | Floats, guess: Sequence[float] | Floats) -> Floats:
    """f64 [examples, 20]: moments, and those of the ranks among all examples (which resampling leaves as they are)."""
    return np.concatenate([moments(gold, guess), moments(ranks(gold), ranks(guess))], -1)
