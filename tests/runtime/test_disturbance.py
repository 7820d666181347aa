"""When a pool takes a crowd of threads, and when it goes back."""

from __future__ import annotations

import os

import numpy as np
import pytest

from handloom.runtime.disturbance import CROWD, Disturbance, processors, seated, switches
from handloom.runtime.pool import Pool
from handloom.runtime.program import Buffer, Call, Program


def test_a_quiet_machine_is_left_alone():
    state = Disturbance()
    for _ in range(100):
        state.note(0.02, 1)
        assert not state.crowded


def test_one_burst_in_a_short_run_is_not_enough():
    state = Disturbance()
    state.note(0.001, 4)
    assert not state.crowded
    state.note(0.06, 1)
    assert not state.crowded


def test_a_disturbed_machine_gets_a_crowd_and_a_second_look():
    state = Disturbance()
    state.note(0.2, 100)
    assert state.crowded
    for _ in range(15):
        state.note(0.1, 100)
        assert state.crowded
    state.note(0.1, 100)
    assert not state.crowded, "sixteen runs and a second later the smaller number is tried again"
    state.note(0.2, 100)
    assert state.crowded
    for _ in range(16):
        state.note(0.1, 0)
    state.note(0.1, 0)
    assert not state.crowded


def test_the_system_counts():
    assert len(processors()) >= 1 and switches() >= 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin threads")
def test_a_seat_is_kept_for_the_block_only():
    everywhere = os.sched_getaffinity(0)
    seats = processors()
    with seated(seats, 1 + len(seats)):
        assert os.sched_getaffinity(0) == {seats[1 % len(seats)]}
    with seated([10**6], 0):  # there is no such processor
        assert os.sched_getaffinity(0) == everywhere
    with seated([], 0):
        assert os.sched_getaffinity(0) == everywhere
    assert os.sched_getaffinity(0) == everywhere


def test_a_crowd_gives_the_same_result(driver, kernels):
    n = 64
    x, y = Buffer("input", 0), Buffer("output", 0)
    calls = [Call("shift", pair, (n,), tasks=n) for pair in ((x, y), (y, x))] * 20
    pool = Pool(driver, 2)
    pool._may_crowd = True
    program = Program(calls, kernels, pool, inputs=1, outputs=1)
    for crowded in (False, True, False, True):
        pool.disturbance.crowded = crowded
        values = np.arange(n)
        program.run([values], [np.zeros(n, np.int64)])
        np.testing.assert_array_equal(values, np.roll(np.arange(n), -40) + 40)
    assert [crew.threads for crew in pool._crews.values()] == [2, 2 * CROWD]
    pool.close()
