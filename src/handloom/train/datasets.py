"""The data of a training: read, split, checked, and its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handloom.data.examples import RELATION, TEXT, Dataset
from handloom.data.readers import read
from handloom.data.split import split
from handloom.errors import HandloomError
from handloom.text.schemes import Scheme

VALID_SHARE = 0.1


@dataclass(frozen=True)
class Sets:
    """train, valid and test (None where there is none); split: whether valid was cut from train."""

    train: Dataset[Any]
    valid: Dataset[Any] | None
    test: Dataset[Any] | None
    split: bool

    def to_dict(self) -> dict[str, Any]:
        found = {"train": self.train, "valid": None if self.split else self.valid, "test": self.test}
        return {name: None if data is None else data.to_dict() for name, data in found.items()}

    def identity(self) -> dict[str, str | None]:
        """The hashes that say whether data is the same."""
        return {name: entry and entry["sha256"] for name, entry in self.to_dict().items()}


def read_sets(
    train: Any, valid: Any, test: Any, task: str, seed: int, reading: dict[str, Any], known: Sequence[str] = ()
) -> Sets:
    """Read what the user gave; without `valid` a stratified tenth of `train` is taken, the same for the same seed."""
    sets = [None if data is None else read(data, task, **reading) for data in (train, valid, test)]
    training, validation, testing = sets
    if training is None or not len(training):
        raise HandloomError("there is no training data")
    if validation is not None:
        return Sets(training, validation, testing, split=False)
    if task in (TEXT, RELATION):
        _told_apart(set(training.labels) | set(known))
    kept, held = split(training, (1 - VALID_SHARE, VALID_SHARE), seed)
    return Sets(kept, held, testing, split=True)


def labels_of(sets: Sets, known: Sequence[str], scheme: Scheme | None) -> tuple[str, ...]:
    """The head's labels: those the model knows already, then the new ones of the training data.

    scheme: given for tagged data, where the labels are all its tags for the kinds of span there are.
    Errors: one label only; a label in valid or test that training has not.
    """
    training = set(sets.train.labels) | set(known if scheme is None else _kinds(known, scheme))
    if sets.split and sets.valid is not None:
        training |= set(sets.valid.labels)
    for name, data in (("validation", sets.valid), ("test", sets.test)):
        unseen = sorted(set(data.labels) - training) if data is not None else []
        if unseen:
            where = data.source.path if data is not None and data.source.path else f"the {name} data"
            raise HandloomError(
                f"{where} has labels that the training data never shows: {', '.join(unseen[:10])}"
                f"{' …' if len(unseen) > 10 else ''}. The training data has: {', '.join(sorted(training)[:20])}"
            )
    if scheme is not None:
        if not training:
            raise HandloomError("the training data has no spans at all: every word is tagged O")
        tags = scheme.tags(training)
        return (*known, *(tag for tag in tags if tag not in known))
    _told_apart(training)
    return (*known, *sorted(training - set(known)))


def _told_apart(labels: set[str]) -> None:
    if len(labels) < 2:
        only = next(iter(labels), None)
        raise HandloomError(
            f"the training data has only one label, {only!r}: there is nothing to tell apart"
            if only is not None
            else "the training data has no labels"
        )


def _kinds(tags: Sequence[str], scheme: Scheme) -> list[str]:
    return [read[1] for tag in tags if (read := scheme.read(tag)) is not None]


def balanced(counts: Counter[str], labels: Sequence[str]) -> dict[str, float]:
    """total / (labels that occur · count) for each label; 1 for one that does not occur."""
    present = [label for label in labels if counts[label]]
    total = sum(counts[label] for label in present)
    return {label: total / (len(present) * counts[label]) if counts[label] else 1.0 for label in labels}
