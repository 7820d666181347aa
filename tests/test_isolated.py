"""Programs in a process of their own: an answer, an end by the clock, by the system, and by a mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handloom.isolated import Ended, run

PROGRAM = """
import json, os, sys, time
task = json.load(sys.stdin)
if task["what"] == "sleep":
    time.sleep(60)
if task["what"] == "die":
    os.abort()
print("no JSON" if task["what"] == "mumble" else json.dumps({"who": os.getpid(), **task, "path": sys.path}))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """It says who it is and repeats what it is told, or does something worse."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_each_task_has_a_process_of_its_own(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(program.parent))
    found = [run(program, {"what": "answer", "text": "天"}, 60) for _ in range(2)]
    assert len({one["who"] for one in found} - {os.getpid()}) == 2
    assert all(one["text"] == "天" and str(program.parent) not in one["path"] for one in found)


@pytest.mark.parametrize(("what", "seconds"), [("sleep", 0.5), ("die", 60), ("mumble", 60)])
def test_what_does_not_answer_has_ended(program: Path, what: str, seconds: float) -> None:
    with pytest.raises(Ended):
        run(program, {"what": what}, seconds)
