"""Random numbers inside traced functions: counted, never stored (decision: Philox, keyed by seed and step)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from handloom.tensor.tensor import Tensor, tensor


class Source:
    """Where random operations take the state from; every call of `site` names another stream."""

    def __init__(self, state: Tensor) -> None:
        self.state = state
        self._sites = 0

    def site(self) -> int:
        self._sites += 1
        return self._sites - 1


_sources: list[Source | None] = [None]


def current() -> Source | None:
    """The innermost source; None outside training."""
    return _sources[-1]


def training() -> bool:
    """Whether what is traced is a step of training."""
    return current() is not None


def state(seed: int, step: int = 0, micro_batch: int = 0) -> Tensor:
    """u32[4]: (seed's low half, its high half, step, micro-batch)."""
    return tensor(np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, step, micro_batch], np.uint32), "u32")


@contextmanager
def using(state: Tensor, training: bool = True) -> Iterator[None]:
    """Random operations inside take their numbers from `state` (u32[4]), each from a site numbered in program order."""
    _sources.append(Source(state) if training else None)
    try:
        yield
    finally:
        _sources.pop()
