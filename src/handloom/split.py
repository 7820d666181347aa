"""A program in two: what depends on constants alone is computed again only when one of them is another array."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


def same(before: Collection[object], now: Collection[object]) -> bool:
    """Whether they are the very same objects: an array that is changed in place is no other one."""
    return len(before) == len(now) and all(map(operator.is_, before, now))


class Part(Protocol):
    def __call__(self, arrays: Sequence[Array], env: Mapping[str, int], /) -> list[Array]: ...

    def fix(self, arrays: Sequence[Array], /) -> None:
        """Takes the arrays of what is fixed; none at all gives up those that there were."""

    def shrink(self, bytes: int, /) -> None:
        """Gives up its memory if that is more than so many bytes."""

    def reserve(self, env: Mapping[str, int], /) -> int: ...

    def show(self, topic: str, /) -> str: ...


class SplitProgram:
    """Two programs: `first` computes what depends on constant inputs alone, and `rest`, which reads its results,
    everything else.

    constant, varying: the numbers of inputs that each reads; kept: those of constant ones that `rest` reads as well.
    """

    def __init__(
        self, first: Part, rest: Part, constant: Sequence[int], varying: Sequence[int], kept: Sequence[int]
    ) -> None:
        self.first, self.rest = first, rest
        self.constant, self.varying, self.kept = list(constant), list(varying), list(kept)
        self._of: list[Array] | None = None  # the arrays that what is fixed was computed from

    def __call__(self, arrays: Sequence[Array], env: Mapping[str, int]) -> list[Array]:
        given = [arrays[i] for i in self.constant]
        if self._of is None or not same(self._of, given):
            self._of = None
            self.rest.fix([])
            made = self.first(given, {})
            self.rest.fix([*(arrays[i] for i in self.kept), *made])
            self.first.shrink(sum(array.nbytes for array in made))
            self._of = given
        return self.rest([arrays[i] for i in self.varying], env)

    def reserve(self, env: Mapping[str, int]) -> int:
        return self.first.reserve({}) + self.rest.reserve(env)

    def show(self, topic: str) -> str:
        return self.rest.show(topic)
