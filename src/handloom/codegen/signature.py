"""What a unit computes, apart from which tensors it computes it with: units of one signature share a kernel."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from handloom.codegen.evaluate import Argument, Pointer, Site
from handloom.graph.access import VIEWS, access_of
from handloom.graph.node import Node
from handloom.graph.ops import AttentionAttrs, RandomAttrs
from handloom.graph.unit import Unit


class Signature:
    """`key` is equal for units that differ only in their tensors; `nodes` numbers what arguments may point to."""

    def __init__(self, unit: Unit, nodes: Sequence[Node], outside: Callable[[Node], bool]) -> None:
        self._numbers: dict[Node, int] = {}
        self.nodes: list[Node] = []
        lines: list[Hashable] = [unit.kind, unit.space]
        for node in nodes:
            inputs = tuple(self._operand(x, outside) for x in node.inputs)
            attrs = replace(node.attrs, site=0) if isinstance(node.attrs, (RandomAttrs, AttentionAttrs)) else node.attrs
            lines.append((node.op, attrs, node.spec, inputs, self._number(node)))
        lines.append(tuple(self._number(root) for root in unit.roots))
        lines.append(unit.row_sums and self._number(unit.row_sums))
        self.key: Hashable = tuple(lines)

    def _number(self, node: Node) -> int:
        if node not in self._numbers:
            self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return self._numbers[node]

    def _operand(self, x: Node, outside: Callable[[Node], bool]) -> Hashable:
        if x.op == "constant":
            return ("constant", x.attrs)
        access = access_of(x)
        if access is not None and outside(access.base):
            return (self._number(access.base), access.base.spec, access.offset, access.shape, access.strides)
        if x.op in VIEWS:
            return (x.op, x.attrs, x.shape, self._operand(x.inputs[0], outside))
        return self._number(x)

    def template(self, arguments: Sequence[Argument]) -> tuple[Argument | tuple[int, Argument], ...]:
        """Arguments with numbers in place of nodes."""
        return tuple((self._numbers[a.node], a) if isinstance(a, (Pointer, Site)) else a for a in arguments)

    def arguments(self, template: Sequence[Argument | tuple[int, Argument]]) -> tuple[Argument, ...]:
        """The arguments of a template for this unit's nodes."""
        return tuple(replace(a[1], node=self.nodes[a[0]]) if isinstance(a, tuple) else a for a in template)  # type: ignore[type-var]
