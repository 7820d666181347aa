"""The verifier: good graphs pass, and every kind of mistake is named, with the pass and the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case

import handloom as hl
from handloom.graph import build as b
from handloom.graph.node import Node, Size, Spec, intern
from handloom.graph.ops import AxesAttrs, Body, ConstantAttrs, DotAttrs, InputAttrs, ProjectAttrs, ScanAttrs
from handloom.graph.verify import InvalidGraph, verify, verify_schedule
from handloom.passes import pipeline
from handloom.passes.watch import PROMISES, expanded, legal, pruned

X = b.make("input", attrs=InputAttrs(0, "x", (4, 5), "f32"))
Y = b.make("input", attrs=InputAttrs(1, "y", (Size.symbol("tokens"), 5), "f32"))


def forged(op: str, inputs: tuple[Node, ...] = (X,), attrs: Any = None, spec: Any = X.spec) -> Node:
    """A node that nobody checked."""
    return intern(op, inputs, attrs, spec)


def scan_of(body: Body, *inputs: Node) -> Node:
    return forged("scan", inputs, ScanAttrs(body, 1, 0, 3), (body.outputs[0].spec,))


H = b.make("input", attrs=InputAttrs(-50, "h", (5,), "f32"))
OUTSIDE = b.make("input", attrs=InputAttrs(-51, "far", (5,), "f32"))
START = b.make("input", attrs=InputAttrs(2, "h0", (5,), "f32"))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (forged("conjure"), "no operation 'conjure'"),
        (forged("add"), "add takes 2 operands and has 1"),
        (forged("sum", attrs=ConstantAttrs(1.0, "f32")), "its attributes must be AxesAttrs"),
        (forged("tanh", attrs=AxesAttrs((0,))), "its attributes must be None"),
        (forged("tanh", spec=Spec((5, 4), "f32")), r"its type must be f32\[4, 5\]"),
        (forged("tanh", spec=Spec((4, 5), "f64")), r"its type must be f32\[4, 5\]"),
        (forged("dot", (X, X), DotAttrs()), "the inner sizes 5 and 4 differ"),
        (forged("project", attrs=ProjectAttrs(0)), "its operand has no result 0"),
        (forged("input", (), InputAttrs(3, "z", (4,), "f8"), Spec((4,), "f8")), "no dtype 'f8'"),
        (forged("input", (), InputAttrs(3, "z", (-4,), "f32"), Spec((-4,), "f32")), "a size is negative"),
        (b.full(1.0, (Size.symbol("rows"),), "f32"), "no input declares the size rows; there are none"),
        (b.add(Y, b.full(1.0, (1, 5), "f32")), None),
        (scan_of(Body((H,), (b.add(H, OUTSIDE),)), START), "its body uses <input .*> of outside"),
        (scan_of(Body((H,), (forged("tanh", (H,), H, H.spec),)), START), "in its body, <tanh f32.*attributes"),
    ],
)
def test_each_mistake_is_named(node: Node, message: str | None) -> None:
    output = b.project(node, 0) if isinstance(node.spec, tuple) else node
    if message is None:
        verify([output], "a pass")
    else:
        with pytest.raises(InvalidGraph, match=f"(?s)after a pass: .*{message}"):
            verify([output], "a pass")


def test_an_operation_of_several_results_is_no_operand_and_no_output() -> None:
    node = scan_of(Body((H,), (b.unary("tanh", H),)), START)
    with pytest.raises(InvalidGraph, match="an output is one value"):
        verify([node], "tracing")
    with pytest.raises(InvalidGraph, match="project must take one of them"):
        verify([forged("tanh", (node,), None, Spec((5,), "f32"))], "tracing")


def test_the_error_shows_the_node_as_the_graph_is_shown() -> None:
    wrong = forged("tanh", (b.unary("exp", X),), None, Spec((4,), "f32"))
    with pytest.raises(InvalidGraph) as caught:
        verify([wrong], "expand")
    assert str(caught.value).startswith("after expand: %1 = tanh(%0) : f32[4]\n")


STACKING = Body((H,), (b.unary("tanh", H), b.unary("exp", H)))
TWO_RESULTS = b.make("scan", START, attrs=ScanAttrs(STACKING, 1, 0, 3))


@pytest.mark.parametrize(
    ("promise", "outputs", "message"),
    [
        (pruned, [b.project(TWO_RESULTS, 0)], "nobody uses its result 1"),
        (pruned, [b.project(TWO_RESULTS, 0), b.project(TWO_RESULTS, 1)], None),
        (expanded, [b.make("softmax", X)], "should have been expanded"),
        (legal, [b.reduce("max", X, (0,))], "a reduction must be over the last axis"),
        (legal, [b.reduce("sum", X, (0,))], None),
        (legal, [b.reduce("sum", X, (0, 1))], "a reduction must be"),
        (legal, [b.dot(b.broadcast(b.reduce("sum", X, (1,)), (4, 5)), X, True)], "a broadcast, which no product reads"),
        (legal, [b.dot(b.full(1.0, (3, 4), "f32"), X)], "operand 0 does not lie in memory"),
        (legal, [b.concatenate([X, b.full(1.0, (3, 5), "f32")], 0)], "operand 1 does not lie in memory"),
        (legal, [b.take(b.transpose(X, (1, 0)), b.make("input", attrs=InputAttrs(9, "i", (2,), "i32")))], "dense"),
        (legal, [b.reshape(b.transpose(X, (1, 0)), (20,))], "does not fold"),
        (legal, [X], "an output must fill a buffer of its own"),
        (legal, [b.unary("tanh", X), b.reshape(b.unary("tanh", X), (20,))], "two outputs share a buffer"),
    ],
)
def test_each_broken_promise_is_named(promise: Any, outputs: Sequence[Node], message: str | None) -> None:
    found = [why for _, why in promise(outputs)]
    assert (not found) if message is None else any(message in why for why in found), found


def test_every_pass_promises_something() -> None:
    assert set(PROMISES) == {name for name, _ in pipeline.PIPELINE}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_passes_through_all_passes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [output for output in case.outputs(case.nodes()) if not isinstance(output.spec, tuple)]
    monkeypatch.setenv("HANDLOOM_DEBUG", "verify")
    pipeline.prepare(outputs)


def test_a_pass_that_breaks_its_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = {**dict(pipeline.PIPELINE), "expand": lambda outputs, _: list(outputs)}
    broken = tuple((name, passes[name]) for name in ("prune", "expand", "legalise"))
    monkeypatch.setattr(pipeline, "PIPELINE", broken)
    pipeline.prepare([b.make("softmax", X)])  # nobody looks
    monkeypatch.setenv("HANDLOOM_DEBUG", "verify")
    with pytest.raises(InvalidGraph, match=r"after expand: %0 = softmax\(%x\)"):
        pipeline.prepare([b.make("softmax", X)])


@pytest.mark.parametrize(
    ("reads", "writes", "wave", "taken", "message"),
    [
        (["x", "a"], ["a", "b"], [0, 1], {}, None),
        (["x", "a"], ["a", "b"], [0, 0], {}, "step 1 reads a in wave 0, before it is written"),
        (["x", "y"], ["a", "a"], [0, 0], {}, "steps 0 and 1 write a in one wave"),
        # b takes the memory of the donated x
        (["x", "x"], ["a", "b"], [0, 1], {"b": "x"}, None),
        (["x", "x"], ["a", "b"], [1, 1], {"b": "x"}, "step 0 reads the donated x in wave 1, but step 1 overwrites it"),
        (["x", "x"], ["b", "a"], [0, 1], {"b": "x"}, "step 1 reads the donated x in wave 1, but step 0 overwrites it"),
        (["x", "b"], ["b", "a"], [0, 1], {"b": "x"}, None),
    ],
)
def test_schedules(
    reads: list[str], writes: list[str], wave: list[int], taken: dict[str, str], message: str | None
) -> None:
    if message is None:
        verify_schedule(reads, writes, wave, taken)
    else:
        with pytest.raises(InvalidGraph, match=message):
            verify_schedule(reads, writes, wave, taken)


def test_donated_state_passes_in_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_DEBUG", "verify")

    @hl.compile(donate=("state",))
    def step(state: Any, g: Any) -> Any:
        moment = state["m"] * 0.9 + g
        return {"p": state["p"] - moment, "m": moment}, (state["p"] * state["p"]).sum()

    p, m, g = (np.full((3, 20), value, np.float32) for value in (2, 1, 1))
    new, square = step({"p": p.copy(), "m": m.copy()}, g)
    np.testing.assert_allclose(new["p"].numpy(), np.full((3, 20), 0.1), rtol=1e-5)
    assert float(square) == 240
