"""What do threads cost? The barrier between two kernels, and a step on a machine that is busy with something else.

    python -m benchmarks.threads [--repeats 8]

The step stands for a training step: 300 kernels of 40 tasks of some 20 µs each, that touch registers only, so that the
numbers tell of waiting and waking alone. Prints medians and the spread from the 10th to the 90th percentile.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np

from benchmarks.report_header import print_header
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


def seconds(run: Callable[[], None], repeats: int) -> np.ndarray:
    """Wall time of each of `repeats` runs, after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return np.array(times[2:])


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


def spread(times: np.ndarray, unit: float) -> str:
    low, middle, high = np.percentile(times, [10, 50, 90]) / unit
    return f"{middle:9.2f}   ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8)
    repeats = parser.parse_args().repeats
    cpu, features, triple = llvm.host()
    native = driver.build(lambda ir: llvm.compile_object(ir, cpu, features), llvm.load, triple)
    kernels = llvm.load({"kernels": llvm.compile_object(KERNELS, cpu, features)})
    print_header("What do threads cost?", pool.shared(native).threads)
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}\n")
    one = Program([Call("work", (), (10**6,))], kernels, pool.shared(native, 1), scratch_bytes=64)
    rounds = int(1e6 * TASK_SECONDS / np.median(seconds(one.run, 9)))
    cores = len(processors())
    print("µs that a kernel of as many 5 µs tasks as threads takes beyond its work (1,000 kernels)")
    for threads in (1, 2, 3, 4):
        calls = [Call("work", (), (rounds // 4,), tasks=threads)] * 1000
        program = Program(calls, kernels, pool.shared(native, threads), scratch_bytes=64)
        work = TASK_SECONDS / 4 * max(1.0, threads / cores)
        print(f"  {threads} threads {spread(seconds(program.run, repeats) / 1000 - work, 1e-6)}")

    step = [Call("work", (), (rounds,), tasks=TASKS)] * ENTRIES
    ideal = ENTRIES * TASKS * TASK_SECONDS * 1e3
    print(f"\nms a step of {ENTRIES} kernels, {TASKS} tasks each ({ideal:.0f} ms of work)")
    programs = {t: Program(step, kernels, pool.shared(native, t), scratch_bytes=64) for t in (1, 2, 3, 4)}
    cases = [(1, False), (2, False), (3, False), (4, False), (2, True)]
    found: dict[tuple[int, bool], list[np.ndarray]] = {case: [] for case in cases}
    for _ in range(ROUNDS):  # interleaved: whatever else the machine does falls on all of them
        for threads, busy in cases:
            with busy_python_thread() if busy else nullcontext():
                found[threads, busy].append(seconds(programs[threads].run, repeats))
    base = np.median(np.concatenate(found[2, False]))
    for (threads, busy), parts in found.items():
        times = np.concatenate(parts)
        label = f"{threads} threads" + (", busy Python thread beside" if busy else "")
        print(f"  {label:<38}{spread(times, 1e-3)}   {np.median(times) / base:.2f} × 2 threads")


if __name__ == "__main__":
    main()
