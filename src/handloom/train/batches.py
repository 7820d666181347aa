"""Which examples form which step's batch.

The order is a function of (seed, epoch) alone, so that a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handloom.data import packing
from handloom.tasks.task import Feature
from handloom.train.settings import Settings

Array = NDArray[Any]
Indices = NDArray[np.int64]


class Batches(Protocol):
    """What a training goes through: step by step, each the same whenever it is asked for.

    steps: how many; epochs: how often that is through the data; accumulates: whether any step has several parts.
    """

    steps: int
    epochs: float

    @property
    def accumulates(self) -> bool: ...

    def step(self, number: int) -> Sequence[Any]:
        """The micro-batches of step `number` (from 0), as the task's `pack` takes them."""

    def epochs_after(self, steps: int) -> float:
        """How often so many steps go through the data."""

    def validates_after(self, steps: int) -> bool:
        """Whether a validation is due by itself after so many steps."""

    def capacity(self) -> dict[str, int]:
        """The most that a micro-batch has, by the names of `Task.symbols`."""

    def largest(self) -> Sequence[Any]:
        """The micro-batches of a step that is as large as any."""


def filled(indices: Indices, lengths: Array, tokens: int, rows: int = 1 << 30) -> Iterator[Indices]:
    """Consecutive indices in groups of at most `tokens` tokens and `rows` rows; a longer row stands alone."""
    start, total = 0, 0
    sizes = lengths[indices].tolist()
    for at, size in enumerate(sizes):
        if at > start and (total + size > tokens or at - start >= rows):
            yield indices[start:at]
            start, total = at, 0
        total += size
    if start < len(indices):
        yield indices[start:]


class Plan:
    """All steps of a training. epochs may end within an epoch; a batch of more tokens than `at_once` is run in parts.
    """

    def __init__(
        self,
        lengths: Array,
        epochs: float,
        batch_size: int | None,
        batch_tokens: int | None,
        seed: int,
        at_once: int | None = None,
    ) -> None:
        self.lengths, self.epochs, self.seed = lengths, epochs, seed
        self._size, self._tokens, self._at_once = batch_size, batch_tokens, at_once
        self._newest: tuple[int, list[Indices]] = (-1, [])
        counts = [len(self.batches(epoch)) for epoch in range(math.ceil(epochs))]
        last = epochs - math.floor(epochs)
        if last:
            counts[-1] = max(1, math.ceil(counts[-1] * last - 1e-9))
        self.counts = counts  #: steps of each epoch
        self.ends = np.cumsum(counts)  #: steps up to the end of each epoch
        self.steps = sum(counts)

    def batches(self, epoch: int) -> list[Indices]:
        """The batches of an epoch: indices of features."""
        if self._newest[0] != epoch:
            self._newest = epoch, self._batches(epoch)
        return self._newest[1]

    def _batches(self, epoch: int) -> list[Indices]:
        found = packing.batches(
            self.lengths.tolist(), batch_size=self._size, batch_tokens=self._tokens, seed=self.seed, epoch=epoch
        )
        return [np.asarray(batch, np.int64) for batch in found]

    def parts(self, batch: Indices) -> list[Indices]:
        """The micro-batches of a batch. An example that is longer than a part may be is one alone."""
        return [batch] if self._at_once is None else list(filled(batch, self.lengths, self._at_once))

    @cached_property
    def accumulates(self) -> bool:
        """Whether any step has several micro-batches."""
        return any(len(self.parts(batch)) > 1 for epoch in range(len(self.counts)) for batch in self.batches(epoch))

    def capacity(self, most: int = 1) -> dict[str, int]:
        """The most tokens and features that a micro-batch of any epoch has, rounded up a little; see `capacity`."""
        tokens = rows = 1
        for epoch in range(len(self.counts)):
            for batch in self.batches(epoch):
                for part in self.parts(batch):
                    tokens, rows = max(tokens, int(self.lengths[part].sum())), max(rows, len(part))
        return capacity(tokens, rows, most)


def capacity(tokens: int, sequences: int, most: int = 1) -> dict[str, int]:
    """Rounded up, so that like data shares a compiled program. Rows that get logits are at most the tokens, and so are
    tokens of sources (of which, and of targets, it says only how many they are together). sequences: of features; where
    a feature is several sequences, at most `most`, those are the texts."""
    tokens, sequences = -(-tokens // 256) * 256, -(-sequences // 16) * 16
    texts = min(tokens, sequences * most)
    return {"tokens": tokens, "sequences": sequences, "texts": texts, "rows": tokens, "source_tokens": tokens}


class Examples:
    """The features of a data set, in batches of examples or of tokens (see `Batches`)."""

    def __init__(self, features: Sequence[Feature], settings: Settings) -> None:
        lengths = np.fromiter(map(len, features), np.int64, len(features))
        at_once = settings.micro_batch_tokens
        self.features, self.epochs = features, settings.epochs
        self.plan = Plan(
            lengths, settings.epochs, settings.batch_size, settings.batch_tokens, settings.seed, at_once
        )
        self.steps = self.plan.steps

    @property
    def accumulates(self) -> bool:
        return self.plan.accumulates

    def step(self, number: int) -> list[list[Feature]]:
        epoch = int(np.searchsorted(self.plan.ends, number, "right"))
        position = number - (int(self.plan.ends[epoch - 1]) if epoch else 0)
        return self._parts(self.plan.batches(epoch)[position])

    def largest(self) -> list[list[Feature]]:
        return self._parts(max(self.plan.batches(0), key=lambda batch: int(self.plan.lengths[batch].sum())))

    def capacity(self) -> dict[str, int]:
        return self.plan.capacity(max((feature.sequences for feature in self.features), default=1))

    def epochs_after(self, steps: int) -> float:
        """The last epoch may be a part of one."""
        done = int(np.searchsorted(self.plan.ends, steps, "right"))
        left = steps - (int(self.plan.ends[done - 1]) if done else 0)
        part = left / self.plan.counts[done] * min(1.0, self.epochs - done) if left else 0.0
        return min(done + part, self.epochs)

    def validates_after(self, steps: int) -> bool:
        """At the end of each epoch."""
        return bool((self.plan.ends == steps).any())

    def _parts(self, batch: Indices) -> list[list[Feature]]:
        return [[self.features[i] for i in part.tolist()] for part in self.plan.parts(batch)]
