"""One label for a text, out of labels that have an order: stars, grades, degrees.

An output for each step but the last: whether the text is above it, given that it is not below. So the probabilities of
the steps always fit together (Shi, Cao and Raschka, "Deep neural networks for rank-consistent ordinal regression based
on conditional probabilities", 2021; the continuation ratio of Tutz 1990). Unlike CORAL's (Cao, Mirjalili and Raschka
2020), whose outputs share one weight, the head is an ordinary linear layer, which transformers opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TextExample
from handloom.data.labels import ORDERED
from handloom.tasks import metrics, moments
from handloom.tasks.scores import FARTHEST, Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Task
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tasks.text_task import shown
from handloom.tensor import Tensor


class OrderedLabels(TextClassification):
    """order: the labels, the lowest first. What is said is the step in the middle of the probabilities (their median),
    which errs least far."""

    problem = ORDERED
    problem_type = "multi_label_classification"  # transformers' word for outputs that are each σ's
    metric = "quadratic_kappa"
    metrics = (*moments.OF_STEPS, "macro_f1", "calibration_error", "loss")

    def __init__(
        self, order: Sequence[str], class_weights: Mapping[str, float] | None = None, smoothing: float = 0.0
    ) -> None:
        super().__init__(order, class_weights, smoothing)
        self.labels = tuple(f"> {step}" for step in self.classes[:-1])

    def comparable(self, other: Task) -> bool:
        return isinstance(other, OrderedLabels) and other.classes == self.classes

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Without smoothing the negative log-likelihood of the steps."""
        label = batch["labels"].reshape(-1, 1)
        step = ht.iota(1, len(self.labels))
        asked, above = ht.cast(step <= label, "f32"), ht.cast(step < label, "f32")  # an unknown label is below all
        counted = ht.cast(label >= 0, "f32")
        if self._weights is not None:
            hit = ht.cast(label.equal(ht.iota(1, len(self.classes))), "f32")
            counted = (hit * ht.tensor(self._weights)).sum(axis=1).reshape(-1, 1)
            asked = asked * counted
        spread = above * (1 - self._smoothing) + self._smoothing / 2 if self._smoothing else above
        total, _ = ht.binary_cross_entropy(logits, spread, asked)
        return total, counted.sum()

    def logs(self, logits: Array) -> Array:
        exact = logits.astype(np.float64)
        yes, no = -np.logaddexp(0, -exact), -np.logaddexp(0, exact)
        none = np.zeros((len(exact), 1))
        # not below the step, and not above it
        logs: Array = np.concatenate([none, np.cumsum(yes, -1)], -1) + np.concatenate([no, none], -1)
        return logs

    def shares(self, logits: Array) -> Array:
        return np.exp(self.logs(logits))

    def best(self, shares: Array) -> list[int]:
        """How many steps are more likely exceeded than not."""
        below = np.cumsum(shares[:, :-1], -1)
        found: list[int] = (below < 0.5).sum(-1).tolist()
        return found

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "order": list(self.classes)}

    # -- how good it is

    def _steps(self, examples: Sequence[TextExample], predictions: Sequence[Prediction]) -> tuple[list[int], list[int]]:
        return [self._id(example) for example in examples], [self._ids[str(p.label)] for p in predictions]

    def score(self, examples: Sequence[TextExample], predictions: Sequence[Prediction], seed: int = 0) -> Scores:
        """quadratic_kappa, mean_absolute_error (in steps) and accuracy; the worst mistakes are the farthest."""
        scores = super().score(examples, predictions, seed)
        gold, guess = self._steps(examples, predictions)
        rows = moments.moments(gold, guess)
        values, own = metrics.evaluated(rows, moments.OF_STEPS, seed)
        rest = {name: value for name, value in scores.metrics.items() if name in self.metrics and name not in values}
        scores.metrics = {**values, **rest}
        scores.intervals = {**own, "macro_f1": scores.intervals["macro_f1"]}
        far = [(abs(g - p), said.score, i) for i, (g, p, said) in enumerate(zip(gold, guess, predictions, strict=True))]
        far.sort(key=lambda one: (-one[0], -one[1]))
        scores.mistakes = [
            Mistake(shown(examples[i]), self.classes[gold[i]], self.classes[guess[i]], sure)
            for apart, sure, i in far[:20] if apart
        ]  # fmt: skip
        scores.listed = FARTHEST
        return scores

    def counted(self, examples: Sequence[TextExample], predictions: Sequence[Prediction]) -> Counted:
        by_label = super().counted(examples, predictions)
        rows = moments.moments(*self._steps(examples, predictions))
        return Counted(by_label.counts, {"macro_f1": metrics.macro_f1_of}, rows, moments.OF_STEPS)
