"""How good written texts are beside texts that people wrote: BLEU and chrF of translations, ROUGE of summaries.

BLEU (Papineni et al. 2002) and chrF (Popović 2015) are as sacrebleu (Post 2018) has them, which tells words apart, 0 to
1 here; ROUGE (Lin 2004) is without a stemmer: F1 of words, of pairs of words, and of the longest common subsequence,
the best of the references. All are functions of sums over the examples: to draw these anew costs next to nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import SUMMARIZATION, TRANSLATION
from handloom.errors import HandloomError
from handloom.tasks.metrics import Floats, Summed, evaluated, mean_of, ratio

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")

Refs = Sequence[Sequence[str]]
"""The right texts of each example."""


@dataclass(frozen=True)
class Found:
    """each: one number an example, the larger the better. sums: f64 or int64 [examples, numbers], from whose sums, over
    whatever examples, every metric follows."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    each: list[float]
    sums: NDArray[Any]


@dataclass(frozen=True)
class Scorer:
    """statistics: of what is written beside what is right, numbers that can be added up, and one number an example.
    of_sums: the metrics, by name, of their sums [..., numbers]; the most important first."""

    statistics: Callable[[Sequence[str], Refs], tuple[NDArray[Any], list[float]]]
    of_sums: Mapping[str, Summed]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.of_sums)

    def __call__(self, written: Sequence[str], right: Refs, seed: int = 0) -> Found:
        sums, each = self.statistics(written, right)
        return Found(*evaluated(sums, self.of_sums, seed), each, sums)


def words(text: str) -> list[str]:
    """In lower case, without punctuation; CJK by the character."""
    return _WORD.findall(text.lower())


def f1(right: int, guessed: int, true: int) -> float:
    return 2 * right / (guessed + true) if right else 0.0


def rouge_n(written: Sequence[str], right: Sequence[str], n: int) -> float:
    """F1 of runs of n words."""
    ours, theirs = (Counter(zip(*(side[i:] for i in range(n)), strict=False)) for side in (written, right))
    return f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(written: Sequence[str], right: Sequence[str]) -> float:
    """F1 of the longest common subsequence of words."""
    row = np.zeros(len(right) + 1, np.int64)
    there = np.array(right, object)
    for word in written:
        matched = np.where(there == word, row[:-1] + 1, row[1:])
        row[1:] = np.maximum.accumulate(matched)
    return f1(int(row[-1]), len(written), len(right))


ROUGE: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "rouge1": lambda a, b: rouge_n(a, b, 1),
    "rouge2": lambda a, b: rouge_n(a, b, 2),
    "rougeL": rouge_l,
}


def rouge_sums(written: Sequence[str], right: Refs) -> tuple[NDArray[Any], list[float]]:
    """1 and each ROUGE of the best reference."""
    cut = [(words(text), [words(one) for one in refs]) for text, refs in zip(written, right, strict=True)]
    rows = [[1.0, *(max(of(text, one) for one in refs) for of in ROUGE.values())] for text, refs in cut]
    sums = np.array(rows, np.float64).reshape(len(rows), 1 + len(ROUGE))
    return sums, sums[:, -1].tolist()


# -- translations ----------------------------------------------------------------------------------------------------

WORD_RUNS, LETTER_RUNS, BETA = 4, 6, 2
"""BLEU's longest run of words; chrF's of characters, and by how much recall weighs more there."""


def translation_sums(written: Sequence[str], right: Refs) -> tuple[NDArray[Any], list[float]]:
    """BLEU's lengths, runs of words that are right, and all; then chrF's runs of characters written, right, in common.

    Where most of the right texts are Chinese, words are told apart as sacrebleu's `zh` does.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as problem:
        raise HandloomError(
            "sacrebleu scores translations, and is not installed: python -m pip install 'handloom[translation]'"
        ) from problem
    chinese = sum(bool(re.search(f"[{_CJK}]", refs[0])) for refs in right) * 2 > len(right)
    judge = BLEU(tokenize="zh" if chinese else "13a")
    sums = np.zeros((len(written), 2 + 2 * WORD_RUNS + 3 * LETTER_RUNS), np.int64)
    for row, text, refs in zip(sums, written, right, strict=True):
        one = judge.corpus_score([text], [[ref] for ref in refs])
        row[: 2 + 2 * WORD_RUNS] = one.sys_len, one.ref_len, *one.counts, *one.totals
        row[2 + 2 * WORD_RUNS :] = letter_runs(text, refs)
    return sums, chrf(sums).tolist()


def bleu(sums: NDArray[Any]) -> Floats:
    """Papineni et al. 2002, with sacrebleu's smoothing of orders without a hit (NIST's): 1/2, 1/4 … of one."""
    written, right = sums[..., 0], sums[..., 1]
    hits, all_ = sums[..., 2 : 2 + WORD_RUNS], sums[..., 2 + WORD_RUNS : 2 + 2 * WORD_RUNS]
    smoothed = np.where(hits > 0, hits, 0.5 ** np.cumsum(hits == 0, -1))
    there = np.asarray((all_ > 0).all(-1) & (hits > 0).any(-1))
    logs = np.log(np.where(there[..., None], ratio(smoothed, all_), 1.0)).mean(-1)
    brief = np.minimum(0.0, 1 - np.divide(right, np.maximum(written, 1)))
    return np.where(there, np.exp(logs + brief), 0.0)


def chrf(sums: NDArray[Any]) -> Floats:
    """Popović 2015: precision and recall are means over the orders that both sides have."""
    counts = sums[..., 2 + 2 * WORD_RUNS :].reshape(*sums.shape[:-1], LETTER_RUNS, 3)
    ours, theirs, same = np.moveaxis(counts, -1, 0)
    both = (ours > 0) & (theirs > 0)
    precision, recall = (ratio((ratio(same, side) * both).sum(-1), both.sum(-1)) for side in (ours, theirs))
    return ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


def letter_runs(text: str, refs: Sequence[str]) -> list[int]:
    """For each length of runs of characters: how many are written, right, and in common, with the reference that fits
    best. Blanks do not count."""
    ours = _runs(text)
    rows = []
    for ref in refs:
        row: list[int] = []
        for mine, theirs in zip(ours, _runs(ref), strict=True):
            row += [mine.total() if theirs else 0, theirs.total(), (mine & theirs).total()]
        rows.append(row)
    values = chrf(np.array([[0] * (2 + 2 * WORD_RUNS) + row for row in rows]))
    return rows[int(values.argmax())]


def _runs(text: str) -> list[Counter[str]]:
    letters = "".join(text.split())
    return [Counter(letters[i : i + n] for i in range(len(letters) - n + 1)) for n in range(1, LETTER_RUNS + 1)]


SCORERS: dict[str, Scorer] = {
    TRANSLATION: Scorer(translation_sums, {"bleu": bleu, "chrf": chrf}),
    SUMMARIZATION: Scorer(rouge_sums, {name: mean_of(place) for place, name in enumerate(ROUGE, 1)}),
}
