"""Plain texts and programs: a file is a text; a folder is all the files below it that are text."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from handloom.data.examples import Dataset, GenerationExample, Source
from handloom.data.files import TextFile, read_text
from handloom.data.options import Options
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted

TEXTS = (".txt", ".text", ".md", ".rst", ".tex")
PROGRAMS = (
    ".py", ".pyi", ".ipynb", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cu", ".java", ".kt", ".scala", ".js", ".jsx",
    ".mjs", ".ts", ".tsx", ".go", ".rs", ".rb", ".php", ".cs", ".swift", ".m", ".sh", ".bash", ".pl", ".lua", ".r",
    ".jl", ".hs", ".ml", ".ex", ".exs", ".erl", ".clj", ".lisp", ".scm", ".sql", ".html", ".css", ".vue", ".toml",
    ".yaml", ".yml", ".cfg", ".ini", ".cmake",
)  # fmt: skip
ENDINGS = (*TEXTS, *PROGRAMS)
LARGEST = 1 << 20
"""Bytes of a file in a folder; a larger one is data more often than a text that somebody wrote."""
PASSED_OVER = ("__pycache__", "node_modules", "site-packages", "venv", "build", "dist")
PART = 8_000
"""Characters of the parts that one large file is divided into, about."""
NAMED = 3


def read_document(file: TextFile, options: Options) -> Dataset[GenerationExample]:
    """One file. A long one is divided where a paragraph or a line ends, so that a part can be set aside."""
    texts = _parts(file.text)
    if not options.labelled:
        found = [GenerationExample(prompt=file.text, where=str(file.path))]
    else:
        last = len(texts) - 1
        found = [
            GenerationExample(target=text, where=f"{file.path} part {number}" if last else str(file.path),
                              goes_on=number < last)
            for number, text in enumerate(texts)
        ]  # fmt: skip
    notes = (f"one text of {len(file.text):,} characters, in {len(texts)} parts",) if len(found) > 1 else ("one text",)
    return Dataset(tuple(found), Source(str(file.path), file.sha256, "text"), notes)


def _parts(text: str) -> list[str]:
    found, at = [], 0
    while len(text) - at > 2 * PART:
        window = text[at : at + 2 * PART]
        end = max(window.rfind("\n\n", PART // 2, PART + PART // 2) + 2, 1)
        if end == 1:
            end = max(window.rfind("\n", PART // 2, PART + PART // 2) + 1, 0) or PART
        found.append(text[at : at + end])
        at += end
    return [*found, text[at:]]


def read_tree(path: Path, options: Options) -> Dataset[GenerationExample]:
    """All text files below a folder, in the order of their names. What is left out is said: hidden files and folders,
    those that tools make, other endings, large, empty and undecodable files.

    Raises HandloomError where no file is left.
    """
    if not options.labelled:
        raise HandloomError(f"{path} is a folder; what is to be gone on with is read from a file.")
    examples, digest = [], hashlib.sha256()
    read: Counter[str] = Counter()
    left: dict[str, list[str]] = {}
    others: Counter[str] = Counter()
    for file in _files(path):
        name, ending = file.relative_to(path).as_posix(), file.suffix.lower()
        if ending not in ENDINGS:
            others[ending or "none"] += 1
            continue
        if reason := _reason(file):
            left.setdefault(reason, []).append(name)
            continue
        if (text := _text(file, options)) is None:
            left.setdefault("that [does|do] not read as text", []).append(name)
            continue
        read[ending] += 1
        digest.update(f"{name}\0{text.sha256}\n".encode())
        examples.append(GenerationExample(target=text.text, extra={"file": name}, where=str(file)))
    if not examples:
        known = ", ".join(ENDINGS)
        raise HandloomError(f"{path} holds no text that could be learnt; files that end in {known} are read")
    notes = [f"{counted(len(examples), 'file')} ({_endings(read)})"]
    for reason, names in left.items():
        shown = ", ".join(names[:NAMED]) + " …" * (len(names) > NAMED)
        notes.append(f"{counted(len(names), 'file')} {agreed(len(names), f'{reason} [is|are]')} left out: {shown}")
    if others:
        other = agreed(others.total(), "with [another ending is|other endings are]")
        notes.append(f"{counted(others.total(), 'file')} {other} left out ({_endings(others)})")
    return Dataset(tuple(examples), Source(str(path), digest.hexdigest(), "folder of texts"), tuple(notes))


def _files(path: Path) -> Iterator[Path]:
    """Without links, which may lead anywhere, and without what is hidden or made by tools."""
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in PASSED_OVER)
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(".") and file.is_file() and not file.is_symlink():
                yield file


def _text(file: Path, options: Options) -> TextFile | None:
    """None for what does not decode, or holds zero bytes, as no text does."""
    try:
        found = read_text(file, options.encoding)
    except HandloomError:
        return None
    return None if "\x00" in found.text else found


def _reason(file: Path) -> str | None:
    size = file.stat().st_size
    return "of no bytes" if not size else f"of more than {LARGEST:,} bytes" if size > LARGEST else None


def _endings(endings: Counter[str], most: int = 6) -> str:
    shown = ", ".join(f"{ending} {count:,}" for ending, count in endings.most_common(most))
    return shown + (" …" if len(endings) > most else "")
