"""SentenceEncoder: vectors for texts, and how alike texts are. Folders of sentence-transformers say how to pool."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.errors import HandloomError
from handloom.models.config import CONFIG_LIMIT, read_json
from handloom.models.registry import load_config
from handloom.tasks.embedding import Embedding
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.engine import Engine
from handloom.train.estimator import find_folder

F32 = NDArray[np.float32]
MODES = "pooling_mode_"


@dataclass(frozen=True)
class Recipe:
    """How a folder wants its texts to be encoded: where the transformer lies, the pooling, unit length or not, and
    the most tokens (None: what the model can)."""

    folder: Path
    pooling: str = "mean"
    normalise: bool = True
    max_length: int | None = None


def recipe(folder: Path) -> Recipe:
    """By modules.json and what it names, if the folder is one of sentence-transformers.

    Raises HandloomError for modules and poolings that are not supported.
    """
    if not (folder / "modules.json").is_file():
        return Recipe(folder)
    found = Recipe(folder, normalise=False)
    for place, kind in _modules(folder / "modules.json"):
        if kind == "Transformer":
            limit = (place / "sentence_bert_config.json").is_file() and read_json(place / "sentence_bert_config.json")
            length = limit.get("max_seq_length") if limit else None
            found = Recipe(place, found.pooling, found.normalise, length if isinstance(length, int) else None)
        elif kind == "Pooling":
            found = Recipe(found.folder, _pooling(place / "config.json"), found.normalise, found.max_length)
        elif kind == "Normalize":
            found = Recipe(found.folder, found.pooling, True, found.max_length)
        else:
            raise HandloomError(f"{folder / 'modules.json'}: the module {kind} is not supported; "
                                "there are Transformer, Pooling and Normalize")  # fmt: skip
    return found


def _modules(path: Path) -> list[tuple[Path, str]]:
    """(folder, name of the class) of each module, in their order. A module's folder may not leave the model's."""
    if path.stat().st_size > CONFIG_LIMIT:
        raise HandloomError(f"{path}: larger than {CONFIG_LIMIT} bytes, which no honest list of modules is")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(entry["path"]), str(entry["type"]).rpartition(".")[2]) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise HandloomError(f'{path}: must hold a list of {{"path": …, "type": …}} ({problem!r})') from problem
    for place, _ in found:
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise HandloomError(f"{path}: the module's path {place!r} leads out of the folder")
    return [(path.parent / place, kind) for place, kind in found]


def _pooling(path: Path) -> str:
    wanted = sorted(name for name, on in read_json(path).items() if name.startswith(MODES) and on is True)
    known = {f"{MODES}mean_tokens": "mean", f"{MODES}cls_token": "cls"}
    if len(wanted) != 1 or wanted[0] not in known:
        raise HandloomError(f"{path}: the pooling {' and '.join(wanted) or 'of nothing'} is not supported; "
                            f"there are {' and '.join(known)}")  # fmt: skip
    return known[wanted[0]]


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
        self.tokenizer, config = Tokenizer.load(found.folder), load_config(found.folder)
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
