"""What a tokenizer makes of one text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """N tokens of one text, or of a text and its pair.

    ids i32[N]; types i32[N]: segment ids; offsets i32[N, 2]: start and end in characters of the user's own string
    (of the pair where `sequence` is 1; 0, 0 for special tokens); special bool[N]: added by the tokenizer, not text;
    words i32[N]: index of the token's word, -1 for special tokens; sequence i32[N]: 0 text, 1 pair, -1 special.
    """

    ids: Ints
    types: Ints
    offsets: Ints
    special: Bools
    words: Ints
    sequence: Ints

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, kept: NDArray[Any]) -> Encoding:
        """The tokens chosen by a mask or by indices."""
        return Encoding(
            self.ids[kept], self.types[kept], self.offsets[kept],
            self.special[kept], self.words[kept], self.sequence[kept],
        )  # fmt: skip

    def first_tokens(self) -> Ints:
        """Indices of the tokens that begin a word of the text (not of the pair), in order; a word may have none."""
        own = np.flatnonzero(self.sequence == 0)
        begins = np.ones(len(own), bool)
        begins[1:] = self.words[own[1:]] != self.words[own[:-1]]
        return own[begins].astype(np.int32)
