"""Whole programs: fused graphs against the reference, the same bits for any threads, state that is donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import handloom as hl
from handloom.tensor import tree

random = np.random.default_rng(0)
SIZES = [1, 15, 16, 17, 63, 65, 300]


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def both(
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[..., Any],
    *arguments: Any,
    tolerance: float = 2e-5,
    **options: Any,
) -> None:
    """The compiled function gives what the reference gives, relative to the largest value."""
    results = []
    for backend in ("compiled", "reference"):
        monkeypatch.setenv("HANDLOOM_BACKEND", backend)
        results.append(tree.flatten(hl.compile(function, **options)(*arguments)))
    for ours, truth in zip(*results, strict=True):
        a, t = ours.numpy(), truth.numpy()
        assert a.shape == t.shape and a.dtype == t.dtype
        scale = float(np.abs(t).max()) if t.size else 1.0
        np.testing.assert_allclose(a, t, rtol=0, atol=tolerance * max(scale, 1e-6))


@pytest.mark.parametrize("rows", SIZES)
def test_normalised_layer_with_gradients(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def layer(x: Any, p: Any) -> Any:
        def loss(p: Any) -> Any:
            y = hl.layer_norm(hl.gelu(hl.linear(x, p["w"], p["b"])), p["g"], p["b"], 1e-5)
            return (hl.softmax(y) * y).sum()

        return hl.value_and_grad(loss)(p)

    p = {"w": normal(40, 33), "b": normal(40), "g": normal(40)}
    both(monkeypatch, layer, normal(rows, 33), p, tolerance=1e-4, symbols={"x": ("t", 33)}, capacity={"t": 300})


def reduction(axis: Any) -> Callable[..., Any]:
    return lambda x: ((x * 2.0).sum(axis), hl.exp(x).max(axis))


def test_reductions_over_every_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    for axis in (None, 0, 1, 2, (0, 1), (1, 2), (0, 2)):
        both(monkeypatch, reduction(axis), normal(5, 17, 20))


def test_views_of_views_and_outputs_that_are_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def views(x: Any) -> Any:
        return x, x, x.T, x[2:5].T[1:3] * 2.0, x.reshape(10, 2, 15)[:, 1], hl.concatenate([x, x[:1]], 0), x.sum() * 0.0

    both(monkeypatch, views, normal(10, 30))


def test_rows_taken_by_a_slice_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = np.array([0, 5, 14, 26, 33], np.int32)
    shapes = {"h": ("t", 16), "starts": ("s+1",)}
    both(monkeypatch, lambda h, starts: hl.take(h, starts[:-1]), normal(33, 16), starts, symbols=shapes)


def test_dropout_has_the_bits_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(x: Any, state: Any) -> Any:
        with hl.random.using(state):
            return hl.value_and_grad(lambda x: (hl.dropout(hl.dropout(x, 0.3) * 2.0, 0.1) ** 2).sum())(x)[1]

    both(monkeypatch, dropped, normal(50, 200), np.array([1, 2, 3, 0], np.uint32), tolerance=1e-7)


def test_scan_and_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def recurrent(w: Any, h: Any, xs: Any) -> Any:
        def loss(w: Any) -> Any:
            def step(h: Any, x: Any) -> Any:
                h = hl.tanh(h @ w + x)
                return h, (h * h).sum()

            last, sums = hl.scan(step, h, xs)
            return last.sum() + (sums * sums).sum()

        return hl.value_and_grad(loss)(w)

    both(monkeypatch, recurrent, normal(8, 8) * 0.3, normal(3, 8), normal(12, 3, 8), tolerance=1e-4)


def block(x: Any, starts: Any, p: Any) -> Any:
    q, k, v = (hl.linear(x, p[name], p["b"]) for name in "qkv")
    a = hl.attention(q, k, v, starts, heads=4)
    h = hl.layer_norm(x + hl.linear(a, p["o"]), p["g"], p["b"], 1e-5)
    return h + hl.gelu(hl.linear(h, p["o"], p["b"]))


SHAPES = {"x": ("tokens", 64), "starts": ("sequences+1",)}
ROOM = {"tokens": 128, "sequences": 8}


def parameters() -> dict[str, np.ndarray]:
    return {**{name: normal(64, 64) / 8 for name in "qkvo"}, "b": normal(64), "g": normal(64)}


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    lengths, p = [3, 17, 1, 40], parameters()
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    x = normal(int(starts[-1]), 64)
    run = hl.compile(block, symbols=SHAPES, capacity=ROOM)
    together = run(x, starts, p).numpy().copy()
    for at, length in zip(starts, lengths, strict=False):
        alone = run(x[at : at + length], np.array([0, length], np.int32), p).numpy()
        assert alone.tobytes() == together[at : at + length].tobytes()


def test_the_same_bits_for_any_number_of_threads() -> None:
    p, x, starts = parameters(), normal(61, 64), np.array([0, 3, 20, 61], np.int32)

    def step(x: Any, starts: Any, p: Any) -> Any:
        return hl.value_and_grad(lambda p: (block(x, starts, p) ** 2).sum())(p)

    results = [
        tree.flatten(hl.compile(step, symbols=SHAPES, capacity=ROOM, threads=n)(x, starts, p)) for n in (1, 2, 3, 4)
    ]
    for other in results[1:]:
        assert [t.numpy().tobytes() for t in other] == [t.numpy().tobytes() for t in results[0]]


def test_donated_state_is_overwritten_and_nothing_else_is() -> None:
    def step(state: Any, g: Any) -> Any:
        return {"p": state["p"] - 0.5 * g, "m": state["m"] * 0.9 + g}, (state["p"] @ g.T).sum()

    state, g = {"p": normal(33, 20), "m": normal(33, 20)}, normal(33, 20)
    before = {name: value.copy() for name, value in state.items()}
    kept = g.copy()
    new, product = hl.compile(step, donate=("state",))(state, g)
    np.testing.assert_allclose(new["p"].numpy(), before["p"] - 0.5 * kept, rtol=1e-6)
    np.testing.assert_allclose(new["m"].numpy(), before["m"] * np.float32(0.9) + kept, rtol=1e-5, atol=1e-6)
    assert product.item() == pytest.approx(float((before["p"].astype(float) @ kept.T).sum()), rel=1e-4)
    assert np.array_equal(g, kept)
    assert any(np.shares_memory(new["p"].numpy(), array) for array in state.values())


def test_branching_on_a_traced_value_names_the_line() -> None:
    with pytest.raises(hl.HandloomError, match=r"test_programs\.py:\d+: a traced tensor has no truth value"):
        hl.compile(lambda x: x if x.sum() > 0.0 else -x)(normal(3))


def test_a_batch_over_capacity_is_refused() -> None:
    run = hl.compile(lambda x: x * 2.0, symbols={"x": ("t", 4)}, capacity={"t": 5})
    assert run(normal(5, 4)).shape == (5, 4)
    with pytest.raises(hl.HandloomError, match="6 t are more than this program's capacity of 5"):
        run(normal(6, 4))


def test_attention_bias_and_cap_are_checked() -> None:
    q, starts = hl.Tensor(normal(4, 8)), hl.Tensor(np.array([0, 4], np.int32))
    with pytest.raises(ValueError, match=r"\[heads, 2·reach \+ 1\], and this one is \[2, 4\]"):
        hl.attention(q, q, q, starts, heads=2, bias=hl.Tensor(normal(2, 4)))
    with pytest.raises(ValueError, match="soft_cap must be greater than 0, and is -1"):
        hl.attention(q, q, q, starts, heads=2, soft_cap=-1)


def test_the_gradient_of_a_large_table_is_not_stored() -> None:
    """Of the rows that were taken alone; the sum of squares and an update read it as if it were all there."""
    rows = 5000
    table, ids = normal(rows, 16), np.random.default_rng(1).integers(0, rows, 40).astype(np.int32)
    ids[7:12] = ids[3]
    weights = normal(40, 16)

    def step(table: hl.Tensor, ids: hl.Tensor, weights: hl.Tensor) -> tuple[hl.Tensor, hl.Tensor]:
        grad = hl.grad(lambda t: (hl.take(t, ids) * weights).sum())(table)
        return table - 0.5 * grad, (grad * grad).sum()

    run = hl.compile(step, symbols={"ids": ("n",), "weights": ("n", 16)}, capacity={"n": 64})
    for count in (40, 0, 13):
        expected = np.zeros_like(table)
        np.add.at(expected, ids[:count], weights[:count])
        updated, squares = run(table, ids[:count], weights[:count])
        np.testing.assert_allclose(updated.numpy(), table - 0.5 * expected, atol=1e-6)
        assert float(squares) == pytest.approx(float((expected**2).sum()), rel=1e-5)
    assert run.program.reserve({"n": 40}) < 1.5 * table.nbytes  # the updated table, and little else
