"""The paragraphs of documents: what questions are asked of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from handloom.data.files import existing, read_text
from handloom.errors import HandloomError

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


def read_paragraphs(source: str | os.PathLike[str] | Iterable[str], encoding: str | None = None) -> list[Paragraph]:
    """Of a file, of all text files below a folder (names that begin with a dot are passed over), or a list of texts.

    HandloomError where there are none, and for a file that is not text.
    """
    if not isinstance(source, (str, os.PathLike)):
        found = [Paragraph(text) for text in source if text.strip()]
        if not found:
            raise HandloomError("there are no paragraphs to look for answers in")
        return found
    place = existing(Path(source))
    files = [place] if place.is_file() else sorted(filter(_readable, place.rglob("*")))
    if not files:
        raise HandloomError(f"{place} holds no text files ({', '.join(ENDINGS)})")
    found = []
    for file in files:
        if file.stat().st_size:
            found += cut_into_paragraphs(read_text(file, encoding).text, str(file))
    if not found:
        raise HandloomError(f"{place} holds no text")
    return found


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
    hidden = any(part.startswith(".") for part in path.parts if part not in (".", ".."))
    return path.is_file() and path.suffix.lower() in ENDINGS and not hidden
