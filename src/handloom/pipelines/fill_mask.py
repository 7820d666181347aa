"""FillMask: the words that may stand behind a mask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError, UsageError
from handloom.models.registry import load_model
from handloom.tasks.mask_filling import Candidate, MaskFilling
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.engine import Engine
from handloom.train.estimators import find_folder


class FillMask:
    """A masked language model of a folder: BERT's, RoBERTa's and their like, in any language."""

    def __init__(self, folder: Path, threads: int | None = None, precision: str = "auto") -> None:
        self.folder, self.tokenizer = folder, Tokenizer.load(folder)
        model, config, report = load_model(folder, "fill-mask")
        if report.new:
            raise HandloomError(f"{folder}: holds no head for fill-mask: {', '.join(report.new[:3])} are not there")
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
        if top < 1:
            raise UsageError(f"top must be at least 1, not {top}")
        given = [texts] if isinstance(texts, str) else list(texts)
        self._task.top = top
        encoded = self._task.encode(given, self.tokenizer, self.max_length, "head")
        logits, _ = self._engine.logits(encoded)
        found: list[list[list[Candidate]]] = self._task.decode(given, encoded, logits)
        return found[0] if isinstance(texts, str) else found
