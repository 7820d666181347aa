"""How good written texts are beside texts that people wrote: BLEU and chrF of translations, ROUGE of summaries.

BLEU (Papineni et al. 2002) and chrF (Popović 2015) are sacrebleu's (Post 2018), 0 to 1 here; ROUGE is ours (Lin 2004),
without a stemmer: F1 of words, of pairs of words, and of the longest common subsequence, the best of the references.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from handloom.data.examples import SUMMARIZATION, TRANSLATION
from handloom.errors import HandloomError

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")

Refs = Sequence[Sequence[str]]
"""The right texts of each example."""


@dataclass(frozen=True)
class Found:
    """each: one number an example, the larger the better."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    each: list[float]


@dataclass(frozen=True)
class Scorer:
    """names: the metrics, the most important first."""

    names: tuple[str, ...]
    run: Callable[[Sequence[str], Refs, int], Found]

    def __call__(self, written: Sequence[str], right: Refs, seed: int = 0) -> Found:
        return self.run(written, right, seed)


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


def rouge(written: Sequence[str], right: Refs, seed: int = 0) -> Found:
    cut = [(words(text), [words(one) for one in refs]) for text, refs in zip(written, right, strict=True)]
    each = {name: [max(of(text, one) for one in refs) for text, refs in cut] for name, of in ROUGE.items()}
    means = {name: float(np.mean(values)) if values else 0.0 for name, values in each.items()}
    return Found(means, {name: _interval(values, seed) for name, values in each.items()}, each["rougeL"])


def _interval(values: Sequence[float], seed: int, draws: int = 1000) -> tuple[float, float]:
    """Of the mean, by the bootstrap."""
    if not values:
        return (0.0, 0.0)
    rng = np.random.default_rng(seed)
    array = np.asarray(values)
    means = [array[rng.integers(0, len(array), len(array))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return (float(low), float(high))


def bleu(written: Sequence[str], right: Refs, seed: int = 0) -> Found:
    """Where most of the right texts are Chinese, words are told apart as sacrebleu's `zh` does."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as problem:
        raise HandloomError(
            "sacrebleu scores translations, and is not installed: python -m pip install 'handloom[translation]'"
        ) from problem
    if not written:
        return Found({"bleu": 0.0, "chrf": 0.0}, {}, [])
    most = max(map(len, right))
    columns = [[refs[i] if i < len(refs) else "" for refs in right] for i in range(most)]
    chinese = sum(bool(re.search(f"[{_CJK}]", refs[0])) for refs in right) * 2 > len(right)
    whole, letters = BLEU(tokenize="zh" if chinese else "13a"), CHRF()
    found = {"bleu": whole.corpus_score(list(written), columns).score / 100,
             "chrf": letters.corpus_score(list(written), columns).score / 100}  # fmt: skip
    each = [letters.sentence_score(text, list(refs)).score / 100 for text, refs in zip(written, right, strict=True)]
    return Found(found, {}, each)


SCORERS: dict[str, Scorer] = {
    TRANSLATION: Scorer(("bleu", "chrf"), bleu),
    SUMMARIZATION: Scorer(tuple(ROUGE), rouge),
}
