"""What a unit does to the rows of its product, written by the same evaluator as loops are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handloom.codegen import scalars
from handloom.codegen.emit import SIZES, Function, Value
from handloom.codegen.evaluate import Argument, Evaluator, Place, Pointer
from handloom.codegen.matmul import EPILOGUE
from handloom.codegen.target import Target
from handloom.graph.access import access_of
from handloom.graph.node import Node
from handloom.graph.unit import Unit


class UnitEpilogue:
    """Computes the unit's roots from the product's sums and stores them; the product itself, if it is a root."""

    def __init__(self, unit: Unit, nodes: Sequence[Node], target: Target, outside: Callable[[Node], bool]) -> None:
        self.unit, self.nodes, self.target, self.outside = unit, list(nodes), target, outside
        self.roots = [root for root in unit.roots if root is not unit.row_sums]
        self.arguments: list[Argument] = []

    def prepare(self, f: Function, args: Value, batch: Value) -> None:
        self.e = Evaluator(f, args, self.target, self.unit.space, self.outside, EPILOGUE)
        self.e.declare([node for node in self.nodes if node is not self.unit.anchor], self.roots)
        self.arguments = self.e.arguments

    def columns(self, f: Function, column: Value, masks: Sequence[Value | None]) -> None:
        pass

    def output(self, f: Function, row: Value, column: Value) -> tuple[Value, Value] | None:
        if not self.roots:
            return None
        root = self.roots[0]
        access = access_of(root)
        assert access is not None
        memory = scalars.MEMORY[root.dtype]
        stride = self.e.slot(access.strides[0])
        return f.at(self.e.slot(Pointer(root)), f.add(f.mul(row, stride), column), memory), f.mul(stride, SIZES[memory])

    def store(
        self, f: Function, row: Value, column: Value, vectors: list[Value], masks: Sequence[Value | None]
    ) -> None:
        assert self.unit.anchor is not None
        e = self.e
        if self.unit.space[-1] == 1:  # the product is one number a row
            e.given = {self.unit.anchor: f.extract(vectors[0], 0)}
        e.begin_row(row)
        for j, (sums, mask) in enumerate(zip(vectors, masks, strict=True)):
            place = Place(f.add(column, j * sums.lanes), mask, values={self.unit.anchor: sums})
            values = [e.vector(root, place) for root in self.roots]
            for root, value in zip(self.roots, values, strict=True):
                scalars.store(f, root.dtype, value, f.at(e.goal(root), place.column, scalars.MEMORY[root.dtype]), mask)
