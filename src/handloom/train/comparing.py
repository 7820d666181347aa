"""Two models on the same labelled examples: is the new one no worse than the old?

The examples are drawn anew, with replacement, many times, the same for both models (the paired bootstrap,
Berg-Kirkpatrick et al. 2012): what the two have in common falls out of the difference, and it is told apart sooner than
two intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import unlabelled
from handloom.errors import HandloomError, UsageError
from handloom.tasks import metrics
from handloom.tasks.metrics import LabelCounts, Summands
from handloom.tasks.scores import ERRORS
from handloom.tasks.task import Task
from handloom.train.datasets import first_places
from handloom.train.estimator import Estimator, parted

DRAWS = 2000
SLOW_DRAWS = 200  #: of tasks whose scores are not made of counts


@dataclass(frozen=True)
class Difference:
    """A score of the old model and of the new, and the 95 % interval of new − old. worse: the share of the draws in
    which the new model was worse, 0 to 1. error: whether less of it is better."""

    old: float
    new: float
    low: float
    high: float
    worse: float
    error: bool = False

    @property
    def verdict(self) -> str:
        """"better", "worse", or "no difference": that 0 is within the interval."""
        if self.low <= 0 <= self.high:
            return "no difference"
        return "worse" if (self.low > 0) == self.error else "better"

    def to_dict(self) -> dict[str, Any]:
        own = {"old": self.old, "new": self.new, "difference": self.new - self.old}
        return {**own, "low": self.low, "high": self.high, "worse": self.worse, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """metric: the one that decides. metrics, labels: by name; of a label its F1. examples: how many; fixed, broken:
    the examples that only the new model, and only the old one, gets right. notes: what there is to say of the data."""

    metric: str
    metrics: dict[str, Difference]
    labels: dict[str, Difference]
    examples: int
    fixed: list[Any] = field(default_factory=list)
    broken: list[Any] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return self.metrics[self.metric].verdict

    def to_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "verdict": self.verdict,
            "metrics": {name: one.to_dict() for name, one in self.metrics.items()},
            "labels": {name: one.to_dict() for name, one in self.labels.items()},
            "examples": self.examples,
            "fixed": [_shown(example) for example in self.fixed],
            "broken": [_shown(example) for example in self.broken],
            "notes": list(self.notes),
        }


def _shown(example: Any) -> dict[str, Any]:
    return {"where": example.where, "text": example.text}


def compare(
    old: Estimator, new: Estimator, test: Any, *, metric: str | None = None, seed: int = 0, **how: Any
) -> Comparison:
    """Both models on labelled examples, which are read as `new` reads them.

    metric: by which they are judged; None for the task's own. how: what is said of reading; of Translator and
    Summarizer beams, as for `predict`. Raises UsageError for models of different tasks and for a metric that there is
    not.
    """
    if old.task_name != new.task_name:
        raise UsageError(f"{old.folder} was trained for {old.task_name} and {new.folder} for {new.task_name}")
    asked, reading = parted(new.task_name, how, new.judged_by)
    for model in (old, new):
        model.notes = ()
    data = new.read(test, **reading)
    known = {name for model in (old, new) if model.task is not None for name in model.task.known}
    if known and data.labels and not known.intersection(data.labels):
        raise HandloomError(
            f"{data.source.path or 'the data'} has no label that either model knows: "
            f"{first_places(data, sorted(set(data.labels)))}; they know {', '.join(sorted(known)[:20])}"
        )
    sides = [_predicted(model, data.examples, **asked) for model in (old, new)]
    notes = (*new.notes, *(f"{old.folder}: {note}" for note in old.notes if note not in new.notes))
    (_, old_said), (task, new_said) = sides
    if not task.comparable(sides[0][0]):
        raise UsageError(f"{old.folder} and {new.folder} were trained for different problems, and cannot be compared")
    counted = [task.counted(data.examples, said) for task, said in sides]
    if counted[0] is None or counted[1] is None:
        found = _resampled(task, data.examples, old_said, new_said, seed)
        return Comparison(_known(metric, task, found), found, {}, len(data), notes=notes)
    before, after = counted[0], counted[1]
    aligned, labels = _aligned(before.counts, after.counts)
    both: NDArray[Any] = np.stack(aligned, 1)  # [examples, 2, labels, 3], or [examples, 2, numbers]
    found = {name: _difference(both, one, seed) for name, one in after.metrics.items()}
    if before.numbers is not None and after.numbers is not None:
        numbers = np.stack([before.numbers, after.numbers], 1)  # [examples, 2, k]
        own = {name: _difference(numbers, one, seed, name in ERRORS) for name, one in after.of_numbers.items()}
        found = {**found, **own}
    by_label = {
        label: _difference(both[:, :, i : i + 1], metrics.micro_f1_of, seed) for i, label in enumerate(labels)
    }
    was, is_ = (side.counts.right for side in (before, after))  # where there are no labels, all is right
    return Comparison(
        _known(metric, task, found), found, by_label, len(data),
        [data[i] for i in np.flatnonzero(is_ & ~was).tolist()],
        [data[i] for i in np.flatnonzero(was & ~is_).tolist()],
        (*notes, *_strange(both, labels, {*sides[0][0].known, *task.known})),
    )  # fmt: skip


def _strange(both: NDArray[Any], labels: Sequence[str], known: set[str]) -> tuple[str, ...]:
    """A note of the labels that neither model knows."""
    if not labels:
        return ()
    guessed, true = both.sum((0, 1))[:, 1] > 0, (both[:, 0, :, 2] > 0).sum(0)
    if not {name for name, said in zip(labels, guessed, strict=True) if said} <= known:
        return ()  # counted by other names than the models': relations without their direction
    found = [f"{name} ({count} of {len(both)})" for name, count in zip(labels, true, strict=True)
             if count and name not in known]  # fmt: skip
    return (f"labels that neither model knows, so that both are wrong: {', '.join(found)}",) if found else ()


def _known(metric: str | None, task: Task, found: dict[str, Difference]) -> str:
    """What was asked for, else what the task is judged by, if that can be compared, else its first score."""
    if not found:
        raise HandloomError("nothing in this data can be compared: models are judged by what they write for prompts; "
                            "of whole texts see handloom perplexity")
    if metric is None:
        return task.metric if task.metric in found else next(iter(found))
    if metric not in found:
        raise UsageError(f"models cannot be compared by {metric!r}; there are {', '.join(found)}")
    return metric


def _predicted(model: Estimator, examples: Sequence[Any], **asked: Any) -> tuple[Task, list[Any]]:
    task = model.task
    if task is None:
        raise HandloomError(f"{model.folder} holds no model that was trained for {model.task_name}")
    # without labels: one that a model does not know is one that it gets wrong
    return task, model.said_of([unlabelled(example) for example in examples], **asked)


def _aligned(
    before: LabelCounts | Summands, after: LabelCounts | Summands
) -> tuple[list[NDArray[Any]], list[str]]:
    """The counts of both sides, by the same labels, where they are by label."""
    if not (isinstance(before, LabelCounts) and isinstance(after, LabelCounts)):
        return [before.counts, after.counts], []
    labels = sorted({*before.labels, *after.labels})
    return [side.among(labels).counts for side in (before, after)], labels


def _difference(both: NDArray[Any], metric: metrics.Summed, seed: int, error: bool = False) -> Difference:
    old, new = (float(metric(both[:, side].sum(0))) for side in (0, 1))
    drawn = metrics.bootstrap(both, lambda sums: metric(sums[:, 1]) - metric(sums[:, 0]), seed, DRAWS)
    return _of_draws(old, new, drawn, error)


def _of_draws(old: float, new: float, drawn: metrics.Floats, error: bool) -> Difference:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(old, new, float(low), float(high), float((drawn > 0 if error else drawn < 0).mean()), error)


def _resampled(task: Task, examples: Sequence[Any], old: Sequence[Any], new: Sequence[Any], seed: int
               ) -> dict[str, Difference]:  # fmt: skip
    """By scoring every draw anew."""
    rng = np.random.default_rng(seed)
    whole = [task.score(examples, said, seed).metrics for said in (old, new)]
    names = [name for name in whole[0] if name != "loss"]
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(SLOW_DRAWS):
        chosen = rng.integers(0, len(examples), len(examples)).tolist()
        drawn_of = [examples[i] for i in chosen]
        sides = [task.score(drawn_of, [said[i] for i in chosen], seed).metrics for said in (old, new)]
        for name in names:
            if name in sides[0]:  # a score of some kind of examples is not there where none of them was drawn
                drawn[name].append(sides[1][name] - sides[0][name])
    return {
        name: _of_draws(whole[0][name], whole[1][name], np.array(values), name in ERRORS)
        for name, values in drawn.items()
    }
