"""From text to numbers: a line is a sentence, a token is a word between blanks or a character."""

from __future__ import annotations

import codecs
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.errors import HandloomError, UsageError
from handloom.ngram import files

Array = NDArray[Any]

SPECIAL = ("<unk>", "<s>", "</s>")
"""Every vocabulary begins with these."""
UNKNOWN, START, END = range(3)
BLANK = "▁"
"""What stands for a blank among characters, as in SentencePiece: a token of an ARPA file holds none."""


def _words(block: str) -> list[str]:
    return block.replace("\n", " </s> ").split()


def _characters(block: str) -> list[str]:
    return list("\n".join(BLANK.join(line.split()) for line in block.split("\n")))


UNITS: dict[str, Callable[[str], list[str]]] = {"words": _words, "characters": _characters}
"""unit → the tokens of a text, with a mark at each line's end: </s>, or a line feed, which no other token can be."""


def check_unit(unit: str) -> str:
    if unit not in UNITS:
        raise UsageError(f"there is no unit {unit!r}; tokens are {' or '.join(UNITS)}.")
    return unit


def spoken(tokens: Iterable[str], unit: str) -> str:
    """Tokens as a text again.

    >>> spoken(["we", "go"], "words"), spoken(["w", "e", "▁", "g", "o"], "characters")
    ('we go', 'we go')
    """
    return " ".join(tokens) if unit == "words" else "".join(tokens).replace(BLANK, " ")


# --- text, in blocks of whole lines --------------------------------------------------------------------------------


def blocks(source: str | os.PathLike[str] | Iterable[str], encoding: str | None = None) -> Iterator[str]:
    """Blocks of whole lines, without the last line's end, of a file (plain or gzip) or of sentences at hand.

    HandloomError, with file and line, for what is not text in this encoding (UTF-8 if none is given).
    """
    if isinstance(source, (str, os.PathLike)):
        yield from _file_blocks(Path(source), encoding)
        return
    lines: list[str] = []
    size = 0
    for line in source:
        lines.append(line.replace("\n", " "))
        size += len(line)
        if size > files.BLOCK:
            yield "\n".join(lines)
            lines, size = [], 0
    if lines:
        yield "\n".join(lines)


def _file_blocks(path: Path, encoding: str | None) -> Iterator[str]:
    try:
        decoder = codecs.getincrementaldecoder(encoding or "utf-8-sig")()
    except LookupError as error:
        raise UsageError(f"there is no encoding {encoding!r}; usual ones: utf-8, gb18030, big5, cp1252.") from error
    line = 1
    waiting: list[str] = []
    for block in files.blocks(path):
        text = _decoded(decoder, block, path, line, encoding)
        line += text.count("\n")
        whole, end, rest = text.rpartition("\n")
        if end:
            yield "".join([*waiting, whole])
            waiting = [rest]
        else:
            waiting.append(rest)
    waiting.append(_decoded(decoder, b"", path, line, encoding))
    if any(waiting):
        yield "".join(waiting)


def _decoded(decoder: codecs.IncrementalDecoder, block: bytes, path: Path, line: int, encoding: str | None) -> str:
    try:
        text = decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        byte = f"0x{error.object[error.start]:02X}" if error.start < len(error.object) else "the end"
        raise HandloomError(
            f"{path}:{line}: {byte} is not {encoding or 'UTF-8'}. Name the encoding, or save the file as UTF-8."
        ) from error
    if "\0" in text:
        line += text[: text.index("\0")].count("\n")
        raise HandloomError(f"{path}:{line}: a zero byte; this is not a text, or not in {encoding or 'UTF-8'}.")
    return text


# --- tokens as numbers ---------------------------------------------------------------------------------------------


class Numbers(dict[str, int]):
    """The numbers of tokens; UNKNOWN for all others."""

    def __missing__(self, token: str) -> int:
        return UNKNOWN


def numbers_of(vocabulary: Iterable[str], unit: str) -> Numbers:
    """The numbers of a vocabulary's tokens, and of the mark that a text of this unit has at a line's end."""
    numbers = Numbers((token, number) for number, token in enumerate(vocabulary))
    if unit == "characters":
        numbers["\n"] = END
    return numbers


def encode(block: str, numbers: Numbers, unit: str) -> Array:
    """Numbers of the tokens of whole lines, END after each line."""
    if unit == "words" and ("<s>" in block or "</s>" in block):
        return _marked_lines(block, numbers)
    tokens = UNITS[unit](block)
    return np.append(np.fromiter(map(numbers.__getitem__, tokens), np.int64, len(tokens)), END)


def _marked_lines(block: str, numbers: Numbers) -> Array:
    """Words of a text in which <s> or </s> may stand as words: they are no words, and UNKNOWN."""
    inner = Numbers((word, number) for word, number in numbers.items() if number not in (START, END))
    return np.array([n for line in block.split("\n") for n in (*map(inner.__getitem__, line.split()), END)])


def places(text: str, unit: str) -> list[tuple[int, int]]:
    """The characters (start, end) of each token of one sentence, and of its end.

    >>> places("we  go", "words"), places("a  b", "characters")
    ([(0, 2), (4, 6), (6, 6)], [(0, 1), (1, 3), (3, 4), (4, 4)])
    """
    found = [match.span() for match in re.finditer(r"\S+", text)]
    if unit == "characters":
        spans, last = [], None
        for start, end in found:
            if last is not None:
                spans.append((last, start))
            spans += [(at, at + 1) for at in range(start, end)]
            last = end
        found = spans
    return [*found, (len(text), len(text))]


def filled(ids: Array) -> Array:
    """The same without empty sentences."""
    kept: Array = ids[(ids != END) | (np.append(END, ids[:-1]) != END)]
    return kept


def learn(source: str | os.PathLike[str] | Iterable[str], unit: str, encoding: str | None) -> tuple[list[str], Array]:
    """The vocabulary of a corpus, in the order of appearance, and its sentences, END after each.

    HandloomError for a corpus without a token, and for one that holds <s>, </s> or <unk> as a word.
    """
    named = f"{source}:" if isinstance(source, (str, os.PathLike)) else "the corpus, sentence "
    index: defaultdict[str, int] = defaultdict(count(len(SPECIAL)).__next__, numbers_of(SPECIAL, unit))
    parts, line = [np.empty(0, np.int32)], 1
    for block in blocks(source, encoding):
        if unit == "words" and any(mark in block for mark in SPECIAL):
            _refuse_special(block, named, line)
        tokens = UNITS[unit](block)
        ids = np.fromiter(map(index.__getitem__, tokens), np.int64, len(tokens))
        parts.append(filled(np.append(ids, END)).astype(np.int32))
        line += block.count("\n") + 1
    ids = np.concatenate(parts)
    if not len(ids):
        raise HandloomError(
            f"{named.rstrip(':').removesuffix(', sentence ')} holds no token: there is nothing to count."
        )
    index.pop("\n", None)
    return list(index), ids


def _refuse_special(block: str, named: str, line: int) -> None:
    for number, sentence in enumerate(block.split("\n"), line):
        for word in sentence.split():
            if word in SPECIAL:
                raise HandloomError(
                    f"{named}{number}: {word} is a word of the text, but n-gram models use it as a mark. "
                    "Take it out, or write it otherwise."
                )


def framed(ids: Array) -> tuple[Array, Array]:
    """Sentences with START before each, and each token's place in its sentence (START's is 0): [T + S] both."""
    ends = np.flatnonzero(ids == END)
    begins = np.append(0, ends[:-1] + 1)
    tokens = np.insert(ids, begins, START)
    starts = begins + np.arange(len(begins))
    lengths = np.diff(np.append(starts, len(tokens)))
    return tokens, np.arange(len(tokens)) - np.repeat(starts, lengths)
