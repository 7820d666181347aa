"""Updates put off: of a large table, a step moves the rows that its batch reads, and no others.

A row without a gradient moves all the same: momentum goes on, weights decay. But its movement depends on nothing except
the row and the numbers of the steps, so it is replayed when the row is next read, with the operations of the update
itself in their order: the bits are those of an optimiser that moves every row in every step. Before weights or moments
are looked at from outside, all rows are brought up to date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import handloom.tensor as ht
from handloom.tensor import Tensor
from handloom.train.optimisers import LARGEST, Moments, Optimiser, Tree, decays
from handloom.train.storage import Array

MANY_ROWS = 4096
"""A table with fewer rows is moved whole."""

MOST = 1024
"""Updates that may be put off."""

Past = dict[str, Tensor]
"""numbers: f32 [MOST, numbers of a step]; count: i32 [], how many steps there are."""


class Backlog:
    """What is known of updates that were put off.

    seen: for each table i32 [rows], how many of the noted steps a row has been through. A step whose gradient was not
    sound moved nothing and is not noted.
    """

    def __init__(self, rule: Optimiser | None, shapes: Mapping[str, Sequence[int]]) -> None:
        able = rule is not None and rule.rest is not None
        rows = {name: shape[0] for name, shape in shapes.items() if able and len(shape) == 2 and shape[0] >= MANY_ROWS}
        self.seen: Tree = {name: ht.tensor(np.zeros(count, np.int32)) for name, count in rows.items()}
        self.count = 0
        self._numbers = np.zeros((MOST, len(columns(rule)) if rule else 0), np.float32)

    def past(self) -> dict[str, Array]:
        return {"numbers": self._numbers, "count": np.array(self.count, np.int32)}

    @property
    def full(self) -> bool:
        return self.count == MOST

    def note(self, given: Mapping[str, np.float32]) -> None:
        """A step that was applied, by its numbers."""
        if self.seen:
            self._numbers[self.count, :-1] = list(given.values())
            self.count += 1

    def clear(self) -> None:
        """Every row is up to date, or has been replaced."""
        if self.count:
            self.count = 0
            self.seen = {name: ht.tensor(np.zeros_like(value.numpy())) for name, value in self.seen.items()}


def columns(rule: Optimiser) -> tuple[str, ...]:
    """The numbers of a step; the last is the gradient of a row that was not read."""
    return (*rule.scalars(0.0, 1), "gradient")


def caught_up(rule: Optimiser, tables: Tree, moments: Moments, seen: Tree, past: Past) -> tuple[Tree, Moments]:
    """Rows of tables and of their moments, moved through the steps that they have not seen."""
    params: Tree = {}
    new: Moments = {key: {} for key in rule.names}
    for name, first in seen.items():
        states = [tables[name], *(moments[key][name] for key in rule.names)]
        params[name], *rest = _replayed(rule, decays(name), states, first, past)
        for key, value in zip(rule.names, rest, strict=True):
            new[key][name] = value
    return params, new


def _replayed(
    rule: Optimiser, decayed: bool, states: Sequence[Tensor], first: Tensor, past: Past
) -> tuple[Tensor, ...]:
    assert rule.rest is not None
    names, at_rest = columns(rule), rule.rest

    def step(states: list[Tensor], numbers: list[Tensor]) -> list[Tensor]:
        given = dict(zip(names, numbers, strict=True))
        param, new = rule.update(
            states[0], given["gradient"], dict(zip(rule.names, states[1:], strict=True)), given, decayed
        )
        return [param, *(new[key] for key in rule.names)]

    def rest(param: Tensor, numbers: list[Tensor]) -> Tensor:
        return at_rest(param, dict(zip(names, numbers, strict=True)), decayed)

    return ht.replay(step, rest, states, past["numbers"], first, past["count"])


class RowsRead:
    """A traced step in which tables are replaced by the rows that its loss takes of them, brought up to date.

    params, moments: the rows of such tables, [n, columns]; all else as it was given. values: the loss and its weight,
    computed from these. A table that is read in another way, such as one that is the output layer, too, is moved whole.
    """

    def __init__(
        self, rule: Optimiser, values: Sequence[Tensor], params: Tree, moments: Moments, seen: Tree, past: Past
    ) -> None:
        self._whole, self._whole_moments, self._seen, self._count = params, moments, seen, past["count"]
        found = {name: ht.gathers(values, params[name]) for name in seen}
        self._gathers = {name: gathers for name, gathers in found.items() if gathers is not None}
        self._own: Tree = {}  # the numbers of rows where each stands first, else −1
        tables: Tree = {}
        parts: Moments = {key: {} for key in rule.names}
        firsts: Tree = {}
        for name, gathers in self._gathers.items():
            own = gathers.slots.equal(ht.iota(*gathers.slots.shape))
            self._own[name] = ht.where(own, gathers.ids, -1)
            tables[name] = ht.take(params[name], gathers.ids)
            firsts[name] = ht.where(own, ht.take(seen[name], gathers.ids), past["count"])
            for key in rule.names:
                parts[key][name] = ht.take(moments[key][name], gathers.ids)
        rows, row_moments = caught_up(rule, tables, parts, firsts, past)
        self.params: Tree = {**params, **rows}
        self.moments: Moments = {key: {**moments[key], **row_moments[key]} for key in rule.names}
        replaced = (gathers.replaced(rows[name]) for name, gathers in self._gathers.items())
        self.values = tuple(ht.exchanged(values, replaced))

    def put_back(self, params: Tree, moments: Moments, norm: Tensor) -> tuple[Tree, Moments, Tree]:
        """The tables with their new rows, the moments, and what rows have seen then."""
        seen: Tree = {}
        now = ht.where(norm < LARGEST, self._count + 1, self._count)
        params, moments = dict(params), {key: dict(tree) for key, tree in moments.items()}
        for name, before in self._seen.items():
            if name not in self._own:
                seen[name] = now.broadcast(*before.shape)
                continue
            own = self._own[name]
            seen[name] = ht.put(before, own, now.broadcast(*own.shape))
            params[name] = ht.put(self._whole[name], own, params[name])
            for key, tree in moments.items():
                tree[name] = ht.put(self._whole_moments[key][name], own, tree[name])
        return params, moments, seen
