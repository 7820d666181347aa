"""What is chosen on validation data once the weights are final: how sure to be, and where to draw a line.

temperature  Guo et al., "On calibration of modern neural networks", 2017: logits are divided by one number, which
             leaves their order as it is. It minimises the negative log-likelihood, to which one more example is added
             that knows nothing, shared out among all (after Platt 1999): so it is finite where every answer is right.
error        the expected calibration error, ibid. section 2, of 15 bins of equal width.
thresholds   of each label the one with the best F1 (Yang 2001, "SCut"); below which score no label fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.tasks.metrics import ratio

Array = NDArray[Any]
BINS = 15
HOTTEST = 32.0  #: temperatures are looked for between this and its inverse
LEAST = 20  #: examples that tell a temperature


@dataclass(frozen=True)
class Calibration:
    """temperature: what logits are divided by. before, after: the calibration error on validation data without it and
    with it, of so many examples; 0 examples where there was none."""

    temperature: float = 1.0
    before: float = 0.0
    after: float = 0.0
    examples: int = 0

    def __str__(self) -> str:
        if not self.examples:
            return "scores are not calibrated"
        if self.temperature == 1.0:
            return f"scores stay as they are (calibration error {self.before:.3f}): validation tells no temperature"
        return (f"scores are divided by the temperature {self.temperature:.2f}: calibration error {self.before:.3f} → "
                f"{self.after:.3f} on validation")  # fmt: skip

    def to_dict(self) -> dict[str, float]:
        return {"temperature": self.temperature, "before": self.before, "after": self.after, "examples": self.examples}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Calibration:
        """The inverse. ValueError for a temperature that is none."""
        temperature = float(found["temperature"])
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"a temperature is a positive number, not {temperature}")
        return cls(temperature, float(found["before"]), float(found["after"]), int(found["examples"]))


def calibrate(logits: Array, loss: Callable[[Array], float], error: Callable[[Array], float]) -> Calibration:
    """logits [examples, …]; loss and calibration error are functions of such. They stay as they are where there are
    too few of them, where no temperature within bounds is best, and where the best one makes the error larger."""
    if not len(logits):
        return Calibration()
    exact = logits.astype(np.float64)
    best = least(lambda power: loss(exact / math.exp(power)), -math.log(HOTTEST), math.log(HOTTEST))
    temperature, before = math.exp(best), error(exact)
    after = error(exact / temperature)
    if len(logits) < LEAST or abs(best) > 0.99 * math.log(HOTTEST) or after > before:
        temperature, after = 1.0, before
    return Calibration(temperature, before, after, len(logits))


def least(function: Callable[[float], float], low: float, high: float, rounds: int = 40) -> float:
    """Where a function with one valley between two places is least, by the golden section."""
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(rounds):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = function(right)
    return (low + high) / 2


def likelihood_of_classes(logs: Array, classes: Array) -> float:
    """Negative, mean, of classes i64 [n] under log-probabilities [n, classes]."""
    count = len(classes)
    told = logs[np.arange(count), classes].mean()
    return -float(count * told + logs.mean()) / (count + 1)


def likelihood_of_marks(logits: Array, marks: Array) -> float:
    """Negative, mean, of marks 0 or 1 [n, labels] under σ(logits)."""
    count = len(marks)
    wanted = (count * marks + 0.5) / (count + 1)
    return float((np.logaddexp(0, logits) - wanted * logits).mean())


def calibration_error(sure: Array, right: Array) -> float:
    """The mean distance between how sure (0 to 1) and how often right (0 or 1), over bins of equal width."""
    sure, right = np.asarray(sure, np.float64).reshape(-1), np.asarray(right, np.float64).reshape(-1)
    if not len(sure):
        return 0.0
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    apart = np.bincount(places, sure, BINS) - np.bincount(places, right, BINS)
    return float(np.abs(apart).sum() / len(sure))


def best_f1(scores: Array, marks: Array) -> tuple[float, float] | None:
    """(threshold, F1): a label is given where its score is at least the threshold, half-way between two scores; of
    thresholds as good as each other the one nearest to a half. None where no example has the label."""
    marks = np.asarray(marks, bool)
    if not marks.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order].astype(np.float64), np.cumsum(marks[order])
    apart = np.append(ranked[:-1] > ranked[1:], True)  # equal scores fall on one side
    f1 = np.where(apart, ratio(2 * hits, np.arange(1, len(hits) + 1) + marks.sum()), -1.0)
    below = np.append(ranked[1:], max(2 * ranked[-1] - 1, 0.0))
    middle = (ranked + below) / 2
    good = np.flatnonzero(f1 >= f1.max() - 1e-12)
    at = int(good[np.argmin(np.abs(middle[good] - 0.5))])
    return float(middle[at]), float(f1[at])


def floor_of(sure: Array, right: Array, nothing: Array, share: float) -> float:
    """The score below which no label fits.

    sure, right: of texts that have a label, the score and whether the label is the true one; nothing: scores of texts
    that have none. Of the former at most `share` lie below. Among all such floors it is the greatest, or, where there
    are texts without a label, the one with the best mean of two shares: of labels rightly given, and of texts without
    one rightly left so.
    """
    known = np.sort(np.asarray(sure, np.float64))
    allowed = min(int(share * len(known) + 1e-9), len(known) - 1)
    highest = float(known[allowed]) if len(known) else 1.0
    if not len(nothing):
        return highest
    floors = np.unique(np.concatenate([known, nothing, [0.0], np.nextafter(nothing, 2.0)]))
    floors = floors[floors <= highest]
    given = np.sort(np.asarray(sure, np.float64)[np.asarray(right, bool)])
    kept = (len(given) - np.searchsorted(given, floors)) / max(len(known), 1)
    left = np.searchsorted(np.sort(nothing), floors) / len(nothing)
    return float(floors[np.argmax(kept + left)])
