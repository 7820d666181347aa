"""Checks of a whole training: what is saved is what was trained, and one that was stopped ends as one that was not."""

from __future__ import annotations

import json

from handloom.testing.subject import Subject, require


def settings_are_json(subject: Subject) -> None:
    """What handloom.json keeps of a task says the same when it is read again."""
    found = subject.task.settings()
    require(json.loads(json.dumps(found, allow_nan=False)) == found, f"settings are not the same after JSON: {found}")


def what_is_saved_is_what_was_trained(subject: Subject) -> None:
    """fit → save → load: the same task, the same predictions, the same scores."""
    trained = subject.trained
    folder = subject.place / "saved"
    trained.save(folder)
    again = subject.load(folder)
    assert trained.task is not None and again.task is not None
    require(type(again.task) is type(trained.task), f"a {type(trained.task).__name__} is a {type(again.task).__name__}")
    require(again.task.labels == trained.task.labels, f"labels {trained.task.labels} are {again.task.labels}")
    require(again.task.settings() == trained.task.settings(),
            f"settings {trained.task.settings()} are {again.task.settings()}")  # fmt: skip
    one, other = ([said.to_dict() for said in model.said_of(subject.examples)] for model in (trained, again))
    require(one == other, "the loaded model does not say what the trained one says")
    assert trained.scores is not None
    scores = again.evaluate(subject.dataset(subject.examples), before=False)
    require(scores.metrics == trained.scores.metrics, f"scores {trained.scores.metrics} are {scores.metrics}")


def a_training_that_was_stopped_ends_with_the_same_bits(subject: Subject) -> None:
    """The run folder as it was after the first epoch, as a power cut leaves it, is gone on with."""
    whole, left = subject.trained, subject.left
    require(left.is_dir(), "the training has no checkpoint before its end")
    again = subject.fit(left, resume=True)
    one, other = ((run / "model.safetensors").read_bytes() for run in (subject.place / "run", left))
    require(one == other, "the weights of a training that was stopped and resumed are others")
    assert again.scores is not None and whole.scores is not None
    require(again.scores.to_dict() == whole.scores.to_dict(), "its scores are others")
