"""Composites replaced by the primitives that define them.

Promises: no node of kind "composite" is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from handloom.graph.composites import EXPANSIONS
from handloom.graph.node import Node
from handloom.graph.rewrite import transform


def expand(outputs: Sequence[Node]) -> list[Node]:
    return transform(
        outputs, lambda node: EXPANSIONS[node.op](node.inputs, node.attrs) if node.op in EXPANSIONS else None
    )
