"""What a task is: five methods. A user's own task is a subclass, and `fit(task=...)` trains it.

How its batches look (`pack`, `symbols`) and what of a model it asks (`total`) follow from what it declares; a task that
is of another kind altogether says that, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data import packing
from handloom.nn import Module
from handloom.tasks.metrics import LabelCounts, Summands, Summed
from handloom.tasks.scores import Scores
from handloom.tensor import Tensor
from handloom.text.encoding import Encoding, Ints
from handloom.text.tokenizer import Tokenizer

Array = NDArray[Any]
Batch = dict[str, Tensor]
_DTYPES = {"i32": np.int32, "f32": np.float32}


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One sequence for the model: a text, or one window of a long one.

    encoding: its tokens. example: index of the example that it is of. label: i32 or f32 array, `()` for one class a
    sequence, [rows] for one a row; None if unknown. kept: the indices of its tokens in the whole text. length: tokens
    of the whole text. rows: indices of the tokens that get logits, None where the sequence as a whole gets them; words:
    the word that each of these rows speaks for.
    """

    encoding: Encoding
    example: int
    label: Array | None
    kept: Ints
    length: int
    rows: Ints | None = None
    words: Ints | None = None

    def __len__(self) -> int:
        return len(self.encoding)

    @property
    def sequences(self) -> int:
        """How many it is: one, unless a task puts several together (tasks/grouped.py)."""
        return 1


@dataclass(frozen=True)
class Encoded:
    """The features of a data set, in the order of its examples, and what to tell the user about them."""

    features: list[Feature]
    examples: int
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(map(len, self.features))


@dataclass(frozen=True)
class Counted:
    """What metrics are made of: counts of every example, by label or otherwise, and the metrics of their sums; beside
    counts by label numbers f64 [examples, k], and the metrics of theirs."""

    counts: LabelCounts | Summands
    metrics: Mapping[str, Summed]
    numbers: Array | None = None
    of_numbers: Mapping[str, Summed] = field(default_factory=dict)


class Task:
    """encode · head · loss · decode · score.

    name: as in Hugging Face pipelines. labels: the classes that a head distinguishes, in the order of its outputs.
    metric: the one that chooses the best weights; metrics: all that `score` gives, () if that is not known.
    rows: what a row of logits stands for: "sequences", "tokens", or "rows", those that the features name
    (batch["rows"]). label_shape, label_dtype: shape of one row's label and its dtype.
    """

    name = "custom"
    metric = "loss"
    metrics: tuple[str, ...] = ()
    rows = "sequences"
    label_shape: tuple[int, ...] = ()
    label_dtype = "i32"
    labels: tuple[str, ...] = ()

    @property
    def head_name(self) -> str:
        """Under which task a family has the head, where `head` makes none."""
        return self.name

    @property
    def label_rows(self) -> str:
        """What a row of labels stands for: the same as a row of logits, unless a task says otherwise."""
        return self.rows

    @property
    def separable(self) -> bool:
        """Whether a batch's loss is the sum of its examples'; not where they are compared with each other."""
        return True

    @property
    def known(self) -> Sequence[str]:
        """The labels that examples may have; () if the task does not say."""
        return self.labels

    #: What transformers calls a head of this kind, where that is not one label for each row.
    problem_type: str | None = None

    @property
    def tunes(self) -> bool:
        """Whether something is chosen on validation data once the weights are final, by `tune`."""
        return False

    def encode(self, examples: Sequence[Any], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """Examples to features: tokens and labels as numbers."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `encode`")

    def head(self, width: int, rng: np.random.Generator) -> Module | None:
        """The layers between the encoder and the logits; None takes the family's own head for `name`.

        A head is called with (hidden f32 [tokens, width], batch) and returns logits [sequences, tokens or rows,
        classes].
        """
        return None

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum, weight) of the loss over a batch; batch["labels"] holds the features' labels."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `loss`")

    def beside(self, rng: np.random.Generator) -> dict[str, Module]:
        """What is trained beside the family's own head, by the names that it gets in the model: nothing, unless a loss
        has parameters."""
        return {}

    def speed(self, name: str, rate: float) -> float:
        """How many times as fast as `rate` a parameter learns."""
        return 1.0

    def cost(self, model: Any, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """`loss`, for a task whose loss has parameters: those of the model that gave the logits."""
        return self.loss(logits, batch)

    def total(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum, weight) of a model's loss over a batch."""
        return self.cost(model, model(batch), batch)

    def begin(self, model: Any) -> tuple[Tensor, ...]:
        """What goes on from step to step beside the weights, at first: nothing, unless a task reads texts in order."""
        return ()

    def carry(self, model: Any, batch: Batch, carried: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(sum, weight) as `total`, and behind them what goes on to the next batch."""
        return self.total(model, batch)

    def pack(self, part: Any) -> dict[str, Array]:
        """A packed batch of features: ids, positions, types i32 [tokens]; starts i32 [sequences + 1]; labels.

        Where a feature has no label, -100 (i32) or 0 (f32) stands. A task by rows also gets rows i32 [rows].
        """
        features: Sequence[Feature] = part
        batch = packing.pack([packing.Feature(f.encoding.ids, f.encoding.types) for f in features])
        dtype = _DTYPES[self.label_dtype]
        labels = [self._missing(f) if f.label is None else f.label for f in features]
        joined = np.stack(labels) if self.label_rows == "sequences" else np.concatenate(labels)
        batch["labels"] = joined.astype(dtype, copy=False)
        if self.rows == "rows":
            starts = batch["starts"][:-1]
            places = [f.rows + start for f, start in zip(features, starts, strict=True) if f.rows is not None]
            batch["rows"] = np.concatenate(places).astype(np.int32, copy=False)
        return batch

    def _missing(self, feature: Feature) -> Array:
        """Labels for a feature that has none: -100 (i32) or 0 (f32)."""
        counts = () if self.label_rows == "sequences" else (self.row_count(feature),)
        dtype = _DTYPES[self.label_dtype]
        return np.full((*counts, *self.label_shape), -100 if dtype is np.int32 else 0, dtype)

    def row_count(self, feature: Feature) -> int:
        """Rows of logits that a feature gets."""
        if self.rows == "rows" and feature.rows is not None:
            return len(feature.rows)
        return len(feature) if self.rows == "tokens" else 1

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        """Symbolic shapes of a packed batch, as `compile` takes them."""
        shapes: dict[str, tuple[Any, ...]] = {
            "ids": ("tokens",),
            "positions": ("tokens",),
            "types": ("tokens",),
            "starts": ("sequences+1",),
            "labels": (self.label_rows, *self.label_shape),
        }
        return {**shapes, "rows": ("rows",)} if self.rows == "rows" else shapes

    def decode(self, examples: Sequence[Any], encoded: Encoded, logits: Sequence[Array]) -> list[Any]:
        """One prediction an example from the logits of each feature (f32 [classes] or [rows, classes])."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `decode`")

    def decode_by(
        self, weights: Mapping[str, Array], examples: Sequence[Any], encoded: Encoded, logits: Sequence[Array]
    ) -> list[Any]:
        """`decode`, for a task that needs some of the weights that gave the logits."""
        return self.decode(examples, encoded, logits)

    def score(self, examples: Sequence[Any], predictions: Sequence[Any], seed: int = 0) -> Scores:
        """How good predictions are; the examples carry the truth."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `score`")

    def counted(self, examples: Sequence[Any], predictions: Sequence[Any]) -> Counted | None:
        """Counts from which thousands of resamplings can be scored at once; None if the task's scores are none of
        counts."""
        return None

    def tune(self, examples: Sequence[Any], encoded: Encoded, logits: Sequence[Array]) -> str:
        """Chooses on labelled validation data what training does not; a sentence for the user."""
        return ""

    def settings(self) -> dict[str, Any]:
        """What handloom.json keeps, so that a loaded model has the same task."""
        return {}

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Takes back what `tune` chose, from what `settings` gave. ValueError, KeyError or TypeError where that is no
        such thing."""

    def comparable(self, other: Task) -> bool:
        """Whether predictions of both are judged by the same scores."""
        return type(self) is type(other)


def softmax(logits: Array) -> Array:
    """Over the last axis, in f64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    powers = np.exp(shifted)
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]
