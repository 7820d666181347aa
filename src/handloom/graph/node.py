"""The one node type of the graph, and what a node's value is: a shape, whose sizes may be symbols, and a dtype.

Nodes are immutable and hash-consed: building the same expression twice gives the same object, so common
subexpressions never exist and `is` compares expressions.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

DTYPES = {"f32": 4, "f64": 8, "bf16": 2, "i32": 4, "u32": 4, "i8": 1, "bool": 1}
"""Bytes of an element. i8 is for weights that are kept small: cast to and from, and read by products as panels."""

FLOATS = frozenset({"f32", "f64", "bf16"})


@dataclass(frozen=True)
class Size:
    """A size that is not known yet: a linear expression over symbols, such as tokens or 12·tokens + 1."""

    terms: tuple[tuple[str, int], ...]
    constant: int = 0

    @staticmethod
    def symbol(name: str) -> Size:
        return Size(((name, 1),))

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(text: str) -> Dimension:
        """Reads "tokens", "sequences+1", "2*tokens" or "7". Raises ValueError for anything else."""
        total: Dimension = 0
        for sign, part in re.findall(r"([+-]?)\s*([^+-]+)", text):
            factors = [factor.strip() for factor in part.split("*")]
            value: Dimension = -1 if sign == "-" else 1
            for factor in factors:
                if factor.isdigit():
                    value = value * int(factor)
                elif factor.isidentifier():
                    value = value * Size.symbol(factor) if isinstance(value, int) else _refuse(text)
                else:
                    _refuse(text)
            total = total + value
        return total

    def value(self, env: Mapping[str, int]) -> int:
        return self.constant + sum(factor * env[name] for name, factor in self.terms)

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.terms)

    def __add__(self, other: Dimension) -> Dimension:
        terms = dict(self.terms)
        if isinstance(other, Size):
            for name, factor in other.terms:
                terms[name] = terms.get(name, 0) + factor
        return _size(terms, self.constant + (other.constant if isinstance(other, Size) else other))

    __radd__ = __add__

    def __mul__(self, other: int) -> Dimension:
        return _size({name: factor * other for name, factor in self.terms}, self.constant * other)

    __rmul__ = __mul__

    def __sub__(self, other: Dimension) -> Dimension:
        return self + other * -1

    def __floordiv__(self, other: int) -> Dimension:
        """Exact division. Raises ValueError where a term is no multiple."""
        if self.constant % other or any(factor % other for _, factor in self.terms):
            raise ValueError(f"{self} is not a multiple of {other}")
        return _size({name: factor // other for name, factor in self.terms}, self.constant // other)

    def __str__(self) -> str:
        parts = [name if factor == 1 else f"{factor}*{name}" for name, factor in self.terms]
        return "+".join(parts + ([str(self.constant)] if self.constant else [])).replace("+-", "-")

    __repr__ = __str__


Dimension = int | Size


def _refuse(text: str) -> Any:
    raise ValueError(f"cannot read the size {text!r}: write a sum such as 'tokens' or 'sequences+1'")


def _size(terms: Mapping[str, int], constant: int) -> Dimension:
    kept = tuple(sorted((name, factor) for name, factor in terms.items() if factor))
    return Size(kept, constant) if kept else constant


def size_value(size: Dimension, env: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else size.value(env)


def volume(shape: Iterable[Dimension], env: Mapping[str, int]) -> int:
    total = 1
    for size in shape:
        total *= size_value(size, env)
    return total


def same_volume(a: Sequence[Dimension], b: Sequence[Dimension]) -> bool:
    """Whether two shapes hold equally many elements, whatever the symbols stand for (probed at two points)."""
    names = sorted({name for size in (*a, *b) if isinstance(size, Size) for name in size.symbols})
    probes = [{name: base + 97 * i for i, name in enumerate(names)} for base in (10007, 20011)]
    return all(volume(a, env) == volume(b, env) for env in probes)


@dataclass(frozen=True)
class Spec:
    """The type of a value."""

    shape: tuple[Dimension, ...]
    dtype: str

    def concrete(self, env: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(size_value(size, env) for size in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class Node:
    """An operation applied to nodes. `spec` is a tuple for operations of several results (see `project`)."""

    __slots__ = ("__weakref__", "attrs", "inputs", "op", "spec")

    op: str
    inputs: tuple[Node, ...]
    attrs: Any
    spec: Any

    @property
    def shape(self) -> tuple[Dimension, ...]:
        return self.spec.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> str:
        return self.spec.dtype  # type: ignore[no-any-return]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("nodes are immutable")

    def __repr__(self) -> str:
        return f"<{self.op} {self.spec}>"


_known: weakref.WeakValueDictionary[tuple[Any, ...], Node] = weakref.WeakValueDictionary()


def intern(op: str, inputs: tuple[Node, ...], attrs: Any, spec: Spec | tuple[Spec, ...]) -> Node:
    """The node of this operation: the one that exists, or a new one."""
    key = (op, inputs, attrs, spec)
    node = _known.get(key)
    if node is None:
        node = object.__new__(Node)
        for name, value in (("op", op), ("inputs", inputs), ("attrs", attrs), ("spec", spec)):
            object.__setattr__(node, name, value)
        _known[key] = node
    return node


def walk(outputs: Iterable[Node]) -> Iterator[Node]:
    """Every node that the outputs need, each once, inputs before users; the order depends on the graph alone."""
    done: set[Node] = set()
    for output in outputs:
        stack: list[tuple[Node, int]] = [(output, 0)]
        while stack:
            node, at = stack.pop()
            if node in done:
                continue
            if at < len(node.inputs):
                stack.append((node, at + 1))
                if node.inputs[at] not in done:
                    stack.append((node.inputs[at], 0))
            else:
                done.add(node)
                yield node
