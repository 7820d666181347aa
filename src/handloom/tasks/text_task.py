"""What all tasks share that judge a text, or a text and its pair, as a whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from handloom.data.examples import TEXT, TextExample
from handloom.data.labels import ONE
from handloom.errors import HandloomError
from handloom.tasks.task import Array, Encoded, Feature, Task
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import cut_all, mean_logits


class TextTask(Task):
    """problem: one of data/labels.py's. A kind of it says what an example's target is, and reads predictions from the
    logits of whole texts."""

    name = TEXT
    problem: ClassVar[str] = ONE

    def target(self, example: TextExample) -> Array | None:
        """What is to be learnt of an example, None if it has no label. HandloomError for one that the task has not."""
        raise NotImplementedError

    def said(self, logits: Array) -> list[Any]:
        """Predictions from logits [texts, outputs]."""
        raise NotImplementedError

    def encode(self, examples: Sequence[TextExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        whole = tokenizer.encode_batch([e.text for e in examples], [e.pair for e in examples])
        cuts, found = cut_all(whole, max_length, long)
        features = []
        for index, (example, coded, made) in enumerate(zip(examples, whole, cuts, strict=True)):
            target = self.target(example)
            features += [
                Feature(window, index, target, kept, len(coded))
                for window, kept in zip(made.windows, made.kept, strict=True)
            ]
        return Encoded(features, len(examples), (str(found),) if found.long else ())

    def mean(self, encoded: Encoded, logits: Sequence[Array]) -> Array:
        """f32 [texts, outputs]: of each text the mean over its windows."""
        owner = np.array([feature.example for feature in encoded.features], np.int64)
        return mean_logits(np.stack(logits), owner, encoded.examples)

    def decode(self, examples: Sequence[TextExample], encoded: Encoded, logits: Sequence[Array]) -> list[Any]:
        """The mean over the windows of a text's logits decides."""
        return self.said(self.mean(encoded, logits)) if examples else []

    def tune(self, examples: Sequence[TextExample], encoded: Encoded, logits: Sequence[Array]) -> str:
        return self.tune_texts(examples, self.mean(encoded, logits)) if examples else ""

    def tune_texts(self, examples: Sequence[TextExample], logits: Array) -> str:
        """`tune`, from logits [texts, outputs]."""
        return ""

    @property
    def decides(self) -> bool:
        """Whether tuning changes what is said, and not only how surely."""
        return False

    def untuned(self) -> Any:
        """The same task before anything was chosen on validation data."""
        fresh = copy.copy(self)
        fresh.forget()
        return fresh

    def forget(self) -> None:
        """Takes back whatever `tune` chose."""

    def unknown(self, example: TextExample, label: object) -> HandloomError:
        return HandloomError(f"{example.where or 'the data'}: the label {label!r} is unknown to the model")


def shown(example: TextExample) -> str:
    return example.text if example.pair is None else f"{example.text} ⏐ {example.pair}"
