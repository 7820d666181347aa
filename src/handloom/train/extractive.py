"""Summaries that are taken out of the text: its first sentences, and its most central ones.

A sentence is the more central the more it is like sentences that are central themselves: LexRank (Erkan and Radev 2004,
section 4.1, continuous), with cosines of tf-idf.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import RewritingExample

SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|[。！？]|$)", re.DOTALL)
DAMPING, ROUNDS = 0.85, 50
Rows = Callable[[Sequence[str]], NDArray[np.float64]]
"""Sentences as vectors of length 1, f64 [sentences, words]."""


def sentences(text: str) -> list[str]:
    """Up to the ends of sentences that blanks follow, or Chinese ones.

    >>> sentences("It costs 3.50 a day. We pay."), sentences("你好。再见。")
    (['It costs 3.50 a day.', 'We pay.'], ['你好。', '再见。'])
    """
    return [found.group() for found in SENTENCE.finditer(text)]


def usual_count(train: Sequence[RewritingExample]) -> int:
    """The sentences that half of the training summaries have at most; 1 where there are none."""
    counts = sorted(len(sentences(example.targets[0])) for example in train if example.targets)
    return max(counts[len(counts) // 2], 1) if counts else 1


def lead(text: str, count: int) -> str:
    return " ".join(sentences(text)[:count])


def central(text: str, count: int, rows: Rows) -> str:
    """The `count` most central sentences, in the order of the text."""
    found = sentences(text)
    if len(found) <= count:
        return " ".join(found)
    ranked = np.argsort(-centrality(rows(found)), kind="stable")
    return " ".join(found[i] for i in sorted(ranked[:count].tolist()))


def centrality(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """f64 [n], summing to 1: the stationary shares of a walk from sentence to sentence by their likeness, which begins
    anew anywhere with probability 1 − DAMPING."""
    count = len(vectors)
    alike = vectors @ vectors.T
    sums = alike.sum(1, keepdims=True)
    steps = np.divide(alike, sums, out=np.full_like(alike, 1 / count), where=sums > 0)
    shares = np.full(count, 1 / count)
    for _ in range(ROUNDS):
        shares = (1 - DAMPING) / count + DAMPING * shares @ steps
    return shares
