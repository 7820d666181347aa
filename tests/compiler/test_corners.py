"""Small programs at the edges of what kernels do; each was wrong once, most of them found by test_random_graphs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import handloom as hl
from handloom.tensor import tree

random = np.random.default_rng(8)


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def same(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    found = tree.flatten(hl.compile(function, **options)(*arguments))
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    for ours, truth in zip(found, tree.flatten(hl.compile(function)(*arguments)), strict=True):
        assert ours.shape == truth.shape
        np.testing.assert_allclose(ours.numpy(), truth.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 17])
def test_a_product_of_one_column_with_what_follows(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of a model with a single label."""

    def head(x: Any, w: Any, b: Any, scale: Any) -> Any:
        y = hl.linear(x, w, b)
        return y, hl.sigmoid(y * 2.0 + scale), y * y

    same(monkeypatch, head, normal(rows, 20), normal(1, 20), normal(1), normal(rows, 1))


def test_a_random_row_that_all_rows_share(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(x: Any, y: Any, column: Any, state: Any) -> Any:
        with hl.random.using(state):
            return x + hl.dropout(y, 0.5), x * hl.dropout(column, 0.5), hl.dropout(y, 0.5) * x[:1]

    state = np.array([1, 2, 3, 4], np.uint32)
    same(monkeypatch, shared, normal(9, 70), normal(1, 70), normal(9, 1), state)


def test_a_random_row_shared_by_cubes_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(x: Any, y: Any, z: Any, state: Any) -> Any:
        with hl.random.using(state):
            return x + hl.dropout(y, 0.5), x + hl.dropout(z, 0.5)

    symbols = {"x": (3, "rows", 20), "y": (1, "rows", 20)}
    state = np.array([1, 2, 3, 4], np.uint32)
    same(monkeypatch, shared, normal(3, 7, 20), normal(1, 7, 20), normal(3, 1, 20), state, symbols=symbols)


def test_a_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(x: Any, state: Any) -> Any:
        with hl.random.using(state):
            return [hl.dropout(x.sum(), 0.5) for _ in range(8)]

    same(monkeypatch, dropped, normal(5, 5), np.array([1, 2, 3, 4], np.uint32))


def test_counting_along_an_axis_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(x: Any) -> Any:
        one = hl.iota(1, x.shape[1], axis=0).astype("f32")
        return x + one, x * (hl.iota(x.shape[0], 1, axis=1).astype("f32") + 2.0)

    same(monkeypatch, counted, normal(6, 5), symbols={"x": ("rows", "columns")})


@pytest.mark.parametrize("columns", [1, 5, 16, 20, 70])
def test_maxima_of_small_unsigned_numbers(columns: int) -> None:
    x = np.arange(3 * columns, dtype=np.uint32).reshape(3, columns)
    rows, whole = hl.compile(lambda x: (x.max(1), x.max()))(x)
    np.testing.assert_array_equal(rows.numpy(), x.max(1))
    assert int(whole) == x.max()


def test_gradients_of_weights_over_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(x: Any, w: Any, b: Any) -> Any:
        return hl.value_and_grad(lambda p: (hl.gelu(hl.linear(x, p[0], p[1])) ** 2).sum())((w, b))

    w, b = normal(30, 20), normal(30)
    run = hl.compile(gradients, symbols={"x": ("tokens", 20)}, capacity={"tokens": 2000})
    run(normal(1999, 20), w, b)  # so that nothing is zero by chance
    total, (dw, db) = run(normal(0, 20), w, b)
    assert float(total) == 0 and not dw.numpy().any() and not db.numpy().any()


def test_two_unknown_sizes_that_would_be_multiplied_are_an_error() -> None:
    def loop(h: Any, xs: Any) -> Any:
        return hl.scan(lambda h, x: (hl.tanh(h + x), h), h, xs)

    run = hl.compile(loop, symbols={"h": ("rows", 8), "xs": ("steps", "rows", 8)})
    with pytest.raises(hl.HandloomError, match="would be multiplied, but both are symbols"):
        run(normal(3, 8), normal(4, 3, 8))


@pytest.mark.parametrize("shape", [(40,), (5, 20), (7, 1), (1,)])
def test_results_of_one_loop_that_take_the_memory_of_what_the_others_read(shape: tuple[int, ...]) -> None:
    @hl.compile(donate=("state",))
    def step(state: Any, x: Any) -> Any:
        with hl.random.using(state["random"]):
            x = hl.dropout(x, 0.0001)  # random numbers are drawn row by row
        return x * 2.0, (x + state["a"]) * state["b"], (state["a"] - state["b"]) * x

    a, b, x = normal(*shape), normal(*shape), normal(*shape)
    state = {"a": a.copy(), "b": b.copy(), "random": np.array([1, 2, 3, 4], np.uint32)}
    expected = x * 2, (x + a) * b, (a - b) * x
    for found, truth in zip(step(state, x), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), truth, rtol=1e-3, atol=1e-3)


def test_constants_beside_values_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def joined(x: Any) -> Any:
        ones = hl.Tensor(np.ones((3, 4), np.float32))
        return hl.concatenate([x, ones * 0.0 + 7.0], 0), hl.concatenate([hl.iota(2, 4, axis=1).astype("f32"), x], 0)

    same(monkeypatch, joined, normal(5, 4))


def test_sums_of_rows_beside_a_product_without_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(x: Any, y: Any) -> Any:
        return hl.matmul(x, y, transpose_a=True), x.sum(axis=0)

    same(monkeypatch, both, normal(6, 5), normal(6, 0))


def test_the_sum_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    same(monkeypatch, lambda x: (x * x).sum(), normal(0))


def test_gradients_by_arrays_of_a_function_that_closes_over_a_traced_value() -> None:
    params = {"w": normal(4)}
    run = hl.compile(lambda x: hl.value_and_grad(lambda p: (p["w"] * x).sum())(params))
    x = normal(4)
    value, grads = run(x)
    np.testing.assert_allclose(grads["w"].numpy(), x)
    np.testing.assert_allclose(float(value), float((params["w"] * x).sum()), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 17])
def test_axes_from_their_end_to_their_beginning(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(x: Any, w: Any, cube: Any) -> Any:
        halves = cube * 2.0 + hl.flip(cube, 1) * cube[:, :1]
        return (hl.flip(x) + x, hl.flip(x, 1) * 2.0, hl.matmul(hl.flip(x), hl.flip(w)), hl.flip(x, 1).sum(1),
                hl.flip(hl.tanh(x)).sum(0), hl.concatenate([hl.flip(x), x], 1), hl.flip(x)[1:], halves)

    arguments = normal(rows, 20), normal(20, 9), normal(rows, 2, 12)
    same(monkeypatch, turned, *arguments, symbols={"x": ("rows", 20), "cube": ("rows", 2, 12)})
    gradients = hl.grad(lambda p: sum((y * y).sum() for y in turned(*p)))
    same(monkeypatch, gradients, arguments)


def test_what_is_read_from_its_end_is_not_written_over_from_its_beginning() -> None:
    state = normal(70, 20)
    found = hl.compile(lambda state: state + hl.flip(state), donate=("state",))(state.copy())
    np.testing.assert_array_equal(found.numpy(), state + state[::-1])


def test_rows_turned_and_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.array([2, 0, 2], np.int32)
    same(monkeypatch, lambda x, q: (hl.take(hl.flip(x), ids), hl.attention(
        hl.flip(q), q, hl.flip(q, 1), np.array([0, 2, 5], np.int32), heads=2)), normal(4, 6), normal(5, 8))
