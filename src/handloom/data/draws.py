"""Random numbers for preparing data: counted, so that the same (seed, number) gives the same draws in any run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Draws:
    """A stream of random numbers that belongs to (seed, number). Only the raw words of the bit generator are used:
    its stream is fixed for good, the streams of NumPy's distributions are not."""

    def __init__(self, seed: int, number: int) -> None:
        self._words = np.random.Philox(key=np.array([seed % 2**64, number % 2**64], np.uint64))

    def uniform(self, count: int) -> Array:
        """f64[count] in [0, 1)."""
        return (self._words.random_raw(count) >> np.uint64(11)) * 2.0**-53  # type: ignore[no-any-return]

    def below(self, limit: int, count: int) -> Array:
        """i64[count] in 0 … limit - 1."""
        return (self.uniform(count) * limit).astype(np.int64)

    def order(self, count: int) -> Array:
        """i64[count]: a permutation."""
        return np.argsort(self._words.random_raw(count), kind="stable")

    def poisson(self, mean: float, count: int) -> Array:
        """i64[count], Poisson distributed, by the inverse of the distribution function."""
        terms = [np.exp(-mean)]
        while terms[-1] > 1e-17 or len(terms) < mean:
            terms.append(terms[-1] * mean / len(terms))
        return np.searchsorted(np.cumsum(terms), self.uniform(count), side="right")
