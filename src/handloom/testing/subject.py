"""A task with some examples and a tiny model: what checks look at, made once and shared by them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import Dataset, Source, fingerprint, unlabelled
from handloom.data.labels import ONE
from handloom.data.readers import read
from handloom.models.registry import load_config
from handloom.nn import Module
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, Encoded, Feature, Task
from handloom.tensor import Tensor
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.engine import Engine, rows_of
from handloom.train.estimator import Estimator, find_folder, own_name
from handloom.train.optimisers import adamw
from handloom.train.progress import Progress
from handloom.train.text_classifier import TextClassifier

ODD = ("a", "🎉 👩‍👩‍👧", "e\u0301 o\u0308 a\u0327\u0302", "我爱北京天安门", "\u200b a", "ﷺ ½ ǅ", "a\u0000b")
"""Texts that trip tasks up: one token, an emoji of several code points, combining marks, Chinese, letters that nobody
sees, such that become several when they are normalised, a zero byte."""
MARK = "some file.csv:7"
"""The place that an error has to name."""
UNCUT = 100_000


class CheckFailed(AssertionError):
    """A check found a task wanting; the message says in what."""


class DoesNotApply(Exception):
    """A check has nothing to check in a task; the message says why."""


def require(fact: object, message: str) -> None:
    if not fact:
        raise CheckFailed(message)


class Subject:
    """What is checked, and what the checks share.

    task: an instance. examples: labelled, as objects or as `fit` takes them, some six to twenty, of every label that
    the task has, two at least of each; one of them long (twenty tokens or more). model: a tiny model whose tokenizer
    knows their words, a folder or a name. estimator: the class that trains it. odd: examples that trip tasks up (see
    ODD), labelled or not; made of the first example where that is plain text. unknown: an example with a label that
    the task has not, at the place MARK; made where an example has a `label`. Raises HandloomError for a model that
    cannot be opened.
    """

    def __init__(
        self,
        task: Task,
        examples: Sequence[Any],
        model: str | os.PathLike[str],
        *,
        estimator: type[Estimator] = TextClassifier,
        odd: Sequence[Any] | None = None,
        unknown: Any = None,
    ) -> None:
        self.task, self.folder, self.kind = task, find_folder(model), estimator
        made = all(map(is_dataclass, examples))
        self.examples = list(examples if made else read(list(examples), estimator.task_name).examples)
        self.tokenizer, self.config = Tokenizer.load(self.folder), load_config(self.folder)
        self.odd = list(self._odd() if odd is None else odd)
        self.unknown = self._unknown() if unknown is None else unknown
        self.long = "windows"

    @property
    def own(self) -> bool:
        """Whether the task is a user's class."""
        return own_name(self.task) is not None

    @property
    def decodes(self) -> bool:
        """Whether predictions are made of logits; else they are written by the model, token by token."""
        return (type(self.task).decode, type(self.task).decode_by) != (Task.decode, Task.decode_by)

    def _names(self) -> set[str]:
        return {one.name for one in fields(self.examples[0])}

    def _odd(self) -> list[Any]:
        plain = "text" in self._names() and not {"words", "first", "context", "targets"} & self._names()
        return [replace(self.examples[0], text=text) for text in ODD] if plain else []

    def _unknown(self) -> Any:
        if "label" not in self._names() or not isinstance(self.examples[0].label, str):
            return None
        return replace(self.examples[0], label="a label that nobody knows", where=MARK)

    # -- tokens

    def encode(self, examples: Sequence[Any], max_length: int | None = None, long: str = "windows") -> Encoded:
        return self.task.encode(examples, self.tokenizer, max_length or self.longest, long)

    @cached_property
    def longest(self) -> int:
        """Tokens that a sequence may have: those of the longest example, for nothing longer has to be written."""
        most = modeling.longest(self.tokenizer, self.config, None)
        return min(most, max(len(feature.encoding) for feature in self.whole.features))

    @cached_property
    def encoded(self) -> Encoded:
        return self.encode(self.examples)

    @cached_property
    def whole(self) -> Encoded:
        """Features that nothing was cut of."""
        return self.encode(self.examples, UNCUT)

    @property
    def bare(self) -> list[Any]:
        return [unlabelled(example) for example in self.examples]

    # -- the model

    @cached_property
    def estimator(self) -> Estimator:
        """With the task on an untrained model."""
        found: Estimator = self.kind.from_pretrained(self.folder, precision="f32")
        self.refill(found)
        return found

    def refill(self, estimator: Estimator) -> None:
        model, config, _ = modeling.build(self.folder, self.task, seed=0)
        estimator.trained(model, config, self.task, {"folder": str(self.folder), "seed": 0})
        estimator.max_length = self.longest

    @property
    def model(self) -> Module:
        assert self.estimator.model is not None
        return self.estimator.model

    @cached_property
    def trainer(self) -> Engine:
        """What moves a copy of the model. Without weight decay: what has no gradient stays as it is."""
        return Engine(self.model, self.task, adamw(weight_decay=0.0), seed=3, precision="f32")

    def rewind(self) -> None:
        """The trainer is again where it began."""
        engine = self.trainer
        nothing = {name: np.zeros_like(value) for name, value in engine.moment_arrays().items()}
        engine.restore({name: value.numpy() for name, value in self.model.parameters().items()}, nothing)

    def part(self, numbers: Sequence[int]) -> Encoded:
        """Some of the features."""
        return Encoded([self.encoded.features[i] for i in numbers], len(self.examples))

    def total(self, features: Sequence[Feature]) -> tuple[float, float]:
        """(sum, weight) of the model's loss over one batch, on NumPy."""
        loss, weight = self.task.total(self.model, self.batch(features))
        return float(loss), float(weight)

    def batch(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        packed = self.task.pack(features)
        arrange = getattr(self.model, "arrange", dict)
        return {name: ht.tensor(array) for name, array in {**packed, **arrange(packed)}.items()}

    # -- predictions

    def predict(self, examples: Sequence[Any]) -> list[Any]:
        return self.estimator.said_of(examples)

    @cached_property
    def predictions(self) -> list[Any]:
        return self.predict(self.examples)

    @cached_property
    def perfect(self) -> list[Any]:
        """What a model would say that has the least loss: of logits, those are looked for by gradient descent; a task
        that writes learns its examples by heart."""
        if not self.decodes:
            return self._by_heart()
        weights = {name: value.numpy() for name, value in self.model.parameters().items()}
        return self.task.decode_by(weights, self.examples, self.encoded, self.best_logits())

    def best_logits(self, steps: int = 100) -> list[Array]:
        features = self.encoded.features
        batch = self.batch(features)
        logits = np.zeros_like(np.asarray(self.model(batch).numpy()))
        logits += np.random.default_rng(0).standard_normal(logits.shape).astype(np.float32) * 0.01
        mean, square = np.zeros_like(logits), np.zeros_like(logits)

        def loss_of(values: Tensor) -> Tensor:
            total, weight = self.task.cost(self.model, values, batch)
            return total / weight

        slope = ht.grad(loss_of)
        for step in range(1, steps + 1):
            gradient = np.asarray(slope(ht.tensor(logits)).numpy())
            mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
            rate = 0.5 * (1 - (step - 1) / steps)
            logits -= (rate * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)).astype(np.float32)
        return list(rows_of(logits, features, self.task))

    def _by_heart(self, steps: int = 200) -> list[Any]:
        for step in range(steps):
            self.trainer.step([self.encoded.features], step, 5e-3)
        learnt: Estimator = self.kind.from_pretrained(self.folder, precision="f32")
        self.refill(learnt)
        assert learnt.model is not None
        learnt.model.load({name: value.copy() for name, value in self.trainer.weights().items()})
        self.rewind()
        return learnt.said_of(self.examples)

    @cached_property
    def scores(self) -> Scores:
        """Of the untrained model, as an evaluation finds them."""
        return self.estimator.judge(self.estimator.engine(), self.task, self.examples)[0]

    # -- what is kept

    def dataset(self, examples: Sequence[Any]) -> Dataset[Any]:
        source = Source(None, fingerprint([str(one) for one in examples]), "list")
        return Dataset(tuple(examples), source, problem=getattr(self.task, "problem", ONE))

    @cached_property
    def _held(self) -> Any:
        return tempfile.TemporaryDirectory(prefix="handloom-check-")

    @property
    def place(self) -> Path:
        """A folder that is there as long as the subject is."""
        return Path(self._held.name)

    @property
    def left(self) -> Path:
        """A copy of the run folder of `trained` after its first epoch."""
        return self.place / "left"

    def fit(self, out: Path, resume: bool = False) -> Estimator:
        """A training of two epochs; one of Handloom's own tasks is made anew from the data, as users have it made."""
        model: Estimator = self.kind.from_pretrained(self.folder, precision="f32")
        data = self.dataset(self.examples)
        task = self.task if self.own else None
        size = -(-len(self.examples) // 2)

        def listen(event: Progress) -> None:
            if event.kind == "checkpoint" and event.step < event.steps and not resume:
                shutil.copytree(out, self.left, dirs_exist_ok=True)

        model.fit(data, data, out=out, resume=resume, task=task, listener=listen, before=False,
                  baselines=False, epochs=2, batch_size=size, lr=5e-3, keep="last",
                  max_length=self.longest)  # fmt: skip
        return model

    @cached_property
    def trained(self) -> Estimator:
        return self.fit(self.place / "run")

    def load(self, folder: Path) -> Estimator:
        found: Estimator = self.kind.load(folder, task=self.task if self.own else None, precision="f32")
        return found
