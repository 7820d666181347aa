"""Texts as vectors: an encoder's hidden states, token by token or pooled to one vector a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import handloom.tensor as ht
from handloom.errors import UsageError
from handloom.models.encoder import first_rows, mean_rows
from handloom.nn import Module
from handloom.tasks.task import Array, Batch, Encoded, Feature, Task
from handloom.tensor import Tensor
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import cut_all

POOLINGS = {"mean": mean_rows, "cls": first_rows}


class Pooling(Module):
    """hidden [T, width] -> [S, width], of unit length if `normalise`; without a pooling hidden itself."""

    def __init__(self, pooling: str | None, normalise: bool) -> None:
        if pooling is not None and pooling not in POOLINGS:
            raise UsageError(f"there is no pooling {pooling!r}; there are {', '.join(POOLINGS)}")
        self.pooling, self.normalise = pooling, normalise

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        if self.pooling is None:
            return hidden
        pooled = POOLINGS[self.pooling](hidden, batch)
        return unit(pooled) if self.normalise else pooled


def unit(rows: Tensor) -> Tensor:
    """Rows [n, width] of unit length."""
    return rows * ht.rsqrt(ht.maximum((rows * rows).sum(-1, keepdims=True), 1e-24))


class Embedding(Task):
    """pooling: "mean", "cls", or None for a vector a token."""

    name = "feature-extraction"

    def __init__(self, pooling: str | None, normalise: bool) -> None:
        self._head = Pooling(pooling, normalise)
        self.rows = "tokens" if pooling is None else "sequences"

    def head(self, width: int, rng: np.random.Generator) -> Module:
        return self._head

    def encode(self, examples: Sequence[str], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """Of a text that is longer than the model allows the beginning is read; a note says how many were."""
        cuts, found = cut_all(tokenizer.encode_batch(examples), max_length, long)
        features = [
            Feature(made.windows[0], index, None, made.kept[0], len(made.kept[0])) for index, made in enumerate(cuts)
        ]
        return Encoded(features, len(examples), (str(found),) if found.long else ())

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """There is none."""
        return ht.zeros(), ht.zeros()

    def decode(self, examples: Sequence[str], encoded: Encoded, logits: Sequence[Array]) -> list[Array]:
        return list(logits)
