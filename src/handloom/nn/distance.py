"""Biases of attention by distance, as few numbers spread over many distances."""

from __future__ import annotations

import numpy as np

import handloom.tensor as ht
from handloom.nn.module import Array
from handloom.tensor import Tensor, tensor


def distance_buckets(reach: int, buckets: int, farthest: int, *, both: bool = True) -> Array:
    """i32 [2·reach + 1]: the bucket of each distance key − query from −reach to reach (Raffel and others, 2020).

    Near distances have a bucket each; then they grow with the logarithm, up to `farthest`, and all that is farther
    shares the last. both: half of the buckets are for keys after the query; else those keys share bucket 0.
    """
    behind = -np.arange(-reach, reach + 1)  # places from the key back to the query: how far the key lies in the past
    half = buckets // 2 if both else buckets
    far = np.abs(behind) if both else np.maximum(behind, 0)
    exact = half // 2
    # in f32, as the checkpoints were trained: where a bucket begins is a matter of rounding
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact))
    steps = ratio / np.float32(np.log(farthest / exact)) * np.float32(half - exact)
    grown = np.minimum(exact + steps.astype(np.int64), half - 1)
    found = np.where(far < exact, far, grown) + (half * (behind < 0) if both else 0)
    return found.astype(np.int32)


def bias_by_distance(table: Tensor, buckets: Array) -> Tensor:
    """The operand `bias` of `ht.attention`, [heads, 2·reach + 1], from a table [buckets, heads]."""
    return ht.take(table, tensor(buckets)).T


def log_buckets(reach: int, buckets: int, farthest: int) -> Array:
    """i32 [2·reach + 1]: the bucket of each distance query − key from reach down to −reach (He and others, 2021).

    Distances below half of `buckets` are their own; then they grow with the logarithm, so that `farthest` − 1 falls
    into bucket `buckets` − 1. Signs stay: −4 falls into −4.
    """
    distance = np.arange(reach, -reach - 1, -1)
    middle = buckets // 2
    far = np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(middle)
    growth = np.float32(np.log(np.float32((farthest - 1) / middle)))
    grown = np.ceil(np.log(far) / growth * np.float32(middle - 1)).astype(np.int64) + middle
    return np.where(np.abs(distance) <= middle, distance, np.sign(distance) * grown).astype(np.int32)
