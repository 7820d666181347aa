"""Corpora on their way to token files: read with progress, split, a vocabulary learnt, and all of it kept by its hash.

What is made here lies under HANDLOOM_HOME (tokenizers/, corpora/), each in a folder named by what decides its content,
so that a second training on the same text begins at once. Any of it may be removed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from handloom.data import token_file
from handloom.data.corpus import Corpus, Summary, Watch
from handloom.data.token_file import HeldOut, TokenFile
from handloom.errors import HandloomError
from handloom.models.cache import home, published
from handloom.text.tokenizer import Tokenizer
from handloom.text.vocabularies import learn

VALID_SHARE, VALID_BYTES = 0.1, 10_000_000
SAMPLE = 1 << 28  #: characters that a vocabulary is learnt from, about
Note = Callable[[str], None]


@dataclass(frozen=True)
class Texts:
    """The text of a training, read once: so it has no fault that is found too late. valid: None where a part of train
    is set aside."""

    train: Corpus
    valid: Corpus | None
    summaries: tuple[Summary, Summary | None]
    held: HeldOut | None

    @classmethod
    def read(
        cls, train: Corpus, valid: Corpus | None, share: float | None, seed: int, note: Note
    ) -> Texts:
        found = train.summary(progress("reading", note))
        other = None if valid is None else valid.summary(progress("reading the validation text", note))
        held = None
        if valid is None:
            usual = min(VALID_SHARE, VALID_BYTES / found.size)
            held = HeldOut(usual if share is None else share, seed, found.documents, found.size)
        return cls(train, valid, (found, other), held)

    def to_dict(self) -> dict[str, Any]:
        def described(corpus: Corpus, summary: Summary) -> dict[str, Any]:
            return {"path": ", ".join(map(str, corpus.files[:3])), "form": "text", "examples": summary.documents,
                    "bytes": summary.size, "sha256": summary.sha256}  # fmt: skip

        found = {"train": described(self.train, self.summaries[0])}
        if self.valid is not None and self.summaries[1] is not None:
            found["valid"] = described(self.valid, self.summaries[1])
        return found

    def _split(self) -> Any:
        return None if self.held is None else [self.held.share, self.held.seed]

    # -- vocabulary

    def tokenizer(self, kind: str, size: int | None, style: str, note: Note) -> Tokenizer:
        """A vocabulary learnt from the training text, or the one that was learnt from it before."""
        version = metadata.version("tokenizers")
        folder = home() / "tokenizers" / _key(self.summaries[0].sha256, self._split(), kind, size, style, version)
        if not (folder / "tokenizer.json").is_file():
            note(f"learning a {kind} vocabulary")
            made = learn(kind, self._sample(note), style, size)
            with published(folder, lambda: (folder / "tokenizer.json").is_file()) as staging:
                made.save(staging)
        return Tokenizer.load(folder)

    def _sample(self, note: Note) -> Iterator[str]:
        """The training text, or every so many pieces of it where it is large."""
        every = max(1, -(-self.summaries[0].size // SAMPLE))
        if every > 1:
            note(f"the text is large: the vocabulary is learnt from every {every}th piece of it")
        pieces = self.train.pieces(progress("learning the vocabulary", note))
        parts = ((0, piece) for piece in pieces) if self.held is None else self.held.parts(pieces)
        for number, (part, piece) in enumerate(parts):
            if part == 0 and number % every == 0:
                yield piece.text

    # -- tokens

    def tokens(
        self, tokenizer: Tokenizer, begin: Sequence[int], end: int | None, note: Note
    ) -> tuple[TokenFile, TokenFile]:
        """The token files of training and validation text, written if they are not there."""
        how = [tokenizer.identity, list(begin), end, token_file.FORMAT]
        if self.held is not None:
            folder = home() / "corpora" / _key(self.summaries[0].sha256, self._split(), how)
            train, valid = self._files(folder, self.train, ("train", "valid"), tokenizer, begin, end, note)
            return train, valid
        found = []
        for corpus, summary in zip((self.train, self.valid), self.summaries, strict=True):
            assert corpus is not None and summary is not None
            folder = home() / "corpora" / _key(summary.sha256, None, how)
            found += self._files(folder, corpus, ("all",), tokenizer, begin, end, note)
        return found[0], found[1]

    def _files(
        self, folder: Path, corpus: Corpus, names: tuple[str, ...], tokenizer: Tokenizer, begin: Sequence[int],
        end: int | None, note: Note,
    ) -> list[TokenFile]:  # fmt: skip
        def sound() -> bool:
            return all((folder / name / "about.json").is_file() for name in names)

        if not sound():
            pieces = corpus.pieces(progress("turning text into tokens", note))
            held = self.held if len(names) == 2 else None
            parts = ((0, piece) for piece in pieces) if held is None else held.parts(pieces)
            with published(folder, sound) as staging:
                token_file.write(staging, names, parts, tokenizer, begin, end)
        files = [TokenFile(folder / name) for name in names]
        for file, name in zip(files, names, strict=True):
            if not len(file):
                raise HandloomError(f"the {'validation' if name == 'valid' else 'training'} text has no tokens")
        return files


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def progress(what: str, note: Note, every: float = 5.0) -> Watch:
    """Tells now and then how far a long reading is; nothing about a short one."""
    began = last = time.monotonic()

    def watch(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > (every if last != began else 2.0):
            last = now
            note(f"{what}: {100 * done / max(total, 1):.0f} %")

    return watch
