"""Trees: dicts, lists and tuples whose leaves are values. None is a tree without leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def flatten(tree: Any) -> list[Any]:
    """The leaves, in the order of the containers."""
    leaves: list[Any] = []
    _collect(tree, leaves)
    return leaves


def _collect(tree: Any, leaves: list[Any]) -> None:
    if isinstance(tree, dict):
        for value in tree.values():
            _collect(value, leaves)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            _collect(value, leaves)
    elif tree is not None:
        leaves.append(tree)


def rebuild(tree: Any, leaves: Sequence[Any]) -> Any:
    """The same tree with other leaves."""
    supply = iter(leaves)
    result = transform(lambda _: next(supply), tree)
    if next(supply, supply) is not supply:
        raise ValueError("more leaves than the tree has places")
    return result


def transform(function: Callable[[Any], Any], tree: Any) -> Any:
    """`function` of every leaf."""
    if isinstance(tree, dict):
        return {key: transform(function, value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [transform(function, value) for value in tree]
    if isinstance(tree, tuple):
        values = [transform(function, value) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    return None if tree is None else function(tree)


def structure(tree: Any) -> Any:
    """What two trees of one shape have in common; hashable."""
    if isinstance(tree, dict):
        return ("dict", tuple((key, structure(value)) for key, value in tree.items()))
    if isinstance(tree, (list, tuple)):
        return (type(tree).__name__, tuple(structure(value) for value in tree))
    return None if tree is None else "leaf"
