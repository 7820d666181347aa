"""What an evaluation found, as the report, the command line and `print` show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handloom.tasks.metrics import Counts
from handloom.text.width import filled, shown, widest

#: Metrics of which less is better.
ERRORS = ("loss", "perplexity", "bits_per_byte", "mean_absolute_error", "mean_squared_error", "calibration_error")
#: Metrics that are numbers of some unit, or may be negative; the others are shares, from 0 to 1.
NUMBERS = (*ERRORS, "pearson", "spearman", "quadratic_kappa")


@dataclass
class Mistake:
    """A wrong answer. score: how sure the model was of it, 0 to 1, or what `Listed` says; None where it cannot say."""

    text: str
    gold: str
    guess: str
    score: float | None


@dataclass(frozen=True)
class Listed:
    """How mistakes are shown: in which order they come, what may be behind them, and what the columns of `gold`,
    `guess` and `score` are called."""

    title: str
    hint: str = "Some may be wrong labels."
    gold: str = "true"
    guess: str = "predicted"
    score: str = "sure"


SURE = Listed("Worst mistakes: wrong, and sure of it")
FARTHEST = Listed("Worst mistakes: the farthest off")
LOWEST = Listed("The lowest scores", "Some may be right in other words.", score="score")
COSINES = Listed("Worst mistakes: the farthest off", "Some may be wrong scores.", guess="cosine", score="off by")
TOLD_APART = Listed("Worst mistakes: the farthest off", score="cosine")
SEARCHED = Listed("Worst mistakes: another text is nearer", "It may be right, too.", "right", "nearest", "cosine")


@dataclass
class Scores:
    """One evaluation.

    metrics: values by name. intervals: their 95 % bootstrap intervals. labels: precision, recall, f1 and support of
    each label. confusion: counts [labels, labels], row = true, column = predicted. mistakes: the worst, which `listed`
    says how to show. before: the same of the model before it was trained, if that was measured.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    confusion: Counts | None = None
    confusion_labels: tuple[str, ...] = ()
    mistakes: list[Mistake] = field(default_factory=list)
    listed: Listed = SURE
    before: Scores | None = None

    def __getitem__(self, metric: str) -> float:
        return self.metrics[metric]

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints and handloom.json keeps."""
        found: dict[str, Any] = {
            "metrics": self.metrics,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "labels": {label: {**row, "support": int(row["support"])} for label, row in self.labels.items()},
        }
        if self.confusion is not None:
            found["confusion"] = {"labels": list(self.confusion_labels), "matrix": self.confusion.tolist()}
        if self.before is not None:
            found["before"] = self.before.to_dict()
        return found

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Scores:
        """The inverse of `to_dict`, which leaves out the mistakes."""
        table = found.get("confusion")
        return cls(
            metrics=dict(found["metrics"]),
            intervals={name: (pair[0], pair[1]) for name, pair in found.get("intervals", {}).items()},
            labels=dict(found.get("labels", {})),
            confusion=None if table is None else np.array(table["matrix"], np.int64),
            confusion_labels=() if table is None else tuple(table["labels"]),
            before=cls.from_dict(found["before"]) if "before" in found else None,
        )

    def __str__(self) -> str:
        lines = []
        wide = max(16, *(len(name) + 1 for name in self.metrics), 0)
        for name, value in self.metrics.items():
            line = f"{name:<{wide}}{value:8.4f}"
            if name in self.intervals:
                low, high = self.intervals[name]
                line += f"   95 %: {low:.4f} – {high:.4f}"
            if self.before is not None and name in self.before.metrics:
                line += f"   before: {self.before.metrics[name]:.4f}"
            lines.append(line)
        if self.labels:
            names = {label: shown(label) for label in self.labels}
            width = widest(["label", *names.values()])
            before = self.before.labels if self.before else {}
            head = f"{'label':<{width}}  precision  recall      f1  examples" + ("  f1 before" if before else "")
            lines += ["", head]
            for label, row in self.labels.items():
                line = f"{filled(names[label], width)}  {row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}"
                line += f"  {row['support']:8.0f}"
                if label in before:
                    line += f"  {before[label]['f1']:9.4f}"
                lines.append(line)
        return "\n".join(lines)
