"""What this machine can do at most, measured once and kept: multiply-adds on registers alone, in f32 and in bf16.

The precision of products follows from these two numbers: some processors have the bf16 instruction in microcode only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from handloom.codegen import amx, llvm
from handloom.codegen.emit import Function, Module, Value, number, vector, whole
from handloom.codegen.micro import multiply_add_groups
from handloom.codegen.pack import Layout
from handloom.codegen.target import TILE, Target
from handloom.compiler import backend, compile_object, native_driver, target
from handloom.errors import UsageError
from handloom.passes.pipeline import PRECISIONS
from handloom.runtime import cache, pool
from handloom.runtime import driver as native
from handloom.runtime.arena import empty
from handloom.runtime.pool import Pool

STEPS = 60_000
"""Steps of the loop in one task; a task is about half a millisecond."""
RUNS = 9
"""Runs of which the best counts: others may use the machine meanwhile."""
WORTH = 1.2
"""How much faster bf16 must be to be chosen: packing and rounding cost something, too."""
CHOICES = ("auto", *PRECISIONS)


def choose(precision: str = "auto") -> str:
    """ "f32" or "bf16": what is asked for; for "auto" what HANDLOOM_PRECISION says, else what is faster here.

    Raises UsageError for another name.
    """
    source = "precision"
    if precision == "auto":
        source, precision = "HANDLOOM_PRECISION", os.environ.get("HANDLOOM_PRECISION") or "auto"
    if precision not in CHOICES:
        raise UsageError(f"{source} is {precision!r}; it must be one of {', '.join(CHOICES)}")
    if precision != "auto":
        return precision
    if backend() == "reference" or not target().bf16_dot:
        return "f32"
    rates = measured()
    return "bf16" if rates["bf16"] >= WORTH * rates["f32"] else "f32"


@lru_cache(maxsize=1)
def measured() -> dict[str, float]:
    """GFLOP/s of each precision on all threads; measured at the first call on this machine, then read."""
    workers, chosen = pool.shared(native_driver()), target()
    store = cache.Cache(cache.home() / "ceilings")
    name = cache.key("ceilings 1", chosen.name, chosen.cpu, chosen.features, str(workers.threads), llvm.version())
    kept = store.get(name)
    if kept is not None:
        return {key: float(value) for key, value in json.loads(kept).items()}
    kinds = {name: Ceiling(workers, chosen, name) for name in PRECISIONS}
    best = dict.fromkeys(PRECISIONS, 0.0)
    for _ in range(RUNS):
        for precision, kind in kinds.items():
            best[precision] = max(best[precision], kind.rates()[0])
    store.put(name, json.dumps(best).encode())
    return best


def table_of(kernel: int, arguments: np.ndarray, tasks: int) -> np.ndarray:
    """A program of one kernel."""
    table = empty((1, native.ENTRY_WORDS), "int64")
    table[:] = 0
    table[0, native.KERNEL], table[0, native.ARGUMENTS] = kernel, arguments.ctypes.data
    table[0, native.TASKS] = tasks
    return table


class Ceiling:
    """Measures GFLOP/s of independent chains of multiply-adds, f32 or bf16: as many as a product's tile has
    accumulators."""

    def __init__(self, pool: Pool, target: Target, dtype: str = "f32") -> None:
        text, self.chains, each = ceiling_ir(target.shaped(dtype), dtype)
        self.library = llvm.load({"ceiling": compile_object(text, target)})
        self.arguments = np.zeros(1, np.int64)
        self.tasks = 4 * pool.threads
        self.flops = self.tasks * STEPS * self.chains * each
        self.table = table_of(self.library.address("ceiling"), self.arguments, self.tasks)
        self.pool = pool

    def rates(self) -> tuple[float, float]:
        """GFLOP/s of one run: on the clock, and by CPU time (see `rates`)."""
        return rates(self.flops, self.pool.threads, lambda: self.pool.run(self.table, 1 << 16))


def ceiling_ir(target: Target, dtype: str) -> tuple[str, int, int]:
    """A task's IR, how many independent chains it has, and the operations of each in one of STEPS steps."""
    module = Module()
    f = Function(module, "ceiling", [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")])
    if target.amx:
        each = _tile_chains(f)
        f.finish()
        return module.text(), amx.REGISTERS_OF_SUMS, each
    chains = target.rows * target.vectors
    layout = Layout(target, 16, False, dtype)
    type = vector("float", target.lanes)
    factor, start = number(0.5, type), number(1.0, type)
    if layout.group == 2:
        factor = whole(0x3F003F00, vector("i32", target.lanes))

    def step(_: Value, sums: list[Value]) -> list[Value]:
        return [multiply_add_groups(f, layout, factor, factor, total) for total in sums]

    sums = f.loop(0, STEPS, 1, step, [start] * chains, nonempty=True)
    for i, total in enumerate(sums):
        f.store(total, f.at(f.parameters[2], i * target.lanes, "float"))
    f.finish()
    # identical chains would be merged: each begins with its own number
    text = module.text()
    for i in range(chains):
        text = text.replace(f"phi {type} [ {start.text},", f"phi {type} [ {number(1.0 + i, type).text},", 1)
    return text, chains, 2 * target.lanes * layout.group


def _tile_chains(f: Function) -> int:
    """The same on AMX: a chain is a register of sums."""
    amx.configure(f)

    def step(_: Value, __: list[Value]) -> None:
        for total in range(amx.REGISTERS_OF_SUMS):
            amx.multiply_add(f, amx.SUMS + total, amx.ROWS + total // 2, amx.COLUMNS + total % 2)

    f.loop(0, STEPS, 1, step, nonempty=True)
    amx.release(f)
    return 2 * TILE * TILE * 2 * TILE


def rates(flops: int, threads: int, run: Callable[[], object], repeats: int = 1) -> tuple[float, float]:
    """GFLOP/s of the best of some runs on the clock, and of all by CPU time, as if the threads had been alone.

    The second leaves out what other processes took, and also waiting for one another: it tells the truth about kernels
    on a busy machine, while on a quiet one the first counts.
    """
    best, cpu = float("inf"), time.process_time()
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    used = max(time.process_time() - cpu, 1e-9) / threads
    return flops / best / 1e9, flops * repeats / used / 1e9
