"""How a training tells what it is doing: events, and a plain way to print them. The command line has its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """One thing that happened.

    kind: "note" (see text), "step", "validation" (see metrics; best: the best so far), "checkpoint", "end".
    step counts from 1; epoch is the share of epochs done, of `epochs`. loss: mean since the last report. eta: seconds,
    None before there is anything to tell it by.
    """

    kind: str
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    epochs: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    tokens_per_second: float = 0.0
    eta: float | None = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    best: bool = False
    text: str = ""


Listener = Callable[[Progress], None]


def duration(seconds: float) -> str:
    """75 → 1:15."""
    whole = max(int(seconds + 0.5), 0)
    hours, rest = divmod(whole, 3600)
    minutes, seconds_ = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds_:02}" if hours else f"{minutes}:{seconds_:02}"


def line(event: Progress) -> str:
    """An event as one line of text."""
    if event.kind == "note":
        return event.text
    where = f"step {event.step}/{event.steps}  epoch {event.epoch:.2f}/{event.epochs:g}"
    if event.kind == "step":
        speed = f"{event.tokens_per_second:,.0f} tokens/s"
        left = "" if event.eta is None else f"  {duration(event.eta)} left"
        return f"{where}  loss {event.loss:.4f}  {speed}{left}"
    values = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
    if event.kind == "validation":
        return f"{where}  validation: {values}{'  (best)' if event.best else ''}"
    return f"{where}  {event.kind}  {event.text}".rstrip()


class Console:
    """Prints to standard error: one line that is rewritten in a terminal and in a notebook, else a line every few
    seconds."""

    def __init__(self, every: float = 10.0) -> None:
        self._rewrites = sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel.")
        self._every = 0.1 if self._rewrites else every
        self._last = -1e9
        self._open = 0  # characters of the line that is to be rewritten

    def __call__(self, event: Progress) -> None:
        now = time.monotonic()
        if event.kind == "checkpoint" or (event.kind == "step" and now - self._last < self._every):
            return
        if event.kind == "step":
            self._last = now
        text = line(event)
        if self._rewrites:
            moving = event.kind == "step"
            sys.stderr.write(("\r" if self._open else "") + text.ljust(self._open) + ("" if moving else "\n"))
            self._open = len(text) if moving else 0
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def silent(event: Progress) -> None:
    """A listener that shows nothing."""
