"""A corpus as tokens in files that are mapped into memory: written once, read anywhere, never loaded whole.

    tokens.bin      every document's tokens, one after another: u16 or u32, little-endian
    documents.bin   i64 [documents + 1]: where each begins; the last number is the count of tokens
    about.json      format, counts, and the bytes of text that the tokens spell
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.corpus import Piece
from handloom.data.permutation import key_of, permuted
from handloom.errors import HandloomError
from handloom.text.tokenizer import Tokenizer

Array = NDArray[Any]

FORMAT = 1
_CHARACTERS, _PIECES = 1 << 19, 1 << 13  # that are tokenised together: some 100 MB in the library
_BUFFER = 1 << 20


@dataclass(frozen=True)
class About:
    """tokens and documents: how many; size: bytes of their text in UTF-8; wide: whether tokens take 4 bytes."""

    format: int
    tokens: int
    documents: int
    size: int
    wide: bool


class TokenFile:
    """tokens: u16 or u32 [tokens]; starts: i64 [documents + 1]. Both are maps of the files."""

    def __init__(self, folder: Path) -> None:
        try:
            values = json.loads((folder / "about.json").read_text("utf-8"))
            if not isinstance(values, dict) or values.get("format") != FORMAT:
                raise HandloomError(f"{folder / 'about.json'}: not format {FORMAT} of a token file; remove {folder}")
            self.about = About(**values)
            self.tokens = _mapped(folder / "tokens.bin", "<u4" if self.about.wide else "<u2", self.about.tokens)
            self.starts = _mapped(folder / "documents.bin", "<i8", self.about.documents + 1)
        except (OSError, ValueError, TypeError) as problem:
            raise HandloomError(f"{folder} is no token file that can be read ({problem}); remove it") from problem

    def __len__(self) -> int:
        return self.about.tokens


def _mapped(path: Path, dtype: str, count: int) -> Array:
    if path.stat().st_size != count * np.dtype(dtype).itemsize:
        raise HandloomError(f"{path} has {path.stat().st_size:,} bytes, not the {count:,} numbers it should hold")
    return np.asarray(np.memmap(path, dtype, "r", shape=(count,))) if count else np.zeros(0, dtype)


class TokenFileWriter:
    """Writes the files of a folder; nothing but a buffer of each is held in memory. `close` before they are read.

    begin: tokens that begin each document; end: the one that ends it, None for none.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, begin: Sequence[int] = (), end: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._begin, self._end = folder, list(begin), end
        self._wide = tokenizer.size > 2**16
        self._files = [open(folder / name, "wb", _BUFFER) for name in ("tokens.bin", "documents.bin")]  # noqa: SIM115
        self._tokens = self._documents = self._size = self._begun = 0

    def add(self, ids: Array, piece: Piece, size: int) -> None:
        """A piece's ids and the bytes of its text."""
        if self._begin and self._tokens == self._begun:
            ids = np.concatenate([self._begin, ids])
        if piece.last and self._end is not None:
            ids = np.append(ids, self._end)
        self._files[0].write(ids.astype("<u4" if self._wide else "<u2").tobytes())
        self._tokens += len(ids)
        self._size += size
        if piece.last and self._tokens > self._begun:  # a document of no tokens is none
            self._files[1].write(np.int64(self._begun).astype("<i8").tobytes())
            self._documents += 1
            self._begun = self._tokens

    def close(self) -> About:
        self._files[1].write(np.int64(self._tokens).astype("<i8").tobytes())
        for file in self._files:
            file.close()
        about = About(FORMAT, self._tokens, self._documents, self._size, self._wide)
        (self.folder / "about.json").write_text(json.dumps(asdict(about)), "utf-8")
        return about


@dataclass(frozen=True)
class HeldOut:
    """Which part of a corpus of so many documents and bytes is set aside: `share` of the documents, chosen by the seed;
    where there are fewer than FEW, the last `share` of the text."""

    share: float
    seed: int
    documents: int
    size: int

    FEW = 20

    def parts(self, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
        """(0 kept or 1 held out, piece) for each piece; the one that the border runs through is cut in two."""
        return self._chosen(pieces) if self.documents >= self.FEW else self._last(pieces)

    def _chosen(self, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
        chosen = max(1, int(self.share * self.documents + 0.5))
        document, key, block = -1, key_of(self.seed), 4096
        for piece in pieces:
            document += piece.first
            if piece.first and document % block == 0:
                places = np.arange(document, min(document + block, self.documents))
                held = permuted(places, self.documents, key) < chosen
            yield int(held[document % block]), piece

    def _last(self, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
        border, at = int(self.size * (1 - self.share)), 0
        for piece in pieces:
            content = piece.text.encode("utf-8", "replace")
            if at < border <= at + len(content):
                kept = len(content[: border - at].decode("utf-8", "ignore"))
                yield 0, Piece(piece.text[:kept], piece.first, True)
                if kept < len(piece.text) or not piece.last:
                    yield 1, Piece(piece.text[kept:], True, piece.last)
            else:
                yield int(at >= border), piece
            at += len(content)


def write(
    folder: Path,
    names: tuple[str, ...],
    parts: Iterable[tuple[int, Piece]],
    tokenizer: Tokenizer,
    begin: Sequence[int] = (),
    end: int | None = None,
) -> None:
    """Token files in the folders `names` of `folder`, the pieces going to the one that each is numbered with."""
    writers = [TokenFileWriter(folder / name, tokenizer, begin, end) for name in names]
    for group in _groups(parts):
        ids = tokenizer.ids_batch([piece.text for _, piece in group])
        for (part, piece), found in zip(group, ids, strict=True):
            writers[part].add(found, piece, len(piece.text.encode("utf-8", "replace")))
    for writer in writers:
        writer.close()


def _groups(parts: Iterable[tuple[int, Piece]]) -> Iterator[list[tuple[int, Piece]]]:
    group: list[tuple[int, Piece]] = []
    size = 0
    for part in parts:
        group.append(part)
        size += len(part[1].text)
        if size >= _CHARACTERS or len(group) == _PIECES:
            yield group
            group, size = [], 0
    if group:
        yield group
