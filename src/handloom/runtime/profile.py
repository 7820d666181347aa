"""Where the time of programs goes, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handloom.runtime.driver import BUSY, END, FLAGS, START, WAVE


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel: how often it ran, seconds on the clock, and seconds summed over the threads that ran its tasks."""

    name: str
    calls: int
    seconds: float
    thread_seconds: float


class Profile:
    """Sums of times by name. Entries of one wave share its seconds in proportion to their thread seconds."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float, float]] = {}

    def add(self, names: Sequence[str], table: npt.NDArray[np.int64], ticks_per_second: float) -> None:
        """Takes the times out of a table that was run with timing."""
        if not len(table):
            return
        joined = (table[:, FLAGS] & WAVE) != 0
        heads = np.flatnonzero(np.concatenate(([True], ~joined[:-1])))
        wave = np.zeros(len(table), np.int64)
        wave[heads[1:]] = 1
        wave = np.cumsum(wave)
        busy = table[:, BUSY] / ticks_per_second
        wall = np.add.reduceat((table[:, END] - table[:, START]) / ticks_per_second, heads)
        total = np.add.reduceat(busy, heads)
        share = np.divide(wall, total, out=np.zeros_like(wall), where=total > 0)
        for name, seconds, thread_seconds in zip(names, busy * share[wave], busy, strict=True):
            calls, clock, threads = self._sums.get(name, (0, 0.0, 0.0))
            self._sums[name] = (calls + 1, clock + float(seconds), threads + float(thread_seconds))

    def rows(self) -> list[Row]:
        """What was collected, the longest first."""
        rows = [Row(name, *sums) for name, sums in self._sums.items()]
        return sorted(rows, key=lambda row: (-row.seconds, row.name))

    def __str__(self) -> str:
        total = sum(row.seconds for row in self.rows()) or 1.0
        lines = [f"{'kernel':<48}{'calls':>8}{'ms':>12}{'%':>7}{'thread ms':>12}"]
        for row in self.rows():
            part = 100 * row.seconds / total
            lines.append(
                f"{row.name:<48}{row.calls:>8}{row.seconds * 1e3:>12.3f}{part:>7.1f}{row.thread_seconds * 1e3:>12.3f}"
            )
        return "\n".join(lines)


_active: list[Profile] = []


def active() -> Profile | None:
    """The profile that runs are to be added to, if one is being collected."""
    return _active[-1] if _active else None


@contextmanager
def collect() -> Iterator[Profile]:
    """Collects the times of every program that runs inside the block, on any thread."""
    profile = Profile()
    _active.append(profile)
    try:
        yield profile
    finally:
        _active.remove(profile)
