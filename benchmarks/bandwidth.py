"""How fast bytes come, by how long ago they were touched: measured by a triad, and applied to the calls of a program.

A triad (a = b + s·c) that goes round and round over buffers of F bytes finds each byte as it was F bytes ago; so its
speed at F is what a kernel can expect of a buffer since whose last use F bytes of distinct memory were touched. That is
asked of every buffer of every call, as if caches always gave up what was used longest ago. Nothing has to be said about
which tensor lies in which cache, and no tensor that has just been written is charged the price of main memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.ceiling import table_of
from handloom.codegen import llvm
from handloom.codegen.emit import Function, Module, Value, number, vector
from handloom.codegen.target import Target
from handloom.costs import Range, Work
from handloom.runtime.arena import empty
from handloom.runtime.pool import Pool

FOOTPRINTS = tuple(1 << power for power in range(19, 29))
"""Bytes over which a triad goes round: 512 KiB to 256 MiB."""
MOVED = 1 << 28
"""Bytes that one measurement moves at least."""
BLOCK = 1 << 12
"""Bytes that are touched together, when the distance of reuse is counted."""


class Triad:
    """Measures GB/s of a = b + s·c, reads and the write counted, each thread on a third of memory of its own."""

    def __init__(self, pool: Pool, target: Target) -> None:
        self.pool, self.lanes = pool, target.lanes
        module = Module()
        f = Function(module, "triad", [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")])
        args, task, _ = f.parameters
        bases = [f.load("ptr", f.at(args, i, "i64")) for i in range(3)]
        count, rounds = (f.load("i64", f.at(args, i, "i64")) for i in (3, 4))
        first = f.mul(task, count)
        a, b, c = (f.at(base, first, "float") for base in bases)
        type = vector("float", target.lanes)
        factor = number(0.5, type)

        def body(i: Value, _: list[Value]) -> None:
            x, y = (f.load(type, f.at(base, i, "float")) for base in (b, c))
            f.store(f.fma(factor, y, x), f.at(a, i, "float"))

        f.loop(0, rounds, 1, lambda _, __: f.loop(0, count, target.lanes, body) and None)
        f.finish()
        self.library = llvm.load({"triad": llvm.compile_object(module.text(), target.cpu, target.features)})
        self.memory = empty((max(FOOTPRINTS) // 4 + 3 * 64,), "float32")
        self.memory[:] = 1.0

    def rate(self, footprint: int, repeats: int = 3) -> float:
        """GB/s of the best of some runs over `footprint` bytes on all threads together."""
        threads = self.pool.threads
        count = footprint // (12 * threads * self.lanes) * self.lanes
        rounds = max(2, MOVED // footprint)
        start, step = self.memory.ctypes.data, 4 * (count * threads + 16)
        arguments = np.array([start, start + step, start + 2 * step, count, rounds], np.int64)
        table = table_of(self.library.address("triad"), arguments, threads)
        best = float("inf")
        for _ in range(repeats):
            begin = time.perf_counter()
            self.pool.run(table, 64)
            best = min(best, time.perf_counter() - begin)
        return 12 * count * threads * rounds / best / 1e9

    def curve(self) -> dict[int, float]:
        """GB/s by footprint."""
        return {footprint: self.rate(footprint) for footprint in FOOTPRINTS}


def at_distance(curve: dict[int, float], distance: float) -> float:
    """GB/s for bytes last touched so many distinct bytes ago: between measured points on logarithmic scales."""
    points = sorted(curve)
    logs = [math.log(point) for point in points]
    rates = [math.log(curve[point]) for point in points]
    return math.exp(float(np.interp(math.log(max(distance, 1.0)), logs, rates)))


class Reuse:
    """Memory in blocks, each with the number of the call that touched it last."""

    def __init__(self, calls: Sequence[Work]) -> None:
        ends: dict[tuple[str, int], int] = {}
        for call in calls:
            for part in (*call.reads, *call.writes):
                ends[part.memory] = max(ends.get(part.memory, 0), part.start + part.size)
        self.first: dict[tuple[str, int], int] = {}
        total = 0
        for memory, end in ends.items():
            self.first[memory] = total
            total += -(-end // BLOCK)
        self.last: npt.NDArray[np.int64] = np.full(total, -1, np.int64)
        self.calls = calls

    def seconds(self, curve: dict[int, float]) -> list[float]:
        """Seconds that the bytes of each call take in a step that follows one like it."""
        found: list[float] = []
        for round_ in range(2):
            found = []
            for index, call in enumerate(self.calls):
                found.append(self._call(call, 1 + round_ * len(self.calls) + index, curve))
        return found

    def _call(self, call: Work, now: int, curve: dict[int, float]) -> float:
        touched = np.bincount(np.maximum(self.last, 0), minlength=now + 1)
        since = np.cumsum(touched[::-1])[::-1] * BLOCK  # since[j]: bytes touched by call j or a later one
        seconds = 0.0
        for part in (*call.reads, *call.writes):
            blocks = self._blocks(part)
            counts = np.bincount(np.maximum(self.last[blocks], 0))
            for call_before in np.flatnonzero(counts):
                share = part.size * counts[call_before] / counts.sum()
                distance = since[call_before] if call_before else math.inf
                seconds += share / at_distance(curve, min(float(distance), float(max(curve)))) / 1e9
        for part in (*call.reads, *call.writes):
            self.last[self._blocks(part)] = now
        return seconds

    def _blocks(self, part: Range) -> slice:
        first = self.first[part.memory]
        return slice(first + part.start // BLOCK, first + -(-(part.start + max(part.size, 1)) // BLOCK))
