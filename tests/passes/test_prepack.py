"""Right operands of products that stay the same: laid out once, with the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import handloom as hl
from handloom.errors import UsageError
from handloom.graph import build as b
from handloom.graph.node import Node, Size, walk
from handloom.graph.ops import InputAttrs
from handloom.graph.reference import round_bf16
from handloom.passes.pipeline import Options, prepare
from handloom.passes.prepack import constant_part
from handloom.split import SplitProgram

rng = np.random.default_rng(5)


def given(index: int, *shape: int | Size) -> Node:
    return b.make("input", attrs=InputAttrs(index, f"x{index}", shape, "f32"))


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def products(outputs: list[Node]) -> list[Node]:
    return [node for node in walk(outputs) if node.op == "dot"]


def test_only_right_operands_that_stay_are_laid_out() -> None:
    x, w, v = given(0, Size.symbol("n"), 6), given(1, 5, 6), given(2, 6, 4)
    merged = b.add(w, b.dot(given(3, 5, 2), given(4, 2, 6)))
    outputs = [b.dot(x, w, False, True), b.dot(x, v), b.dot(x, merged, False, True)]
    outputs.append(b.dot(b.transpose(v, (1, 0)), x, False, True))
    options = Options(columns=16, constants=frozenset(given(i, *s) for i, s in ((1, (5, 6)), (3, (5, 2)), (4, (2, 6)))))
    laid_out = [node for node in products(prepare(outputs, options)) if node.attrs.panels]
    assert len(laid_out) == 2 and all(node.inputs[0] is x and node.attrs.panels == 5 for node in laid_out)
    assert not any(node.attrs.panels for node in products(prepare(outputs)))


def test_the_constant_part_is_what_is_read_by_the_rest() -> None:
    x, w, bias = given(0, Size.symbol("n"), 6), given(1, 5, 6), given(2, 5)
    y = b.add(b.dot(x, b.multiply(w, 2.0), False, True), b.unary("exp", bias))
    ready = prepare([y], Options(columns=16, constants=frozenset({w, bias})))
    assert sorted(node.op for node in constant_part(ready, {w, bias})) == ["exp", "panels"]
    assert constant_part(prepare([y]), frozenset()) == []


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 40])
def test_the_bits_are_those_of_products_that_pack_for_themselves(rows: int, precision: str) -> None:
    def model(weights: dict[str, hl.Tensor], x: hl.Tensor) -> hl.Tensor:
        hidden = hl.gelu(hl.linear(x, weights["w"], weights["b"]))
        return hl.matmul(hidden, weights["v"]) + x

    weights = {"w": normal(70, 34), "b": normal(70), "v": normal(70, 34)}
    x = normal(rows, 34)
    symbols = {"x": ("rows", 34)}
    plain = hl.compile(model, symbols=symbols, precision=precision)
    kept = hl.compile(model, symbols=symbols, precision=precision, constant=("weights",))
    np.testing.assert_array_equal(kept(weights, x).numpy(), plain(weights, x).numpy())
    assert isinstance(kept.program, SplitProgram)
    assert "panels" not in kept.show("kernels")
    other = {**weights, "w": weights["w"] + 1}  # another array: everything is laid out again
    np.testing.assert_array_equal(kept(other, x).numpy(), plain(other, x).numpy())
    np.testing.assert_array_equal(kept(weights, x).numpy(), plain(weights, x).numpy())


@pytest.mark.parametrize("columns", [15, 64, 65, 130])
@pytest.mark.parametrize("weights", ["f32", "bf16", "int8"])
def test_one_row_has_the_bits_that_it_has_among_others(columns: int, weights: str) -> None:
    """Over several blocks of k, and over panels that are taken several at once, or one by one."""
    w, x = normal(columns, 603), normal(9, 603)
    how = {"symbols": {"x": ("rows", 603)}, "constant": ("w",), "weights": weights}
    run = hl.compile(lambda w, x: hl.gelu(hl.linear(x, w)), **how)
    together = run(w, x).numpy().copy()
    for i in (0, 8):
        np.testing.assert_array_equal(run(w, x[i : i + 1]).numpy()[0], together[i])


def test_what_is_donated_is_not_constant() -> None:
    with pytest.raises(UsageError, match="'w' is donated"):
        hl.compile(lambda w: w, donate=("w",), constant=("w",))
    with pytest.raises(UsageError, match="no argument 'v'"):
        hl.compile(lambda w: w, constant=("v",))


@pytest.mark.parametrize("rounds", [1, 4])
def test_weights_of_a_scan_are_laid_out_before_its_rounds(rounds: int) -> None:
    def loss(w: hl.Tensor, xs: hl.Tensor) -> hl.Tensor:
        def body(h: hl.Tensor, x: hl.Tensor) -> tuple[hl.Tensor, hl.Tensor]:
            h = hl.tanh(hl.linear(h, w) + hl.matmul(x, w))
            return h, h

        last, hs = hl.scan(body, hl.zeros(3, 20), xs)
        return (hs * hs).sum() + last.sum()

    w, xs = normal(20, 20) * np.float32(0.3), normal(rounds, 3, 20)
    step = hl.compile(hl.value_and_grad(loss))
    value, gradient = step(w, xs)
    truth, slope = hl.value_and_grad(loss)(hl.Tensor(w), hl.Tensor(xs))
    assert float(value) == pytest.approx(float(truth), rel=1e-5)
    np.testing.assert_allclose(gradient.numpy(), slope.numpy(), rtol=1e-4, atol=1e-4)
    calls = step.show("kernels").count("panels.")
    assert (calls > 0) == (rounds > 1)


@pytest.mark.parametrize("weights", ["bf16", "int8"])
@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_weights_stored_in_less(rows: int, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As rounding them by hand beforehand; by rows or by columns, of any width; a column of zeros included."""

    def model(p: dict[str, hl.Tensor], x: hl.Tensor) -> hl.Tensor:
        return hl.gelu(hl.linear(x, p["w"], p["b"])) @ p["v"]

    p = {"w": normal(70, 34) * np.float32(3), "b": normal(70), "v": normal(70, 35)}
    p["w"][3], p["v"][:, 5] = 0, 0
    x = normal(rows, 34)

    def stored(w: np.ndarray, axis: int) -> np.ndarray:
        if weights == "bf16":
            return round_bf16(w)
        scale = np.abs(w).max(axis, keepdims=True) / np.float32(127)
        return np.where(scale == 0, 0, np.floor(w / np.where(scale == 0, 1, scale) + 0.5) * scale).astype(np.float32)

    rounded = {"w": stored(p["w"], 1), "b": p["b"], "v": stored(p["v"], 0)}
    wanted = model({name: hl.Tensor(value) for name, value in rounded.items()}, hl.Tensor(x)).numpy()
    for backend in ("compiled", "reference"):
        monkeypatch.setenv("HANDLOOM_BACKEND", backend)
        run = hl.compile(model, symbols={"x": ("rows", 34)}, constant=("p",), weights=weights)
        got = run(p, x).numpy()
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    exact = model({name: hl.Tensor(value) for name, value in p.items()}, hl.Tensor(x)).numpy()
    assert 1e-4 < np.abs(wanted - exact).max() / np.abs(exact).max() < 0.03


def test_unknown_forms_of_weights_are_refused() -> None:
    with pytest.raises(UsageError, match="weights must be one of f32, bf16, int8, and not 'int4'"):
        hl.compile(lambda w: w, constant=("w",), weights="int4")
