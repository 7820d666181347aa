"""The ceiling that products are measured against: multiply-adds on registers alone, on all threads at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from handloom.codegen import llvm
from handloom.codegen.emit import Function, Module, Value, number, vector, whole
from handloom.codegen.micro import multiply_add_groups
from handloom.codegen.pack import Layout
from handloom.codegen.target import Target, choose
from handloom.runtime import driver as native
from handloom.runtime.arena import empty
from handloom.runtime.pool import Pool

STEPS = 60_000
"""Steps of the loop in one task; a task is about half a millisecond."""


def host_target(level: str | None = None) -> Target:
    """The target that kernels are generated for on this machine."""
    cpu, features, triple = llvm.host()
    return choose(triple, cpu, features, level)


def host_driver() -> native.Driver:
    """The runtime's driver, compiled for this machine."""
    cpu, features, triple = llvm.host()
    return native.build(lambda text: llvm.compile_object(text, cpu, features), llvm.load, triple)


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
        self.chains = target.rows * target.vectors
        layout = Layout(target, 16, False, dtype)
        module = Module()
        f = Function(module, "ceiling", [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")])
        type = vector("float", target.lanes)
        factor, start = number(0.5, type), number(1.0, type)
        if layout.group == 2:
            factor = whole(0x3F003F00, vector("i32", target.lanes))

        def step(_: Value, sums: list[Value]) -> list[Value]:
            return [multiply_add_groups(f, layout, factor, factor, total) for total in sums]

        sums = f.loop(0, STEPS, 1, step, [start] * self.chains, nonempty=True)
        for i, total in enumerate(sums):
            f.store(total, f.at(f.parameters[2], i * target.lanes, "float"))
        f.finish()
        # identical chains would be merged: each begins with its own number
        text = module.text()
        for i in range(self.chains):
            text = text.replace(f"phi {type} [ {start.text},", f"phi {type} [ {number(1.0 + i, type).text},", 1)
        self.library = llvm.load({"ceiling": llvm.compile_object(text, target.cpu, target.features)})
        self.arguments = np.zeros(1, np.int64)
        self.tasks = 4 * pool.threads
        self.flops = 2 * self.tasks * STEPS * self.chains * target.lanes * layout.group
        self.table = table_of(self.library.address("ceiling"), self.arguments, self.tasks)
        self.pool = pool

    def rates(self) -> tuple[float, float]:
        """GFLOP/s of one run: on the clock, and by CPU time (see `rates`)."""
        return rates(self.flops, self.pool.threads, lambda: self.pool.run(self.table, 1 << 16))


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
