"""SentenceEncoder: vectors for texts, and how alike texts are. Folders of sentence-transformers say how to pool."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.models.registry import load_config
from handloom.models.sentence_folder import recipe
from handloom.tasks.embedding import Embedding
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.engine import Engine
from handloom.train.estimator import find_folder

F32 = NDArray[np.float32]


class SentenceEncoder:
    """An encoder of a folder, a name of the catalogue, or `owner/name` on the hub.

    pooling: "mean" or "cls"; normalise: vectors of unit length. Left out, they are what a folder of
    sentence-transformers says, else the mean, normalised.
    """

    def __init__(
        self, folder: Path, pooling: str | None = None, normalise: bool | None = None, threads: int | None = None,
        precision: str = "auto",
    ) -> None:  # fmt: skip
        found = recipe(folder)
        self.folder = found.folder
        self.pooling = pooling or found.pooling
        self.normalise = found.normalise if normalise is None else normalise
        config, self.tokenizer = load_config(found.folder), Tokenizer.load(found.folder)
        self.max_length = modeling.longest(self.tokenizer, config, None)
        if found.max_length:
            self.max_length = min(found.max_length, config.max_length)
        self._how: dict[str, Any] = {"threads": threads, "precision": precision}
        self._engines: dict[str | None, tuple[Engine, Embedding]] = {}
        self.notes: tuple[str, ...] = ()  #: what there is to say about the last texts

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, pooling: str | None = None, normalise: bool | None = None,
        threads: int | None = None, precision: str = "auto", **where: Any,
    ) -> SentenceEncoder:  # fmt: skip
        """Raises HandloomError for a folder whose modules or pooling are not supported."""
        return cls(find_folder(name, **where), pooling, normalise, threads, precision)

    def encode(self, texts: str | Sequence[str]) -> F32:
        """f32 [texts, width], or [width] of one string. A text that is too long is cut (`notes` says how many were)."""
        found = self._run(texts, self.pooling)
        return found[0] if isinstance(texts, str) else np.stack(found) if found else np.zeros((0, 0), np.float32)

    def features(self, texts: str | Sequence[str]) -> Any:
        """The hidden states f32 [tokens, width] of a text, special tokens included; a list of them for several."""
        found = self._run(texts, None)
        return found[0] if isinstance(texts, str) else found

    def similarity(self, texts: str | Sequence[str], others: str | Sequence[str]) -> F32:
        """Cosines, f32 [texts, others]; a string stands for one text."""
        sides = [[side] if isinstance(side, str) else list(side) for side in (texts, others)]
        vectors = self.encode([*sides[0], *sides[1]])
        if not len(vectors):
            return np.zeros((0, 0), np.float32)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found: F32 = vectors[: len(sides[0])] @ vectors[len(sides[0]) :].T
        return found

    def _run(self, texts: str | Sequence[str], pooling: str | None) -> list[F32]:
        given = [texts] if isinstance(texts, str) else list(texts)
        if not given:
            return []
        if pooling not in self._engines:
            task = Embedding(pooling, self.normalise)
            model, _, _ = modeling.build(self.folder, task, seed=0)
            self._engines[pooling] = Engine(model, task, **self._how), task
        engine, task = self._engines[pooling]
        encoded = task.encode(given, self.tokenizer, self.max_length, "head")
        self.notes = encoded.notes
        return engine.logits(encoded)[0]
