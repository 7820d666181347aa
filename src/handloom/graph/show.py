"""A graph as text, a line for each node: `%3 = dot(%1, weight) transpose_b=True : f32[tokens, 384]`.

Names depend on the graph alone: inputs have their own names, all else is numbered in the order of computation, and
numbers, in whatever shape, stand where they are used. HANDLOOM_DEBUG says what is printed on the way; see TOPICS.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from handloom.errors import UsageError
from handloom.graph.build import scalar_value
from handloom.graph.node import Node, walk
from handloom.graph.ops import Body

TOPICS = ("verify", "graph", "passes", "kernels", "ir", "assembly")
"""What HANDLOOM_DEBUG may name. Whatever it names, graphs are verified between passes; the others print, besides."""

HIDDEN = frozenset({"shape", "dtype", "rows"})
"""Attributes that the type behind the colon says already."""

INDENT = "    "


def wanted(topic: str) -> bool:
    """Whether the environment variable HANDLOOM_DEBUG, a comma list of TOPICS, names this one.

    Raises UsageError where it names something else.
    """
    return topic in topics()


def topics() -> frozenset[str]:
    """What HANDLOOM_DEBUG names. Raises UsageError for what it may not name."""
    asked = frozenset(part.strip() for part in os.environ.get("HANDLOOM_DEBUG", "").split(",") if part.strip())
    if unknown := sorted(asked - set(TOPICS)):
        raise UsageError(f"HANDLOOM_DEBUG: {', '.join(unknown)} is unknown; it is a comma list of {', '.join(TOPICS)}")
    return asked


def report(title: str, text: str) -> None:
    """Prints to standard error, under a title."""
    print(f"── {title}\n{text}", file=sys.stderr, flush=True)


def names_of(outputs: Sequence[Node]) -> dict[Node, str]:
    """A name for every node; equal graphs have equal names, and no two nodes of one graph share theirs."""
    names: dict[Node, str] = {}
    taken: set[str] = set()
    returned = set(outputs)
    serial = 0
    for node in walk(outputs):
        value = scalar_value(node)
        if value is not None and (node.op == "constant" or node not in returned):
            names[node] = _number(value, node.dtype)
            continue
        if node.op == "input":
            label = node.attrs.name.replace(" ", "_")
            count = 1
            while (name := f"%{label}" if count == 1 else f"%{label}.{count}") in taken:
                count += 1
        else:
            name, serial = f"%{serial}", serial + 1
        taken.add(name)
        names[node] = name
    return names


def graph_text(outputs: Sequence[Node], names: Mapping[Node, str] | None = None, indent: str = "") -> str:
    """Every node that the outputs need, inputs first, and what is returned. The body of a scan stands indented."""
    known = names if names is not None else names_of(outputs)
    lines = []
    for node in walk(outputs):
        if known[node].startswith("%"):
            lines.append(indent + node_text(node, known))
            bodies = [value for _, value in _fields(node) if isinstance(value, Body)]
            lines += [graph_text(body.outputs, None, indent + INDENT) for body in bodies]
    lines.append(f"{indent}return {', '.join(known[output] for output in outputs)}")
    return "\n".join(lines)


def node_text(node: Node, names: Mapping[Node, str]) -> str:
    """One node: its name, what it is made of and its type."""
    operands = ", ".join(names.get(x, f"<{x.op}>") for x in node.inputs)
    attributes = "".join(f" {name}={_short(value)}" for name, value in _fields(node) if name not in HIDDEN)
    if node.op == "input":
        return f"{names[node]} = input : {node.spec}"
    specs = node.spec if isinstance(node.spec, tuple) else (node.spec,)
    return f"{names[node]} = {node.op}({operands}){attributes} : {', '.join(map(str, specs))}"


def changes_text(before: Sequence[Node], after: Sequence[Node]) -> str:
    """What a pass did: nodes that are gone (−) and nodes that are new (+), each with the names of its own graph."""
    old, new = dict.fromkeys(walk(before)), dict.fromkeys(walk(after))
    names_before, names_after = names_of(before), names_of(after)
    gone = [node for node in old if node not in new and names_before[node].startswith("%")]
    fresh = [node for node in new if node not in old and names_after[node].startswith("%")]
    lines = [f"− {node_text(node, names_before)}" for node in gone]
    lines += [f"+ {node_text(node, names_after)}" for node in fresh]
    return "\n".join(lines) or "nothing"


def _fields(node: Node) -> list[tuple[str, Any]]:
    if not dataclasses.is_dataclass(node.attrs):
        return []
    given = [(field, getattr(node.attrs, field.name)) for field in dataclasses.fields(node.attrs)]
    return [(field.name, value) for field, value in given if value != field.default]


def _short(value: Any) -> str:
    if isinstance(value, Body):
        return f"({len(value.inputs)} inputs)"
    if isinstance(value, float):
        return f"{value:g}"
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _number(value: float | int | bool, dtype: str) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value).lower()
    return text if dtype in ("f32", "i32", "bool") else f"{text}:{dtype}"
