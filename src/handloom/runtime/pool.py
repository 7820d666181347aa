"""Worker threads that wait in native code, and the pools of them that all programs share.

A worker is a Python daemon thread only so that the interpreter knows it: it enters the driver once, parks there on a
futex without the interpreter lock, and comes back when its pool is closed.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from handloom.runtime import driver as native
from handloom.runtime.arena import empty
from handloom.runtime.cores import checked_threads, default_threads
from handloom.runtime.disturbance import CROWD, Disturbance, processors, seated, switches
from handloom.runtime.driver import Driver
from handloom.runtime.forks import renew_after_fork

SPIN_SECONDS = 20e-6
"""How long a thread without work looks for more before it sleeps."""
_PAGE = 4096


class Crew:
    """Threads with a state of their own. Not safe from several Python threads: a Pool sees to that."""

    def __init__(self, driver: Driver, threads: int, seats: Sequence[int] = ()) -> None:
        """seats: processors that the threads keep to in turn while they run; none: wherever the system puts them."""
        self.driver = driver
        self.threads = threads
        self.seats = seats
        self.workers: list[threading.Thread] = []
        self._scratch = empty((0,), "uint8")
        self._state = empty((native.STATE_WORDS,), "int64", alignment=128)
        self._state[:] = 0
        self._state[native.THREADS] = threads
        self._state[native.ACTIVE] = native.CLOSED
        self._state[native.SPIN] = int(SPIN_SECONDS * ticks_per_second(driver))

    def run(self, table: npt.NDArray[np.int64], scratch_bytes: int, timing: bool) -> None:
        """As Pool.run. Workers start with the first run."""
        for index in range(1 + len(self.workers), self.threads):
            worker = threading.Thread(target=self._work, args=(index,), name=f"handloom-{index}", daemon=True)
            worker.start()
            self.workers.append(worker)
        stride = -(-max(scratch_bytes, 64) // _PAGE) * _PAGE
        if self._scratch.nbytes < stride * self.threads:
            self._scratch = empty((stride * self.threads,), "uint8", alignment=_PAGE)
        state = self._state
        state[native.TABLE] = table.ctypes.data
        state[native.COUNT] = len(table)
        state[native.SCRATCH] = self._scratch.ctypes.data
        state[native.STRIDE] = stride
        state[native.TIMING] = timing
        with seated(self.seats, 0):
            self.driver.run(state.ctypes.data)

    def _work(self, index: int) -> None:
        with seated(self.seats, index):
            self.driver.work(self._state.ctypes.data, index)

    def close(self) -> None:
        """Ends the workers and waits for them; the crew is of no use afterwards."""
        self._state[native.EXIT] = 1
        self.driver.release(self._state.ctypes.data)
        for worker in self.workers:
            worker.join()


class Pool:
    """A number of threads, the caller's included, that walk a program's table together.

    One run at a time: a second Python thread waits for the first. Where the pool has a thread for each processor, and
    others turn out to use the processors too, it works with a crowd for a while (see `disturbance`).
    """

    def __init__(self, driver: Driver, threads: int) -> None:
        self.driver = driver
        self.threads = checked_threads(threads)
        self._may_crowd = 2 <= self.threads == len(processors())
        self._crews: dict[bool, Crew] = {}
        weakref.finalize(self, _close, self._crews)  # when the pool goes, and before the interpreter does
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forgets workers and lock without touching them: after a fork they belong to the parent."""
        self._lock = threading.Lock()
        self._crews.clear()
        self.disturbance = Disturbance()

    def run(self, table: npt.NDArray[np.int64], scratch_bytes: int = 0, *, timing: bool = False) -> None:
        """Runs every entry of a table (C-contiguous i64 [entries, ENTRY_WORDS], aligned to 64) to the end.

        Each thread gets `scratch_bytes` of its own, aligned to 64 and not cleared. With `timing`, START, END and BUSY
        are filled in ticks (see `profile`). The arrays behind the table's pointers are the caller's to keep alive.
        """
        with self._lock:
            crowded = self._may_crowd and self.disturbance.crowded
            if crowded not in self._crews:
                self._crews[crowded] = self._crowd() if crowded else Crew(self.driver, self.threads)
            before, start = switches(), time.perf_counter()
            self._crews[crowded].run(table, scratch_bytes, timing)
            self.disturbance.note(time.perf_counter() - start, switches() - before)

    def _crowd(self) -> Crew:
        return Crew(self.driver, CROWD * self.threads, processors())

    def close(self) -> None:
        """Ends the workers and waits for them. A later run starts new ones."""
        with self._lock:
            _close(self._crews)


def _close(crews: dict[bool, Crew]) -> None:
    for crew in crews.values():
        crew.close()
    crews.clear()


@lru_cache(maxsize=4)
def ticks_per_second(driver: Driver) -> float:
    """How fast the driver's clock runs, measured over a millisecond."""
    start, ticks = time.perf_counter(), driver.clock()
    while time.perf_counter() < start + 1e-3:
        pass
    return float((driver.clock() - ticks) / (time.perf_counter() - start))


_pools: dict[tuple[Driver, int], Pool] = {}


def shared(driver: Driver, threads: int | None = None) -> Pool:
    """The process's pool of so many threads (None: as many as are worth having here), made on first use."""
    key = (driver, default_threads() if threads is None else checked_threads(threads))
    return _pools.setdefault(key, _pools.get(key) or Pool(*key))
