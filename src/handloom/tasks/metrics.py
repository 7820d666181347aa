"""Scores of predictions, from counts: accuracy, F1, confusion, spans, and how sure they are (bootstrap).

Everything is a function of small integer counts, so a confidence interval costs a resampling of counts, not of texts.
Where a ratio has an empty denominator it is 0, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.text.spans import Run

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def ratio(over: Floats | Counts, under: Floats | Counts) -> Floats:
    """over / under, 0 where `under` is 0."""
    under_ = np.asarray(under, np.float64)
    return np.divide(over, under_, out=np.zeros(np.broadcast(over, under_).shape), where=under_ != 0)


# -- one label a text -----------------------------------------------------------------------------------------------


def confusion(gold: Sequence[int] | Counts, guess: Sequence[int] | Counts, labels: int) -> Counts:
    """Counts [labels, labels]: row = true label, column = predicted label."""
    cells = np.asarray(gold, np.int64) * labels + np.asarray(guess, np.int64)
    return np.bincount(cells, minlength=labels * labels).reshape(labels, labels)


def sides(matrix: Counts) -> Counts:
    """right, guessed, true of each label of confusion matrices [..., labels, labels]: [..., labels, 3]."""
    return np.stack([np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-2), matrix.sum(-1)], -1)


def per_label(matrix: Counts) -> dict[str, Floats]:
    """precision, recall, f1 and support of each label of confusion matrices [..., labels, labels]."""
    return rates(sides(matrix))


def accuracy(matrix: Counts) -> Floats:
    return micro_recall_of(sides(matrix))


def macro_f1(matrix: Counts) -> Floats:
    """Mean F1 over the labels that occur, as truth or as guess (scikit-learn's default)."""
    return macro_f1_of(sides(matrix))


def weighted_f1(matrix: Counts) -> Floats:
    """Mean F1 weighted by how often a label is true."""
    return weighted_f1_of(sides(matrix))


#: Metrics of a confusion matrix by name.
OF_CONFUSION: dict[str, Callable[[Counts], Floats]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}


# -- right, guessed, true --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelCounts:
    """For each example and label how often it is right, guessed and true: int64 [examples, labels, 3]. A label is a
    class, a type of entity, a relation."""

    labels: tuple[str, ...]
    counts: Counts

    def per_label(self) -> dict[str, dict[str, float]]:
        table = rates(self.counts.sum(0))
        return {name: {key: float(values[i]) for key, values in table.items()} for i, name in enumerate(self.labels)}

    def among(self, labels: Sequence[str]) -> LabelCounts:
        """The same with zeros for the labels that are not its own. labels: its own, and perhaps others."""
        wide = np.zeros((len(self.counts), len(labels), 3), np.int64)
        wide[:, [list(labels).index(name) for name in self.labels]] = self.counts
        return LabelCounts(tuple(labels), wide)

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool [examples]: whether nothing is wrong and nothing is missing."""
        found: NDArray[np.bool_] = (self.counts == self.counts[..., :1]).all((1, 2))
        return found


@dataclass(frozen=True)
class Summands:
    """Numbers of every example that are added up, of whatever kind: counts int64 or f64 [examples, numbers]; right:
    bool [examples], those with which nothing is wrong."""

    counts: Counts | Floats
    right: NDArray[np.bool_]


Summed = Callable[[Any], Floats]
"""A metric of counts [..., labels, 3], or of numbers [..., numbers], that are summed over examples: [...]."""


def mean_of(place: int, under: int = 0, scale: int = 1) -> Summed:
    """A mean: the number at `place`, in units of 1/scale, over the one at `under`, which counts or weighs."""
    return lambda sums: ratio(sums[..., place] / scale, sums[..., under])


def weighted(values: Sequence[float] | NDArray[Any], weights: NDArray[Any] | None = None) -> Floats:
    """f64 [examples, 2]: the weight of each example, 1 if none is given, and weight × value; see `mean_of`."""
    found = np.asarray(values, np.float64)
    of = np.ones_like(found) if weights is None else weights
    return np.stack([of, of * found], -1)


def rates(counts: Counts) -> dict[str, Floats]:
    """precision, recall, f1 and support of each label: [..., labels] each, of counts [..., labels, 3]."""
    right, guessed, true = np.moveaxis(counts, -1, 0)
    return {
        "precision": ratio(right, guessed),
        "recall": ratio(right, true),
        "f1": f1_of(counts),
        "support": true.astype(np.float64),
    }


def f1_of(counts: Counts) -> Floats:
    """F1 of each label: [..., labels]."""
    right, guessed, true = np.moveaxis(counts, -1, 0)
    return ratio(2 * right, guessed + true)


def micro_f1_of(counts: Counts) -> Floats:
    return f1_of(counts.sum(-2))


def micro_precision_of(counts: Counts) -> Floats:
    right, guessed, _ = np.moveaxis(counts.sum(-2), -1, 0)
    return ratio(right, guessed)


def micro_recall_of(counts: Counts) -> Floats:
    right, _, true = np.moveaxis(counts.sum(-2), -1, 0)
    return ratio(right, true)


def mean_f1_of(counts: Counts) -> Floats:
    """Mean F1 over all labels, whether they occur or not."""
    found: Floats = f1_of(counts).mean(-1)
    return found


def macro_f1_of(counts: Counts) -> Floats:
    """Mean F1 over the labels that occur, as truth or as guess."""
    occurs = counts[..., 1] + counts[..., 2] > 0
    return ratio((f1_of(counts) * occurs).sum(-1), occurs.sum(-1))


def weighted_f1_of(counts: Counts) -> Floats:
    """Mean F1 weighted by how often a label is true."""
    return ratio((f1_of(counts) * counts[..., 2]).sum(-1), counts[..., 2].sum(-1))


#: Metrics of one label an example, by name, and of spans.
OF_LABELS: dict[str, Summed] = {"accuracy": micro_recall_of, "macro_f1": macro_f1_of, "weighted_f1": weighted_f1_of}
OF_SETS: dict[str, Summed] = {"micro_f1": micro_f1_of, "macro_f1": macro_f1_of}
OF_SPANS: dict[str, Summed] = {
    "span_f1": micro_f1_of, "span_precision": micro_precision_of, "span_recall": micro_recall_of,
}  # fmt: skip


def label_counts(gold: Iterable[Sequence[str]], guess: Iterable[Sequence[str]]) -> LabelCounts:
    """Of examples with labels in the same places: one a text, one a word."""
    pairs = [(list(true), list(found)) for true, found in zip(gold, guess, strict=True)]
    labels = tuple(sorted({label for pair in pairs for side in pair for label in side}))
    place = {name: i for i, name in enumerate(labels)}
    counts = np.zeros((len(pairs), len(labels), 3), np.int64)
    for row, (true, found) in zip(counts, pairs, strict=True):
        for one, other in zip(true, found, strict=True):
            row[place[one], 2] += 1
            row[place[other], 1] += 1
            row[place[one], 0] += one == other
    return LabelCounts(labels, counts)


def set_counts(labels: Sequence[str], gold: Iterable[Collection[str]], guess: Iterable[Collection[str]]) -> LabelCounts:
    """Of examples with a set of labels each. labels: those that any of the sets may hold."""
    true, found = (np.array([[label in one for label in labels] for one in side], bool).reshape(-1, len(labels))
                   for side in (gold, guess))  # fmt: skip
    return LabelCounts(tuple(labels), np.stack([true & found, found, true], -1).astype(np.int64))


def span_counts(gold: Iterable[Sequence[Run]], guess: Iterable[Sequence[Run]]) -> LabelCounts:
    """Compare spans sentence by sentence; one is right if its type and both ends are."""
    pairs = [(set(true), set(guessed)) for true, guessed in zip(gold, guess, strict=True)]
    types = tuple(sorted({span[2] for true, guessed in pairs for span in true | guessed}))
    place = {name: i for i, name in enumerate(types)}
    counts = np.zeros((len(pairs), len(types), 3), np.int64)
    for row, (true, guessed) in zip(counts, pairs, strict=True):
        for column, found in enumerate((true & guessed, guessed, true)):
            for span in found:
                row[place[span[2]], column] += 1
    return LabelCounts(types, counts)


# -- how sure -------------------------------------------------------------------------------------------------------


def bootstrap(counts: Counts | Floats, metric: Summed, seed: int = 0, draws: int = 1000) -> Floats:
    """[draws] values of a metric of summed counts, the examples drawn anew with replacement each time.

    counts: int64 or f64 [examples, ...], one row an example; `metric` maps summed counts [draws, ...] to [draws].
    Resampling n examples with replacement is a multinomial draw over the distinct rows, which is what is drawn here.
    """
    if len(counts) == 0:
        return np.zeros(draws)
    rows, often = np.unique(counts.reshape(len(counts), -1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    values = np.empty(draws)
    for i in range(0, draws, 64):  # 64 draws at a time: 2,000 of 100,000 examples would take 1.6 GB
        drawn = rng.multinomial(len(counts), often / len(counts), size=len(values[i : i + 64]))
        values[i : i + 64] = metric((drawn @ rows).reshape(len(drawn), *counts.shape[1:]))
    return values


def interval(
    counts: Counts | Floats, metric: Summed, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric of summed counts: see `bootstrap`."""
    low, high = np.quantile(bootstrap(counts, metric, seed, draws), [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))


def evaluated(
    counts: Counts | Floats, of_sums: Mapping[str, Summed], seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The metrics of counts [examples, ...], and how sure they are."""
    sums = counts.sum(0)
    return (
        {name: float(metric(sums)) for name, metric in of_sums.items()},
        {name: interval(counts, metric, seed) for name, metric in of_sums.items()},
    )


def confusion_interval(
    matrix: Counts, metric: Callable[[Counts], Floats], seed: int = 0, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """`interval` for a metric of a confusion matrix: an example is one count in one cell."""
    total, size = int(matrix.sum()), matrix.shape[-1]
    if total == 0:
        return (0.0, 0.0)
    cells = np.flatnonzero(matrix)
    drawn = np.random.default_rng(seed).multinomial(total, matrix.reshape(-1)[cells] / total, size=draws)
    values = np.empty(draws)
    for i in range(0, draws, 64):  # 64 matrices at a time: 1,000 of 150 × 150 would take 180 MB
        block = np.zeros((len(drawn[i : i + 64]), size * size), np.int64)
        block[:, cells] = drawn[i : i + 64]
        values[i : i + 64] = metric(block.reshape(-1, size, size))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))
