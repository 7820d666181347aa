"""Checks of predictions, and of the scores that they get."""

from __future__ import annotations

import json
import math

import numpy as np

from handloom.tasks.scores import NUMBERS, Scores
from handloom.testing.encoding import places_are_places
from handloom.testing.subject import DoesNotApply, Subject, require

DRAWS = 5


def predictions_are_in_the_order_of_the_examples(subject: Subject) -> None:
    """One an example, the same for an example wherever it stands and however features are batched."""
    said = subject.predictions
    require(len(said) == len(subject.examples), f"{len(subject.examples)} examples have {len(said)} predictions")
    order = np.random.default_rng(1).permutation(len(said)).tolist()
    again = subject.predict([subject.examples[i] for i in order])
    for place, i in enumerate(order):
        require(again[place].to_dict() == said[i].to_dict(), f"example {i} is told something else at place {place}")


def predictions_are_json(subject: Subject) -> None:
    """`to_dict` gives what programs read: an object of JSON, without NaN, and of places what stands there."""
    for number, (example, one) in enumerate(zip(subject.examples, subject.predictions, strict=True)):
        found = one.to_dict()
        require(isinstance(found, dict) and found, f"to_dict of prediction {number} is {found!r}")
        try:
            same = json.loads(json.dumps(found, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as error:
            require(False, f"to_dict of prediction {number} is no JSON: {error}")
        require(same.keys() == found.keys(), f"to_dict of prediction {number} has keys that are no texts")
        places_are_places(example, found)


def metrics_are_those_that_are_named(subject: Subject) -> None:
    """An evaluation has the metric that chooses the best weights; all it has is finite, and `metrics` names it."""
    scores, task = subject.scores, subject.task
    require(task.metric in scores.metrics, f"{task.metric!r} is not among the scores: {', '.join(scores.metrics)}")
    wrong = {name: value for name, value in scores.metrics.items() if not math.isfinite(value)}
    require(not wrong, f"not finite: {wrong}")
    unnamed = scores.metrics.keys() - set(task.metrics)
    require(not task.metrics or not unnamed, f"`metrics` does not name {', '.join(sorted(unnamed))}")
    require(task.metric in (task.metrics or (task.metric,)), f"`metrics` does not name the task's own, {task.metric}")


def scores_are_kept_as_they_are(subject: Subject) -> None:
    """Scores are the same after JSON, and the same for the same seed; intervals hold two numbers in order."""
    again = Scores.from_dict(json.loads(json.dumps(subject.scores.to_dict(), allow_nan=False)))
    require(again.to_dict() == subject.scores.to_dict(), "scores are not what they were after JSON")
    for name, (low, high) in subject.scores.intervals.items():
        require(low <= high, f"the interval of {name} is {low} … {high}")
        require(name in subject.scores.metrics, f"there is an interval of {name}, and no value")
    if subject.own or subject.predictions:
        one, other = (subject.task.score(subject.examples, subject.predictions, 7).to_dict() for _ in range(2))
        require(one == other, "scoring twice with one seed gives two results")


def perfect_predictions_have_the_best_scores(subject: Subject) -> None:
    """What has the least loss decodes to what is true: shares are 1, and what is called an error is 0; an untrained
    model is worse."""
    task, said = subject.task, subject.perfect
    best = task.score(subject.examples, said, 0).metrics
    for name, value in best.items():
        wanted = 0.0 if "error" in name else 1.0
        require(name in NUMBERS or abs(value - wanted) < 0.03,
                f"{name} of perfect predictions is {value:.4f}, not {wanted:g}")  # fmt: skip
    fresh = task.score(subject.examples, subject.predictions, 0).metrics
    name = task.metric if task.metric in best else next(iter(best))
    worse = fresh[name] > best[name] if "error" in name else fresh[name] < best[name]
    require(worse, f"{name} is {best[name]:.4f} of perfect predictions and {fresh[name]:.4f} of an untrained model's")


def counts_agree_with_scores(subject: Subject) -> None:
    """`counted` says what `score` says, of all examples as of any that are drawn of them, again and again."""
    task, examples = subject.task, subject.examples
    rng = np.random.default_rng(2)
    for said in (subject.perfect, subject.predictions):
        counted = task.counted(examples, said)
        if counted is None:
            raise DoesNotApply("the task's scores are not made of counts")
        counts = counted.counts.counts
        require(len(counts) == len(examples), f"{len(counts)} rows of counts for {len(examples)} examples")
        for draw in range(DRAWS):
            chosen = list(range(len(examples))) if not draw else rng.integers(0, len(examples), len(examples)).tolist()
            scores = task.score([examples[i] for i in chosen], [said[i] for i in chosen], 0)
            sums = counts[chosen].sum(0)
            for name, metric in counted.metrics.items():
                if name not in scores.metrics:  # of a kind of examples of which none was drawn
                    continue
                one, other = float(metric(sums)), scores.metrics[name]
                require(np.isclose(one, other, rtol=1e-9, atol=1e-9), f"{name} of counts is {one}, of score {other}")
