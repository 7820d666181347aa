"""Right operands of products that stay the same are laid out once, in the panels that products read.

What stays the same: what depends on inputs declared constant alone, and inside a scan what no round changes.

Where constants are to be stored in less (`weights` bf16 or int8), panels are cast to that, and products of f32 widen
them as they read. In int8 each column of a product has a scale of its own, by which its sums are multiplied: its
largest element becomes ±127.

Needs: composites are expanded, products narrowed. Promises: panels are read by products, or first made smaller.
`constant_part` then tells what can be computed before the first run and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from handloom.graph import build as b
from handloom.graph.access import base_of
from handloom.graph.node import Node, Size, walk
from handloom.graph.ops import Body, DotAttrs, InputAttrs, ScanAttrs
from handloom.graph.rewrite import substitute, transform

WEIGHTS = ("f32", "bf16", "int8")
"""In what weights that stay the same may be stored for products of f32."""


def prepack(outputs: Sequence[Node], constants: Set[Node], columns: int, weights: str = "f32") -> list[Node]:
    """columns: of a panel. weights: how right operands that depend on constants are stored."""
    stays = _Staying(constants)

    def rule(node: Node) -> Node | None:
        if node.op == "scan":
            return _scan(node, columns)
        return _product(node, stays, lambda w: _laid_out(w, node, columns), weights)

    return transform(outputs, rule)


class _Staying:
    """Whether a value depends on constants, and on nothing else but numbers."""

    def __init__(self, constants: Set[Node]) -> None:
        self._known: dict[Node, bool | None] = dict.fromkeys(constants, True)

    def __call__(self, node: Node) -> bool:
        return self._of(node) is True

    def _of(self, node: Node) -> bool | None:
        """None for a value that depends on no input at all."""
        stack = [node]
        while stack:
            x = stack[-1]
            waiting = [y for y in x.inputs if y not in self._known]
            if x in self._known or not waiting:
                stack.pop()
                found = [self._known[y] for y in x.inputs]
                varies = x.op in ("input", "random_uniform") or False in found
                self._known.setdefault(x, False if varies else (True if True in found else None))
            stack += waiting
        return self._known[node]


def _product(
    node: Node, stays: Callable[[Node], bool], laid_out: Callable[[Node], Node], weights: str = "f32"
) -> Node | None:
    if node.op != "dot" or node.attrs.panels is not None or len(node.shape) != 2 or node.dtype != "f32":
        return None
    a, w = node.inputs
    sizes = (*w.shape, node.shape[1])
    if not stays(w) or stays(a) or not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    attrs = DotAttrs(node.attrs.transpose_a, False, node.attrs.narrow, node.shape[1])  # type: ignore[arg-type]
    panels = laid_out(w)
    if node.attrs.narrow or weights == "f32":
        return b.make("dot", a, panels, attrs=attrs)
    if weights == "bf16":
        return b.make("dot", a, b.cast(panels, "bf16"), attrs=attrs)
    rows = b.transpose(w, (1, 0)) if not node.attrs.transpose_b else w
    scale = b.divide(b.reduce("max", b.unary("absolute", rows), (1,)), 127.0)  # [N, 1]
    sums = b.make("dot", a, _whole_numbers(panels, scale), attrs=attrs)
    return b.multiply(sums, b.broadcast(b.reshape(scale, (1, node.shape[1])), node.shape))


def _whole_numbers(panels: Node, scale: Node) -> Node:
    """The elements of panels in units of their column's scale [N, 1], rounded, as i8; a column of zeros stays zeros."""
    count, _, columns = panels.shape
    assert isinstance(count, int) and isinstance(columns, int)
    nothing, one = b.binary("equal", scale, 0.0), b.full(1.0, scale.shape, "f32")
    inverse = b.where(nothing, b.zeros_like(scale), b.divide(one, scale))
    of_column = b.reshape(b.pad_axis(inverse, 0, 0, count * columns), (count, 1, columns))
    units = b.unary("floor", b.add(b.multiply(panels, b.broadcast(of_column, panels.shape)), 0.5))
    bounded = b.binary("minimum", b.binary("maximum", units, -127.0), 127.0)  # beyond the matrix may stand anything
    return b.cast(bounded, "i8")


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
