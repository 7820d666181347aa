"""Loops that are differentiated: one step, written once, over the first axis of what is scanned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handloom.graph import build as b
from handloom.graph.node import Dimension, Node, Spec, walk
from handloom.graph.ops import OPS, Body, ScanAttrs
from handloom.graph.rewrite import substitute
from handloom.tensor import tree
from handloom.tensor.tensor import Tensor, Trace, TraceError, apply_all, node_of, tensor


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    length: Dimension | None = None,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """`carry, y = body(carry, x)` for every x along the first axis of the tree `xs`; (last carry, ys stacked).

    `length` is needed only where nothing is scanned. `reverse` goes from the last x to the first; ys stand where their
    xs stand. Tensors from outside that the body uses are constants of the loop; gradients flow to them, to the first
    carry and to `xs`.
    """
    carried = [x if isinstance(x, Tensor) else tensor(x) for x in tree.flatten(carry)]
    scanned = [x if isinstance(x, Tensor) else tensor(x) for x in tree.flatten(xs)]
    steps = length if length is not None else scanned[0].shape[0]
    shapes: list[Any] = []

    def build(*nodes: Node) -> tuple[Node, ...]:
        inner = Trace()
        count = len(carried)
        specs = [node.spec if i < count else Spec(node.shape[1:], node.dtype) for i, node in enumerate(nodes)]
        inputs = [inner.input(spec, "step") for spec in specs]
        state, ys = body(
            tree.rebuild(carry, list(map(Tensor, inputs[:count]))), tree.rebuild(xs, list(map(Tensor, inputs[count:])))
        )
        if tree.structure(state) != tree.structure(carry):
            raise TraceError("the body of a scan must return its carry in the same tree as it was given")
        shapes.append(ys)
        outputs = [node_of(x) for x in (*tree.flatten(state), *tree.flatten(ys))]
        wanted = len(outputs)
        # for the gradient, which runs the steps again: what is dear to compute, and what every step was given
        outputs += _dear(inputs, outputs)
        outputs += inputs[:count]
        body_inputs, body_outputs, constants = _close(inputs, outputs)
        attrs = ScanAttrs(Body(tuple(body_inputs), tuple(body_outputs)), count, len(scanned), steps, reverse)
        node = b.make("scan", *nodes, *constants, attrs=attrs)
        return tuple(b.project(node, i) for i in range(wanted))

    # tensors that the body closes over may be traced even where no operand is
    results = _apply_open(build, [*carried, *scanned])
    final, ys = results[: len(carried)], results[len(carried) :]
    return tree.rebuild(carry, final), tree.rebuild(shapes[0], ys)


def _apply_open(build: Callable[..., tuple[Node, ...]], operands: list[Tensor]) -> tuple[Tensor, ...]:
    if Trace.stack:
        return tuple(map(Tensor, build(*[node_of(x) for x in operands])))
    return apply_all(build, *operands)


def _dear(inputs: list[Node], outputs: list[Node]) -> list[Node]:
    """Products, with what is added to them, and what else has a kernel of its own; those that change from step to
    step."""
    inside = set(inputs)
    found: list[Node] = []
    readers: dict[Node, list[Node]] = {}
    for node in walk(outputs):
        for x in node.inputs:
            readers.setdefault(x, []).append(node)
        if any(x in inside for x in node.inputs):
            inside.add(node)
            if OPS[node.op].kind == "contract" or node.op == "project":
                found.append(node)
    for i, node in enumerate(found):
        while len(readers.get(node, [])) == 1 and readers[node][0].op == "add":
            (node,) = readers[node]
        found[i] = node
    return [node for node in dict.fromkeys(found) if node not in outputs]


def _close(inputs: list[Node], outputs: list[Node]) -> tuple[list[Node], list[Node], list[Node]]:
    """The body with everything that no step changes cut off and given as constants."""
    inside = set(inputs)
    order = list(walk(outputs))
    for node in order:
        if any(x in inside for x in node.inputs):
            inside.add(node)
    constants: dict[Node, Node] = {}
    trace = Trace()

    def cut(node: Node) -> None:
        if node in inside or node in constants or _trivial(node):
            return
        if node.op == "broadcast":  # a bias goes in as it is, and is spread out by the steps
            cut(node.inputs[0])
            return
        if isinstance(node.spec, tuple):
            raise TraceError(f"the body of a scan uses {node!r} of outside whole")
        constants[node] = trace.input(node.spec, "constant")

    for node in order:
        if node in inside and node not in inputs:
            for x in node.inputs:
                cut(x)
    for node in outputs:
        cut(node)
    return [*inputs, *constants.values()], substitute(outputs, constants), list(constants)


def _trivial(node: Node) -> bool:
    """A number in any shape: cheaper inside the loop than as a constant of it."""
    return node.op in ("constant", "iota") or (node.op in ("broadcast", "reshape") and _trivial(node.inputs[0]))
