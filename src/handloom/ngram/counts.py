"""How often each n-gram stands in a corpus, for every order up to the model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handloom.ngram.corpus import START, Array, framed


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """The n-grams of one order, sorted by (context, word); what is a number is a place in the level below.

    context: i64[n], the n-gram without its last word; word: i64[n], the last; suffix: i64[n], the n-gram without its
    first word; count: i64[n]; starts: bool[n], whether its first word is START.
    """

    context: Array
    word: Array
    suffix: Array
    count: Array
    starts: Array

    def __len__(self) -> int:
        return len(self.word)


def count(ids: Array, order: int, size: int, say: Callable[[str], None] = lambda message: None) -> list[Counted]:
    """The levels of a corpus, from words upwards; fewer than `order` where no sentence is so long.

    ids: [T], END after each sentence; size: of the vocabulary, each word of which is in the first level. n-grams lie
    within a sentence with its START and END. START itself is counted as 0: it is never predicted.
    """
    tokens, place = framed(ids)
    words = np.arange(size)
    counts = np.bincount(tokens, minlength=size)
    counts[START] = 0
    none = np.zeros(size, np.int64)
    levels = [Counted(none, words, none, counts, words == START)]
    number = tokens.astype(np.int64)  # of the n-gram that ends at each token, in the highest level so far
    for length in range(2, order + 1):
        ends = np.flatnonzero(place >= length - 1)
        if not len(ends):
            break
        keys = number[ends - 1] * size + tokens[ends]
        sort = np.argsort(keys)
        keys = keys[sort]
        new = np.append(True, keys[1:] != keys[:-1])
        firsts = np.flatnonzero(new)
        context, word = np.divmod(keys[firsts], size)
        counts = np.diff(np.append(firsts, len(keys)))
        levels.append(Counted(context, word, number[ends[sort[firsts]]], counts, levels[-1].starts[context]))
        if length < order:
            number[ends[sort]] = np.cumsum(new) - 1  # others are not looked at again
        say(f"{len(firsts):,} different {length}-grams")
    return levels
