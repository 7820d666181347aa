"""A scan, laid out as the steps of its body, one round after another, over stacks of what is carried.

A stack has one place more than there are steps: step t of a scan reads the carried values at place t and writes them at
place t + 1; step t of a reverse scan, which comes in round length − 1 − t, reads at place t + 1 and writes at place t.
Scanned and stacked values are read and written at their place along the first axis; what is stacked of the carried
values themselves, as they come or as they go, is the stack and is not written again. The rounds share all else, so a
round's memory is used again by the next. A length known only at run time takes the rounds of the capacity, of which the
surplus has no tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from handloom.codegen.evaluate import Argument, Pointer
from handloom.codegen.lower import Count, Env, Lowering, Step, copy_step, product_of
from handloom.graph.access import access_of, base_of
from handloom.graph.build import make, project
from handloom.graph.node import DTYPES, Dimension, Node, Size, size_value, volume
from handloom.graph.ops import InputAttrs, ScanAttrs
from handloom.graph.unit import Unit

Units = Callable[[Sequence[Node]], tuple[list[Node], list[Unit]]]
"""What prepares and partitions a body's outputs; given by the compiler."""


def lower_scan(low: Lowering, unit: Unit, units: Units, capacity: Env) -> list[Step]:
    node = unit.anchor
    assert node is not None
    attrs: ScanAttrs = node.attrs
    n, s = attrs.carried, attrs.scanned
    rounds = size_value(attrs.length, capacity)
    body_outputs = attrs.body.outputs
    # stacked values that are carried values: their place in the stacks, counted from the first step
    shifts = {
        **{x: (i, 0 if attrs.reverse else 1) for i, x in enumerate(body_outputs[:n]) if x not in body_outputs[:i]},
        **{x: (i, 1 if attrs.reverse else 0) for i, x in enumerate(attrs.body.inputs[:n])},
    }
    same = {i: shifts[x] for i, x in enumerate(body_outputs) if i >= n and x in shifts}
    stored = [i for i in range(len(body_outputs)) if i not in same]
    outputs, parts = units([body_outputs[i] for i in stored])
    roots = {root for part in parts for root in part.roots} | {
        project(p.anchor, i)
        for p in parts
        if p.anchor is not None and isinstance(p.anchor.spec, tuple)
        for i in range(len(p.anchor.spec))
    }
    inner = Lowering(low.target, lambda x: x in roots or x.op == "input")
    inner.module, inner._names, inner._known = low.module, low._names, low._known
    body = [
        step
        for part in parts
        for step in (lower_scan(inner, part, units, capacity) if part.kind == "scan" else inner.lower(part))
    ]
    low.sizes.update(inner.sizes)

    # where the body's values live: node → (buffer, elements a round, first round's place)
    steps: list[Step] = []
    stacks: list[Node] = []
    for i in range(n):
        spec = node.spec[i]
        stack = make(
            "input", attrs=InputAttrs(-1 - i, f"stack {id(node)}", (attrs.length + 1, *spec.shape), spec.dtype)
        )
        stacks.append(stack)
        pointer = Pointer(stack, role="stack")
        low.sizes[pointer] = lambda env, shape=stack.shape, dtype=spec.dtype: volume(shape, env) * DTYPES[dtype]  # type: ignore[misc]
        source = access_of(node.inputs[i])
        assert source is not None
        begin = product_of(attrs.length, elements(spec.shape)) if attrs.reverse else 0
        steps.append(copy_step(low, source, replace(pointer, offset=begin), source.strides, spec.dtype))

    places: dict[Node, Callable[[int], tuple[Node, Dimension, str]]] = {}

    def place(
        buffer: Node, role: str, step: Dimension, index: Callable[[int], Dimension], offset: Dimension = 0
    ) -> Callable[[int], tuple[Node, Dimension, str]]:
        return lambda r: (buffer, offset + product_of(index(r), step), role)

    along: Callable[[int], Dimension] = (lambda r: attrs.length - 1 - r) if attrs.reverse else (lambda r: r)
    before: Callable[[int], Dimension] = (lambda r: attrs.length - r) if attrs.reverse else (lambda r: r)
    after: Callable[[int], Dimension] = lambda r: along(r) if attrs.reverse else r + 1  # noqa: E731
    for i, x in enumerate(attrs.body.inputs):
        if i < n:
            places[x] = place(stacks[i], "stack", elements(x.shape), before)
        else:
            access = access_of(node.inputs[i])
            assert access is not None
            stride = elements(x.shape) if i < n + s else 0
            places[x] = place(access.base, "value", stride, along, access.offset)
    for i, output in zip(stored, outputs, strict=True):
        base = base_of(output)
        if i < n:
            places[base] = place(stacks[i], "stack", elements(output.shape), after)
        else:
            places[base] = place(project(node, i), "value", elements(output.shape), along)

    for r in range(rounds):
        for step in body:
            steps.append(_at_round(step, r, places, attrs.length))
    for i in range(n):
        end = 0 if attrs.reverse else product_of(attrs.length, elements(node.spec[i].shape))
        low.aliases[project(node, i)] = (stacks[i], end)
    for i, (which, shift) in same.items():
        low.aliases[project(node, i)] = (stacks[which], product_of(elements(node.spec[which].shape), shift))
    return steps


def elements(shape: Sequence[Dimension]) -> Dimension:
    total: Dimension = 1
    for size in shape:
        total = product_of(size, total)
    return total


def _at_round(
    step: Step, r: int, places: dict[Node, Callable[[int], tuple[Node, Dimension, str]]], length: Dimension
) -> Step:
    def moved(argument: Argument) -> Argument:
        if isinstance(argument, Pointer) and argument.role == "value" and argument.node in places:
            node, offset, role = places[argument.node](r)
            return Pointer(node, offset + argument.offset, role)
        return argument

    tasks: Count = step.tasks
    if isinstance(length, Size):
        tasks = lambda env: step.tasks(env) if r < length.value(env) else 0  # noqa: E731
    arguments = tuple(moved(a) for a in step.arguments)
    reads, writes = (
        tuple(p for p in map(moved, pointers) if isinstance(p, Pointer)) for pointers in (step.reads, step.writes)
    )
    return replace(step, arguments=arguments, reads=reads, writes=writes, tasks=tasks)
