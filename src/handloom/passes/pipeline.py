"""The passes in their order, each with what it turns a graph into."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handloom.graph.node import Node
from handloom.passes.expand import expand
from handloom.passes.legalise import legalise
from handloom.passes.prune import prune
from handloom.passes.watch import Watch

PIPELINE: tuple[tuple[str, Callable[[Sequence[Node]], list[Node]]], ...] = (
    ("prune", prune),
    ("expand", expand),
    ("legalise", legalise),
)


def prepare(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` in the form that `partition` needs."""
    result = list(outputs)
    watch = Watch(result)
    for name, run in PIPELINE:
        result = run(result)
        watch.after(name, result)
    return result
