"""The estimator of labels for whole texts: one, several, in an order, or a number. Which it is, the data says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from handloom.data.examples import TEXT, Dataset
from handloom.data.labels import NUMBER, ONE, ORDERED, SEVERAL, in_order
from handloom.errors import HandloomError, UsageError
from handloom.tasks.ordered_labels import OrderedLabels
from handloom.tasks.several_labels import LabelSet, SeveralLabels
from handloom.tasks.task import Task
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tasks.text_regression import Number, TextRegression
from handloom.tasks.text_task import TextTask
from handloom.train.datasets import Sets, balanced, labels_of
from handloom.train.estimator import Estimator, check_top
from handloom.train.settings import Settings

#: What transformers calls heads that are not one label a text.
_PROBLEM_TYPES = {"multi_label_classification": SEVERAL, "regression": NUMBER}
_REFUSE = 0.05  #: the share of `refuse` where only a label for none is named


class TextClassifier(Estimator):
    """Labels for a text, or for a text and its pair."""

    task_name = TEXT
    asks = ("top",)

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        problem = sets.train.problem
        known = self.task if isinstance(self.task, TextTask) and self.task.problem == problem else None
        for name, kinds in _MEANT_FOR.items():
            if getattr(settings, name) and problem not in kinds:
                raise UsageError(f"{name} is for problem {', '.join(kinds)}, not {problem}")
        if sets.none_label is not None and problem != ONE:
            raise UsageError(f"none_label is for problem {ONE}, not {problem}")
        return MAKERS[problem](sets, settings, known)

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        told = settings.get("problem") or _PROBLEM_TYPES.get(str(self.config.source.get("problem_type")))
        problem = told or (NUMBER if len(labels) == 1 else ONE)
        if problem not in TASKS:
            raise ValueError(f"there is no problem {problem!r}")
        return TASKS[problem](labels, settings)

    def reading_with(self, given: Mapping[str, Any], settings: Settings | None = None) -> dict[str, Any]:
        task, own = self.task, dict[str, Any]()
        if isinstance(task, TextTask) and (settings is None or task.problem != ONE):
            own["problem"] = task.problem
            if isinstance(task, OrderedLabels):
                own["label_order"] = list(task.classes)
        if "problem" in own and given.get("problem") not in (None, own["problem"]):
            if settings is None:
                raise UsageError(f"{self.folder} was trained for problem {own['problem']}, not {given['problem']}")
            own = {}  # a head of another kind is wanted
        if settings is not None and settings.refuse is not None and given.get("problem") in (None, ONE):
            own["none_label"] = ""
        elif settings is None and isinstance(task, TextClassification) and task.refuse is not None:
            own["none_label"] = task.none_label
        return {**own, **given}

    def read(self, data: Any, *, labelled: bool = True, **reading: Any) -> Dataset[Any]:
        """As of every estimator. HandloomError for a text alone where the model has learnt from pairs."""
        dataset = super().read(data, labelled=labelled, **reading)
        alone = next((example for example in dataset if example.pair is None), None)
        if self.pairs and alone is not None:
            raise HandloomError(
                f"{alone.where or 'the text'}: this model was trained on pairs of texts, and there is no second text; "
                "in a file (--data FILE) --pair-column names its column, in Python it is given as (text, pair)"
            )
        if self.pairs is False and any(example.pair is not None for example in dataset):
            self.tell(["a second text is read beside each, and this model was trained on single texts"])
        return dataset

    def command(self, run: str) -> str:
        return f"handloom predict {run} --data FILE" if self.pairs else super().command(run)

    def predict(self, data: Any, **how: Any) -> Any:
        """Prediction(label, score, scores) of each text; LabelSet(labels, scores) where it may have several labels,
        Number(value) where that is what was learnt.

        top: only so many labels, the best, and their scores: those that are given first, then the likeliest others.
        """
        return super().predict(data, **how)

    def said_of(self, examples: Sequence[Any], top: int | None = None) -> list[Any]:
        check_top(top)
        if top is not None and isinstance(self.task, TextRegression):
            raise UsageError("top asks for the best labels; this model gives numbers")
        found = super().said_of(examples)
        return found if top is None else [best_of(one, top) for one in found]


def best_of(said: Any, top: int) -> Any:
    """A prediction with no more labels and scores than `top`."""
    given = said.labels if isinstance(said, LabelSet) else (said.label,)
    ranked = sorted(said.scores, key=lambda label: (label not in given, -said.scores[label]))[:top]
    left = {"labels": tuple(label for label in given if label in ranked)} if isinstance(said, LabelSet) else {}
    return replace(said, scores={label: said.scores[label] for label in ranked}, **left)


# -- the task that the data asks for


def _one(sets: Sets, settings: Settings, known: TextTask | None) -> Task:
    labels = labels_of(sets, known.labels if known else (), None)
    refuse = _REFUSE if settings.refuse is None and sets.none_label is not None else settings.refuse
    weights = _weights(settings, sets.train, labels)
    return TextClassification(labels, weights, settings.label_smoothing, refuse, sets.none_label or "")


def _several(sets: Sets, settings: Settings, known: TextTask | None) -> Task:
    labels = labels_of(sets, known.labels if known else (), None)
    weights = settings.class_weights
    if weights == "balanced":
        weights = balanced_marks(sets.train, labels)
    assert not isinstance(weights, str)
    return SeveralLabels(labels, weights, settings.label_smoothing)


def _ordered(sets: Sets, settings: Settings, known: TextTask | None) -> Task:
    if isinstance(known, OrderedLabels):
        order: Sequence[str] = known.classes
        if sets.train.order and sets.train.order != known.classes:
            raise UsageError(f"the model's order is {', '.join(known.classes)}; it cannot be changed by more training")
    else:
        there = {label for data in (sets.train, sets.valid, sets.test) if data is not None for label in data.labels}
        order = sets.train.order or in_order(there) or ()
        if not order:
            raise UsageError(
                f"the labels have no order of themselves: {', '.join(sorted(there)[:10])}; name it, the lowest first, "
                f"by --label-order (label_order in Python), such as {','.join(sorted(there)[:3])}"
            )
    labels_of(sets, order, None)  # checks
    return OrderedLabels(order, _weights(settings, sets.train, order), settings.label_smoothing)


def _number(sets: Sets, settings: Settings, known: TextTask | None) -> Task:
    if isinstance(known, TextRegression):
        return TextRegression(known.middle, known.scale, known.labels[0])  # what the head has learnt so far goes on
    values = np.array([example.label for example in sets.train], np.float64)
    scale = float(values.std())
    if not scale > 1e-12 * max(1.0, float(np.abs(values).max())):
        raise HandloomError(f"the training data has only one number, {values[0]:g}: there is nothing to tell apart")
    return TextRegression(float(values.mean()), scale)


MAKERS: dict[str, Callable[[Sets, Settings, TextTask | None], Task]] = {
    ONE: _one, SEVERAL: _several, ORDERED: _ordered, NUMBER: _number,
}  # fmt: skip
#: From a head's labels and what handloom.json keeps.
TASKS: dict[str, Callable[[Sequence[str], Mapping[str, Any]], Task]] = {
    ONE: lambda labels, settings: TextClassification(labels),
    SEVERAL: lambda labels, settings: SeveralLabels(labels),
    ORDERED: lambda labels, settings: OrderedLabels([str(step) for step in settings["order"]]),
    NUMBER: lambda labels, settings: TextRegression(output=labels[0]),
}
#: Settings that make sense for some problems alone.
_MEANT_FOR = {
    "class_weights": (ONE, SEVERAL, ORDERED), "label_smoothing": (ONE, SEVERAL, ORDERED), "refuse": (ONE,),
}  # fmt: skip


def weights_of(settings: Settings, counts: Counter[str], labels: Sequence[str]) -> Mapping[str, float] | None:
    """The factor of each label's loss."""
    if settings.class_weights == "balanced":
        return balanced(counts, labels)
    assert not isinstance(settings.class_weights, str)
    return settings.class_weights


def _weights(settings: Settings, train: Dataset[Any], labels: Sequence[str]) -> Mapping[str, float] | None:
    return weights_of(settings, Counter(label for example in train for label in example.labels), labels)


def balanced_marks(train: Iterable[Any], labels: Sequence[str]) -> dict[str, float]:
    """For each label how many texts lack it for each that has it, so that both weigh the same; 1 for one that does not
    occur, or is everywhere."""
    rows = list(train)
    counts = Counter(label for example in rows for label in example.labels)
    return {label: (len(rows) - counts[label]) / counts[label] if 0 < counts[label] < len(rows) else 1.0
            for label in labels}  # fmt: skip


Answer = Prediction | LabelSet | Number
"""What `predict` gives for a text."""
