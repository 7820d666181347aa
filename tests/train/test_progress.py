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


class NotebookStream(io.StringIO):
    """What sys.stderr is in a notebook's kernel, to all that asks for its type."""


NotebookStream.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize(("stream", "rewrites"), [
    (type("Terminal", (io.StringIO,), {"isatty": lambda self: True})(), True), (NotebookStream(), True),
    (io.StringIO(), False),
])  # fmt: skip
def test_a_line_is_rewritten_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, rewrites: bool
) -> None:
    monkeypatch.setattr(progress.sys, "stderr", stream)
    monkeypatch.setattr(progress.time, "monotonic", iter(range(100)).__next__)
    console = Console(every=1e9)
    console(Progress("step", 1, 2, tokens_per_second=1e6))
    console(Progress("step", 2, 2))
    console(Progress("checkpoint", 2, 2))
    console(Progress("note", text="short"))
    console(Progress("validation", 2, 2, metrics={"f1": 1.0}))
    lines = stream.getvalue().split("\n")
    first, *over = lines[0].split("\r")
    assert first.startswith("step 1/2") and lines[-1] == ""
    if rewrites:
        assert [part.rstrip() for part in over] == [line(Progress("step", 2, 2)), "short"]
        assert len(over[0]) == len(first) and len(over[1]) == len(over[0].rstrip())  # nothing is left of what was there
    else:
        assert over == [] and lines[1] == "short"
    assert lines[-2].endswith("validation: f1 1.0000")


def test_better() -> None:
    assert better(0.5, None, "accuracy") and better(0.6, 0.5, "accuracy") and not better(0.5, 0.5, "accuracy")
    assert better(0.4, 0.5, "loss") and not better(float("nan"), None, "accuracy")
