"""What do threads cost? The barrier between two kernels, and a step on a machine that is busy with something else.

    python -m benchmarks.threads [--workload MiniLM-L6:32x32] [--rounds 5] [--repeats 8]

The barrier's step is made up: 300 kernels of 40 tasks of some 20 µs each, that touch registers only, so that the
numbers tell of waiting and waking alone. The real step is a full f32 training step by the programs that `handloom
train` runs: with 2 threads undisturbed, with a busy Python thread beside it, and with 3 threads where there are 2
cores. All cases are measured in turns; a ratio is that of a round, so that other disturbance falls on both sides of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from benchmarks.encoders import Workload, our_step
from benchmarks.figures import begin, keep, options, seconds_of, shown, spread
from handloom.codegen import llvm
from handloom.runtime import driver, pool
from handloom.runtime.disturbance import processors
from handloom.runtime.program import Call, Program

KERNELS = """
; argument n: n rounds of a chain of multiplications
define void @work(ptr %args, i64 %task, ptr %scratch) {
entry:
  %n = load i64, ptr %args
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i1, %loop]
  %x = phi double [1.0, %entry], [%y, %loop]
  %y = fmul double %x, 0x3FF0000000000001
  %i1 = add i64 %i, 1
  %end = icmp eq i64 %i1, %n
  br i1 %end, label %out, label %loop
out:
  store volatile double %y, ptr %scratch
  ret void
}
"""
ENTRIES, TASKS, TASK_SECONDS, ROUNDS = 300, 40, 20e-6, 3
MADE_UP = ((1, False), (2, False), (3, False), (4, False), (2, True))
"""Threads, and whether a Python thread is busy beside them."""
REAL = {"2 threads": (2, False), "2 threads, busy Python thread beside": (2, True), "3 threads": (3, False)}
BASE = "2 threads"
MOST = {"2 threads, busy Python thread beside": 1.3, "3 threads": 1.6}


def times_of(run: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each of `repeats` runs, after two that do not count."""
    return [seconds_of(run) for _ in range(repeats + 2)][2:]


@contextmanager
def busy_python_thread() -> Iterator[None]:
    """A Python thread that never sleeps, as a data loader or a progress display gone wrong."""
    stop = threading.Event()

    def spin() -> None:
        count = 0
        while not stop.is_set():
            count += 1

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def beside(busy: bool) -> Any:
    return busy_python_thread() if busy else nullcontext()


def called(threads: int, busy: bool) -> str:
    return f"{threads} threads" + (", busy Python thread beside" if busy else "")


class MadeUp:
    """Programs whose kernels take a known time."""

    def __init__(self) -> None:
        cpu, features, triple = llvm.host()
        self.native = driver.build(lambda ir: llvm.compile_object(ir, cpu, features), llvm.load, triple)
        self.kernels = llvm.load({"kernels": llvm.compile_object(KERNELS, cpu, features)})
        one = self.program([Call("work", (), (10**6,))], 1)
        self.rounds = int(1e6 * TASK_SECONDS / float(np.median(times_of(one.run, 9))))

    def program(self, calls: list[Call], threads: int) -> Program:
        return Program(calls, self.kernels, pool.shared(self.native, threads), scratch_bytes=64)

    def barriers(self, repeats: int) -> dict[str, dict[str, float]]:
        """µs that a kernel of as many 5 µs tasks as threads takes beyond its work."""
        cores, found = len(processors()), {}
        for threads in (1, 2, 3, 4):
            program = self.program([Call("work", (), (self.rounds // 4,), tasks=threads)] * 1000, threads)
            work = TASK_SECONDS / 4 * max(1.0, threads / cores)
            found[called(threads, False)] = spread([1e6 * (t / 1000 - work) for t in times_of(program.run, repeats)])
        return found

    def steps(self, repeats: int) -> dict[str, dict[str, float]]:
        """ms of a step of 300 kernels."""
        step = [Call("work", (), (self.rounds,), tasks=TASKS)] * ENTRIES
        programs = {threads: self.program(step, threads) for threads, _ in MADE_UP}
        found: dict[str, list[float]] = {called(*case): [] for case in MADE_UP}
        for _ in range(ROUNDS):
            for threads, busy in MADE_UP:
                with beside(busy):
                    found[called(threads, busy)] += times_of(programs[threads].run, repeats)
        return {name: spread([1e3 * t for t in times]) for name, times in found.items()}


def real_step(workload: Workload, rounds: int, repeats: int) -> dict[str, Any]:
    """Seconds of a training step by case, the median of a round's repeats, and ratios to the undisturbed one."""
    steps = {threads: our_step(workload, threads)[1] for threads in sorted({t for t, _ in REAL.values()})}
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in REAL}
    for _ in range(rounds):
        for name, (threads, busy) in REAL.items():
            with beside(busy):
                once = partial(seconds_of, steps[threads])
                once()
                seconds[name].append(float(np.median([once() for _ in range(repeats)])))
    return {
        "seconds": {name: spread(times) for name, times in seconds.items()},
        "ratios": {
            name: spread([t / base for t, base in zip(seconds[name], seconds[BASE], strict=True)]) for name in MOST
        },
    }


def main() -> None:
    parser = options(__doc__ or "", threads=None)
    parser.add_argument("--repeats", type=int, default=8, help="runs of a made-up program at a time")
    parser.add_argument("--workload", type=Workload.parse, metavar="MODEL:SEQUENCESxLENGTH")
    parser.add_argument("--rounds", type=int, default=5, help="of the real step, each case in turn")
    parser.add_argument("--steps", type=int, default=5, help="of the real step, in a case of a round")
    given = parser.parse_args()
    repeats = 2 if given.quick else given.repeats
    figures = begin("What do threads cost?", 2)
    figures["load before"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    made_up = MadeUp()
    figures["barrier µs"] = made_up.barriers(repeats)
    print("\nµs that a kernel of as many 5 µs tasks as threads takes beyond its work (1,000 kernels)")
    for name, one in figures["barrier µs"].items():
        print(f"  {name:<38} {shown(one)}")

    figures["made-up step ms"] = found = made_up.steps(repeats)
    ideal = ENTRIES * TASKS * TASK_SECONDS * 1e3
    print(f"\nms a made-up step of {ENTRIES} kernels, {TASKS} tasks each ({ideal:.0f} ms of work)")
    for name, one in found.items():
        print(f"  {name:<38} {shown(one)}   {one['median'] / found[BASE]['median']:.2f} × {BASE}", flush=True)

    workload = given.workload or Workload("MiniLM-L6", *((4, 32) if given.quick else (32, 32)))
    real = real_step(workload, 2 if given.quick else given.rounds, 2 if given.quick else given.steps)
    figures |= {"workload": str(workload), "real step": real}
    cores = len(processors())
    print(f"\nms a training step of {workload.label}, on {cores} cores")
    for name, one in real["seconds"].items():
        times = shown(one, lambda s: f"{1e3 * s:.1f}")
        ratio = f"   {shown(real['ratios'][name])} × {BASE} (at most {MOST[name]})" if name in MOST else ""
        print(f"  {name:<38} {times}{ratio}")
    keep(figures, given.json)


if __name__ == "__main__":
    main()
