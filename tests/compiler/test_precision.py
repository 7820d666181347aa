"""Programs in bf16: against the reference that rounds at the same places, and not far from f32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bert_program import batch_of, bert_step, tiny_bert
from test_minilm_shape import CAPACITY, SYMBOLS

import handloom as hl
from handloom import ceilings
from handloom.errors import UsageError
from handloom.graph import build as b
from handloom.graph.node import Node, walk
from handloom.graph.ops import InputAttrs
from handloom.passes.narrow import narrow
from handloom.passes.pipeline import Options, prepare
from handloom.tensor import tree


def off(found: Any, expected: Any) -> dict[str, float]:
    """‖Δ‖ / max(‖g‖, 1e-3 · global norm) of every gradient, and of the logits."""
    gradients = {name: g.numpy().astype(np.float64) for name, g in expected[1].items()}
    total = np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    assert found[0][0].item() == pytest.approx(expected[0][0].item(), rel=0.02)
    result = {
        name: float(np.linalg.norm(found[1][name].numpy() - g) / max(np.linalg.norm(g), 1e-3 * total))
        for name, g in gradients.items()
    }
    logits = expected[2].numpy()
    return {**result, "logits": float(np.linalg.norm(found[2].numpy() - logits) / np.linalg.norm(logits))}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_training_step_agrees_with_the_reference(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One place apart in a rounded tensor is 2⁻⁸ of it; f32 itself is as far away as some such tensors in a row."""
    step, parameters = bert_step(64, 2, 4, 128, dropout)
    batch = batch_of((1, 2, 17, 64, 40, 15, 16, 3), labelled=60)
    found = hl.compile(step, symbols={"batch": SYMBOLS}, capacity=CAPACITY, precision="bf16")(parameters, batch)
    single = hl.compile(step, symbols={"batch": SYMBOLS}, capacity=CAPACITY)(parameters, batch)
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    truth = hl.compile(step, precision="bf16")(parameters, batch)
    near, far = off(found, truth), off(found, single)
    assert max(near.values()) < 0.02, near
    assert max(far.values()) < 0.1, far
    assert np.median(list(far.values())) > 1e-3  # it is bf16
    assert np.median(list(near.values())) < 0.5 * np.median(list(far.values()))


def test_the_same_bits_for_any_number_of_threads_and_any_neighbours() -> None:
    step, parameters = tiny_bert()
    batch = batch_of((5, 33, 1, 20), labelled=20)
    options: dict[str, Any] = {"symbols": {"batch": SYMBOLS}, "capacity": CAPACITY, "precision": "bf16"}
    results = [tree.flatten(hl.compile(step, threads=n, **options)(parameters, batch)) for n in (1, 2, 3)]
    for other in results[1:]:
        assert [t.numpy().tobytes() for t in other] == [t.numpy().tobytes() for t in results[0]]


def test_a_text_alone_has_the_bits_of_the_text_among_others() -> None:
    step, parameters = bert_step(64, 1, 4, 128, 0.0)
    run = hl.compile(step, symbols={"batch": SYMBOLS}, capacity=CAPACITY, precision="bf16")
    batch = batch_of((7, 40, 2), labelled=0)
    batch["rows"] = np.arange(49, dtype=np.int32)
    batch["labels"] = np.full(49, -100, np.int32)
    together = run(parameters, batch)[2].numpy()
    alone = {key: batch[key][7:47] for key in ("ids", "positions", "types", "labels")}
    alone |= {"rows": np.arange(40, dtype=np.int32), "starts": np.array([0, 40], np.int32), "state": batch["state"]}
    np.testing.assert_array_equal(run(parameters, alone)[2].numpy(), together[7:47])


def given(index: int, *shape: int) -> Node:
    return b.make("input", attrs=InputAttrs(index, f"x{index}", shape, "f32"))


def dots(outputs: list[Node]) -> list[Node]:
    return [node for node in walk(outputs) if node.op == "dot"]


def test_which_products_are_narrow() -> None:
    even = b.dot(given(0, 5, 8), given(1, 3, 8), False, True)
    odd = b.dot(given(2, 5, 7), given(3, 3, 7), False, True)
    odd_columns = b.dot(given(4, 7, 5), given(5, 7, 3), True, False)  # two k's lie one below the other
    turned = b.dot(b.transpose(given(6, 7, 5), (1, 0)), given(7, 7, 3))  # the same, by a view
    result = narrow([even, odd, odd_columns, turned])
    assert [node.attrs.narrow for node in result] == [True, False, True, True]
    assert all(node.dtype == "f32" for node in result)
    assert [x.dtype for x in result[0].inputs] == ["bf16", "f32"]  # an input on the right is rounded where it is packed
    assert not any(node.attrs.narrow for node in dots(prepare([even])))
    assert all(node.attrs.narrow for node in dots(prepare([even], Options("bf16"))))


def test_what_an_activation_reads_is_kept_in_bf16_and_weight_gradients_are_not() -> None:
    x, w, bias, g = given(0, 6, 8), given(1, 4, 8), given(2, 4), given(3, 6, 4)
    u = b.add(b.dot(x, w, False, True), b.broadcast(b.reshape(bias, (1, 4)), (6, 4)))
    out = b.multiply(b.unary("tanh", u), b.unary("exp", u))
    weight_gradient = b.dot(b.multiply(g, out), x, True, False)
    twice = b.add(b.unary("exp", weight_gradient), weight_gradient)
    kept, gradient = narrow([out, twice])
    (u_rounded,) = {y for node in walk([kept]) if node.op in ("tanh", "exp") for y in node.inputs}
    assert u_rounded.op == "cast" and u_rounded.inputs[0].dtype == "bf16"
    (slope,) = {x for node in walk([gradient]) if node.op == "exp" and node.shape == (4, 8) for x in node.inputs}
    assert slope.op == "dot"


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANDLOOM_PRECISION")
    assert (ceilings.choose("f32"), ceilings.choose("bf16")) == ("f32", "bf16")
    with pytest.raises(UsageError, match="precision is 'f16'; it must be one of auto, f32, bf16"):
        ceilings.choose("f16")
    if ceilings.target().bf16_dot:
        for bf16, expected in ((219.0, "f32"), (438.0, "bf16"), (20.0, "f32")):  # slow: microcode
            monkeypatch.setattr(ceilings, "measured", lambda bf16=bf16: {"f32": 220.0, "bf16": bf16})
            assert ceilings.choose() == expected
    monkeypatch.setenv("HANDLOOM_PRECISION", "bf16")
    assert ceilings.choose() == "bf16"
    monkeypatch.setenv("HANDLOOM_PRECISION", "double")
    with pytest.raises(UsageError, match="HANDLOOM_PRECISION is 'double'"):
        ceilings.choose()
    monkeypatch.delenv("HANDLOOM_PRECISION")
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    assert ceilings.choose() == "f32"


def test_ceilings_are_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HANDLOOM_HOME", str(tmp_path))
    ceilings.measured.cache_clear()
    first = ceilings.measured()
    assert set(first) == {"f32", "bf16"} and all(rate > 0.1 for rate in first.values())
    ceilings.measured.cache_clear()
    monkeypatch.setattr(ceilings, "Ceiling", None)  # nobody measures again
    assert ceilings.measured() == first
    ceilings.measured.cache_clear()
