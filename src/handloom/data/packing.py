"""Sequences laid end to end: which go into which batch, and how a batch looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.errors import HandloomError, UsageError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One sequence of n tokens. ids, types: i32[n]; `per_token`: name → array [n, …]; `per_sequence`: name → number."""

    ids: Array
    types: Array
    per_token: Mapping[str, Array] = field(default_factory=dict)
    per_sequence: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def pack(features: Sequence[Feature]) -> dict[str, Array]:
    """A packed batch of T tokens in S sequences.

    ids, types i32[T]; positions i32[T], from 0 in each sequence; starts i32[S + 1], starts[s] to starts[s + 1] being
    sequence s; and each array of `per_token` [T, …] and of `per_sequence` [S]. Whole numbers become i32, others f32.
    """
    if not features:
        raise HandloomError("A batch needs at least one sequence.")
    lengths = np.asarray([len(feature) for feature in features], np.int32)
    starts = np.zeros(len(features) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    batch = {
        "ids": np.concatenate([feature.ids for feature in features]).astype(np.int32),
        "positions": np.arange(starts[-1], dtype=np.int32) - np.repeat(starts[:-1], lengths),
        "types": np.concatenate([feature.types for feature in features]).astype(np.int32),
        "starts": starts,
    }
    for name in features[0].per_token:
        batch[name] = _narrow(np.concatenate([feature.per_token[name] for feature in features]))
    for name in features[0].per_sequence:
        batch[name] = _narrow(np.asarray([feature.per_sequence[name] for feature in features]))
    return batch


def _narrow(values: Array) -> Array:
    return values.astype(np.int32 if values.dtype.kind in "biu" else np.float32)


def batches(
    lengths: Sequence[int],
    *,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
) -> list[list[int]]:
    """Indices of the sequences of each batch of an epoch, each index once.

    A batch has at most `batch_size` sequences and at most `batch_tokens` tokens; at least one of the two is given.
    The order is a function of (seed, epoch) alone, so that a resumed run needs to remember neither. As nothing is
    padded, there is nothing to gain from putting like lengths together, and the order is fully random.
    """
    _check(lengths, batch_size, batch_tokens)
    result: list[list[int]] = []
    tokens = 0
    for index in order(len(lengths), seed, epoch) if shuffle else range(len(lengths)):
        length = int(lengths[index])
        full = not result or len(result[-1]) == batch_size
        if full or (batch_tokens is not None and tokens + length > batch_tokens):
            result.append([])
            tokens = 0
        result[-1].append(int(index))
        tokens += length
    return result


def order(count: int, seed: int, epoch: int) -> Array:
    """i64[count]: a permutation from (seed, epoch) alone, the same with every version of NumPy."""
    # The streams of bit generators are fixed for good, those of Generator's methods are not.
    key = np.array([seed % 2**64, epoch % 2**64], np.uint64)
    draws = np.random.Philox(key=key).random_raw(count)
    return np.argsort(draws, kind="stable")


@dataclass(frozen=True, slots=True)
class Capacity:
    """The most tokens and sequences that any batch can have."""

    tokens: int
    sequences: int

    def to_dict(self) -> dict[str, int]:
        return {"tokens": self.tokens, "sequences": self.sequences}


def capacity(lengths: Sequence[int], *, batch_size: int | None = None, batch_tokens: int | None = None) -> Capacity:
    """A bound on the batches of all epochs: as many of the longest sequences as go into one, and of the shortest."""
    _check(lengths, batch_size, batch_tokens)
    ranked = np.sort(np.asarray(lengths, np.int64))
    sequences = min(batch_size or len(ranked), len(ranked))
    tokens = int(ranked[-sequences:].sum())
    if batch_tokens is not None:
        tokens = min(tokens, batch_tokens)
        sequences = min(sequences, int(np.searchsorted(np.cumsum(ranked), batch_tokens, side="right")))
    return Capacity(tokens, sequences)


def _check(lengths: Sequence[int], batch_size: int | None, batch_tokens: int | None) -> None:
    if batch_size is None and batch_tokens is None:
        raise UsageError("Give --batch-size (sequences) or --batch-tokens (tokens).")
    for option, value in (("--batch-size", batch_size), ("--batch-tokens", batch_tokens)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be at least 1, not {value}.")
    if not len(lengths):
        raise HandloomError("There is nothing to make batches of: no sequences.")
    longest = int(max(lengths))
    if batch_tokens is not None and longest > batch_tokens:
        raise UsageError(
            f"--batch-tokens {batch_tokens} is less than the longest sequence has ({longest} tokens); "
            "raise it, or lower --max-length."
        )
