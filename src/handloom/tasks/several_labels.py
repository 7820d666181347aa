"""Any number of labels for a text: each is a question of its own, with a threshold of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TextExample
from handloom.data.labels import SEVERAL
from handloom.tasks import metrics, ranking
from handloom.tasks.calibration import Calibration, best_f1, calibrate, calibration_error, likelihood_of_marks
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted
from handloom.tasks.text_classification import weight_array
from handloom.tasks.text_task import TextTask, shown
from handloom.tensor import Tensor

HALF = 0.5
EXACT = {"exact_match": metrics.mean_of(1)}


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of a text, in the order of the model's, and how sure it is of every label it knows (0 to 1 each)."""

    labels: tuple[str, ...]
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "scores": self.scores}


class SeveralLabels(TextTask):
    """σ of each output, and the binary cross-entropy, summed over a text's labels. class_weights: a factor for the loss
    of each label where it is true. smoothing: the share of every answer that is spread over yes and no. thresholds: the
    score from which a label is given, by label, and its F1 on validation data."""

    problem = SEVERAL
    problem_type = "multi_label_classification"
    metric = "mean_average_precision"
    metrics = (*metrics.OF_SETS, "exact_match", "mean_average_precision", "calibration_error", "loss")
    label_dtype = "f32"

    def __init__(
        self, labels: Sequence[str], class_weights: Mapping[str, float] | None = None, smoothing: float = 0.0
    ) -> None:
        self.labels = tuple(labels)
        self.label_shape = (len(self.labels),)
        self._ids = {label: i for i, label in enumerate(self.labels)}
        self._smoothing = smoothing
        self._weights = weight_array(self.labels, class_weights)
        self.forget()

    def forget(self) -> None:
        self.calibration = Calibration()
        self.thresholds: dict[str, dict[str, float]] = {}

    def target(self, example: TextExample) -> Array | None:
        """f32 [labels]: 1 for those of the text."""
        if example.label is None:
            return None
        marks = np.zeros(len(self.labels), np.float32)
        for label in example.label if isinstance(example.label, tuple) else (example.label,):
            if label not in self._ids:
                raise self.unknown(example, label)
            marks[self._ids[str(label)]] = 1
        return marks

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        marks = batch["labels"]
        weights = None if self._weights is None else 1 + marks * ht.tensor(self._weights - 1)
        spread = marks * (1 - self._smoothing) + self._smoothing / 2 if self._smoothing else marks
        return ht.binary_cross_entropy(logits, spread, weights)

    def _scores(self, logits: Array) -> Array:
        return 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))  # type: ignore[no-any-return]

    def said(self, logits: Array) -> list[LabelSet]:
        lines = np.array([self.thresholds.get(label, {}).get("threshold", HALF) for label in self.labels])
        scores = self._scores(logits / self.calibration.temperature)
        return [
            LabelSet(tuple(label for label, yes in zip(self.labels, row >= lines, strict=True) if yes),
                     dict(zip(self.labels, row.tolist(), strict=True)))
            for row in scores
        ]  # fmt: skip

    # -- what is chosen on validation data

    @property
    def tunes(self) -> bool:
        return True

    @property
    def decides(self) -> bool:
        return True

    def tune_texts(self, examples: Sequence[TextExample], logits: Array) -> str:
        self.forget()
        targets = [self.target(example) for example in examples]
        if all(target is None for target in targets):
            return ""
        marks = np.stack([target for target in targets if target is not None])
        logits = logits[[target is not None for target in targets]]
        loss = lambda of: likelihood_of_marks(of, marks)  # noqa: E731
        self.calibration = calibrate(logits, loss, lambda of: calibration_error(self._scores(of), marks))
        scores = self._scores(logits / self.calibration.temperature)
        for i, label in enumerate(self.labels):
            found = best_f1(scores[:, i], marks[:, i])
            if found is not None:
                self.thresholds[label] = {"threshold": found[0], "f1": found[1]}
        rare = [label for label in self.labels if label not in self.thresholds]
        half = f"; {HALF} for {', '.join(rare[:10])}, which no validation text has" if rare else ""
        lines = [one["threshold"] for one in self.thresholds.values()]
        span = f"thresholds from {min(lines):.2f} to {max(lines):.2f}" if lines else "thresholds"
        return f"{self.calibration}; {span}, the best of each label by F1 on validation{half}"

    def settings(self) -> dict[str, Any]:
        return {"problem": self.problem, "calibration": self.calibration.to_dict(), "thresholds": self.thresholds}

    def restore(self, settings: Mapping[str, Any]) -> None:
        if "calibration" in settings:
            self.calibration = Calibration.from_dict(settings["calibration"])
        kept = dict(settings.get("thresholds", {}))
        found = {label: {key: float(one[key]) for key in ("threshold", "f1")} for label, one in kept.items()}
        if not all(math.isfinite(value) for one in found.values() for value in one.values()):
            raise ValueError("a threshold is not a finite number")
        self.thresholds = found

    # -- how good it is

    def score(self, examples: Sequence[TextExample], predictions: Sequence[LabelSet], seed: int = 0) -> Scores:
        """micro_f1, macro_f1 (over the labels that occur), exact_match (the share of texts whose labels are all right
        and complete), and mean_average_precision, which no threshold has a part in."""
        counts = metrics.set_counts(self.labels, [e.labels for e in examples], [p.labels for p in predictions])
        values, intervals = metrics.evaluated(counts.counts, metrics.OF_SETS, seed)
        exact, sure_ = metrics.evaluated(metrics.weighted(counts.right), EXACT, seed)
        values, intervals = {**values, **exact}, {**intervals, **sure_}
        marks = counts.counts[..., 2]
        sure = np.array([[p.scores[label] for label in self.labels] for p in predictions])
        occurring = [i for i in range(len(self.labels)) if marks[:, i].any()]
        each = [float(ranking.average_precision(sure[:, i], marks[:, i])) for i in occurring]
        values["mean_average_precision"] = float(np.mean(each)) if each else 0.0
        values["calibration_error"] = calibration_error(sure, marks)
        rows = {label: row for label, row in counts.per_label().items() if row["support"] or row["precision"]
                or counts.counts[:, self._ids[label], 1].any()}  # fmt: skip
        return Scores(values, intervals, rows, mistakes=self._mistakes(examples, predictions))

    def _mistakes(self, examples: Sequence[TextExample], predictions: Sequence[LabelSet]) -> list[Mistake]:
        """Texts with a wrong or a missing label, those first of which the model was surest."""
        found = []
        for example, said in zip(examples, predictions, strict=True):
            wrong = set(example.labels) ^ set(said.labels)
            if wrong:
                sure = max(said.scores[one] if one in said.labels else 1 - said.scores[one] for one in wrong)
                true, told = (", ".join(names) or "nothing" for names in (example.labels, said.labels))
                found.append((sure, Mistake(shown(example), true, told, sure)))
        return [mistake for _, mistake in sorted(found, key=lambda one: -one[0])[:20]]

    def counted(self, examples: Sequence[TextExample], predictions: Sequence[LabelSet]) -> Counted:
        gold, guess = [e.labels for e in examples], [p.labels for p in predictions]
        names = sorted({*self.labels, *(label for one in (*gold, *guess) for label in one)})
        counts = metrics.set_counts(names, gold, guess)
        return Counted(counts, metrics.OF_SETS, metrics.weighted(counts.right), EXACT)
