"""The driver's promises: every task once, waves, order between kernels, scratch, float mode, for 1 to 4 threads."""

from __future__ import annotations

import numpy as np
import pytest

from handloom.codegen import llvm
from handloom.errors import HandloomError
from handloom.runtime import driver as native
from handloom.runtime.pool import shared
from handloom.runtime.program import Buffer, Call, Program

X, Y = Buffer("input", 0), Buffer("output", 0)
every_thread_count = pytest.mark.parametrize("threads", [1, 2, 3, 4])


def program(driver, kernels, threads, calls, **options):
    return Program(calls, kernels, shared(driver, threads), **{"inputs": 1, "outputs": 1, **options})


def ring(x: np.ndarray, times: int) -> np.ndarray:
    return np.roll(x, -times) + times


@every_thread_count
@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 7, 1000])
def test_each_task_runs_exactly_once(driver, kernels, threads, tasks):
    work = program(driver, kernels, threads, [Call("count", (X,), (3,), tasks=tasks)], outputs=0)
    x = np.zeros(1001, np.int64)
    for run in range(1, 6):
        work.run([x])
        assert (x[:tasks] == 3 * run).all() and (x[tasks:] == 0).all()


@every_thread_count
def test_a_kernel_sees_all_of_the_one_before(driver, kernels, threads):
    n = 37
    calls = [Call("shift", pair, (n,), tasks=n) for pair in ((X, Y), (Y, X))] * 150
    work = program(driver, kernels, threads, calls)
    x, y = np.arange(n), np.zeros(n, np.int64)
    for run in range(1, 4):
        work.run([x], [y])
        np.testing.assert_array_equal(x, ring(np.arange(n), 300 * run))


@every_thread_count
def test_waves_single_tasks_and_empty_ones_in_any_mixture(driver, kernels, threads):
    """Against a plain interpretation in NumPy of the same calls."""
    rng = np.random.default_rng(threads)
    n = 16
    calls, expected = [], np.zeros((4, n), np.int64)
    for _ in range(300):
        row, tasks, step = int(rng.integers(4)), int(rng.choice([0, 1, 2, 5, n])), int(rng.integers(1, 9))
        calls.append(
            Call("count", (Buffer("input", 0, 8 * n * row),), (step,), tasks, bool(rng.integers(2)), rng.random() < 0.2)
        )
        expected[row, :tasks] += step
    work = program(driver, kernels, threads, calls, outputs=0)
    x = np.zeros((4, n), np.int64)
    for run in range(1, 4):
        work.run([x])
        np.testing.assert_array_equal(x, run * expected)


@every_thread_count
def test_what_follows_a_wave_sees_all_of_it(driver, kernels, threads):
    n = 50
    a, b = Buffer("arena", 0, 0), Buffer("arena", 0, 8 * n)
    calls = [
        Call("shift", (X, a), (n,), tasks=n, wave=True),
        Call("shift", (X, b), (n,), tasks=n),
        Call("total", (a, Y), (2 * n,)),  # one task
        Call("shift", (a, X), (n,), tasks=n, wave=True),
        Call("count", (b,), (0,), tasks=n),
    ] * 40
    work = program(driver, kernels, threads, calls, arena=16 * n)
    x, y = np.arange(n), np.zeros(1, np.int64)
    work.run([x], [y])
    np.testing.assert_array_equal(x, ring(np.arange(n), 80))
    assert y[0] == 2 * ring(np.arange(n), 79).sum()


@every_thread_count
def test_a_program_of_serial_entries_only(driver, kernels, threads):
    n = 9
    calls = [Call("shift", pair, (n,), tasks=n, serial=True) for pair in ((X, Y), (Y, X))] * 10
    x = np.arange(n)
    program(driver, kernels, threads, calls).run([x], [np.zeros(n, np.int64)])
    np.testing.assert_array_equal(x, ring(np.arange(n), 20))


def test_an_empty_program(driver, kernels):
    program(driver, kernels, 2, [], inputs=0, outputs=0).run()


@every_thread_count
def test_scratch_is_each_threads_own_and_aligned(driver, kernels, threads):
    work = program(driver, kernels, threads, [Call("scribble", (Y,), tasks=400)], inputs=0, scratch_bytes=4096)
    y = np.zeros(400, np.int64)
    work.run([], [y])
    np.testing.assert_array_equal(y, 512 * np.arange(400))


@every_thread_count
def test_denormals_are_flushed_on_every_thread_and_the_callers_mode_comes_back(driver, kernels, threads):
    tiny = np.finfo(np.float32).tiny
    x = np.tile(np.array([tiny, tiny / 4, 3.0, -tiny], np.float32), 100)
    y = np.ones(400, np.float32)
    before = driver.float_mode()
    program(driver, kernels, threads, [Call("halve", (X, Y), tasks=400)]).run([x], [y])
    np.testing.assert_array_equal(y, np.tile(np.array([0, 0, 1.5, 0], np.float32), 100))
    assert driver.float_mode() & ~0x3F == before & ~0x3F  # without the bits that tell of past exceptions
    assert np.float32(tiny) / np.float32(2) != 0


@pytest.mark.parametrize(
    ("triple", "undefined"),
    [
        ("x86_64-unknown-linux-gnu", {"syscall"}),
        ("aarch64-unknown-linux-gnu", {"syscall"}),
        ("arm64-apple-macosx13.0.0", {"sched_yield", "nanosleep"}),
    ],
)
def test_the_driver_compiles_for_every_platform(triple, undefined):
    code = llvm.compile_object(native.driver_ir(triple), "", "", triple)
    assert llvm.undefined_symbols(code) == undefined


def test_the_clock_counts_on_arm():
    triple = "aarch64-unknown-linux-gnu"
    assert "cntvct_el0" in llvm.assembly(native.driver_ir(triple), "", "", triple).lower()


def test_an_unknown_processor_is_refused():
    with pytest.raises(HandloomError, match="riscv64"):
        native.driver_ir("riscv64-unknown-linux-gnu")


@every_thread_count
def test_waiting_without_a_futex(kernels, threads):
    """The fall-back of macOS, compiled for this machine: it needs nothing but the C library."""
    cpu, features, triple = llvm.host()
    elsewhere = triple.replace("linux", "unknown")
    assert "@syscall" not in native.driver_ir(elsewhere)
    driver = native.build(lambda text: llvm.compile_object(text, cpu, features), llvm.load, elsewhere)
    n = 40
    calls = [Call("shift", pair, (n,), tasks=n) for pair in ((X, Y), (Y, X))] * 20
    x = np.arange(n)
    program(driver, kernels, threads, calls).run([x], [np.zeros(n, np.int64)])
    np.testing.assert_array_equal(x, ring(np.arange(n), 40))
