"""What the five methods of a task return. All other checks rely on it, so that this one comes first."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from handloom.nn import Module
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Feature
from handloom.tensor import Tensor
from handloom.testing.subject import Subject, require

RETURNS = {
    "encode": "Encoded(features, examples), whose features are of the class Feature",
    "head": "a module, or None for the family's own head",
    "loss": "(sum, weight), two tensors of one number each",
    "decode": "a list of predictions, one for each example, which have `to_dict`",
    "score": "Scores, whose metrics are numbers",
}


def methods_return_what_is_asked(subject: Subject) -> None:
    """Each of the five returns what whoever calls it goes on with."""
    task, examples = subject.task, subject.examples
    encoded: object = subject.whole
    _require("encode", encoded, isinstance(encoded, Encoded) and _all(encoded.features, Feature))
    head: object = task.head(subject.config.hidden_size, np.random.default_rng(0))
    _require("head", head, head is None or isinstance(head, Module))
    total: Any = task.total(subject.model, subject.batch(subject.encoded.features))
    pair = isinstance(total, tuple) and len(total) == 2 and _all(total, Tensor)
    _require("loss", total, pair and all(part.shape == () for part in total))
    if subject.decodes:
        said: object = subject.predictions
        _require("decode", said, isinstance(said, list) and all(hasattr(one, "to_dict") for one in said))
        count = len(subject.predictions)
        _require("decode", f"{count} for {len(examples)} examples", count == len(examples))
    if subject.own or subject.predictions:
        scores: object = task.score(examples, subject.predictions, 0)
        _require("score", scores, isinstance(scores, Scores) and _all(scores.metrics.values(), Real))


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, Iterable) and all(isinstance(one, kind) for one in values)


def _require(method: str, found: object, fact: bool) -> None:
    said = found if isinstance(found, str) else f"a {type(found).__name__}: {found!r:.80}"
    require(fact, f"`{method}` returns {RETURNS[method]}; this is {said}")
