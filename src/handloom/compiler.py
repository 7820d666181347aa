"""The compiler on one page: graph in, program out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from handloom.graph.node import Node
from handloom.graph.reference import evaluate

Array = np.ndarray[Any, Any]
Executable = Callable[[Sequence[Array], Mapping[str, int]], "list[Array]"]


def build(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    capacity: Mapping[str, int],
    donated: Sequence[int],
    threads: int | None,
) -> Executable:
    """The program that computes `outputs`; HANDLOOM_BACKEND=reference runs the graph on NumPy instead."""
    return ReferenceProgram(inputs, outputs)


class ReferenceProgram:
    """The graph itself, run by NumPy."""

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)

    def __call__(self, arrays: Sequence[Array], env: Mapping[str, int]) -> list[Array]:
        values = evaluate(self.outputs, dict(zip(self.inputs, arrays, strict=True)), env)
        return [np.array(value, order="C") for value in values]


def backend() -> str:
    """"compiled" or "reference", by the environment variable HANDLOOM_BACKEND."""
    return os.environ.get("HANDLOOM_BACKEND", "compiled")
