"""Every operation: its rules are all there, its gradient is that of differences, its kernel does as NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, Case

from handloom.codegen.lower import LOWERINGS
from handloom.codegen.scalars import SCALARS
from handloom.compiler import build
from handloom.graph import build as b
from handloom.graph.autodiff import vjp
from handloom.graph.composites import EXPANSIONS
from handloom.graph.gradients import GRADIENTS
from handloom.graph.infer import INFER
from handloom.graph.node import FLOATS, Node
from handloom.graph.ops import OPS
from handloom.graph.reference import evaluate, missing

IN_EVALUATOR = {"input", "constant", "iota", "take", "random_uniform", "project", "sum", "max"}
IN_COMPILER = {"scan", "linear_cross_entropy"}


def test_the_tables_are_complete() -> None:
    assert set(INFER) == set(OPS)
    assert set(GRADIENTS) == set(OPS) - {"project"}  # which differentiation itself takes apart
    assert not missing()
    assert {case.op for case in CASES} >= set(OPS)
    for name, op in OPS.items():
        lowered = name in SCALARS or name in LOWERINGS or name in EXPANSIONS or name in IN_EVALUATOR | IN_COMPILER
        assert lowered or op.kind == "view", f"nothing generates code for {name}"


def weighted(outputs: list[Node]) -> Node:
    """One number that depends on every floating-point result, each element with a weight of its own."""
    total = b.constant(0.0, "f32")
    for serial, output in enumerate(outputs):
        if output.dtype in FLOATS:
            size = 1
            for length in output.shape:
                size *= int(length)  # type: ignore[call-overload]
            flat = b.reshape(output, (size,))
            scale = b.unary("cos", b.add(b.cast(b.iota((size,), 0), "f32"), 0.7 + serial))
            total = b.add(
                total,
                b.reshape(b.reduce("sum", b.multiply(flat, scale), (0,)) if size != 1 else b.multiply(flat, scale), ()),
            )
    return total


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.differentiate and OPS[case.op].differentiable], ids=str
)
def test_gradient_against_finite_differences(case: Case) -> None:
    nodes = case.nodes()
    outputs = case.outputs(nodes)
    if any(0 in output.shape for output in outputs if not isinstance(output.spec, tuple)):
        pytest.skip("no elements")
    loss = weighted([output for output in outputs if not isinstance(output.spec, tuple)])
    chosen = [i for i, node in enumerate(nodes) if node.dtype in FLOATS]
    found = vjp([loss], [b.constant(1.0, "f32")], [nodes[i] for i in chosen])
    values = {
        node: array.astype(np.float64) if array.dtype == np.float32 else array
        for node, array in zip(nodes, case.arrays, strict=True)
    }
    random = np.random.default_rng(1)
    for i, gradient in zip(chosen, found, strict=True):
        direction = random.standard_normal(case.arrays[i].shape)
        slope = 0.0 if gradient is None else float((evaluate([gradient], values, double=True)[0] * direction).sum())
        step = 1e-6
        sides = []
        for sign in (1, -1):
            moved = {**values, nodes[i]: values[nodes[i]] + sign * step * direction}
            sides.append(float(evaluate([loss], moved, double=True)[0]))
        assert slope == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=2e-5, abs=2e-6), f"operand {i}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compiled_against_reference(case: Case) -> None:
    nodes = case.nodes()
    outputs = case.outputs(nodes)
    if any(isinstance(output.spec, tuple) for output in outputs) or any(
        output.dtype in ("f64", "bf16") for output in outputs
    ):
        pytest.skip("taken apart by project, or a dtype of the reference")
    wanted = evaluate(outputs, dict(zip(nodes, case.arrays, strict=True)))
    got = build(nodes, outputs, {})(case.arrays, {})
    for ours, truth in zip(got, wanted, strict=True):
        assert ours.shape == truth.shape and ours.dtype == truth.dtype
        scale = (
            float(np.abs(truth[np.isfinite(truth)]).max())
            if truth.size and np.isfinite(truth).any() and truth.dtype.kind == "f"
            else 1.0
        )
        np.testing.assert_allclose(ours, truth, rtol=case.tolerance * 10, atol=case.tolerance * max(scale, 1e-6))
