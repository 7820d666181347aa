"""Programs in a process of their own: an answer, an end by the clock, by the system or by a mistake, and a fork."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from handloom.isolated import Ended, Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Its process says who it is, repeats what it is told, or does something worse."""
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            """
            import json, os, sys, time
            task = json.load(sys.stdin)
            if task["what"] == "sleep":
                time.sleep(60)
            if task["what"] == "die":
                os.abort()
            print("no JSON" if task["what"] == "mumble" else json.dumps({"who": os.getpid(), **task, "path": sys.path}))
            """
        )
    )
    return Program(path)


def test_each_task_has_a_process_of_its_own(program: Program) -> None:
    found = [program.run({"what": "answer", "text": "天"}, 60) for _ in range(3)]
    assert len({one["who"] for one in found} - {os.getpid()}) == 3
    assert all(one["text"] == "天" and str(program.path.parent) not in one["path"] for one in found)


@pytest.mark.parametrize(("what", "seconds"), [("sleep", 0.5), ("die", 60), ("mumble", 60)])
def test_what_does_not_answer_has_ended(program: Program, what: str, seconds: float) -> None:
    with pytest.raises(Ended):
        program.run({"what": what}, seconds)
    assert program.run({"what": "answer"}, 60)["what"] == "answer"


def test_a_process_that_died_waiting_is_replaced(program: Program) -> None:
    program.run({"what": "answer"}, 60)
    assert program._next is not None
    program._next[1].kill()
    program._next[1].wait()
    assert program.run({"what": "answer"}, 60)["what"] == "answer"


def test_a_fork_leaves_the_waiting_process_alone(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.run({"what": "answer"}, 60)
    assert program._next is not None
    waiting = program._next[1]
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as a child would see it
    assert program.run({"what": "answer"}, 60)["who"] != waiting.pid and waiting.poll() is None
    waiting.kill()
    waiting.communicate()
