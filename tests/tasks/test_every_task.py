"""Every task passes one suite (handloom.testing): Handloom's own, and the one that examples/own_task.py has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from subjects import ROWS, subject
from workplace import loaded

from handloom.data.examples import TextExample
from handloom.testing import CHECKS, DoesNotApply, Subject
from handloom.train.estimators import ESTIMATORS
from handloom.train.text_classifier import TextClassifier

OWN = "a user's own"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def subjects(folder: Path) -> dict[str, Subject]:
    return {}


@pytest.fixture
def one(request: Any, subjects: dict[str, Subject], folder: Path) -> Subject:
    name = request.param
    if name not in subjects:
        subjects.clear()  # one is held at a time
        subjects[name] = own(folder) if name == OWN else subject(name, folder)
    return subjects[name]


def own(folder: Path) -> Subject:
    example = loaded("../examples/own_task.py")
    rated = example.ratings(8, np.random.default_rng(0))
    texts = [TextExample(text, label=label) for text, label in rated]
    long = TextExample(" and ".join(text for text, _ in rated[:3]), label="2.5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDLOOM_HOME", str(folder))
        encoder = TextClassifier.new(rated, **example.TINY).folder
    return Subject(example.Rating(), [*texts, long], encoder)


def test_every_task_has_a_row() -> None:
    missing = ESTIMATORS.keys() - {name.split()[0] for name in ROWS}
    assert not missing, f"tests/tasks/subjects.py needs a row of examples for {', '.join(missing)}"


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("one", [*ROWS, OWN], indirect=True)
def test_a_task_passes(one: Subject, check: str) -> None:
    try:
        CHECKS[check](one)
    except DoesNotApply as reason:
        print(reason)
