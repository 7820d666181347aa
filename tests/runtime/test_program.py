"""Programs: arguments reach the kernels, sizes follow the batch, mistakes are named, times are collected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from handloom.errors import HandloomError
from handloom.runtime import profile
from handloom.runtime.arena import Arena
from handloom.runtime.pool import shared
from handloom.runtime.program import Buffer, Call, Program


@dataclass(frozen=True)
class Multiple:
    """Stands for a symbolic size, and counts how often it is asked."""

    symbol: str
    factor: int

    def value(self, env):
        asked.append(self)
        return self.factor * env[self.symbol]


asked: list[Multiple] = []
X, Y = Buffer("input", 0), Buffer("output", 0)


def test_sizes_offsets_and_task_counts_follow_the_batch(driver, kernels):
    tokens = Multiple("tokens", 1)
    calls = [
        Call("shift", (X, Y), (tokens,), tasks=tokens),
        Call("shift", (X, Buffer("output", 0, Multiple("tokens", 8))), (tokens,), tasks=tokens),
        Call("total", (Y, Buffer("output", 1)), (lambda env: 2 * env["tokens"],)),
    ]
    program = Program(calls, kernels, shared(driver, 2), inputs=1, outputs=2)
    asked.clear()
    for n in (5, 12, 5):
        x, y, total = np.arange(n) ** 2, np.zeros(2 * n, np.int64), np.zeros(1, np.int64)
        program.run([x], [y, total], {"tokens": n})
        expected = np.tile(np.roll(x, -1) + 1, 2)
        np.testing.assert_array_equal(y, expected)
        assert total[0] == expected.sum()
    assert len(asked) == 4, "two distinct amounts, two distinct batches"


def test_constants_and_a_shared_arena(driver, kernels):
    arena, pool = Arena(1024), shared(driver, 2)
    table = np.arange(20) * 10
    first = Program(
        [Call("shift", (Buffer("constant", 0), Buffer("arena", 0, 128)), (20,), tasks=20)],
        kernels, pool, arena=arena, constants=[table],
    )  # fmt: skip
    second = Program([Call("total", (Buffer("arena", 0, 128), Y), (20,))], kernels, pool, arena=arena, outputs=1)
    result = np.zeros(1, np.int64)
    first.run()
    second.run([], [result])
    assert result[0] == table.sum() + 20
    np.testing.assert_array_equal(arena.view(128, (20,), "int64"), np.roll(table, -1) + 1)


def test_state_is_read_and_written_in_place(driver, kernels):
    program = Program([Call("count", (Y,), (1,), tasks=8)], kernels, shared(driver, 2), inputs=1, outputs=1)
    state = np.zeros(8, np.int64)
    for _ in range(3):
        program.run([state], [state])
    assert (state == 3).all()


def test_mistakes_are_named(driver, kernels):
    pool = shared(driver, 1)
    program = Program([Call("count", (Y,), (1,), tasks=Multiple("n", 1))], kernels, pool, inputs=1, outputs=1)
    good = np.zeros((4, 4), np.int64)
    frozen = good.copy()
    frozen.flags.writeable = False
    with pytest.raises(HandloomError, match="takes 1 inputs and 1 outputs, not 0 and 1"):
        program.run([], [good])
    with pytest.raises(HandloomError, match=r"input 0 of shape \(4, 4\) must be C-contiguous"):
        program.run([good[:, ::-1]], [good], {"n": 4})
    with pytest.raises(HandloomError, match=r"output 0 .* is read-only"):
        program.run([good], [frozen], {"n": 4})
    with pytest.raises(HandloomError, match="task count is -4"):
        program.run([good], [good], {"n": -4})
    with pytest.raises(HandloomError, match="count uses input 2, but there are 1"):
        Program([Call("count", (Buffer("input", 2),))], kernels, pool, inputs=1)
    with pytest.raises(HandloomError, match="defines no 'missing'"):
        Program([Call("missing", ())], kernels, pool)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_profile_counts_calls_and_shares_the_time_of_waves(driver, kernels, threads):
    calls = [
        Call("count", (X,), (1,), tasks=500, wave=True, name="bump"),
        Call("scribble", (Y,), tasks=500),
        Call("total", (X, Y), (500,)),
    ]
    program = Program(calls, kernels, shared(driver, threads), inputs=1, outputs=1, scratch_bytes=4096)
    x, y = np.zeros(500, np.int64), np.zeros(500, np.int64)
    program.run([x], [y])
    with profile.collect() as times:
        program.run([x], [y])
        program.run([x], [y])
    program.run([x], [y])
    rows = {row.name: row for row in times.rows()}
    assert {name: row.calls for name, row in rows.items()} == {"bump": 2, "scribble": 2, "total": 2}
    assert all(0 < row.seconds < 1 and row.thread_seconds > 0 for row in rows.values())
    assert rows["scribble"].seconds > rows["bump"].seconds
    assert profile.active() is None and "scribble" in str(times)
