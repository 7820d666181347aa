"""How far the texts of a file are from those of another, and from what a model knows.

A test of two samples by a classifier (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests") says whether
two files differ at all: a model that is trained to tell them apart does no better than chance if they do not. Words
that tell them apart are ranked by the log-odds ratio with a prior (Monroe, Colaresi and Quinn 2008, "Fightin' words").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.check import QUANTILES
from handloom.data.examples import TextExample
from handloom.data.packing import order
from handloom.errors import HandloomError
from handloom.ngram.model import NgramModel
from handloom.scoring import Scorer
from handloom.tasks.text_classification import TextClassification
from handloom.text.tokenizer import Tokenizer
from handloom.text.words import split_words as places_of
from handloom.train.linear import linear, split_words

Floats = NDArray[np.float64]

TEXTS = 4000  #: of each file that a classifier is shown, at most
LEAST = 20  #: texts of each file that a test needs
WORDS = 10  #: that tell the files apart, on either side
TOKENS = {True: 2_000, False: 20_000}  #: that a masked model, and another one, is asked about
SIDES = ("this", "other")


@dataclass(frozen=True, slots=True)
class Distance:
    """Between two files, "this" and "other".

    texts: of each. known_words: the share of the other's running words that this file has, and of its different words.
    lengths: words a text at QUANTILES; length_distance: the greatest difference between the two shares of texts that
    are no longer than something (Kolmogorov–Smirnov), 0 to 1. auc: how well texts of the two are told apart, 0.5 by
    chance, with its 95 % interval (DeLong et al. 1988); accuracy: the same by halves; p_value: of so much or more where
    the two do not differ. words: what is commoner in one of them, with its z-score. perplexity: a word, by n-grams of
    half of this file, of the other half and of the other file.
    """

    texts: tuple[int, int]
    known_words: tuple[float, float]
    lengths: tuple[tuple[int, ...], tuple[int, ...]]
    length_distance: float
    auc: float
    interval: tuple[float, float]
    accuracy: float
    p_value: float
    words: tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]]
    perplexity: tuple[float, float]

    @property
    def verdict(self) -> str:
        if self.interval[0] <= 0.5:
            return "not told apart"
        return "near" if self.auc < 0.7 else "apart" if self.auc < 0.9 else "far apart"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    def __str__(self) -> str:
        low, high = self.interval
        heads = "".join(f"{f'{q:.0%}':>8}" for q in QUANTILES)
        lines = [
            f"the two files are {self.verdict}: a linear model tells their texts apart with AUC {self.auc:.3f} "
            f"(95 %: {low:.3f} – {high:.3f}; chance is 0.5; p = {self.p_value:.2g})",
            f"  of the other's running words {self.known_words[0]:.1%} stand in this file, of its different words "
            f"{self.known_words[1]:.1%}",
            f"  perplexity by this file's n-grams: {self.perplexity[0]:,.0f} on texts of its own, "
            f"{self.perplexity[1]:,.0f} on the other's",
            f"  {'words a text at':<18}{heads}",
        ]
        for name, values in zip(SIDES, self.lengths, strict=True):
            lines.append(f"  {name:<18}" + "".join(f"{value:>8}" for value in values))
        lines.append(f"  lengths differ by {self.length_distance:.2f} (Kolmogorov–Smirnov; 0: not at all, 1: wholly)")
        for name, found in zip(("this file", "the other"), self.words, strict=True):
            lines.append(f"  more in {name}: " + ", ".join(word for word, _ in found))
        return "\n".join(lines)


def between(this: Sequence[str], other: Sequence[str], seed: int = 0, threads: int | None = None) -> Distance:
    """Raises HandloomError where either has fewer than LEAST texts with words in them."""
    cut = [[words for text in side if (words := split_words(text))] for side in (this, other)]
    for name, side in zip(("this file", "the other file"), cut, strict=True):
        if len(side) < LEAST:
            raise HandloomError(f"{name} has {len(side)} texts; a distance needs {LEAST} of each at least")
    counts = [Counter(word for words in side for word in words) for side in cut]
    lengths = [np.array([len(words) for words in side]) for side in cut]
    told = _told_apart(cut, seed, threads)
    return Distance(
        (len(cut[0]), len(cut[1])),
        (sum(count for word, count in counts[1].items() if word in counts[0]) / counts[1].total(),
         sum(word in counts[0] for word in counts[1]) / len(counts[1])),
        (_quantiles(lengths[0]), _quantiles(lengths[1])), _greatest_gap(lengths[0], lengths[1]),
        *told, _telling(counts[0], counts[1]), _perplexities(cut[0], cut[1], seed),
    )  # fmt: skip


def _quantiles(lengths: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.quantile(lengths, QUANTILES, method="higher"))


def _greatest_gap(one: NDArray[Any], other: NDArray[Any]) -> float:
    both = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(side), both, "right") / len(side) for side in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _told_apart(
    cut: Sequence[Sequence[list[str]]], seed: int, threads: int | None
) -> tuple[float, tuple[float, float], float, float]:
    """AUC, its interval, accuracy and p-value: as many texts of each, half to learn from and half to be told apart.
    Texts that both have, or that stand in a file twice, are taken once: else they would be recognised."""
    size = min(TEXTS, *(len({tuple(words) for words in side}) for side in cut))
    halves: list[list[TextExample]] = [[], []]
    for name, side in zip(SIDES, cut, strict=True):
        texts = list(dict.fromkeys(" ".join(words) for words in side))
        chosen = order(len(texts), seed, 0)[:size].tolist()
        for place, i in enumerate(chosen):
            halves[place % 2].append(TextExample(texts[i], label=name))
    said = linear(TextClassification(SIDES), halves[0], halves[1], seed, threads)
    scores = np.array([one.scores[SIDES[1]] for one in said])
    is_other = np.array([example.label == SIDES[1] for example in halves[1]])
    value, low, high = auc(scores[is_other], scores[~is_other])
    accuracy = float(((scores > 0.5) == is_other).mean())
    z = (accuracy - 0.5) * 2 * math.sqrt(len(scores))  # accuracy of guesses: mean 1/2, variance 1/(4 n)
    return value, (low, high), accuracy, 0.5 * math.erfc(z / math.sqrt(2))


def auc(positive: Floats, negative: Floats, sure: float = 1.96) -> tuple[float, float, float]:
    """The share of pairs in which the positive has the larger score, of equal ones half, and its interval (DeLong et
    al. 1988)."""

    def placed(ones: Floats, others: Floats) -> Floats:
        ranked = np.sort(others)
        return (np.searchsorted(ranked, ones, "left") + np.searchsorted(ranked, ones, "right")) / (2 * len(others))

    above, below = placed(positive, negative), 1 - placed(negative, positive)
    value = float(above.mean())
    variance = sum(float(side.var(ddof=1)) / len(side) for side in (above, below) if len(side) > 1)
    width = sure * math.sqrt(variance)
    return value, max(value - width, 0.0), min(value + width, 1.0)


def _telling(this: Counter[str], other: Counter[str]) -> Any:
    """The words of either with the greatest z-scores. The prior is all words as they are in both files together."""
    words = [word for word in (this + other) if any(map(str.isalnum, word))]
    ours, theirs = (np.array([side[word] for word in words], np.float64) for side in (this, other))
    prior = (ours + theirs) * (500 / max((ours + theirs).sum(), 1))
    logs = [np.log((side + prior) / (side.sum() + prior.sum() - side - prior)) for side in (ours, theirs)]
    scores = (logs[0] - logs[1]) / np.sqrt(1 / (ours + prior) + 1 / (theirs + prior))
    ranked = np.argsort(-scores, kind="stable")
    first = tuple((words[i], float(scores[i])) for i in ranked[:WORDS].tolist() if scores[i] > 0)
    last = tuple((words[i], -float(scores[i])) for i in ranked[::-1][:WORDS].tolist() if scores[i] < 0)
    return first, last


def _perplexities(this: Sequence[list[str]], other: Sequence[list[str]], seed: int) -> tuple[float, float]:
    shuffled = order(len(this), seed, 1).tolist()
    half = len(this) // 2
    lines = [" ".join(words) for words in this]
    model = NgramModel.train([lines[i] for i in shuffled[:half]], order=3)
    own = model.perplexity([lines[i] for i in shuffled[half:]]).perplexity
    return own, model.perplexity([" ".join(words) for words in other]).perplexity


# -- from a model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How well a model's vocabulary fits texts: tokens a word, the share of words that are cut in pieces, and of tokens
    that are unknown; where it has a head for that, also the perplexity of some texts, and their bits a byte."""

    tokens_per_word: float
    cut_words: float
    unknown: float
    scored_texts: int = 0
    perplexity: float | None = None
    bits_per_byte: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"to the model: {self.tokens_per_word:.2f} tokens a word, {self.cut_words:.1%} of the words in pieces, "
            f"{self.unknown:.1%} of the tokens unknown"
        ]
        if self.perplexity is not None:
            lines.append(f"  perplexity {self.perplexity:,.1f} a token, {self.bits_per_byte:.2f} bits a byte, "
                         f"of {self.scored_texts} texts")  # fmt: skip
        return "\n".join(lines)


def familiar(texts: Sequence[str], tokenizer: Tokenizer, scorer: Scorer | None = None, seed: int = 0) -> Familiarity:
    """scorer: the model, where it has a head that tells how likely a text is; some of the texts are shown to it."""
    encodings = tokenizer.encode_words_batch(texts, [places_of(text) for text in texts])
    unknown = tokenizer.unknown_report(list(texts), encodings, warn=False)
    pieces = [np.unique(coded.words[coded.words >= 0], return_counts=True)[1] for coded in encodings]
    together = np.concatenate([np.zeros(0, np.int64), *pieces])
    words = max(len(together), 1)
    found = Familiarity(float(together.sum() / words), float((together > 1).sum() / words), unknown.share)
    if scorer is None:
        return found
    from handloom.pipelines.fill_mask import FillMask

    budget = TOKENS[isinstance(scorer, FillMask)]
    chosen: list[str] = []
    for i in order(len(texts), seed, 0).tolist():
        if len(encodings[i]) < 4 or not texts[i].strip():
            continue
        budget -= len(encodings[i])
        if budget < 0 and chosen:
            break
        chosen.append(texts[i])
    if not chosen:
        return found
    said = scorer.perplexity(chosen)
    return Familiarity(found.tokens_per_word, found.cut_words, found.unknown, said.texts, said.perplexity,
                       said.bits_per_byte)  # fmt: skip
