"""Waves, groups of calls, and state that is replaced in place."""

from __future__ import annotations

import numpy as np
import pytest

import handloom as hl
from handloom.passes.schedule import waves

F32 = np.float32


@pytest.mark.parametrize(
    ("reads", "writes", "expected"),
    [
        ([], [], []),
        (["", "", ""], ["a", "b", "c"], [0, 0, 0]),
        (["", "a", "b"], ["a", "b", "c"], [0, 1, 2]),
        (["", "a", "", "c"], ["a", "b", "c", "d"], [0, 1, 0, 1]),
        # what is overwritten must have been read, and written, before
        (["", "a", ""], ["a", "b", "a"], [0, 1, 2]),
        (["x", ""], ["a", "x"], [0, 1]),
        (["", ""], ["a", "a"], [0, 1]),
        (["", "a", "ab"], ["a", "b", "c"], [0, 1, 2]),
    ],
)
def test_a_step_runs_in_the_first_wave_that_it_can(reads, writes, expected):
    assert waves(reads, writes) == expected


def plan_of(function):
    """(symbols called, in order; number of waves)"""
    calls = function.program.plan.program.calls
    return [call.symbol for call in calls], sum(not call.wave for call in calls)


@pytest.mark.parametrize("rows", [(5, 5, 5), (1, 40, 70), (70, 40, 1)])
def test_products_of_one_form_are_one_call(rows):
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((n, 24)).astype(F32) for n in rows]
    weights = [rng.standard_normal((17, 24)).astype(F32) for _ in rows]

    @hl.compile(symbols={"xs": [(f"rows{i}", 24) for i in range(3)]}, capacity={f"rows{i}": 80 for i in range(3)})
    def products(xs, weights):
        return [hl.linear(x, w) for x, w in zip(xs, weights, strict=True)]

    for shift in (0, 7):  # the second time with other sizes
        given = [np.concatenate([x, x[:1].repeat(shift, 0)]) for x in xs]
        for out, x, w in zip(products(given, weights), given, weights, strict=True):
            expected = x.astype(np.float64) @ w.T
            np.testing.assert_allclose(out.numpy(), expected, atol=1e-4)
    symbols, count = plan_of(products)
    assert len(symbols) == 1 and symbols[0].endswith(".x3") and count == 1


def test_vectors_are_updated_together_and_in_place():
    @hl.compile(donate=("params", "moments"))
    def update(params, moments, grads):
        new = {name: moments[name] * 0.5 + grads[name] for name in params}
        return {name: params[name] - 0.1 * new[name] for name in params}, new

    rng = np.random.default_rng(0)
    params, moments, grads = ({f"b{i}": rng.standard_normal(33).astype(F32) for i in range(5)} for _ in range(3))
    expected = {name: moments[name] * F32(0.5) + grads[name] for name in params}
    after = {name: params[name] - F32(0.1) * expected[name] for name in params}
    new_params, new_moments = update(params, moments, grads)
    for name in params:
        np.testing.assert_allclose(new_params[name].numpy(), after[name], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(new_moments[name].numpy(), expected[name], rtol=1e-6, atol=1e-7)
        assert np.shares_memory(new_params[name].numpy(), params[name])
        assert np.shares_memory(new_moments[name].numpy(), moments[name])
    symbols, count = plan_of(update)
    assert len(symbols) == 1 and count == 1


def test_a_bias_that_is_read_by_every_row_is_updated_in_place():
    @hl.compile(donate=("bias",))
    def step(bias, x):
        y = x + bias
        return y, bias - 0.5 * y.sum(axis=0)

    bias, x = np.arange(20, dtype=F32), np.ones((6, 20), F32)
    given = bias.copy()
    y, new = step(given, x)
    assert np.shares_memory(new.numpy(), given)
    np.testing.assert_array_equal(y.numpy(), x + bias)
    np.testing.assert_allclose(new.numpy(), bias - 0.5 * 6 * (1 + bias))


def test_squares_of_a_vector_are_summed_without_being_stored():
    @hl.compile
    def norm(x):
        return (x * x).sum()

    x = np.arange(100, dtype=F32)
    assert float(norm(x).numpy()) == float((x * x).sum())
    assert norm.program.plan.bytes <= 4096  # partial sums only


def test_arrays_of_the_other_byte_order_are_turned():
    double = hl.compile(lambda x: x + x)
    for kind in (">f4", ">i4", ">u4"):
        x = np.arange(5).astype(kind)
        np.testing.assert_array_equal(double(x).numpy(), 2 * np.arange(5))
        np.testing.assert_array_equal((hl.Tensor(x) + 1).numpy(), np.arange(5) + 1)


def test_a_backend_that_there_is_not_is_refused(monkeypatch):
    monkeypatch.setenv("HANDLOOM_BACKEND", "numpy")
    with pytest.raises(hl.errors.UsageError, match="'numpy'; it must be compiled or reference"):
        hl.compile(lambda x: x + 1)(np.ones(3, F32))
