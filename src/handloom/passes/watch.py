"""Debug mode: what every pass promises, checked after it and after all that follow, and what it changed, printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from handloom.graph import show
from handloom.graph.access import VIEWS, Access, access_of, base_of
from handloom.graph.composites import EXPANSIONS
from handloom.graph.node import Node, walk
from handloom.graph.ops import OPS
from handloom.graph.verify import Complaint, Promise, symbols_of, verify
from handloom.passes.expand import expand
from handloom.passes.join import joined
from handloom.passes.legalise import DENSE_OPERANDS, NOT_OUTPUTS, same_size
from handloom.passes.sink import stays


class Watch:
    """Looks at a graph after tracing and after each pass; does nothing unless HANDLOOM_DEBUG is set."""

    def __init__(self, outputs: Sequence[Node]) -> None:
        self.on = bool(show.topics())
        if self.on:
            self.outputs = list(outputs)
            self.symbols = symbols_of(outputs)
            self.promises: list[Promise] = []
            verify(outputs, "tracing", symbols=self.symbols)
            if show.wanted("graph"):
                show.report("graph", show.graph_text(outputs))

    def after(self, name: str, outputs: Sequence[Node]) -> None:
        if self.on:
            before, self.outputs = self.outputs, list(outputs)
            self.promises.append(PROMISES[name])
            verify(outputs, name, self.promises, self.symbols)
            if show.wanted("passes"):
                show.report(f"{name}: what it changed", show.changes_text(before, outputs))


def pruned(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """Every stacked result of a scan is used."""
    used = {(node.inputs[0], node.attrs.index) for node in walk(outputs) if node.op == "project"}
    for node in walk(outputs):
        if node.op == "scan":
            for i in range(node.attrs.carried, len(node.spec)):
                if (node, i) not in used:
                    yield node, f"nobody uses its result {i}: it should have been pruned"


def sunk(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """No gather of rows stands above what could be computed for those rows alone."""
    order = list(walk(outputs))
    for node in order:
        copied = node.op == "take" and node.inputs[0].op == "stop_gradient"  # into a form that kernels read
        if not copied and not stays(node, outputs, order):
            yield node, "a gather of rows that could be moved up"


def expanded(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """What `expand` leaves of composites is what it does not change."""
    for node in walk(outputs):
        if node.op in EXPANSIONS and expand([node]) != [node]:
            yield node, "a composite that no kernel claims: it should have been expanded"


def complete(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """No sum consists of the parts of a whole."""
    for node in walk(outputs):
        if joined(node) is not None:
            yield node, "a sum of paddings that could be a concatenation"


def narrowed(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """The operands of narrow products are rounded, but for inputs on the right."""
    for node in walk(outputs):
        if node.op == "dot" and node.attrs.narrow:
            a, w = node.inputs
            if a.dtype != "bf16":
                yield node, "the left operand of a narrow product must be bf16"
            if w.dtype != "bf16" and base_of(w).op != "input" and node.attrs.panels is None:
                yield node, "the right operand of a narrow product must be bf16 or an input"


def prepacked(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """Panels are read by products that know of them, by scans that hand them on, and by what makes them smaller."""
    for node in walk(outputs):
        for i, x in enumerate(node.inputs):
            product = node.op == "dot" and i == 1 and node.attrs.panels
            if x.op == "panels" and not (product or node.op == "scan" or OPS[node.op].kind == "elementwise"):
                yield node, f"operand {i} is laid out for products, and this is none that reads panels"


def legal(outputs: Sequence[Node]) -> Iterator[Complaint]:
    """Only the forms that kernels read; outputs with buffers of their own."""
    for node in walk(outputs):
        yield from ((node, why) for why in _illegal(node))
    seen: set[Node] = set()
    for output in outputs:
        base, access = base_of(output), access_of(output)
        if base.op in NOT_OUTPUTS or access is None or not access.dense or not same_size(access):
            yield output, "an output must fill a buffer of its own, in order"
        if base in seen:
            yield output, "two outputs share a buffer"
        seen.add(base)


def _illegal(node: Node) -> Iterator[str]:
    if node.op in VIEWS:
        if access_of(node) is None:
            yield "this view does not fold into an address"
    elif node.op in ("sum", "max"):
        rank, axes = len(node.inputs[0].shape), set(node.attrs.axes)
        single = {i for i in range(rank - 1) if node.inputs[0].shape[i] == 1}
        if rank < 2 or (axes != {rank - 1} and (node.op == "max" or axes | single != set(range(rank - 1)))):
            yield "a reduction must be over the last axis, or a sum over all but the last"
    elif node.op in ("dot", "panels"):
        for i, x in enumerate(node.inputs):
            yield from _form(i, x, access_of(x), dense=len(x.shape) > 2)
    elif node.op == "take":
        yield from _form(0, node.inputs[0], access_of(node.inputs[0]), dense=True)
    elif node.op in ("attention", "attention_backward", "concatenate", "pad", *DENSE_OPERANDS):
        for i, x in enumerate(node.inputs):
            yield from _form(i, x, access_of(x), dense=node.op in DENSE_OPERANDS, any_stride=node.op in MOVES)


MOVES = ("concatenate", "pad")


def _form(i: int, x: Node, access: Access | None, dense: bool, any_stride: bool = False) -> Iterator[str]:
    """What is wrong with an operand that a kernel reads from memory; one without elements may be anything."""
    if 0 in x.shape:
        return
    if access is None or access.base.op == "constant":
        yield f"operand {i} does not lie in memory"
    elif dense and not (access.dense and same_size(access)):
        yield f"operand {i} must be dense"
    elif not any_stride and not dense and len(x.shape) == 2:
        pairs = list(zip(x.shape, access.strides, strict=True))
        if not any(size == 1 or stride == 1 for size, stride in pairs):
            yield f"operand {i} must have an axis whose elements lie side by side"
        if any(size != 1 and stride == 0 for size, stride in pairs):
            yield f"operand {i} is a broadcast, which no product reads"
        if not access.forward:
            yield f"operand {i} is walked from its end to its beginning"


PROMISES: Mapping[str, Promise] = {
    "prune": pruned,
    "expand": expanded,
    "join": complete,
    "narrow": narrowed,
    "sink": sunk,
    "prepack": prepacked,
    "legalise": legal,
}
"""By the names of pipeline.PIPELINE."""
