"""Tables of which a function reads few rows: which they are, other rows in their place, and steps that they missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from handloom.graph import build as b
from handloom.graph.node import Dimension, Node, Spec, walk
from handloom.graph.ops import Body, ReplayAttrs
from handloom.graph.rewrite import substitute
from handloom.tensor.tensor import Tensor, Trace, TraceError, apply_all, node_of


@dataclass(frozen=True)
class Gathers:
    """The rows of a table that traced values read: their numbers, i32 [n], which may repeat; `slots`, i32 [n], says
    where the number of each stands first."""

    takes: tuple[Node, ...]
    ids: Tensor
    slots: Tensor

    def replaced(self, rows: Tensor) -> dict[Node, Node]:
        """Every gather, from `rows` [n, ...] instead: row i stands for the table's row ids[i], where that is first."""
        source, slots = node_of(rows), node_of(self.slots)
        start: Dimension = 0
        found = {}
        for take in self.takes:
            count = take.shape[0]
            found[take] = b.take(source, b.slice_axis(slots, 0, start, count))
            start = start + count
        return found


def gathers(values: Sequence[Tensor], table: Tensor) -> Gathers | None:
    """What traced `values` take of a traced `table`; None where they read it in any other way, or not at all."""
    source = node_of(table)
    readers = [node for node in walk([node_of(value) for value in values]) if source in node.inputs]
    ids = [node.inputs[-1] for node in readers]
    if not readers or any(node.op != "take" for node in readers) or source in set(walk(ids)):
        return None
    joined = b.concatenate(ids, 0)
    slots = b.take(b.places(joined, source.shape[0]), joined)
    return Gathers(tuple(readers), Tensor(joined), Tensor(slots))


def exchanged(values: Sequence[Tensor], replaced: Iterable[Mapping[Node, Node]]) -> list[Tensor]:
    """Traced values with nodes replaced (see Gathers.replaced)."""
    pairs = {old: new for part in replaced for old, new in part.items()}
    return list(map(Tensor, substitute([node_of(value) for value in values], pairs)))


def distinct_rows(gradient: Tensor) -> Tensor:
    """The rows of a gradient without those that are zero because nobody took them, where it is made of such rows (see
    the rule of `take` in graph/gradients.py); else the gradient itself."""
    node = gradient.value
    if isinstance(node, Node) and node.op == "take" and node.inputs[1].op == "places":
        return Tensor(node.inputs[0])
    return gradient


def replay(
    step: Callable[[list[Tensor], list[Tensor]], Sequence[Tensor]],
    rest: Callable[[Tensor, list[Tensor]], Tensor],
    states: Sequence[Tensor],
    past: Tensor,
    first: Tensor,
    count: Tensor,
) -> tuple[Tensor, ...]:
    """Rows moved through the steps that they missed: for each row r, states = step(states, past[t]) for all steps t
    from first[r] to count − 1.

    states: f32 [rows, columns] each. past: f32 [steps, numbers]. first: i32 [rows]. count: i32 []. `step` is written
    for one element: from its states and a step's numbers, all scalars, to its states after the step. `rest` says what
    becomes of the first state where the others are zero and remain so: the same bits for less. Donated states are
    overwritten. Not differentiable.
    """
    kept, numbers = len(states), past.shape[1]
    if not isinstance(numbers, int):
        raise TraceError(f"the numbers of a step must be so many, and are {numbers}")

    def build(*nodes: Node) -> tuple[Node, ...]:
        inner = Trace()
        inputs = [inner.input(Spec((), "f32"), "state" if i < kept else "number") for i in range(kept + numbers)]
        given = list(map(Tensor, inputs))
        after = Body(tuple(inputs), tuple(map(node_of, step(given[:kept], given[kept:]))))
        resting = Body((inputs[0], *inputs[kept:]), (node_of(rest(given[0], given[kept:])),))
        node = b.make("replay", *nodes, attrs=ReplayAttrs(after, resting))
        return tuple(b.project(node, i) for i in range(kept))

    return apply_all(build, *states, past, first, count)
