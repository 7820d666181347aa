"""Whether a graph and a schedule are what they must be. In debug mode this runs between the passes.

A failure is a mistake of Handloom, never of a user: the error names the pass after which it was found, and the node.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from handloom.errors import HandloomError
from handloom.graph.infer import ShapeError, infer
from handloom.graph.node import DTYPES, Dimension, Node, Size, Spec, walk
from handloom.graph.ops import OPS, Body
from handloom.graph.show import names_of, node_text

Complaint = tuple[Node, str]
Promise = Callable[[Sequence[Node]], Iterable[Complaint]]
"""What a pass says of every graph that it returns: the nodes that break it, each with what would be right."""


class InvalidGraph(HandloomError):
    """A pass or the tracer made a graph that cannot be."""


def verify(
    outputs: Sequence[Node], after: str, promises: Iterable[Promise] = (), symbols: frozenset[str] | None = None
) -> None:
    """Raises InvalidGraph for the first node that breaks a rule of the language or a promise; `after` names the pass.

    `symbols` are the sizes that the program declares; None stands for all that the graph's inputs have.
    """
    for node, why in _complaints(outputs, promises, symbols):
        names = names_of(outputs)
        line = node_text(node, names) if node in names else repr(node)
        raise InvalidGraph(f"after {after}: {line}\n    {why}")


def symbols_of(outputs: Sequence[Node]) -> frozenset[str]:
    """All symbols in the shapes of a graph."""
    return frozenset(name for node in walk(outputs) for spec in _specs(node) for name in _symbols(spec.shape))


def _complaints(
    outputs: Sequence[Node], promises: Iterable[Promise], symbols: frozenset[str] | None
) -> Iterator[Complaint]:
    order = list(walk(outputs))
    if symbols is None:
        symbols = frozenset(name for node in order if node.op == "input" for name in _symbols(node.shape))
    for node in order:
        yield from ((node, why) for why in _wrong(node, symbols))
    for output in outputs:
        if isinstance(output.spec, tuple):
            yield output, "an output is one value; this has several (project one of them)"
    for promise in promises:
        yield from promise(outputs)


def _wrong(node: Node, symbols: frozenset[str]) -> Iterator[str]:
    """What is wrong with a node, taken by itself."""
    op = OPS.get(node.op)
    if op is None:
        yield f"there is no operation {node.op!r}"
        return
    if op.arity is not None and len(node.inputs) != op.arity:
        yield f"{node.op} takes {op.arity} operands and has {len(node.inputs)}"
        return
    if not (node.attrs is None if op.attrs is None else isinstance(node.attrs, op.attrs)):
        yield f"its attributes must be {op.attrs.__name__ if op.attrs else 'None'}, not {node.attrs!r}"
        return
    if node.op == "project":
        if not isinstance(node.inputs[0].spec, tuple) or not 0 <= node.attrs.index < len(node.inputs[0].spec):
            yield f"its operand has no result {node.attrs.index}"
            return
    elif any(isinstance(x.spec, tuple) for x in node.inputs):
        yield "an operand has several results; project must take one of them"
        return
    try:
        expected = infer(node.op, [x.spec for x in node.inputs], node.attrs)
    except ShapeError as error:
        yield str(error)
        return
    if expected != node.spec:
        yield f"its type must be {_text(expected)}"
    for spec in _specs(node):
        if spec.dtype not in DTYPES:
            yield f"there is no dtype {spec.dtype!r}; there are {', '.join(DTYPES)}"
        if any(isinstance(size, int) and size < 0 for size in spec.shape):
            yield "a size is negative"
        if undeclared := sorted(_symbols(spec.shape) - symbols):
            known = ", ".join(sorted(symbols)) or "none"
            yield f"no input declares the size {', '.join(undeclared)}; there are {known}"
    body = getattr(node.attrs, "body", None)
    if isinstance(body, Body):
        yield from _body(body, symbols)


def _body(body: Body, symbols: frozenset[str]) -> Iterator[str]:
    given = set(body.inputs)
    for node in walk(body.outputs):
        if node.op == "input" and node not in given:
            yield f"its body uses {node!r} of outside; it must be a constant of the scan"
        yield from (f"in its body, {node!r}: {why}" for why in _wrong(node, symbols))


def _specs(node: Node) -> tuple[Spec, ...]:
    return node.spec if isinstance(node.spec, tuple) else (node.spec,)


def _symbols(shape: Sequence[Dimension]) -> frozenset[str]:
    return frozenset(name for size in shape if isinstance(size, Size) for name in size.symbols)


def _text(spec: Any) -> str:
    return ", ".join(map(str, spec)) if isinstance(spec, tuple) else str(spec)


def verify_schedule(
    reads: Sequence[Sequence[Hashable]],
    writes: Sequence[Sequence[Hashable]],
    wave: Sequence[int],
    taken: Mapping[Any, Hashable],
) -> None:
    """Raises InvalidGraph unless steps of one wave leave each other alone, and donated state is read before written.

    `reads` and `writes` are the buffers of each step, `wave` its number; `taken` maps an output to the donated input
    whose memory it takes. A buffer that some step writes is read in later waves only.
    """
    written: dict[Hashable, list[int]] = {}
    for i, buffers in enumerate(writes):
        for buffer in buffers:
            written.setdefault(buffer, []).append(i)
    memory: dict[tuple[int, Hashable], int] = {}  # (wave, memory) → the step that writes it
    for buffer, steps in written.items():
        for i in steps:
            other = memory.setdefault((wave[i], taken.get(buffer, buffer)), i)
            if other != i:
                raise InvalidGraph(f"after schedule: steps {other} and {i} write {buffer} in one wave, {wave[i]}")
    overwriting = {source: written.get(output, []) for output, source in taken.items()}
    for i, buffers in enumerate(reads):
        for buffer in buffers:
            if late := [j for j in overwriting.get(buffer, []) if j != i and wave[j] <= wave[i]]:
                raise InvalidGraph(
                    f"after schedule: step {i} reads the donated {buffer} in wave {wave[i]}, "
                    f"but step {late[0]} overwrites it in wave {wave[late[0]]}"
                )
            if buffer in written and min(wave[j] for j in written[buffer]) >= wave[i]:
                raise InvalidGraph(f"after schedule: step {i} reads {buffer} in wave {wave[i]}, before it is written")
            writer = memory.get((wave[i], buffer))
            if writer is not None and writer != i:
                raise InvalidGraph(f"after schedule: step {writer} writes {buffer} while step {i} reads it")
