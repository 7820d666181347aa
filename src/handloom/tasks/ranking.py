"""How good an order by scores is: beside labels (average precision, a threshold), and as a search (ranks of the right
texts).

Draws of a bootstrap are weights, i64 [draws, n]: how often each example was drawn; metrics take them instead of copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]
QUERIES = 256  #: whose scores are held at once


# -- beside labels


def average_precision(scores: Array, labels: Array, weights: Array | None = None) -> Floats:
    """[draws] (or a scalar): the mean precision at each right pair, pairs in order of their scores, best first; equal
    scores count as one step. labels: bool [n]."""
    drawn = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    ends = np.append(scores[order][1:] < scores[order][:-1], True)  # the last of those with the same score
    taken = drawn[..., order].astype(np.float64)
    right = np.cumsum(taken * labels[order], -1)[..., ends]
    total = np.cumsum(taken, -1)[..., ends]
    gained = np.diff(right, prepend=0.0, axis=-1)
    over = np.where(total > 0, right / np.maximum(total, 1), 0.0)
    found: Floats = (gained * over).sum(-1) / np.maximum(right[..., -1], 1)
    return found


def best_threshold(scores: Array, labels: Array) -> float:
    """Half-way between two scores: taking those above it for right has the best accuracy."""
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order].astype(np.float64), labels[order]
    hits = np.concatenate([[0], np.cumsum(right)]) + np.concatenate([np.cumsum(~right[::-1])[::-1], [0]])
    apart = np.concatenate([[True], ranked[1:] < ranked[:-1], [True]])
    at = int(np.argmax(np.where(apart, hits, -1)))
    edges = np.concatenate([[ranked[0] + 1], ranked, [ranked[-1] - 1]])
    return float((edges[at] + edges[at + 1]) / 2)


# -- as a search


def ranked(
    queries: Array, answers: Array, right: list[Array]
) -> Iterator[tuple[Array, int]]:
    """For each query the ranks, from 1, of its right answers, rising, and the index of the best answer.

    queries: f32 [q, width]; answers: f32 [a, width]; right: for each query the indices of its right answers. Of answers
    with the same score the first in the list is the better one.
    """
    for begin in range(0, len(queries), QUERIES):
        block = queries[begin : begin + QUERIES] @ answers.T
        for row, own in zip(block, right[begin : begin + QUERIES], strict=True):
            yield places(row, own), int(row.argmax())


def places(row: Array, own: Array) -> Array:
    """Ranks, from 1, of the answers `own` in a row of scores, rising."""
    found = [1 + int((row > row[i]).sum()) + int((row[:i] == row[i]).sum()) for i in own.tolist()]
    return np.sort(np.array(found, np.int64))


def recall_at(ranks: Array, right: int, most: int) -> float:
    return int((ranks <= most).sum()) / right


def reciprocal_rank(ranks: Array, most: int = 10) -> float:
    return 1 / int(ranks[0]) if len(ranks) and ranks[0] <= most else 0.0


def gain(ranks: Array, right: int, most: int = 10) -> float:
    """nDCG of answers that are right or not (Järvelin and Kekäläinen 2002)."""
    best = (1 / np.log2(np.arange(2, 2 + min(right, most)))).sum()
    return float((1 / np.log2(1 + ranks[ranks <= most])).sum() / best)


# -- how sure


def precision_interval(scores: Array, labels: Array, seed: int = 0) -> tuple[float, float]:
    """Of the average precision, 95 %: no function of sums, therefore of examples drawn anew; fewer draws of very many
    examples."""
    count = len(scores)
    if not count:
        return (0.0, 0.0)
    rng = np.random.default_rng(seed)
    draws = min(1000, max(100, 10_000_000 // count))
    block = max(1, 2_000_000 // count)
    values = [
        average_precision(scores, labels, rng.multinomial(count, np.full(count, 1 / count), min(block, draws - at)))
        for at in range(0, draws, block)
    ]
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975])
    return (float(low), float(high))
