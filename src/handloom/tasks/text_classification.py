"""One label for a text, or for a text and its pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TEXT, TextExample
from handloom.errors import HandloomError, UsageError
from handloom.tasks import metrics
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, Feature, Task, softmax
from handloom.tensor import Tensor
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import cut_all, mean_logits


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label, how sure the model is of it, and the same for every label (0 to 1, they sum to 1)."""

    label: str
    score: float
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "scores": self.scores}


class TextClassification(Task):
    """labels: in the order of the head's outputs. class_weights: a factor for each label's loss. smoothing: the share
    of a label that is spread over all labels."""

    name = TEXT
    metric = "macro_f1"
    metrics = (*metrics.OF_CONFUSION, "loss")

    def __init__(
        self, labels: Sequence[str], class_weights: Mapping[str, float] | None = None, smoothing: float = 0.0
    ) -> None:
        self.labels = tuple(labels)
        self._ids = {label: i for i, label in enumerate(self.labels)}
        self._smoothing = smoothing
        self._weights = weight_array(self.labels, class_weights)

    def encode(self, examples: Sequence[TextExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        whole = tokenizer.encode_batch([e.text for e in examples], [e.pair for e in examples])
        cuts, found = cut_all(whole, max_length, long)
        features = []
        for index, (example, coded, made) in enumerate(zip(examples, whole, cuts, strict=True)):
            label = None if example.label is None else np.array(self._id(example), np.int32)
            features += [
                Feature(window, index, label, kept, len(coded))
                for window, kept in zip(made.windows, made.kept, strict=True)
            ]
        return Encoded(features, len(examples), (str(found),) if found.long else ())

    def _id(self, example: TextExample) -> int:
        if example.label not in self._ids:
            raise HandloomError(f"{example.where or 'the data'}: the label {example.label!r} is unknown to the model")
        return self._ids[example.label]

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        weights = None if self._weights is None else ht.tensor(self._weights)
        return ht.cross_entropy(logits, batch["labels"], weights, self._smoothing)

    def decode(self, examples: Sequence[TextExample], encoded: Encoded, logits: Sequence[Array]) -> list[Prediction]:
        """The mean over the windows of a text's logits decides."""
        if not examples:
            return []
        owner = np.array([feature.example for feature in encoded.features], np.int64)
        shares = softmax(mean_logits(np.stack(logits), owner, encoded.examples))
        best = shares.argmax(-1)
        return [
            Prediction(self.labels[b], float(row[b]), dict(zip(self.labels, row.tolist(), strict=True)))
            for row, b in zip(shares, best.tolist(), strict=True)
        ]

    def score(self, examples: Sequence[TextExample], predictions: Sequence[Prediction], seed: int = 0) -> Scores:
        gold = [self._id(example) for example in examples]
        guess = [self._ids[prediction.label] for prediction in predictions]
        return classification_scores(
            self.labels, gold, guess, [e.text if e.pair is None else f"{e.text} ⏐ {e.pair}" for e in examples],
            [p.score for p in predictions], seed,
        )  # fmt: skip

    def counted(self, examples: Sequence[TextExample], predictions: Sequence[Prediction]) -> Counted:
        counts = metrics.label_counts([e.labels for e in examples], [(p.label,) for p in predictions])
        return Counted(counts, metrics.OF_LABELS)


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
