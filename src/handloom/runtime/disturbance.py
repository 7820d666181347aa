"""Notices when others use the processors too.

A system that shares processors fairly gives n threads beside one busy stranger n/(n+1) of the machine. Linux gave
two threads beside it on two processors even less: it left the stranger a processor of its own, and both of ours on
the other (measured: a step took 2.0 times the undisturbed time). A crowd of threads, each kept to one processor,
gets a larger share, and while the stranger has put one aside, the others on that processor go on: 1.5 to 1.6 times
with two for each processor, 1.32 to 1.40 with four. Undisturbed, a crowd only gets in its own way. So the pool asks
here before each run which it shall be; results are the same either way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

CROWD = 4
"""Threads for each processor on a disturbed machine."""
WINDOW_SECONDS = 0.05
"""Run time that a judgement is based on."""
SWITCHES_PER_SECOND = 100.0
"""Threads put aside (involuntary context switches of the process) above which the machine counts as disturbed."""
CROWD_RUNS, CROWD_SECONDS = 16, 1.0
"""How long the larger number of threads is used before the smaller one is tried again: both must have passed."""


def switches() -> int:
    """Involuntary context switches of this process so far; always 0 where the system does not count them."""
    return 0 if resource is None else int(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def processors() -> list[int]:
    """Numbers of the logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def seated(seats: Sequence[int], index: int) -> Iterator[None]:
    """Keeps the calling thread to one of the processors for the length of the block, where the system allows it."""
    if not seats or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):  # the processor was taken from us meanwhile
        os.sched_setaffinity(0, {seats[index % len(seats)]})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, before)


class Disturbance:
    """Decides from the runs so far whether the next one should use more threads than processors (`crowded`)."""

    def __init__(self) -> None:
        self.crowded = False
        self._runs = 0
        self._seconds = 0.0
        self._switches = 0

    def note(self, seconds: float, switched: int) -> None:
        """Takes in one run: how long it took, and how many involuntary context switches happened meanwhile."""
        self._runs += 1
        self._seconds += seconds
        self._switches += switched
        if self.crowded:
            finished = self._runs >= CROWD_RUNS and self._seconds >= CROWD_SECONDS
        else:
            finished = self._seconds >= WINDOW_SECONDS
        if finished:
            self.crowded = not self.crowded and self._switches > SWITCHES_PER_SECOND * self._seconds
            self._runs, self._seconds, self._switches = 0, 0.0, 0
