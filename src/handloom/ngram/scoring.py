"""What a model says of texts: every token of many sentences at once, order by order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from handloom.ngram.corpus import END, START, UNKNOWN, Array, framed
from handloom.ngram.table import Level, Unseen, children


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Tokens of sentences and their scores, packed. T tokens, one END of each of the S sentences among them.

    ids: i64[T]; log10: f64[T], of each token's probability after those before it; order: i64[T], of the n-gram that
    told it; starts: i64[S + 1], where each sentence begins.
    """

    ids: Array
    log10: Array
    order: Array
    starts: Array

    @property
    def known(self) -> Array:
        """Which tokens the vocabulary has: bool[T]."""
        return np.not_equal(self.ids, UNKNOWN)

    @property
    def sentences(self) -> Array:
        """log10 of the probability of each sentence and its end: f64[S]."""
        return np.add.reduceat(self.log10, self.starts[:-1])


def score(levels: list[Level], unseen: Unseen, ids: Array) -> Scores:
    """Scores of sentences. ids: [T], END after each.

    The n-gram of each order that ends at a token is looked up by the number of the one below that ended a token before.
    """
    size = len(levels[0])
    tokens, place = framed(ids)
    log10 = levels[0].log10[tokens].astype(np.float64)
    order = np.ones(len(tokens), np.int64)
    at, number = np.arange(len(tokens)), tokens  # where an n-gram of the order below ends, and its number
    for length, (below, level) in enumerate(pairwise(levels), 2):
        inner = tokens[at] != END
        at, context = at[inner] + 1, number[inner]  # the token after it
        if unseen != Unseen():
            reached = place >= length - 1
            log10[reached] *= unseen.adds
            reached[at] = False
            log10[reached] += unseen.missing
        log10[at] += below.backoff[context]
        found = level.find(context * size + tokens[at])
        there = found >= 0
        at, number = at[there], found[there]
        log10[at] = level.log10[number]
        order[at] = length
    predicted = place > 0
    starts = np.append(0, np.flatnonzero(tokens[predicted] == END) + 1)
    return Scores(tokens[predicted], log10[predicted], order[predicted], starts)


def following(levels: list[Level], unseen: Unseen, history: Array) -> Array:
    """What the model gives to every token after a history (ids, oldest first): f64[V], START's is 0."""
    size = len(levels[0])
    given = 10.0 ** levels[0].log10.astype(np.float64)
    for length in range(1, min(len(levels), len(history) + 1)):
        context = number_of(levels, history[len(history) - length :])
        backoff = 10.0 ** (float(levels[length - 1].backoff[context]) if context >= 0 else unseen.missing)
        given = given * backoff if unseen.adds else np.full(size, backoff)
        if context >= 0:
            at, words = children(levels[length], size, context)
            given[words] = 10.0 ** levels[length].log10[at].astype(np.float64)
    given[START] = 0
    return given


def number_of(levels: list[Level], words: Array) -> int:
    """The number of an n-gram in its level, or -1."""
    size = len(levels[0])
    number = int(words[0])
    for level, word in zip(levels[1:], words[1:], strict=False):
        number = int(level.find(np.array([number * size + int(word)]))[0])
        if number < 0:
            break
    return number
