"""Pools: several Python threads, forks, interrupts, closing, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from handloom.errors import UsageError
from handloom.runtime import pool as pools
from handloom.runtime.program import Buffer, Call, Program

X, Y = Buffer("input", 0), Buffer("output", 0)
N = 64


def chain(driver, kernels, threads, length=50, pool=None):
    calls = [Call("shift", pair, (N,), tasks=N) for pair in ((X, Y), (Y, X))] * (length // 2)
    return Program(calls, kernels, pool or pools.shared(driver, threads), inputs=1, outputs=1)


def check(program, length=50):
    x = np.arange(N)
    program.run([x], [np.zeros(N, np.int64)])
    np.testing.assert_array_equal(x, np.roll(np.arange(N), -length) + length)


def test_one_pool_for_each_thread_count(driver):
    assert pools.shared(driver, 2) is pools.shared(driver, 2)
    assert pools.shared(driver, 2) is not pools.shared(driver, 3)


@pytest.mark.parametrize("threads", [0, -1, "many", 5000])
def test_senseless_thread_counts_are_refused(driver, threads):
    with pytest.raises(UsageError, match="whole number from 1 to 1024"):
        pools.shared(driver, threads)


def test_several_python_threads_share_a_pool(driver, kernels):
    programs = [chain(driver, kernels, 2), chain(driver, kernels, 2), chain(driver, kernels, 3)]
    failures = []

    def work(program):
        try:
            for _ in range(60):
                check(program)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(program,)) for program in [*programs, programs[0]]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_process_gets_workers_of_its_own(driver, kernels):
    program = chain(driver, kernels, 3)
    check(program)
    with program.arena.lock, program.pool._lock:  # as if another thread were running something at this moment
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            code = 1
            try:
                check(program)
                code = 0
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    check(program)


def test_a_closed_pool_starts_again(driver, kernels):
    program = chain(driver, kernels, 4)
    check(program)
    workers = program.pool._crews[False].workers
    assert len(workers) == 3 and all(worker.is_alive() for worker in workers)
    program.pool.close()
    assert not any(worker.is_alive() for worker in workers)
    check(program)


def test_workers_end_with_their_pool(driver, kernels):
    pool = pools.Pool(driver, 3)
    check(chain(driver, kernels, 3, pool=pool))
    workers = pool._crews[False].workers
    assert len(workers) == 2
    del pool
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_an_interrupt_between_runs_leaves_everything_usable(driver, kernels):
    class Interrupt(Exception):
        pass

    def interrupt(*_):
        raise Interrupt

    program = chain(driver, kernels, 2, 400)
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            while True:
                program.run([np.arange(N)], [np.zeros(N, np.int64)])
    finally:
        signal.signal(signal.SIGALRM, old)
    check(program, 400)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from conftest import KERNELS
from handloom.codegen import llvm
from handloom.runtime import driver, pool
from handloom.runtime.program import Buffer, Call, Program
import numpy as np
cpu, features, triple = llvm.host()
native = driver.build(lambda ir: llvm.compile_object(ir, cpu, features), llvm.load, triple)
kernels = llvm.load({{"k": llvm.compile_object(KERNELS, cpu, features)}})
x = np.zeros(100, np.int64)
for threads in (2, 4):
    calls = [Call("count", (Buffer("input"),), (1,), tasks=100)] * 3
    Program(calls, kernels, pool.shared(native, threads), inputs=1).run([x])
print(x.min(), x.max())
"""


def test_the_interpreter_ends_cleanly_with_workers_parked():
    script = SCRIPT.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "6 6\n", "")
