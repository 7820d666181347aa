"""Which texts speak of what a question asks: BM25 (Robertson and Zaragoza 2009, "The probabilistic relevance framework:
BM25 and beyond", equation 3.15), over words and, in scripts without spaces, pairs of neighbouring characters."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TERM = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_RUN = re.compile(f"[{_UNSPACED}]")
K1, B = 1.2, 0.75


def terms(text: str) -> list[str]:
    """Words in lower case; of a run of characters without spaces each two neighbours, or the one there is.

    >>> terms("The 2 cats: 我爱北京")
    ['the', '2', 'cats', '我爱', '爱北', '北京']
    """
    found: list[str] = []
    for piece in _TERM.findall(text.casefold()):
        pairs = len(piece) > 1 and _RUN.match(piece)
        found += [a + b for a, b in pairwise(piece)] if pairs else [piece]
    return found


class Bm25:
    """An index of texts. k1: how soon more of a word counts no more; b: how much a long text has to make up for it."""

    def __init__(self, texts: Sequence[str], k1: float = K1, b: float = B) -> None:
        counts = [Counter(terms(text)) for text in texts]
        self.size = len(texts)
        length = np.array([count.total() for count in counts], np.float64)
        mean = length.mean() if length.sum() else 1.0
        self._k1, self._share = k1, k1 * (1 - b + b * length / mean)
        gathered: dict[str, tuple[list[int], list[int]]] = {}
        for number, count in enumerate(counts):
            for term, often in count.items():
                places, times = gathered.setdefault(term, ([], []))
                places.append(number)
                times.append(often)
        self._postings = {term: (np.array(p, np.int64), np.array(t, np.float64)) for term, (p, t) in gathered.items()}

    def scores(self, question: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """f64 [texts]; 0 for a text that shares no word with the question."""
        found = np.zeros(self.size)
        for term in dict.fromkeys(terms(question)):
            if term in self._postings:
                places, times = self._postings[term]
                weight = math.log(1 + (self.size - len(places) + 0.5) / (len(places) + 0.5))
                found[places] += weight * times * (self._k1 + 1) / (times + self._share[places])
        return found

    def best(self, question: str, count: int) -> list[tuple[int, float]]:
        """(index, score) of the best texts that share a word with the question, the best first."""
        scores = self.scores(question)
        ranked = np.argsort(-scores, kind="stable")[:count]
        return [(int(i), float(scores[i])) for i in ranked if scores[i] > 0]
