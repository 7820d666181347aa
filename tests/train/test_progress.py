from __future__ import annotations

import io

import pytest

from handloom.train import progress
from handloom.train.progress import Console, Progress, duration, line
from handloom.train.stopping import better


def test_lines_say_what_happens() -> None:
    step = Progress("step", 5, 20, 0.5, 2, loss=1.25, tokens_per_second=1234.5, eta=75)
    assert line(step) == "step 5/20  epoch 0.50/2  loss 1.2500  1,234 tokens/s  1:15 left"
    scored = Progress("validation", 10, 20, 1, 2, metrics={"accuracy": 0.5}, best=True)
    assert line(scored) == "step 10/20  epoch 1.00/2  validation: accuracy 0.5000  (best)"
    assert [duration(s) for s in (0, 59.6, 3725)] == ["0:00", "1:00", "1:02:05"]


@pytest.mark.parametrize("terminal", [True, False])
def test_plain_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(progress.sys, "stderr", stream)
    console = Console(every=1e9)
    console(Progress("step", 1, 2))
    console(Progress("checkpoint", 1, 2))
    console(Progress("validation", 1, 2, metrics={"f1": 1.0}))
    text = stream.getvalue()
    assert ("\x1b" in text) is terminal and ("\r" in text) is terminal
    assert text.endswith("validation: f1 1.0000\n") and "checkpoint" not in text


def test_better() -> None:
    assert better(0.5, None, "accuracy") and better(0.6, 0.5, "accuracy") and not better(0.5, 0.5, "accuracy")
    assert better(0.4, 0.5, "loss") and not better(float("nan"), None, "accuracy")
