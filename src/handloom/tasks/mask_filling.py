"""The words that may stand behind a mask, by a masked language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.tasks.task import Array, Batch, Encoded, Feature, Task, softmax
from handloom.tensor import Tensor
from handloom.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word for a mask, how likely it is (0 to 1), its number in the vocabulary, and the text with the word in the
    mask's place."""

    word: str
    score: float
    id: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class MaskFilling(Task):
    """top: candidates a mask."""

    name = "fill-mask"
    rows = "rows"

    def __init__(self, tokenizer: Tokenizer, top: int = 5) -> None:
        self.tokenizer, self.top = tokenizer, top

    def encode(self, examples: Sequence[str], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """Raises HandloomError for a text without a mask, and for one that is longer than the model allows."""
        mask = tokenizer.special_tokens.get("mask")
        if mask is None or tokenizer.mask is None:
            raise HandloomError("this model's tokenizer has no mask token, so no word can be left out for it to guess")
        features = []
        for index, coded in enumerate(tokenizer.encode_batch(examples)):
            rows = np.flatnonzero(coded.ids == tokenizer.mask).astype(np.int32)
            if not len(rows):
                raise HandloomError(f"text {index + 1} has no mask: write {mask} where a word is to be guessed")
            if len(coded) > max_length:
                raise HandloomError(f"text {index + 1} has {len(coded)} tokens; the model takes {max_length} at most")
            kept = np.arange(len(coded), dtype=np.int32)
            features.append(Feature(coded, index, None, kept, len(coded), rows=rows))
        return Encoded(features, len(examples))

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return ht.cross_entropy(logits, batch["labels"])

    def decode(self, examples: Sequence[str], encoded: Encoded, logits: Sequence[Array]) -> list[list[list[Candidate]]]:
        """For each text a list for each of its masks: the likeliest words, of two alike the lower number first."""
        found = []
        for text, feature, rows in zip(examples, encoded.features, logits, strict=True):
            assert feature.rows is not None
            places = feature.encoding.offsets[feature.rows].tolist()
            found.append([
                [self._candidate(text, start, end, index, float(shares[index]))
                 for index in np.argsort(-shares, kind="stable")[: self.top].tolist()]
                for (start, end), shares in zip(places, softmax(rows), strict=True)
            ])  # fmt: skip
        return found

    def _candidate(self, text: str, start: int, end: int, index: int, score: float) -> Candidate:
        word = self.tokenizer.word(index)
        start = end - len(text[start:end].lstrip())  # the mask of RoBERTa's kin takes the space before it
        if self.tokenizer.token(index).startswith("##"):  # a piece goes on with the word before it
            start = len(text[:start].rstrip())
        return Candidate(word, score, index, text[:start] + word + text[end:])
