"""Notices when others use the processors too.

A system that shares processors fairly gives n threads beside one busy stranger n/(n+1) of the machine, and every kernel
waits for the thread that was put aside. With twice as many threads, that is 2n/(2n+1), and while one is aside another
works: measured on 2 processors with a busy thread beside, 1.25 instead of 1.6 times the undisturbed time. Undisturbed,
two threads a processor only get in each other's way. So the pool asks here before each run which it shall be; results
are the same either way.
"""

from __future__ import annotations

import os

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

WINDOW_SECONDS = 0.05
"""Run time that a judgement is based on."""
SWITCHES_PER_SECOND = 100.0
"""Threads put aside (involuntary context switches of the process) above which the machine counts as disturbed."""
CROWD_RUNS, CROWD_SECONDS = 16, 1.0
"""How long the larger number of threads is used before the smaller one is tried again: both must have passed."""


def switches() -> int:
    """Involuntary context switches of this process so far; always 0 where the system does not count them."""
    return 0 if resource is None else int(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def processors() -> int:
    """Logical processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
