"""Results of scans that nobody uses are dropped, with all that only they needed; a loss is taken from the node that
computes its gradients, too, where there is one.

Promises: every stacked output of a scan is used, except that the reverse scan may need none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handloom.graph import build as b
from handloom.graph.node import Node, walk
from handloom.graph.ops import Body, ScanAttrs
from handloom.graph.rewrite import substitute


def prune(outputs: Sequence[Node]) -> list[Node]:
    return _scans(_losses(outputs))


def _losses(outputs: Sequence[Node]) -> list[Node]:
    nodes = list(walk(outputs))
    both = {(x.inputs, x.attrs): x for x in nodes if x.op == "linear_cross_entropy" and x.attrs.gradients}
    replaced = {}
    for node in nodes:
        if node.op == "project" and node.inputs[0].op == "linear_cross_entropy":
            loss = node.inputs[0]
            twin = both.get((loss.inputs, replace(loss.attrs, gradients=True)))
            if twin is not None and twin is not loss:
                replaced[node] = b.project(twin, node.attrs.index)
    return substitute(outputs, replaced) if replaced else list(outputs)


def _scans(outputs: Sequence[Node]) -> list[Node]:
    used: dict[Node, set[int]] = {}
    for node in walk(outputs):
        if node.op == "project" and node.inputs[0].op == "scan":
            used.setdefault(node.inputs[0], set()).add(node.attrs.index)
    for scan, indices in used.items():
        attrs: ScanAttrs = scan.attrs
        kept = [i for i in range(len(attrs.body.outputs)) if i < attrs.carried or i in indices]
        if len(kept) == len(attrs.body.outputs):
            continue
        body = Body(attrs.body.inputs, tuple(attrs.body.outputs[i] for i in kept))
        smaller = b.make(
            "scan", *scan.inputs, attrs=ScanAttrs(body, attrs.carried, attrs.scanned, attrs.length, attrs.reverse)
        )
        replaced = {b.project(scan, i): b.project(smaller, place) for place, i in enumerate(kept)}
        return _scans(substitute(outputs, replaced))
    return list(outputs)
