"""The data of a training: read, split, checked, and its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from handloom.data.examples import RELATION, TEXT, Dataset
from handloom.data.labels import ONE, ORDERED
from handloom.data.readers import read
from handloom.data.split import split
from handloom.errors import HandloomError, UsageError
from handloom.text.counting import agreed, counted
from handloom.text.schemes import Scheme

VALID_SHARE = 0.1


@dataclass(frozen=True)
class Sets:
    """train, valid and test (None where there is none); split: whether valid was cut from train; none_label: see
    `read`."""

    train: Dataset[Any]
    valid: Dataset[Any] | None
    test: Dataset[Any] | None
    split: bool
    none_label: str | None = None

    def to_dict(self) -> dict[str, Any]:
        found = {"train": self.train, "valid": None if self.split else self.valid, "test": self.test}
        return {name: None if data is None else data.to_dict() for name, data in found.items()}

    def identity(self) -> dict[str, str | None]:
        """The hashes that say whether data is the same."""
        return {name: entry and entry["sha256"] for name, entry in self.to_dict().items()}


def read_sets(
    train: Any, valid: Any, test: Any, task: str, seed: int, reading: dict[str, Any], known: Sequence[str] = ()
) -> Sets:
    """Read what the user gave; without `valid` a stratified tenth of `train` is taken, the same for the same seed.

    What the training data's labels are, those of the other sets are. From texts that have none of the labels, where
    that may be, nothing is learnt: those of the training data are left out, or become validation data if that is taken
    from it.
    """
    training = None if train is None else read(train, task, **reading)
    if training is None or not len(training):
        raise HandloomError("there is no training data")
    alike = {**reading, "problem": training.problem} if task == TEXT else reading
    if training.problem != ONE:
        alike = {name: value for name, value in alike.items() if name != "none_label"}
    validation, testing = (None if data is None else read(data, task, **alike) for data in (valid, test))
    labelled, bare = _parted(training) if task == TEXT else (training, [])
    none = reading.get("none_label")
    if none and training.problem == ONE and not bare and (validation is None or not _parted(validation)[1]):
        there = ", ".join(training.labels[:20]) + " …" * (len(training.labels) > 20)
        raise UsageError(f"--none-label {none!r} stands nowhere in the training and validation data; the labels that "
                         f"there are: {there}")  # fmt: skip
    if validation is not None:
        have = agreed(len(bare), "[it has|they have]")
        left = f"nothing is learnt from {len(bare):,} of {len(training):,} training texts: {have} none of the labels"
        if bare:
            labelled = replace(labelled, notes=(*labelled.notes, left))
        return Sets(labelled, validation, testing, split=False, none_label=none)
    if task == RELATION or (task == TEXT and training.problem in (ONE, ORDERED)):
        _told_apart(set(training.labels) | set(known))
    kept, held = split(labelled, (1 - VALID_SHARE, VALID_SHARE), seed)
    if bare:
        have = agreed(len(bare), "[has|have] none of the labels: [it is|all of them are] validation data")
        moved = f"{counted(len(bare), 'text')} {have}"
        kept = replace(kept, notes=(*kept.notes, moved))
        held = replace(held, examples=(*held.examples, *bare))
    return Sets(kept, held, testing, split=True, none_label=none)


def _parted(data: Dataset[Any]) -> tuple[Dataset[Any], list[Any]]:
    """The examples that have a label, and those that have none."""
    bare = [example for example in data if example.label is None]
    if not bare:
        return data, []
    return data.select([i for i, example in enumerate(data) if example.label is not None]), bare


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
        if data is not None and unseen:
            raise HandloomError(
                f"{data.source.path or f'the {name} data'} has labels that the training data never shows: "
                f"{first_places(data, unseen)}. The training data has: {', '.join(sorted(training)[:20])}"
            )
    if scheme is not None:
        if not training:
            raise HandloomError("the training data has no spans at all: every word is tagged O")
        tags = scheme.tags(training)
        return (*known, *(tag for tag in tags if tag not in known))
    if sets.train.problem == ONE:
        _told_apart(training)
    elif not training:
        raise HandloomError("the training data has no labels: every text has none of them")
    return (*known, *sorted(training - set(known)))


def first_places(data: Dataset[Any], labels: Sequence[str], most: int = 10) -> str:
    """Some labels, each with the first place where it stands."""
    found: dict[str, str] = {}
    for example in data:
        for label in example.labels:
            found.setdefault(label, f"{label} ({example.where})" if example.where else label)
    return ", ".join(found[label] for label in labels[:most]) + " …" * (len(labels) > most)


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
