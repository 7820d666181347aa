"""Graphs made from graphs: substitution, and the pruning of what nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from handloom.graph.infer import infer
from handloom.graph.node import Node, intern, walk


def rebuild(node: Node, inputs: Sequence[Node]) -> Node:
    """The same operation on other operands."""
    given = tuple(inputs)
    if given == node.inputs:
        return node
    return intern(node.op, given, node.attrs, infer(node.op, [x.spec for x in given], node.attrs))


def substitute(outputs: Sequence[Node], replacements: Mapping[Node, Node]) -> list[Node]:
    """`outputs` with nodes replaced; what stands below a replaced node is not looked at."""
    done = dict(replacements)
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = rebuild(node, [done[x] for x in node.inputs])
        else:
            stack.append((node, True))
            stack.extend((x, False) for x in node.inputs if x not in done)
    return [done[output] for output in outputs]


def transform(outputs: Sequence[Node], rule: Callable[[Node], Node | None]) -> list[Node]:
    """`outputs` with `rule` applied once to every node, inputs first; None keeps the node.

    The rule sees nodes whose operands have been transformed already.
    """
    done: dict[Node, Node] = {}
    for node in walk(outputs):
        fresh = rebuild(node, [done[x] for x in node.inputs])
        done[node] = rule(fresh) or fresh
    return [done[output] for output in outputs]
