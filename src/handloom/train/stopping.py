"""Ways in which a training ends early: signals, early stopping, a loss that is not finite."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from handloom.errors import HandloomError
from handloom.tasks.scores import ERRORS


class Interrupted(HandloomError):
    """Stopped by Ctrl-C or SIGTERM, after the step that was running; exit code 128 + the signal's number."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.signal = number
        self.exit_code = 128 + number


class Diverged(HandloomError):
    """The loss or a gradient is no longer a finite number. Weights that are known to be good have been kept."""


class Signals:
    """Notes SIGINT and SIGTERM while a training runs; a second one has its usual effect at once.

    Only the main thread of a program may do that; elsewhere nothing is changed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous = {}


def better(value: float, best: float | None, metric: str) -> bool:
    """Whether a validation is better than the best so far: higher, or lower for an error. NaN never is."""
    if value != value:
        return False
    if best is None:
        return True
    return value < best if metric in ERRORS else value > best
