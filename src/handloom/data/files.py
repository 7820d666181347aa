"""Files into text: missing and empty ones, byte order marks, and encodings that are not UTF-8."""

from __future__ import annotations

import codecs
import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handloom.data.encodings import is_binary, likely
from handloom.errors import HandloomError, UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file's text; line ends are as they were."""

    path: Path
    text: str
    sha256: str
    encoding: str


NO_TEXT = "not read, as they are no text"
"""Stands before the files of a folder that are binary."""


def is_text(path: Path) -> bool:
    """Whether a file may hold text: it does not begin as one of Unicode's wide encodings and is not binary."""
    content = read_bytes(path)
    return any(content.startswith(mark) for mark, _ in _MARKS) or not is_binary(content)


def some_of(files: Sequence[Path], below: Path) -> str:
    """How many there are, and the first of them by name."""
    first = ", ".join(file.relative_to(below).as_posix() for file in files[:5])
    return f"{len(files)} ({first}{' …' if len(files) > 5 else ''})"


def existing(path: Path) -> Path:
    """The path, if something is there; else an error with the names that are near it."""
    if path.exists():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise HandloomError(f"{path} does not exist, and neither does the folder {folder}.")
    there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    lowered = {name.lower(): name for name in there}
    near = [lowered[name] for name in difflib.get_close_matches(path.name.lower(), lowered, n=3, cutoff=0.65)]
    same_stem = [name for name in there if Path(name).stem == path.stem and name not in near]
    near = [*near, *same_stem][:3]
    hint = f" Did you mean {' or '.join(near)}?" if near else _listing(there)
    raise HandloomError(f"{path} does not exist.{hint}")


def _listing(names: list[str]) -> str:
    if not names:
        return " Its folder is empty."
    return f" Its folder holds {', '.join(names[:8])}{' …' if len(names) > 8 else ''}."


def read_bytes(path: Path) -> bytes:
    """A file's bytes; an error for one that is missing, empty or not readable."""
    try:
        content = existing(path).read_bytes()
    except OSError as error:
        raise HandloomError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not content:
        raise HandloomError(f"{path} is empty (0 bytes).")
    return content


def read_text(path: Path, encoding: str | None = None) -> TextFile:
    """A file's text: UTF-8 with or without its mark, or the encoding given."""
    content = read_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    name = encoding or "utf-8-sig"
    if encoding is None:
        _refuse_other_marks(path, content)
    try:
        text = content.decode(name)
    except UnicodeDecodeError as error:
        raise HandloomError(_undecodable(path, content, error, encoding)) from error
    except LookupError as error:
        raise UsageError(
            f"--encoding {encoding}: there is no such encoding of text. Usual ones: utf-8, gb18030, big5, shift_jis, "
            "euc_kr, cp1252, cp1251, utf-16."
        ) from error
    text = text.removeprefix("\ufeff")
    if not text.strip("\x00 \t\r\n\v\f"):
        raise HandloomError(f"{path} holds no text, only blanks ({len(content)} bytes).")
    if encoding is None and "\x00" in text[:4000]:
        guess = likely(content)
        if guess and guess.startswith("utf-16"):
            raise HandloomError(
                f"{path} has a zero byte at {content.index(0)}: it looks like {guess}. Try --encoding {guess}"
            )
    return TextFile(path, text, digest, "utf-8" if encoding is None else encoding)


def _refuse_other_marks(path: Path, content: bytes) -> None:
    for mark, name in _MARKS:
        if content.startswith(mark) and name != "utf-8-sig":
            raise HandloomError(
                f"{path} is {name.upper()} (byte order mark at byte 0), not UTF-8. Try --encoding {name}"
            )


def _undecodable(path: Path, content: bytes, error: UnicodeDecodeError, encoding: str | None) -> str:
    at = error.start + (3 if encoding is None and content.startswith(codecs.BOM_UTF8) else 0)
    line = content.count(b"\n", 0, at) + 1
    said = f"{path} is not {encoding or 'UTF-8'}: byte {at} (line {line}) is 0x{content[at]:02X}."
    guess = likely(content)
    if guess is None or guess == encoding:
        return f"{said} Name its encoding with --encoding, or save it as UTF-8."
    return f"{said} It looks like {guess}: try --encoding {guess}"
