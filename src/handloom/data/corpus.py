"""Plain text and JSON lines of any size, read as a stream: documents in pieces, never a whole file at once."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from handloom.data.files import existing
from handloom.errors import HandloomError, UsageError

PIECE = 1 << 16  #: characters of a piece, about; a document is cut behind the end of a line, or else of a word
LINE_LIMIT = 1 << 28  #: bytes that a line of JSON may have
_BLOCK = 1 << 20
TEXT_NAMES = ("text", "content", "document", "body")
JSON_ENDINGS, TEXT_ENDINGS = (".jsonl", ".ndjson"), (".txt", ".text", ".md")
OTHERS = (".csv", ".tsv", ".parquet", ".json", ".xlsx", ".conll", ".zip", ".xz", ".bz2", ".zst")

#: How a text file is divided into documents.
DOCUMENTS = ("file", "paragraphs", "lines")

#: (bytes read, bytes of all files): called now and then while a corpus is read.
Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document; first and last: whether the document begins and ends with it."""

    text: str
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """sha256: of the files' bytes (as they lie on disk) and of how they are read; size: bytes of text in UTF-8."""

    sha256: str
    documents: int
    size: int


class Corpus:
    """Text files (`.txt`, or anything that is not named otherwise), JSON lines (`.jsonl`), both `.gz` too, or folders
    of them, in the order given, a folder's by name.

    documents: what one is in a text file: the whole "file", its "paragraphs" (empty lines between them), its "lines".
    In JSON lines it is a line: an object with the text in `text_column` (one of `TEXT_NAMES` if not given), or a
    string. Raises HandloomError for what is missing or of another form, before anything is read.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        documents: str = "file",
        text_column: str | None = None,
        encoding: str = "utf-8",
    ) -> None:
        if documents not in DOCUMENTS:
            raise UsageError(f"documents is {documents!r}; it must be one of {', '.join(DOCUMENTS)}")
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise UsageError(f"encoding is {encoding!r}; there is no such encoding of text") from error
        self.documents, self.text_column, self.encoding = documents, text_column, encoding
        self.files = [file for path in paths for file in _files(existing(Path(path)))]
        self.total = sum(file.stat().st_size for file in self.files)

    def pieces(self, watch: Watch | None = None) -> Iterator[Piece]:
        """The text of all documents that are not blank, piece by piece.

        Raises HandloomError, with file and line, for text that does not decode and for lines that are no JSON.
        """
        done = 0
        for file in self.files:
            seen = _Counted(file, watch and (lambda read, done=done: watch(done + read, self.total)))
            yield from self._of_file(file, seen)
            done += file.stat().st_size

    def summary(self, watch: Watch | None = None) -> Summary:
        """What identifies the corpus, from one reading of it: so whatever is wrong with it is found here.

        Raises HandloomError as `pieces` does, and where there is no text at all.
        """
        digest = hashlib.sha256(json.dumps([self.documents, self.text_column, self.encoding]).encode())
        for file in self.files:
            digest.update(f"{file.stat().st_size}:{_json_lines(file)}:".encode())
            with open(file, "rb") as content:
                while block := content.read(_BLOCK):
                    digest.update(block)
        documents = size = 0
        for piece in self.pieces(watch):
            documents += piece.first
            size += len(piece.text.encode("utf-8", "replace"))
        if not documents:
            places = ", ".join(map(str, self.files[:3]))
            raise HandloomError(f"{places} holds no text: there is nothing to train on")
        return Summary(digest.hexdigest(), documents, size)

    def _of_file(self, file: Path, seen: _Counted) -> Iterator[Piece]:
        if _json_lines(file):
            for number, line in _lines(file, seen):
                if (text := self._record(f"{file}:{number}", line)).strip():
                    yield from _cut(iter([text]))
        elif self.documents == "file":
            yield from _cut(_decoded(file, seen, self.encoding))
        else:
            for text in _divided(file, _decoded(file, seen, self.encoding), self.documents == "lines"):
                yield from _cut(iter([text]))

    def _record(self, where: str, line: bytes) -> str:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise HandloomError(f"{where}: malformed JSON: {said}: {line[:80]!r}") from error
        if isinstance(value, dict):
            names = TEXT_NAMES if self.text_column is None else (self.text_column,)
            name = next((name for name in names if name in value), None)
            if name is None:
                hint = "" if self.text_column is not None else "; --text-column names the one that holds the text"
                there = ", ".join(list(value)[:8])
                raise HandloomError(f"{where}: no column {' or '.join(names)}; it has {there}{hint}")
            value = value[name]
        if not isinstance(value, str):
            raise HandloomError(f"{where}: the text must be a string, not {type(value).__name__}")
        return value


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        known = (*TEXT_ENDINGS, *JSON_ENDINGS)
        found = [file for file in sorted(path.rglob("*")) if file.is_file() and _ending(file) in known]
        if not found:
            raise HandloomError(f"{path} holds no files that end in {', '.join(known)} (or these with .gz)")
        return found
    if _ending(path) in OTHERS:
        raise HandloomError(
            f"{path}: pre-training reads plain text (.txt) and JSON lines (.jsonl), also with .gz; "
            f"{_ending(path)} is neither"
        )
    return [path]


def _ending(file: Path) -> str:
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _json_lines(file: Path) -> bool:
    return _ending(file) in JSON_ENDINGS


class _Counted:
    """Opens a file for reading and tells how many of its bytes on disk have been read."""

    def __init__(self, file: Path, told: Callable[[int], None] | None) -> None:
        self.file, self._told = file, told
        self._raw: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        try:
            self._raw = open(self.file, "rb")
        except OSError as error:
            raise HandloomError(f"{self.file} cannot be read: {error.strerror or error}") from error
        packed = self.file.name.lower().endswith(".gz")
        return gzip.GzipFile(fileobj=self._raw) if packed else self._raw  # type: ignore[return-value]

    def __exit__(self, *_: Any) -> None:
        if self._raw is not None:
            self._raw.close()

    def tell(self) -> None:
        if self._told is not None and self._raw is not None:
            self._told(self._raw.tell())


def _blocks(file: Path, seen: _Counted, read: Callable[[IO[bytes]], bytes]) -> Iterator[bytes]:
    with seen as content:
        while True:
            try:
                block = read(content)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise HandloomError(f"{file}: the gzip stream is broken or cut short: {error}") from error
            except OSError as error:
                raise HandloomError(f"{file} cannot be read: {error.strerror or error}") from error
            if not block:
                return
            seen.tell()
            yield block


def _lines(file: Path, seen: _Counted) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    for number, line in enumerate(_blocks(file, seen, lambda content: content.readline(LINE_LIMIT + 1)), 1):
        if len(line) > LINE_LIMIT:
            raise HandloomError(f"{file}:{number}: a line of more than {LINE_LIMIT:,} bytes; a document is a line")
        if stripped := (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip():
            yield number, stripped


def _decoded(file: Path, seen: _Counted, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line, begun = 0, 1, False
    blocks = _blocks(file, seen, lambda content: content.read(_BLOCK))
    for block in chain(blocks, [b""]):
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = offset - waiting + error.start
            line += error.object[: error.start].count(b"\n")
            raise HandloomError(
                f"{file}:{line}: byte {at} (0x{error.object[error.start]:02X}) is not {encoding}; "
                "name the file's encoding with --encoding, or save it as UTF-8"
            ) from error
        offset += len(block)
        line += block.count(b"\n")
        if text and not begun:
            begun, text = True, text.removeprefix("\ufeff")
        yield text


def _divided(file: Path, texts: Iterator[str], by_lines: bool) -> Iterator[str]:
    """Lines, or what stands between empty lines, without the line ends around them."""
    rest, paragraph, size = "", [], 0
    number = 0
    for text in chain(texts, ["\n\n"]):
        rest += text
        *lines, rest = rest.split("\n")
        for line in lines:
            number += 1
            if by_lines:
                yield line.rstrip("\r")
            elif line.strip():
                paragraph.append(line.rstrip("\r"))
                size += len(line)
            elif paragraph:
                yield "\n".join(paragraph)
                paragraph, size = [], 0
        if len(rest) + size > LINE_LIMIT:
            what = "line" if by_lines else "paragraph"
            raise HandloomError(f"{file}:{number}: a {what} of more than {LINE_LIMIT:,} characters")


def _cut(texts: Iterator[str]) -> Iterator[Piece]:
    """One document's text, which comes in parts of any size, as pieces of about PIECE characters."""
    rest, first = "", True
    for text in texts:
        rest, at = rest + text, 0
        while len(rest) - at >= 2 * PIECE:
            end = max(rest.rfind("\n", at, at + PIECE), rest.rfind(" ", at + PIECE // 2, at + PIECE)) + 1
            end = end if end > at else at + PIECE
            yield Piece(rest[at:end], first, False)
            at, first = end, False
        rest = rest[at:]
    if not first or rest.strip():
        yield Piece(rest, first, True)
