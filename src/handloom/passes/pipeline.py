"""The passes in their order, each with what it turns a graph into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handloom.graph.node import Node
from handloom.passes.expand import expand
from handloom.passes.join import join
from handloom.passes.legalise import legalise
from handloom.passes.narrow import narrow
from handloom.passes.prepack import prepack
from handloom.passes.prune import prune
from handloom.passes.sink import sink
from handloom.passes.watch import Watch

PRECISIONS = ("f32", "bf16")
"""In what products are computed: `narrow` runs for bf16 only."""


@dataclass(frozen=True)
class Options:
    """columns: of a panel, for right operands that are laid out once (0: none is). constants: inputs that stay.
    weights: how products of f32 by constants store them, one of prepack.WEIGHTS."""

    precision: str = "f32"
    columns: int = 0
    constants: frozenset[Node] = frozenset()
    weights: str = "f32"


Pass = Callable[[Sequence[Node], Options], list[Node] | None]
"""None where the options do not ask for it."""

PIPELINE: tuple[tuple[str, Pass], ...] = (
    ("prune", lambda outputs, _: prune(outputs)),
    ("expand", lambda outputs, _: expand(outputs)),
    ("join", lambda outputs, _: join(outputs)),
    ("narrow", lambda outputs, options: narrow(outputs) if options.precision == "bf16" else None),
    ("sink", lambda outputs, _: sink(outputs)),
    ("prepack", lambda outputs, o: prepack(outputs, o.constants, o.columns, o.weights) if o.columns else None),
    ("legalise", lambda outputs, _: legalise(outputs)),
)


def prepare(outputs: Sequence[Node], options: Options | None = None) -> list[Node]:
    """`outputs` in the form that `partition` needs."""
    result = list(outputs)
    watch = Watch(result)
    for name, run in PIPELINE:
        changed = run(result, options or Options())
        if changed is not None:
            result = changed
            watch.after(name, result)
    return result
