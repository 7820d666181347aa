"""FillMask: the words that may stand behind a mask, and how likely a text is word by word behind one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handloom.errors import HandloomError
from handloom.models.registry import load_model
from handloom.scoring import Likely, Scorer, TokenScore, check_source, check_top
from handloom.tasks.mask_filling import Candidate, MaskFilling
from handloom.tasks.task import Encoded, Feature, softmax
from handloom.text.encoding import Encoding, Ints
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.engine import Engine
from handloom.train.estimator import find_folder

SCORED = 64
"""Masked copies of a text that are computed together: their logits are in memory at once."""


class FillMask(Scorer):
    """A masked language model of a folder: BERT's, RoBERTa's and their like, in any language."""

    def __init__(self, folder: Path, threads: int | None = None, precision: str = "auto") -> None:
        model, config, report = load_model(folder, "fill-mask")
        self.folder, self.tokenizer = folder, Tokenizer.load(folder)
        if report.new:
            raise HandloomError(
                f"{folder}: holds no head for fill-mask: {', '.join(report.new[:3])} are not there, as in "
                "other encoders of sentences; a masked model with its head foretells words, or smollm2-135m-instruct"
            )
        self.max_length = modeling.longest(self.tokenizer, config, None)
        self._task = MaskFilling(self.tokenizer)
        self._engine = Engine(model, self._task, threads=threads, precision=precision)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, threads: int | None = None, precision: str = "auto", **where: Any
    ) -> FillMask:
        """From a folder, a name of the catalogue, or `owner/name` on the hub.

        Raises HandloomError where the checkpoint has no masked-language-model head.
        """
        return cls(find_folder(name, **where), threads, precision)

    @property
    def mask(self) -> str:
        """How this model spells a mask: "[MASK]" or "<mask>"."""
        return self.tokenizer.special_tokens.get("mask", "")

    def predict(self, texts: str | Sequence[str], top: int = 5) -> Any:
        """For one text a list of `top` candidates for each of its masks; for a list of texts a list of those.

        Raises UsageError for `top` below 1, HandloomError for a text without a mask or too long for the model.
        """
        check_top(top)
        given = [texts] if isinstance(texts, str) else list(texts)
        self._task.top = top
        encoded = self._task.encode(given, self.tokenizer, self.max_length, "head")
        logits, _ = self._engine.logits(encoded)
        found: list[list[list[Candidate]]] = self._task.decode(given, encoded, logits)
        return found[0] if isinstance(texts, str) else found

    # --- asking

    def score(self, text: str, *, source: str | None = None) -> list[TokenScore]:
        """The pseudo-log-likelihood (Salazar and others, 2020): each token of a text behind a mask, given all others.

        It takes as many runs over the text as the text has tokens. Of one that is longer than the model allows, each
        token sees what is around it.
        """
        check_source(source, False)
        coded = self.tokenizer.encode(text)
        own = np.flatnonzero(~coded.special).astype(np.int32)
        found: list[float | None] = [None] * len(coded)
        for at in range(0, len(own), SCORED):
            some = own[at : at + SCORED].tolist()
            features = [self._behind_mask(coded.ids, coded.types, own, index) for index in some]
            for index, rows in zip(some, self._engine.logits(Encoded(features, len(some)))[0], strict=True):
                found[index] = float(np.log(softmax(rows)[0, coded.ids[index]]))
        return [
            TokenScore(self._spelt(index), index, value, start, end)
            for index, value, (start, end) in zip(coded.ids.tolist(), found, coded.offsets.tolist(), strict=True)
        ]

    def next_token_probabilities(self, text: str = "", top: int = 10, *, source: str | None = None) -> list[Likely]:
        """The likeliest tokens behind a mask at the end of a text, likeliest first."""
        check_source(source, False)
        check_top(top)
        coded = self.tokenizer.encode(text or "a")
        own = np.flatnonzero(~coded.special)
        end = int(own[-1]) + 1 if len(own) else len(coded)
        kept = coded.ids[: end if text else int(own[0])]
        ids = np.concatenate([kept, [self._mask_id], coded.ids[end:]]).astype(np.int32)
        if len(ids) > self.max_length:
            raise HandloomError(f"the text has {len(ids):,} tokens with a mask after it; the model takes "
                                f"{self.max_length:,} at most")  # fmt: skip
        [rows], _ = self._engine.logits(Encoded([_feature(ids, np.zeros_like(ids), len(kept))], 1))
        chances = softmax(rows)[0]
        order = np.argsort(-chances, kind="stable")[:top].tolist()
        return [Likely(self._spelt(index), index, float(chances[index])) for index in order]

    @property
    def _mask_id(self) -> int:
        if self.tokenizer.mask is None:
            raise HandloomError("this model's tokenizer has no mask token, so no token can be left out for it to guess")
        return int(self.tokenizer.mask)

    def _behind_mask(self, ids: Ints, types: Ints, own: Ints, index: int) -> Feature:
        """A text with a token behind a mask, or as much around it as the model can read."""
        before, after = int(own[0]), int(own[-1]) + 1
        room = self.max_length - before - (len(ids) - after)
        begin = max(before, min(index - room // 2, after - room))
        kept = np.r_[0:before, begin : min(begin + room, after), after : len(ids)]
        place = before + index - begin
        shown = ids[kept]
        shown[place] = self._mask_id
        return _feature(shown, types[kept], place)

    def _spelt(self, index: int) -> str:
        """A table of words may be longer than the tokenizer's vocabulary."""
        return self.tokenizer.spelling(index) or f"[{index}]"


def _feature(ids: Ints, types: Ints, row: int) -> Feature:
    """A sequence of which one row gets logits."""
    none = np.zeros(len(ids), np.int32)
    coded = Encoding(ids, types, np.zeros((len(ids), 2), np.int32), none.astype(bool), none, none)
    return Feature(coded, 0, None, np.arange(len(ids), dtype=np.int32), len(ids), rows=np.array([row], np.int32))
