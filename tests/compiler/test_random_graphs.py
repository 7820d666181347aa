"""Random graphs with their gradients: what the compiler makes of them is what they mean."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import OPERATIONS, SIZES, Sample, Step, sample

from handloom.compiler import build
from handloom.graph.reference import evaluate

SHARE = 2e-5
"""Of the largest value: what rounding to f32 may do in a graph of a dozen operations."""

STEPS = st.lists(
    st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 5), st.integers(0, 29), st.integers(0, 29)),
    min_size=1,
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def verified() -> Iterator[None]:
    """With the verifier between all passes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDLOOM_DEBUG", "verify")
        yield


def differences(graph: Sample, donate: bool) -> list[str]:
    """What the compiled program gets wrong. NumPy's own f32 says how much a result suffers from rounding.

    With `donate`, results may take the memory of any input.
    """
    inputs = dict(zip(graph.inputs, graph.arrays, strict=True))
    exact = evaluate(graph.outputs, inputs, double=True)
    single = evaluate(graph.outputs, inputs)
    donated = range(len(graph.inputs)) if donate else ()
    found = build(graph.inputs, graph.outputs, {}, donated)([a.copy() for a in graph.arrays], {})
    wrong = []
    largest = max(float(np.abs(truth).max()) for truth in exact if truth.size) if any(t.size for t in exact) else 0.0
    for i, (ours, truth, rounded) in enumerate(zip(found, exact, single, strict=True)):
        if ours.shape != truth.shape:
            wrong.append(f"output {i}: shape {ours.shape}, not {truth.shape}")
        elif truth.size:
            scale = max(float(np.abs(truth).max()), 0.1 * largest)  # small sums of large numbers cancel
            allowed = SHARE * scale + 8 * float(np.abs(truth - rounded).max())
            error = np.abs(ours - truth)
            if not error.max() <= allowed:
                at = tuple(map(int, np.unravel_index(int(np.nan_to_num(error, nan=np.inf).argmax()), error.shape)))
                wrong.append(f"output {i} {graph.outputs[i]!r} at {at}: {ours[at]}, not {truth[at]} ± {allowed:.2g}")
    return wrong


@settings(max_examples=150)
@given(st.sampled_from(SIZES), st.sampled_from(SIZES), STEPS)
def test_a_random_graph_and_its_gradients(rows: int, columns: int, recipe: list[Step]) -> None:
    assert not differences(sample(rows, columns, recipe), donate=len(recipe) % 2 == 0)
