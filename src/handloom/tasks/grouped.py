"""Examples that are several sequences each, packed side by side: texts that are compared, the choices of a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.data import packing
from handloom.tasks.task import Array, Feature, Task
from handloom.text.encoding import Encoding


@dataclass(frozen=True, slots=True, eq=False)
class Group(Feature):
    """encoding: the first of its sequences; others: the rest."""

    others: tuple[Encoding, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.encodings))

    @property
    def sequences(self) -> int:
        return 1 + len(self.others)

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        return (self.encoding, *self.others)


class Grouped(Task):
    """A row of logits for every sequence. Of a batch, "sequences" are its groups and "texts" their sequences: starts
    i32 [texts + 1] among the tokens, groups i32 [sequences + 1] among the texts."""

    rows = "rows"

    def row_count(self, feature: Feature) -> int:
        return feature.sequences

    def pack(self, part: Any) -> dict[str, Array]:
        groups: Sequence[Group] = part
        batch = packing.pack([packing.Feature(e.ids, e.types) for group in groups for e in group.encodings])
        ends = np.cumsum([group.sequences for group in groups])
        return {**batch, "groups": np.concatenate([[0], ends]).astype(np.int32)}

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        tokens = dict.fromkeys(("ids", "positions", "types"), ("tokens",))
        return {**tokens, "starts": ("texts+1",), "groups": ("sequences+1",)}
