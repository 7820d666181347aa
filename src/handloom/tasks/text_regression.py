"""A number for a text, or for a text and its pair: a rating, a price, how alike two sentences are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TextExample
from handloom.data.labels import NUMBER
from handloom.tasks import metrics, moments
from handloom.tasks.metrics import LabelCounts
from handloom.tasks.scores import FARTHEST, Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted
from handloom.tasks.text_task import TextTask, shown
from handloom.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Number:
    """What the model thinks of a text, in the unit of its training data."""

    value: float

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value}


class TextRegression(TextTask):
    """One output, and its mean squared error. middle, scale: mean and standard deviation of the training data's
    numbers; the model learns them less the one and divided by the other."""

    problem = NUMBER
    problem_type = "regression"
    metric = "mean_squared_error"
    metrics = (*moments.OF_NUMBERS, "loss")
    label_dtype = "f32"

    def __init__(self, middle: float = 0.0, scale: float = 1.0, output: str = "number") -> None:
        if not (math.isfinite(middle) and math.isfinite(scale) and scale > 0):
            raise ValueError(f"numbers are around {middle} and spread by {scale}, which must be finite and above 0")
        self.middle, self.scale = middle, scale
        self.labels = (output,)

    @property
    def known(self) -> Sequence[str]:
        return ()

    def number(self, example: TextExample) -> float:
        if not isinstance(example.label, (int, float)):
            raise self.unknown(example, example.label)
        return float(example.label)

    def target(self, example: TextExample) -> Array | None:
        if example.label is None:
            return None
        return np.array((self.number(example) - self.middle) / self.scale, np.float32)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return ht.mean_squared_error(logits.reshape(-1), batch["labels"])

    def said(self, logits: Array) -> list[Number]:
        values = logits[:, 0].astype(np.float64) * self.scale + self.middle
        return [Number(value) for value in values.tolist()]

    def settings(self) -> dict[str, Any]:
        return {"problem": self.problem, "middle": self.middle, "scale": self.scale}

    def restore(self, settings: Mapping[str, Any]) -> None:
        if "middle" in settings:
            TextRegression.__init__(self, float(settings["middle"]), float(settings["scale"]), self.labels[0])

    def _pair(self, examples: Sequence[TextExample], predictions: Sequence[Number]) -> tuple[list[float], list[float]]:
        return [self.number(example) for example in examples], [p.value for p in predictions]

    def score(self, examples: Sequence[TextExample], predictions: Sequence[Number], seed: int = 0) -> Scores:
        """Pearson's and Spearman's correlation, mean absolute and squared error; the farthest mistakes."""
        gold, guess = self._pair(examples, predictions)
        rows = moments.ranked_moments(gold, guess)
        far = sorted(range(len(gold)), key=lambda i: -abs(gold[i] - guess[i]))
        return Scores(
            *metrics.evaluated(rows, moments.OF_NUMBERS, seed),
            mistakes=[
                Mistake(shown(examples[i]), f"{gold[i]:g}", f"{guess[i]:.3g}", None)
                for i in far[:20] if gold[i] != guess[i]
            ],
            listed=FARTHEST,
        )  # fmt: skip

    def counted(self, examples: Sequence[TextExample], predictions: Sequence[Number]) -> Counted:
        rows = moments.ranked_moments(*self._pair(examples, predictions))
        nothing = LabelCounts((), np.zeros((len(rows), 0, 3), np.int64))
        return Counted(nothing, {}, rows, moments.OF_NUMBERS)
