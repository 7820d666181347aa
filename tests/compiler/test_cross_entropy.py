"""The output layer without logits: losses and gradients around the sizes of its chunks, against the reference and
against the layer and the loss written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom as hl
from handloom.codegen import cross_entropy
from handloom.compiler import build
from handloom.errors import HandloomError
from handloom.graph import build as b
from handloom.graph.autodiff import gradients
from handloom.graph.node import walk
from handloom.graph.ops import CrossEntropyAttrs, InputAttrs
from handloom.passes.prune import prune
from handloom.tensor import tree

H, V, CHUNK = 20, 50, 16
rng = np.random.default_rng(2)
SHAPES: dict[str, Any] = {"x": ("rows", H), "labels": ("rows",)}


def given(rows: int, classes: int = V, bias: bool = False) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    labels = rng.integers(0, classes, rows).astype(np.int32)
    labels[::3] = -100
    weights = {"w": rng.standard_normal((classes, H)).astype(np.float32)}
    if bias:
        weights["bias"] = rng.standard_normal(classes).astype(np.float32)
    return weights, rng.standard_normal((rows, H)).astype(np.float32), labels


def step(loss: Any, smoothing: float = 0.0) -> Any:
    def run(p: Any, x: Any, labels: Any) -> Any:
        def mean(q: Any) -> Any:
            total, weight = loss(q["x"] * 1.5, q["w"], labels, bias=q.get("bias"), smoothing=smoothing)
            return total * 0.25, weight

        return hl.value_and_grad(mean, has_aux=True)({**p, "x": x})

    return run


def written_out(x: Any, w: Any, labels: Any, bias: Any = None, smoothing: float = 0.0) -> Any:
    return hl.cross_entropy(hl.linear(x, w, bias), labels, smoothing=smoothing)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "ROOM", 4 * V * CHUNK)
    assert cross_entropy.chunk_rows(V) == CHUNK


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_around_a_chunk(
    precision: str, bias: bool, smoothing: float, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"symbols": SHAPES, "capacity": {"rows": 3 * CHUNK}, "precision": precision}
    run = hl.compile(step(hl.linear_cross_entropy, smoothing), **options)
    plain = hl.compile(step(written_out, smoothing), **options)
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    truth = hl.compile(step(hl.linear_cross_entropy, smoothing), symbols=SHAPES, precision=precision)
    for rows in (1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3, 3 * CHUNK):
        p, x, labels = given(rows, bias=bias)
        found, expected, other = (tree.flatten(f(p, x, labels)) for f in (run, truth, plain))
        for ours, right, near in zip(found, expected, other, strict=True):
            scale = max(float(np.abs(right.numpy()).max()), 1e-6)
            rough = 2e-5 if precision == "f32" else 5e-3  # slopes that fall to the other side of a bf16
            np.testing.assert_allclose(ours.numpy(), right.numpy(), rtol=0, atol=rough * scale)
            np.testing.assert_allclose(ours.numpy(), near.numpy(), rtol=0, atol=4 * rough * scale)


def test_no_rows_and_rows_without_labels(small_chunks: None) -> None:
    run = hl.compile(step(hl.linear_cross_entropy), symbols=SHAPES, capacity={"rows": 40})
    p, x, _ = given(40, bias=True)
    for rows in (0, 40):
        (loss, weight), slopes = run(p, x[:rows], np.full(rows, -100, np.int32))
        assert loss.item() == 0 and weight.item() == 0
        assert not slopes["w"].numpy().any() and not slopes["bias"].numpy().any()
        assert not slopes["x"].numpy().any() and slopes["x"].shape == (rows, H)


def test_extreme_logits_and_labels_out_of_range(small_chunks: None) -> None:
    run = hl.compile(step(hl.linear_cross_entropy), symbols=SHAPES, capacity={"rows": 20})
    p, x, labels = given(20)
    (loss, _), slopes = run(p, x * 1e4, labels)
    assert np.isfinite(loss.item()) and all(np.isfinite(slope.numpy()).all() for slope in slopes.values())
    x_in, w_in = (b.make("input", attrs=InputAttrs(i, "x", shape, "f32")) for i, shape in enumerate([(20, H), (V, H)]))
    y_in = b.make("input", attrs=InputAttrs(2, "y", (20,), "i32"))
    losses = b.project(b.make("linear_cross_entropy", x_in, w_in, y_in, attrs=CrossEntropyAttrs()), 0)
    kernel = build([x_in, w_in, y_in], [losses], {})
    far, last = (np.full(20, label, np.int32) for label in (10**9, V - 1))
    # held within the classes: nothing outside is read
    np.testing.assert_array_equal(*(kernel([x, p["w"], labels], {})[0] for labels in (far, last)))


@pytest.mark.parametrize("label", [V, -1, -101, 10**9])
@pytest.mark.parametrize("loss", [hl.linear_cross_entropy, written_out])
def test_a_label_out_of_range_is_an_error_that_names_its_row(loss: Any, label: int) -> None:
    p, x, labels = given(6)
    labels[[0, 4]] = -100, label
    wanted = f"row 4 has the label {label}, and there are {V} classes: a label must be from 0 to {V - 1}, or -100"
    with pytest.raises(HandloomError, match=wanted):
        loss(hl.Tensor(x), hl.Tensor(p["w"]), hl.Tensor(labels))
    run = hl.compile(lambda labels: loss(hl.Tensor(x), hl.Tensor(p["w"]), labels.reshape(6)), symbols={})
    run(np.zeros((2, 3), np.int32))
    with pytest.raises(HandloomError, match=wanted):
        run(labels.reshape(2, 3))


def test_the_same_bits_for_any_number_of_threads(small_chunks: None) -> None:
    p, x, labels = given(45, bias=True)
    found = [
        [t.numpy().tobytes() for t in tree.flatten(hl.compile(step(hl.linear_cross_entropy), threads=n)(p, x, labels))]
        for n in (1, 2, 3)
    ]
    assert found[0] == found[1] == found[2]


def test_the_logits_are_not_stored() -> None:
    rows, classes, hidden = 2048, 49152, 64
    p = {"w": np.zeros((classes, hidden), np.float32)}
    x, labels = np.zeros((rows, hidden), np.float32), np.zeros(rows, np.int32)
    run = hl.compile(
        lambda p, x, labels: hl.value_and_grad(lambda q: hl.linear_cross_entropy(x, q["w"], labels)[0])(p)
    )
    run.reserve(p, x, labels)
    assert run.program.plan.bytes < 0.05 * rows * classes * 4


def test_loss_and_gradients_are_one_node() -> None:
    x, w, y = (
        b.make("input", attrs=InputAttrs(i, f"x{i}", shape, dtype))
        for i, (shape, dtype) in enumerate((((5, 4), "f32"), ((6, 4), "f32"), ((5,), "i32")))
    )
    alone = b.project(b.make("linear_cross_entropy", x, w, y, attrs=CrossEntropyAttrs()), 0)
    slopes = b.project(b.make("linear_cross_entropy", x, w, y, attrs=CrossEntropyAttrs(gradients=True)), 1)
    nodes = [node for node in walk(prune([alone, slopes])) if node.op == "linear_cross_entropy"]
    assert [node.attrs.gradients for node in nodes] == [True]
    assert [node.attrs.gradients for node in walk(prune([alone])) if node.op == "linear_cross_entropy"] == [False]


def test_rows_of_different_weights_are_refused() -> None:
    p, x, labels = given(4)

    def loss(x: Any, weights: Any) -> Any:
        node = hl.linear_cross_entropy(x, hl.Tensor(p["w"]), hl.Tensor(labels))[0]
        return (node * weights).sum()

    assert hl.grad(lambda x: loss(x, 3.0))(hl.Tensor(x)).shape == (4, H)
    losses = b.make("linear_cross_entropy", *(
        b.make("input", attrs=InputAttrs(i, f"x{i}", a.shape, "i32" if a.dtype == np.int32 else "f32"))
        for i, a in enumerate((x, p["w"], labels))
    ), attrs=CrossEntropyAttrs())  # fmt: skip
    weighted = b.reduce("sum", b.multiply(b.project(losses, 0), b.cast(b.iota((4,), 0), "f32")), (0,))
    with pytest.raises(NotImplementedError, match="different weights"):
        gradients(b.reshape(weighted, ()), [losses.inputs[0]])
