"""The passes in their order, each with what it turns a graph into."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handloom.graph.node import Node
from handloom.passes.expand import expand
from handloom.passes.legalise import legalise
from handloom.passes.narrow import narrow
from handloom.passes.prune import prune
from handloom.passes.sink import sink
from handloom.passes.watch import Watch

PIPELINE: tuple[tuple[str, Callable[[Sequence[Node]], list[Node]]], ...] = (
    ("prune", prune),
    ("expand", expand),
    ("narrow", narrow),
    ("sink", sink),
    ("legalise", legalise),
)


PRECISIONS = ("f32", "bf16")
"""In what products are computed: `narrow` runs for bf16 only."""


def prepare(outputs: Sequence[Node], precision: str = "f32") -> list[Node]:
    """`outputs` in the form that `partition` needs."""
    result = list(outputs)
    watch = Watch(result)
    for name, run in PIPELINE:
        if name == "narrow" and precision == "f32":
            continue
        result = run(result)
        watch.after(name, result)
    return result
