"""Which examples form which step's batch, and what a batch of a task looks like.

The order is a function of (seed, epoch) alone, so that a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data import packing
from handloom.tasks.task import Feature, Task

Array = NDArray[Any]
Indices = NDArray[np.int64]
_DTYPES = {"i32": np.int32, "f32": np.float32}


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
        counts = [len(self.batches(epoch)) for epoch in range(math.ceil(epochs))]
        last = epochs - math.floor(epochs)
        if last:
            counts[-1] = max(1, math.ceil(counts[-1] * last - 1e-9))
        self.counts = counts  #: steps of each epoch
        self.steps = sum(counts)

    def batches(self, epoch: int) -> list[Indices]:
        """The batches of an epoch: indices of features."""
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

    def capacity(self) -> dict[str, int]:
        """The most tokens and sequences that a micro-batch of any epoch has, rounded up a little."""
        tokens = rows = 1
        for epoch in range(len(self.counts)):
            for batch in self.batches(epoch):
                for part in self.parts(batch):
                    tokens, rows = max(tokens, int(self.lengths[part].sum())), max(rows, len(part))
        return capacity(tokens, rows)


def capacity(tokens: int, sequences: int) -> dict[str, int]:
    """Rounded up, so that like data shares a compiled program. Rows that get logits are at most the tokens."""
    tokens = -(-tokens // 256) * 256
    return {"tokens": tokens, "sequences": -(-sequences // 16) * 16, "rows": tokens}


def pack(features: Sequence[Feature], task: Task) -> dict[str, Array]:
    """A packed batch: ids, positions, types i32 [tokens]; starts i32 [sequences + 1]; labels.

    Where a feature has no label, -100 (i32) or 0 (f32) stands. A task by rows also gets rows i32 [rows].
    """
    batch = packing.pack([packing.Feature(f.encoding.ids, f.encoding.types) for f in features])
    dtype = _DTYPES[task.label_dtype]
    labels = [_missing(f, task, dtype) if f.label is None else f.label for f in features]
    joined = np.stack(labels) if task.rows == "sequences" else np.concatenate(labels)
    batch["labels"] = joined.astype(dtype, copy=False)
    if task.rows == "rows":
        places = [f.rows + start for f, start in zip(features, batch["starts"][:-1], strict=True) if f.rows is not None]
        batch["rows"] = np.concatenate(places).astype(np.int32, copy=False)
    return batch


def _missing(feature: Feature, task: Task, dtype: Any) -> Array:
    """Labels for a feature that has none: -100 (i32) or 0 (f32)."""
    shape = task.label_shape
    if task.rows == "rows" and feature.rows is not None:
        shape = (len(feature.rows), *shape)
    elif task.rows == "tokens":
        shape = (len(feature), *shape)
    return np.full(shape, -100 if dtype is np.int32 else 0, dtype)


def row_count(feature: Feature, task: Task) -> int:
    """Rows of logits that a feature gets."""
    if task.rows == "rows" and feature.rows is not None:
        return len(feature.rows)
    return len(feature) if task.rows == "tokens" else 1


def symbols(task: Task) -> dict[str, tuple[Any, ...]]:
    """Symbolic shapes of a packed batch, as `compile` takes them."""
    shapes: dict[str, tuple[Any, ...]] = {
        "ids": ("tokens",),
        "positions": ("tokens",),
        "types": ("tokens",),
        "starts": ("sequences+1",),
        "labels": (task.rows, *task.label_shape),
    }
    return {**shapes, "rows": ("rows",)} if task.rows == "rows" else shapes
