"""Right operands of products that stay the same are laid out once, in the panels that products read.

What stays the same: what depends on inputs declared constant alone, and inside a scan what no round changes.

Needs: composites are expanded, products narrowed. Promises: panels are read by products only. `constant_part` then
tells what can be computed before the first run and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from handloom.graph import build as b
from handloom.graph.access import base_of
from handloom.graph.node import Node, Size, walk
from handloom.graph.ops import Body, DotAttrs, InputAttrs, ScanAttrs
from handloom.graph.rewrite import substitute, transform


def prepack(outputs: Sequence[Node], constants: Set[Node], columns: int) -> list[Node]:
    """columns: of a panel."""
    stays = _Staying(constants)

    def rule(node: Node) -> Node | None:
        if node.op == "scan":
            return _scan(node, columns)
        return _product(node, stays, lambda w: _laid_out(w, node, columns))

    return transform(outputs, rule)


class _Staying:
    """Whether a value depends on constants, and on nothing else but numbers."""

    def __init__(self, constants: Set[Node]) -> None:
        self._known: dict[Node, bool | None] = dict.fromkeys(constants, True)

    def __call__(self, node: Node) -> bool:
        return self._of(node) is True

    def _of(self, node: Node) -> bool | None:
        """None for a value that depends on no input at all."""
        for x in walk([node]):
            if x not in self._known:
                found = [self._known[y] for y in x.inputs]
                varies = x.op in ("input", "random_uniform") or False in found
                self._known[x] = False if varies else (True if True in found else None)
        return self._known[node]


def _product(node: Node, stays: Callable[[Node], bool], laid_out: Callable[[Node], Node]) -> Node | None:
    if node.op != "dot" or node.attrs.panels is not None or len(node.shape) != 2 or node.dtype != "f32":
        return None
    a, w = node.inputs
    sizes = (*w.shape, node.shape[1])
    if not stays(w) or stays(a) or not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    attrs = DotAttrs(node.attrs.transpose_a, False, node.attrs.narrow, node.shape[1])  # type: ignore[arg-type]
    return b.make("dot", a, laid_out(w), attrs=attrs)


def _laid_out(w: Node, dot: Node, columns: int) -> Node:
    return b.panels(w, columns, dot.attrs.transpose_b, dot.attrs.narrow)


def _scan(node: Node, columns: int) -> Node | None:
    """The scan with one more constant for each product in its body whose right operand no round changes."""
    attrs: ScanAttrs = node.attrs
    if attrs.length == 1:
        return None
    first = attrs.carried + attrs.scanned
    outside = dict(zip(attrs.body.inputs[first:], node.inputs[first:], strict=True))
    stays = _Staying(outside.keys())
    given: dict[Node, Node] = {}  # panels, as the body would compute them → the body's input in their place

    def laid_out(w: Node, dot: Node) -> Node:
        made = _laid_out(w, dot, columns)
        if made not in given:
            name = f"panels {id(attrs.body)}"
            given[made] = b.make("input", attrs=InputAttrs(-1 - len(given), name, made.shape, made.dtype))
        return given[made]

    results = transform(attrs.body.outputs, lambda x: _product(x, stays, lambda w: laid_out(w, x)))
    if not given:
        return None
    body = Body((*attrs.body.inputs, *given.values()), tuple(results))
    operands = (*node.inputs, *substitute(list(given), outside))
    return b.make(
        "scan", *operands, attrs=ScanAttrs(body, attrs.carried, attrs.scanned, attrs.length, attrs.reverse)
    )


def constant_part(outputs: Sequence[Node], constants: Set[Node]) -> list[Node]:
    """The values of a legal graph that depend on constants alone and are read by others: in the order of the graph."""
    stays = _Staying(constants)
    kept = {base_of(output) for output in outputs}
    found: dict[Node, None] = {}
    for node in walk(outputs):
        if stays(node) and node not in kept:
            continue
        for x in node.inputs:
            base = base_of(x)
            sized = not isinstance(base.spec, tuple) and not any(isinstance(size, Size) for size in base.shape)
            if stays(base) and base not in constants and base not in kept and sized:
                found[base] = None
    return list(found)
