"""The paragraphs of documents: what questions are asked of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from handloom.data.files import NO_TEXT, existing, read_text, some_of
from handloom.errors import HandloomError
from handloom.text.counting import counted

ENDINGS = (".txt", ".md", ".rst", ".text")
SHORT = 60
"""Characters; a shorter block, a heading say, goes with what follows it."""
_GAP = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """text; document: the file it is of, "" where there is none; start: the character of that file it begins at."""

    text: str
    document: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Documents:
    """notes: what was read and what was passed over."""

    paragraphs: tuple[Paragraph, ...]
    notes: tuple[str, ...] = ()


def read_paragraphs(source: str | os.PathLike[str] | Iterable[str], encoding: str | None = None) -> Documents:
    """Of a file, of all text files below a folder (names that begin with a dot are passed over), or a list of texts.

    HandloomError where there are none, and for a file that is named and is not text; notes say what a folder holds.
    """
    if not isinstance(source, (str, os.PathLike)):
        texts = list(source)
        listed = tuple(Paragraph(text) for text in texts if text.strip())
        if not listed:
            raise HandloomError("there are no paragraphs to look for answers in")
        blank = len(texts) - len(listed)
        note = f"blank, and passed over: {blank:,} of {counted(len(texts), 'paragraph')}"
        return Documents(listed, (note,) * bool(blank))
    place = existing(Path(source))
    there = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    files = [file for file in there if place.is_file() or _readable(file.relative_to(place))]
    if not files:
        raise HandloomError(f"{place} holds no text files ({', '.join(ENDINGS)})")
    found: list[Paragraph] = []
    blank_ones: list[Path] = []
    unread: dict[Path, HandloomError] = {}
    for file in files:
        try:
            own = cut_into_paragraphs(read_text(file, encoding).text, str(file)) if file.stat().st_size else []
        except HandloomError as problem:
            unread[file] = problem
            continue
        found += own
        blank_ones += [] if own else [file]
    if not found:
        if unread:
            raise next(iter(unread.values()))
        raise HandloomError(f"{place} holds no text")
    passed = {f"not read, as they are not {', '.join(ENDINGS)}, or hidden": sorted({*there} - {*files}),
              NO_TEXT: list(unread), "without text": blank_ones}  # fmt: skip
    read = len(files) - len(blank_ones) - len(unread)
    notes = [f"paragraphs: {len(found):,}, files with text: {read:,}, of {place}"]
    notes += [f"{why}: {some_of(some, place)}" for why, some in passed.items() if some]
    return Documents(tuple(found), tuple(notes))


def cut_into_paragraphs(text: str, document: str = "") -> list[Paragraph]:
    """At empty lines; each with its place, so that `text[start:start + len(paragraph.text)]` is the paragraph."""
    ends = [(gap.start(), gap.end()) for gap in _GAP.finditer(text)]
    found: list[Paragraph] = []
    begin = 0
    for stop, following in [*ends, (len(text), len(text))]:
        inner = text[begin:stop]
        if len(inner.strip()) < SHORT and following < len(text):
            continue
        if inner.strip():
            found.append(Paragraph(inner.strip(), document, begin + len(inner) - len(inner.lstrip())))
        begin = following
    return found


def _readable(path: Path) -> bool:
    """path: below the folder that was named."""
    return path.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in path.parts)
