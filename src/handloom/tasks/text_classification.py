"""One label for a text, or for a text and its pair; or none of them, where the model may say so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TextExample
from handloom.errors import UsageError
from handloom.tasks import metrics
from handloom.tasks.calibration import Calibration, calibrate, calibration_error, floor_of, likelihood_of_classes
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, softmax
from handloom.tasks.text_task import TextTask, shown
from handloom.tensor import Tensor

NONE = "(none of these)"  #: how scores call what has no label


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label (None: none of these), how sure the model is of it, and the same for every label (0 to 1, they sum to
    1)."""

    label: str | None
    score: float
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "scores": self.scores}


class TextClassification(TextTask):
    """labels: in the order of the head's outputs. class_weights: a factor for each label's loss. smoothing: the share
    of a label that is spread over all labels. refuse: of the validation texts that have a label the greatest share of
    which "none of these" may be said, None for never; none_label: how data calls that, beside a blank."""

    metric = "macro_f1"
    metrics: tuple[str, ...] = (*metrics.OF_CONFUSION, "calibration_error", "loss")

    def __init__(
        self,
        labels: Sequence[str],
        class_weights: Mapping[str, float] | None = None,
        smoothing: float = 0.0,
        refuse: float | None = None,
        none_label: str = "",
    ) -> None:
        self.labels = self.classes = tuple(labels)
        self._ids = {label: i for i, label in enumerate(self.classes)}
        self._smoothing = smoothing
        self._weights = weight_array(self.classes, class_weights)
        self.refuse, self.none_label = refuse, none_label
        self.calibration = Calibration()
        self.floor: float | None = None

    @property
    def known(self) -> Sequence[str]:
        return self.classes

    def target(self, example: TextExample) -> Array | None:
        return None if example.label is None else np.array(self._id(example), np.int32)

    def _id(self, example: TextExample) -> int:
        if not isinstance(example.label, str) or example.label not in self._ids:
            raise self.unknown(example, example.label)
        return self._ids[example.label]

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        weights = None if self._weights is None else ht.tensor(self._weights)
        return ht.cross_entropy(logits, batch["labels"], weights, self._smoothing)

    # -- what is said

    def logs(self, logits: Array) -> Array:
        """The logarithms of the labels' probabilities, f64 [texts, labels]."""
        shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))  # type: ignore[no-any-return]

    def shares(self, logits: Array) -> Array:
        return softmax(logits)

    def best(self, shares: Array) -> list[int]:
        found: list[int] = shares.argmax(-1).tolist()
        return found

    def said(self, logits: Array) -> list[Prediction]:
        shares = self.shares(logits / self.calibration.temperature)
        found = []
        for row, at in zip(shares, self.best(shares), strict=True):
            score = float(row[at])
            label = None if self.floor is not None and score < self.floor else self.classes[at]
            found.append(Prediction(label, score, dict(zip(self.classes, row.tolist(), strict=True))))
        return found

    # -- what is chosen on validation data

    @property
    def tunes(self) -> bool:
        return True

    @property
    def decides(self) -> bool:
        return self.refuse is not None

    def forget(self) -> None:
        self.calibration, self.floor = Calibration(), None

    def tune_texts(self, examples: Sequence[TextExample], logits: Array) -> str:
        self.forget()
        places = [i for i, example in enumerate(examples) if example.label is not None]
        true = np.array([self._id(examples[i]) for i in places], np.int64)

        def error(of: Array) -> float:
            shares = self.shares(of)
            best = np.array(self.best(shares), np.int64)
            return calibration_error(shares[np.arange(len(best)), best], best == true)

        loss = lambda of: likelihood_of_classes(self.logs(of), true)  # noqa: E731
        self.calibration = calibrate(logits[places], loss, error)
        if self.refuse is None:
            return str(self.calibration)
        sure = np.array([one.score for one in self.said(logits)])
        best = np.array(self.best(self.shares(logits)), np.int64)[places]
        nothing = np.delete(sure, places)
        self.floor = floor_of(sure[places], best == true, nothing, self.refuse)
        share = float((sure[places] < self.floor).mean()) if places else 0.0
        left = f", and of {(nothing < self.floor).mean():.1%} of those without a label" if len(nothing) else ""
        return (f"{self.calibration}; none of these is said below a score of {self.floor:.3f}: of {share:.1%} of the "
                f"validation texts with a label{left}")  # fmt: skip

    def settings(self) -> dict[str, Any]:
        refusing = {"refuse": self.refuse, "none_label": self.none_label, "floor": self.floor}
        return {
            "problem": self.problem,
            "calibration": self.calibration.to_dict(),
            **({} if self.refuse is None else refusing),
        }

    def restore(self, settings: Mapping[str, Any]) -> None:
        if "calibration" in settings:
            self.calibration = Calibration.from_dict(settings["calibration"])
        if settings.get("refuse") is not None:
            self.refuse, self.none_label = float(settings["refuse"]), str(settings.get("none_label") or "")
            self.floor = None if settings.get("floor") is None else float(settings["floor"])
            if self.floor is not None and not math.isfinite(self.floor):
                raise ValueError(f"a floor is a score, not {self.floor}")

    # -- how good it is

    def score(self, examples: Sequence[TextExample], predictions: Sequence[Prediction], seed: int = 0) -> Scores:
        nothing = len(self.classes)
        gold = [nothing if e.label is None else self._id(e) for e in examples]
        guess = [nothing if p.label is None else self._ids[p.label] for p in predictions]
        names = (*self.classes, NONE) if nothing in gold or nothing in guess else self.classes
        scores = classification_scores(names, gold, guess, [shown(e) for e in examples], [p.score for p in predictions],
                                       seed)  # fmt: skip
        told = [(p.score, g == f) for p, g, f in zip(predictions, gold, guess, strict=True) if nothing not in (g, f)]
        if told:
            scores.metrics["calibration_error"] = calibration_error(*map(np.array, zip(*told, strict=True)))
        return scores

    def counted(self, examples: Sequence[TextExample], predictions: Sequence[Prediction]) -> Counted:
        gold = [e.labels or (NONE,) for e in examples]
        return Counted(metrics.label_counts(gold, [(p.label or NONE,) for p in predictions]), metrics.OF_LABELS)


def weight_array(labels: Sequence[str], weights: Mapping[str, float] | None) -> Array | None:
    """f32 [labels]; labels not named weigh 1. UsageError for a name that is no label or a weight below 0."""
    if weights is None:
        return None
    for label, weight in weights.items():
        if label not in labels:
            raise UsageError(f"class_weights names {label!r}, which is none of the labels: {', '.join(labels)}")
        if not (np.isfinite(weight) and weight >= 0):
            raise UsageError(f"the class weight of {label!r} is {weight}; it must be 0 or more")
    return np.array([weights.get(label, 1.0) for label in labels], np.float32)


def classification_scores(
    labels: Sequence[str],
    gold: Sequence[int],
    guess: Sequence[int],
    texts: Sequence[str],
    sure: Sequence[float],
    seed: int,
    worst: int = 20,
) -> Scores:
    """Scores of one label an example, with intervals and the `worst` mistakes that the model was most sure of."""
    matrix = metrics.confusion(gold, guess, len(labels))
    table = metrics.per_label(matrix)
    wrong = [i for i, (true, found) in enumerate(zip(gold, guess, strict=True)) if true != found]
    wrong.sort(key=lambda i: -sure[i])
    return Scores(
        metrics={name: float(metric(matrix)) for name, metric in metrics.OF_CONFUSION.items()},
        intervals={
            name: metrics.confusion_interval(matrix, metric, seed) for name, metric in metrics.OF_CONFUSION.items()
        },
        labels={
            label: {name: float(values[i]) for name, values in table.items()}
            for i, label in enumerate(labels)
            if matrix[i].any() or matrix[:, i].any()
        },
        confusion=matrix,
        confusion_labels=tuple(labels),
        mistakes=[Mistake(texts[i], labels[gold[i]], labels[guess[i]], sure[i]) for i in wrong[:worst]],
    )
