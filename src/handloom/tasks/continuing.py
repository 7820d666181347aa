"""A decoder goes on with texts, and is taught some of their tokens: all of a text, what follows a prompt, or what one
side of a conversation says.

The rows whose next token is learnt are named (batch["rows"]); only of those is the output layer computed, and nothing
behind the last of them is read. Batches are packed, so that no text pays for a longer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from handloom.models.encoder import labelled_rows
from handloom.tasks.task import Array, Batch, Feature, Task
from handloom.tensor import Tensor, random
from handloom.text.encoding import Encoding, Ints
from handloom.text.tokenizer import Tokenizer


class Continuing(Task):
    """The loss of the rows that are named, and their labels: the tokens that come next. No logits are stored.
    smoothing: of labels."""

    name = "text-generation"
    metric = "loss"
    rows = "rows"
    smoothing: float = 0.0

    def total(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        hidden = labelled_rows(model.encode(batch), batch)
        smoothing = self.smoothing if random.training() else 0.0  # a perplexity is of what is written, not of all words
        found: tuple[Tensor, Tensor] = model.loss(hidden, batch["labels"], smoothing=smoothing)
        return found


def feature(
    example: int, ids: Ints, learnt: Array, kept: Ints | None = None, length: int | None = None
) -> Feature | None:
    """ids i32[n], learnt bool[n]: which of them are to be foretold, each from those before it. None where there is none
    (the first token has nothing before it). kept i32[n], length: where they are in the whole text, of which this may be
    a part, and how many of its tokens are shown."""
    rows = np.flatnonzero(learnt[1:]).astype(np.int32)
    if not len(rows):
        return None
    shown = int(rows[-1]) + 1
    where = np.arange(len(ids), dtype=np.int32) if kept is None else kept
    return Feature(bare(ids[:shown]), example, ids[rows + 1], where[:shown], length or shown, rows, rows)


def bare(ids: Ints) -> Encoding:
    """Tokens of which nothing else is asked: they belong to no text that could be looked up."""
    nothing = np.zeros(len(ids), np.int32)
    return Encoding(ids, nothing, np.zeros((len(ids), 2), np.int32), nothing.astype(bool), nothing, nothing - 1)


def windows(example: int, ids: Ints, max_length: int, long: str) -> list[Feature]:
    """All tokens of a text are learnt, each once: it is read in windows one behind the other, or only its head."""
    found = []
    for begin in range(0, max(len(ids) - 1, 1), max_length):
        part = ids[begin : begin + max_length + 1]
        learnt = np.ones(len(part), bool)
        kept = np.arange(begin, begin + len(part), dtype=np.int32)
        if (made := feature(example, part, learnt, kept, max(len(ids) - 1, 1))) is not None:
            found.append(made)
        if long == "head":
            break
    return found


class Frame:
    """The tokens that a tokenizer puts before a text, and the one that ends it (None where there is none)."""

    def __init__(self, tokenizer: Tokenizer, end: int | None) -> None:
        coded = tokenizer.encode("a")
        own = np.flatnonzero(~coded.special)
        self.before: Ints = coded.ids[: int(own[0])] if len(own) else coded.ids
        self.end = end

    def around(self, ids: Ints, ended: bool = True) -> Ints:
        """ended: with the token that ends it."""
        after = [] if self.end is None or not ended else [self.end]
        return np.concatenate([self.before, ids, np.array(after, np.int32)]).astype(np.int32)


def spelt(ends: Ints, spans: Sequence[tuple[int, int]]) -> Array:
    """bool[n]: the tokens that end within one of the spans of characters. ends i32[n]: where each token ends."""
    learnt = np.zeros(len(ends), bool)
    for start, stop in spans:
        learnt |= (ends > start) & (ends <= stop)
    return learnt
