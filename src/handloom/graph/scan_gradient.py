"""The gradient of a scan: a scan in the other direction, which carries the cotangents of what was carried.

A step of it computes a step of the scan again from what every step was given, apart from what the scan has stacked: of
a scan that tensor.scan has made, products need not be computed again.

The gradient of a constant would have to be carried along and added to in every step. Where it is a product over the
rows of two tensors (the gradient of a weight), or a sum over rows (that of a bias), the steps stack those instead, and
one product or sum over all steps together is taken after the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from handloom.graph import build as b
from handloom.graph.access import times
from handloom.graph.autodiff import vjp
from handloom.graph.node import FLOATS, Dimension, Node, walk
from handloom.graph.ops import Body, InputAttrs, ScanAttrs
from handloom.graph.rewrite import rebuild, substitute

MOVES = frozenset({"reshape", "transpose", "pad"})
"""Linear, and the same for every step: they can be done after the steps' results have been added up."""


def scan_gradient(node: Node, g: Sequence[Node | None]) -> list[Node | None]:
    return _Reverse(node, g).cotangents()


class _Reverse:
    def __init__(self, node: Node, g: Sequence[Node | None]) -> None:
        self.node, self.g = node, g
        attrs: ScanAttrs = node.attrs
        self.body, self.carried, self.scanned, self.length = attrs.body, attrs.carried, attrs.scanned, attrs.length
        inputs, outputs = self.body.inputs, self.body.outputs
        # the value of a step's node at every step, [length, …], where there is such a tensor outside
        self.known = {output: i for i, output in enumerate(outputs) if i >= self.carried}
        self.stacks: list[Node] = []  # what the reverse scan stacks …
        self.made: dict[Node, Node] = {}  # … and the tensors of that

        chosen = [i for i, x in enumerate(inputs) if x.dtype in FLOATS]
        self.d_carried = {i: self.fresh(inputs[i]) for i in chosen if i < self.carried}
        self.d_stacked = {i: self.fresh(outputs[i]) for i in range(self.carried, len(outputs)) if g[i] is not None}
        cotangents = [(self.d_carried if i < self.carried else self.d_stacked).get(i) for i in range(len(outputs))]
        found = vjp(outputs, cotangents, [inputs[i] for i in chosen])
        self.found = dict(zip(chosen, found, strict=True))
        self.steps = set(inputs[: self.carried + self.scanned]) | {*self.d_carried.values(), *self.d_stacked.values()}
        for x in walk(x for x in found if x is not None):
            if any(y in self.steps for y in x.inputs):
                self.steps.add(x)

    number = 0

    def fresh(self, like: Node) -> Node:
        _Reverse.number += 1  # tells the inputs of two bodies apart, equal nodes being one object
        return b.make("input", attrs=InputAttrs(-_Reverse.number, "scan_gradient", like.shape, like.dtype))

    def cotangents(self) -> list[Node | None]:
        node, n, s = self.node, self.carried, self.scanned
        inputs = self.body.inputs
        sums: dict[int, list[Node]] = {}  # constant → what is added up after the scan, as a step's node
        added: dict[int, tuple[Node, Node]] = {}  # constant → what is added up by the steps: so far, and with this one
        for i, slope in self.found.items():
            if i < n + s or slope is None:
                continue
            terms = list(_terms(slope))
            sums[i] = [term for term in terms if self.later(term)]
            rest = [term for term in terms if term not in sums[i]]
            if rest:
                total = self.fresh(inputs[i])
                before = total
                for term in rest:
                    total = b.add(total, term)
                added[i] = before, total
        slopes = {i: x for i, x in self.found.items() if x is not None and n <= i < n + s}
        summed = [x for terms in sums.values() for term in terms for x in _parts(term)]
        self.stacks = [x for x in dict.fromkeys([*slopes.values(), *summed]) if self.elsewhere(x) is None]

        carried = [self.found[i] if self.found[i] is not None else b.zeros_like(inputs[i]) for i in self.d_carried]
        outputs: list[Node] = [*carried, *(total for _, total in added.values()), *self.stacks]  # type: ignore[list-item]
        stand_ins = {x: self.fresh(x) for x in self.known if x not in inputs}
        outputs = substitute(outputs, stand_ins)
        used = set(walk(outputs))
        saved = [(stand_ins.get(x, x), b.project(node, i)) for x, i in self.known.items()]
        saved += [(x, node.inputs[i]) for i, x in enumerate(inputs) if n <= i < n + s and x not in self.known]
        saved = [(x, tensor) for x, tensor in saved if x in used]
        constants = [(x, node.inputs[i]) for i, x in enumerate(inputs) if i >= n + s and x in used]
        first = [self.g[i] if self.g[i] is not None else b.zeros_like(node.inputs[i]) for i in self.d_carried]
        operands = [
            *first, *(b.zeros_like(x) for x, _ in added.values()), *(self.g[i] for i in self.d_stacked),
            *(tensor for _, tensor in saved), *(tensor for _, tensor in constants),
        ]  # fmt: skip
        body_inputs = [
            *self.d_carried.values(), *(x for x, _ in added.values()), *self.d_stacked.values(),
            *(x for x, _ in saved), *(x for x, _ in constants),
        ]  # fmt: skip
        count = len(carried) + len(added)
        attrs = ScanAttrs(
            Body(tuple(body_inputs), tuple(outputs)), count, len(self.d_stacked) + len(saved), self.length,
            not node.attrs.reverse,
        )  # fmt: skip
        result = b.make("scan", *[x for x in operands if x is not None], attrs=attrs)
        self.made = {x: b.project(result, count + place) for place, x in enumerate(self.stacks)}

        at: dict[int, Node] = {i: b.project(result, place) for place, i in enumerate([*self.d_carried, *added])}
        at |= {i: self.everywhere(x) for i, x in slopes.items()}
        for i, terms in sums.items():
            for term in terms:
                at[i] = b.add(at[i], self.over_all(term)) if i in at else self.over_all(term)
        return [at.get(i) for i in range(len(node.inputs))]

    def elsewhere(self, x: Node) -> Node | None:
        """The tensor of x at all steps, if the reverse scan need not make it."""
        if x in self.known:
            return b.project(self.node, self.known[x])
        if x in self.body.inputs and self.carried <= self.body.inputs.index(x) < self.carried + self.scanned:
            return self.node.inputs[self.body.inputs.index(x)]
        return next((self.g[i] for i, slope in self.d_stacked.items() if slope is x), None)

    def everywhere(self, x: Node) -> Node:
        """The tensor of x at all steps."""
        return self.elsewhere(x) or self.made[x]

    def later(self, term: Node) -> bool:
        """Whether a term of a constant's gradient can be taken over all steps at once."""
        while term.op in MOVES:
            term = term.inputs[0]
        rows: Dimension | None
        if term.op == "dot":
            rows = term.inputs[0].shape[0]
            fits = len(term.shape) == 2 and term.attrs.transpose_a and not term.attrs.transpose_b
        else:
            rows = 1
            fits = term.op == "sum" and 0 in term.attrs.axes
        return fits and times(rows, self.length) is not None and all(x in self.steps for x in term.inputs)

    def over_all(self, term: Node) -> Node:
        """The sum of a term over the steps."""
        if term.op in MOVES:
            return rebuild(term, [self.over_all(term.inputs[0])])
        tensors = [self.everywhere(x) for x in term.inputs]
        if term.op == "sum":
            return b.reshape(b.reduce("sum", tensors[0], (0, *(axis + 1 for axis in term.attrs.axes))), term.shape)
        rows = times(term.inputs[0].shape[0], self.length)
        assert rows is not None  # or it would not have been put off
        return rebuild(term, [b.reshape(x, (rows, x.shape[2])) for x in tensors])


def _terms(x: Node) -> Iterator[Node]:
    """What is added up to x."""
    if x.op == "add":
        for y in x.inputs:
            yield from _terms(y)
    else:
        yield x


def _parts(term: Node) -> tuple[Node, ...]:
    while term.op in MOVES:
        term = term.inputs[0]
    return term.inputs
