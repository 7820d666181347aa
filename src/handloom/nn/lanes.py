"""Sequences of unequal length in lanes: what a recurrent layer walks instead of padded rows.

A batch has `width` lanes side by side, and in each of them sequences stand one behind the other; where one begins, the
state is a first state again. So every step computes `width` rows, all of them real but for the ends of lanes that are
shorter than the longest. The longest sequences are placed first, each in the lane that is shortest so far.

The layout is made on the host, from the lengths alone; a sequence's results do not depend on its place in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.tensor import Tensor

Array = np.ndarray[Any, Any]


def layout(lengths: Sequence[int], width: int) -> dict[str, Array]:
    """The layout of sequences of at least one token each that lie one behind the other in a packed batch; all i32.

    cells [steps · width]: the token of each cell, step by step; where a lane is at its end, some token. places
    [tokens]: the cell of each token. begins [(steps + 1) · width]: for each cell 1 + the number of the sequence that
    begins there, else 0, and a row of zeros; ends, the same size: a row of zeros, and for each cell 1 + the number of
    the sequence that ends there, else 0. Raises HandloomError for no sequences or one without tokens.
    """
    if not len(lengths) or min(lengths) < 1:
        raise HandloomError("lanes need at least one sequence, and every sequence at least one token")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    lanes = [(0, lane) for lane in range(width)]  # (cells so far, lane), a heap
    placed = []
    for sequence in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        filled, lane = heapq.heappop(lanes)
        placed.append((sequence, lane, filled))
        heapq.heappush(lanes, (filled + int(lengths[sequence]), lane))
    steps = max(filled for filled, _ in lanes)
    cells = np.zeros((steps, width), np.int32)
    begins, ends = np.zeros((2, steps + 1, width), np.int32)
    places = np.zeros(starts[-1], np.int32)
    for sequence, lane, at in placed:
        tokens = np.arange(starts[sequence], starts[sequence + 1])
        after = at + len(tokens)
        cells[at:after, lane] = tokens
        places[tokens] = np.arange(at, after) * width + lane
        begins[at, lane] = ends[after, lane] = sequence + 1
    return {"cells": cells.reshape(-1), "places": places, "begins": begins.reshape(-1), "ends": ends.reshape(-1)}


def shapes(width: int, side: str = "") -> dict[str, tuple[str, ...]]:
    """The symbolic shapes of a layout, as `compile` takes them; `side` stands in front of all names."""
    rows = f"{width}*{side}steps+{width}"
    sizes = {"cells": f"{width}*{side}steps", "places": f"{side}tokens", "begins": rows, "ends": rows}
    return {side + name: (size,) for name, size in sizes.items()}


@dataclass(frozen=True)
class Lanes:
    """The layout of a batch, within a computation: the batch holds its arrays, and `starts` i32 [sequences + 1]."""

    width: int
    batch: Mapping[str, Tensor]
    side: str = ""

    def array(self, name: str) -> Tensor:
        """An array of the layout. Raises HandloomError if the batch has not got it."""
        if self.side + name not in self.batch:
            raise HandloomError(f"the batch has no {self.side + name!r}: recurrent layers need `arrange` to add it")
        return self.batch[self.side + name]

    def spread(self, x: Tensor) -> Tensor:
        """Rows of tokens [tokens, …] as rows of cells [steps · width, …]."""
        return ht.take(x, self.array("cells"))

    def gather(self, x: Tensor) -> Tensor:
        """Rows of cells [steps · width, …] as rows of tokens [tokens, …]."""
        return ht.take(x, self.array("places"))

    def marks(self, reverse: bool) -> tuple[Tensor, Tensor]:
        """(i32 [width], [steps, width]): 1 + the number of the sequence that the first step to be computed begins with
        in each lane, and of the one that the step after each step begins with; 0 where none begins."""
        rows = self.array("ends" if reverse else "begins").reshape(-1, self.width)
        return (rows[-1], rows[:-1]) if reverse else (rows[0], rows[1:])

    def last(self, x: Tensor, reverse: bool) -> Tensor:
        """Of rows of cells the one of each sequence's last step: its last token, or the first in reverse."""
        starts = self.array("starts")
        tokens = starts[:-1] if reverse else starts[1:] - 1
        return ht.take(x, ht.take(self.array("places"), tokens))
