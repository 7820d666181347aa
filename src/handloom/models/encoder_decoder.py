"""What families with an encoder and a decoder share: a source is read, and a target is written that looks at it.

Batches are packed twice: source_ids, source_positions i32[U] and source_starts i32[S+1] of the sources beside ids,
positions i32[T] and starts i32[S+1] of the targets. A target is read shifted: it begins with the start token, and each
row foretells the next token (`teach` makes such a batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from handloom.models.config import EncoderDecoderConfig
from handloom.models.encoder import Batch, Encoder
from handloom.models.language_model import LanguageModel
from handloom.tensor import Tensor

Ids = npt.NDArray[np.int32]
Tokens = Sequence[int] | Ids
Pair = tuple[Tensor, Tensor]
"""Keys and values of sources in one layer of the decoder, [U, width] each."""


class EncoderDecoder(Encoder):
    """`forward(batch)` gives the decoder's hidden states [T, hidden]. batch["source"], a list of Pairs by layer, stands
    for sources that were read before."""

    config: EncoderDecoderConfig

    def read(self, batch: Batch) -> Tensor:
        """The encoder: hidden states [U, hidden] of the sources."""
        raise NotImplementedError

    def source(self, hidden: Tensor) -> list[Pair]:
        """What the decoder's layers look at, from the encoder's hidden states [U, hidden]."""
        raise NotImplementedError

    def write(self, source: Sequence[Pair], batch: Batch) -> Tensor:
        """The decoder: hidden states [T, hidden] of the targets."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        return self.write(batch["source"] if "source" in batch else self.source(self.read(batch)), batch)


class ConditionalLanguageModel(LanguageModel):
    """An encoder–decoder with an output layer: what comes next in a target, given its source."""

    task: ClassVar[str] = "text2text-generation"
    config: EncoderDecoderConfig

    @property
    def stack(self) -> EncoderDecoder:
        found = self.encoder_part
        assert isinstance(found, EncoderDecoder)
        return found

    @property
    def table(self) -> str:
        """The name of the table of words, which the output layer may be, too."""
        return self.stack_prefix + "shared.weight"

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        return {**super().aliases, **({} if self.config.tied else {"lm_head.weight": (self.table,)})}


def teach(pairs: Sequence[tuple[Tokens, Tokens]], start: int) -> dict[str, Ids]:
    """A packed batch with labels i32[T] from (source, target) pairs of ids: a target is read as the start token and all
    of its tokens but the last, and its labels are its tokens.

    Raises ValueError where a source or a target has no tokens.
    """
    if not pairs or not all(len(source) and len(target) for source, target in pairs):
        raise ValueError("a source and its target need a token each, an end token at least")
    source, target = (_packed([pair[part] for pair in pairs]) for part in (0, 1))
    labels = target["ids"]
    shown = np.roll(labels, 1)
    shown[target["starts"][:-1]] = start
    return {**{f"source_{name}": values for name, values in source.items()}, **target, "ids": shown, "labels": labels}


def _packed(texts: Sequence[Tokens]) -> dict[str, Ids]:
    return {
        "ids": np.concatenate([np.asarray(text, np.int32) for text in texts]),
        "positions": np.concatenate([np.arange(len(text), dtype=np.int32) for text in texts]),
        "starts": np.cumsum([0, *map(len, texts)]).astype(np.int32),
    }
