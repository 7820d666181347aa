"""ARPA files, ours and others', plain or gzip: read line by line or, where the lines are all alike, many at once.

Nothing is allocated by what the file says of itself: lines are taken as they come and compared with its counts. Every
n-gram's context must be there, too, as other programs demand; a suffix may be missing.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from handloom.errors import HandloomError
from handloom.ngram import files
from handloom.ngram.corpus import END, SPECIAL, START, Array
from handloom.ngram.table import NEVER, Level

LONGEST_LINE = 1 << 20
LONGEST_HEAD = 1000
"""Lines before \\data\\."""
DENSEST = 1032
"""Times that gzip can make a file smaller, at most."""
NO_UNKNOWN = -100.0
"""log10 of an unknown word's probability where a file does not tell it; KenLM's, too."""


class Reader:
    """A file's lines, with their numbers, one by one or in blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        """Of the last line that was taken."""
        self._blocks = files.blocks(path)
        self._buffer = b""

    def error(self, message: str, line: int | None = None) -> HandloomError:
        return HandloomError(f"{self.path}:{self.number if line is None else line}: {message}")

    def _more(self) -> bool:
        block = next(self._blocks, b"")
        self._buffer += block
        return bool(block)

    def line(self) -> str | None:
        """The next line without its end; None at the end of the file."""
        while (end := self._buffer.find(b"\n")) < 0 and self._more():
            if len(self._buffer) > LONGEST_LINE + files.BLOCK:
                raise self.error(f"a line of more than {LONGEST_LINE:,} bytes; this is no ARPA file.", self.number + 1)
        if end < 0 and not self._buffer:
            return None
        line, self._buffer = (self._buffer[:end], self._buffer[end + 1 :]) if end >= 0 else (self._buffer, b"")
        self.number += 1
        return self.text(line, self.number)

    def filled_line(self) -> str | None:
        """The next line that is not blank."""
        line = self.line()
        while line is not None and not line.strip():
            line = self.line()
        return line

    def text(self, line: bytes, number: int) -> str:
        try:
            return line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise self.error(f"byte {error.start} of the line is not UTF-8.", number) from error

    def lines(self, most: int) -> tuple[bytes, int]:
        """Whole lines, `most` of them at most, and how many; (b"", 0) at the end of the file."""
        while b"\n" not in self._buffer and self._more():
            if len(self._buffer) > LONGEST_LINE + files.BLOCK:
                raise self.error(f"a line of more than {LONGEST_LINE:,} bytes; this is no ARPA file.", self.number + 1)
        ends = np.flatnonzero(np.frombuffer(self._buffer, np.uint8) == 10)[:most]
        if not len(ends):
            return b"", 0
        cut = int(ends[-1]) + 1
        block, self._buffer = self._buffer[:cut], self._buffer[cut:]
        self.number += len(ends)
        return block, len(ends)


def read(path: Path) -> tuple[list[Level], list[str], str]:
    """A file's levels, vocabulary (SPECIAL first) and remark. HandloomError, with file and line, where it is broken."""
    reader = Reader(path)
    remark, counts = _head(reader)
    levels: list[Level] = []
    vocabulary: list[str] = []
    index: dict[bytes, int] = {}
    for order, count in enumerate(counts, 1):
        if (line := reader.filled_line()) != f"\\{order}-grams:":
            raise reader.error(f"\\{order}-grams: was expected here, not {_shown(line)}.")
        first = reader.number + 1
        words, numbers = _section(reader, order, count, index)
        if order == 1:
            level, vocabulary, index = _words(reader, list(index), numbers)
        else:
            level = _level(reader, levels, words, numbers, first, list(map(bytes.decode, index)))
        levels.append(level)
    if (line := reader.filled_line()) != "\\end\\":
        raise reader.error(f"\\end\\ was expected here, not {_shown(line)}.")
    if (line := reader.filled_line()) is not None:
        raise reader.error(f"the file goes on after \\end\\, with {_shown(line)}.")
    while len(levels) > 1 and not len(levels[-1]):
        levels.pop()
    return levels, vocabulary, remark


def _shown(line: str | None) -> str:
    return "the end of the file" if line is None else repr(line[:60])


def _head(reader: Reader) -> tuple[str, list[int]]:
    """The remark before \\data\\, and how many n-grams of each order there shall be."""
    remark = ""
    while (line := reader.line()) != "\\data\\":
        if line is None or reader.number > LONGEST_HEAD:
            raise HandloomError(
                f"{reader.path}: no line \\data\\ in its first {min(reader.number, LONGEST_HEAD)}; "
                "this is not an ARPA file (or one cut short)."
            )
        remark = remark or line.removeprefix("# ") * line.startswith("# ")
    counts: list[int] = []
    while (line := reader.line()) is not None and line.strip():
        said = re.fullmatch(r"ngram\s+([0-9]{1,6})\s*=\s*([0-9]{1,18})\s*", line)
        if not said or int(said[1]) != len(counts) + 1:
            raise reader.error(f"'ngram {len(counts) + 1}=' and a count was expected here, not {_shown(line)}.")
        counts.append(int(said[2]))
    if not counts or not counts[0]:
        raise reader.error("the file says that it holds no 1-grams; there is no model in it.")
    least = sum(count * (2 * order + 2) for order, count in enumerate(counts, 1))
    size = reader.path.stat().st_size
    if least > size * (DENSEST if files.is_gzip(reader.path) else 1):
        raise reader.error(f"{sum(counts):,} n-grams are promised, but a file of {size:,} bytes cannot hold them.")
    return remark, counts


def _section(reader: Reader, order: int, count: int, index: dict[bytes, int]) -> tuple[Array, tuple[Array, Array]]:
    """Words [count, order] and (log10, backoff) of a section; a section of words fills the index."""
    parts = [(np.empty((0, order), np.int64), np.empty(0), np.empty(0))]
    left = count
    while left:
        first = reader.number + 1
        block, lines = reader.lines(left)
        if not lines:
            rest = reader.line()
            raise reader.error(
                f"{left:,} of {count:,} {order}-grams are missing: the file ends here, with {_shown(rest)}."
            )
        part = _alike(block, lines, order, index) or _one_by_one(reader, block, first, order, index, count)
        for values, what in zip(part[1:], ("log10 of the probability", "back-off weight"), strict=True):
            wrong = ~np.isfinite(values) | ((values > 0) & (what[0] == "l"))
            if wrong.any():
                at = int(np.argmax(wrong))
                raise reader.error(f"{values[at]:g} cannot be the {what}.", first + at)
        parts.append(part)
        left -= lines
    words, log10, backoff = (np.concatenate(column) for column in zip(*parts, strict=True))
    if order == 1 and len(index) < count:
        raise reader.error(f"a word stands twice among the {count:,} 1-grams.")
    return words, (np.maximum(log10, NO_UNKNOWN).astype(np.float32), backoff.astype(np.float32))


Part = tuple[Array, Array, Array]


def _alike(block: bytes, lines: int, order: int, index: dict[bytes, int]) -> Part | None:
    """Many lines that have all the same form, single tabs and blanks and nothing special; None if they do not."""
    content = np.frombuffer(block, np.uint8)
    separators = np.flatnonzero(content <= 32)
    columns = len(separators) // lines
    pattern = [9, *[32] * (order - 1), *[9] * (columns - order - 1), 10]
    if columns not in (order + 1, order + 2) or len(separators) != lines * columns:
        return None
    if (content[separators].reshape(lines, columns) != pattern).any() or (np.diff(separators, prepend=-1) == 1).any():
        return None
    fields = block.translate(bytes.maketrans(b"\t\n", b"  ")).split(b" ")
    try:
        numbers = [
            np.fromiter(map(float, fields[at:-1:columns]), np.float64) for at in (0, order + 1)[: columns - order]
        ]
        if order == 1:
            words = np.array([index.setdefault(word, len(index)) for word in fields[1::columns]])[:, None]
            [word.decode() for word in fields[1::columns]]
        else:
            words = np.empty((lines, order), np.int64)
            for at in range(order):
                words[:, at] = np.fromiter(map(index.__getitem__, fields[at + 1 :: columns]), np.int64, lines)
    except (ValueError, KeyError):  # UnicodeDecodeError is a ValueError, too
        return None
    return words, numbers[0], numbers[1] if len(numbers) > 1 else np.zeros(lines)


def _one_by_one(reader: Reader, block: bytes, first: int, order: int, index: dict[bytes, int], count: int) -> Part:
    """The same for lines of any form, with an error that names the line."""
    words: list[list[int]] = []
    numbers: list[tuple[float, float]] = []
    for number, line in enumerate(block.split(b"\n")[:-1], first):
        text = reader.text(line, number)
        fields = re.split("[\t ]+", text.strip("\t \r"))
        if not fields[0] or fields[0][0] == "\\":
            raise reader.error(f"a line of the {count:,} {order}-grams was expected here, not {_shown(text)}.", number)
        if len(fields) not in (order + 1, order + 2):
            raise reader.error(f"not a number, {order} words and perhaps a number: {_shown(text)}.", number)
        try:
            numbers.append((float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0))
        except ValueError as error:
            raise reader.error(f"not a number, {order} words and perhaps a number: {_shown(text)}.", number) from error
        if order == 1:
            words.append([index.setdefault(fields[1].encode(), len(index))])
            continue
        unknown = [word for word in fields[1 : order + 1] if word.encode() not in index]
        if unknown:
            raise reader.error(f"the word {unknown[0]!r} is not among the 1-grams.", number)
        words.append([index[word.encode()] for word in fields[1 : order + 1]])
    return np.array(words), *np.array(numbers).T


def _words(
    reader: Reader, read: list[bytes], numbers: tuple[Array, Array]
) -> tuple[Level, list[str], dict[bytes, int]]:
    """The level of words, its vocabulary with SPECIAL first, and each word's number."""
    given = [word.decode() for word in read]
    place = {word: number for number, word in enumerate(given)}
    for mark in (SPECIAL[START], SPECIAL[END]):
        if mark not in place:
            raise reader.error(f"{mark} is not among the 1-grams; a model of sentences needs it.")
    log10, backoff = (
        np.append(column, value).astype(np.float32) for column, value in zip(numbers, (NO_UNKNOWN, 0), strict=True)
    )
    vocabulary = [*SPECIAL, *(word for word in given if word not in SPECIAL)]
    order = np.array([place.get(word, len(given)) for word in vocabulary])
    log10, backoff = log10[order], backoff[order]
    log10[START] = NEVER
    index = {word.encode(): number for number, word in enumerate(vocabulary)}
    return Level(np.arange(len(vocabulary)), log10, backoff), vocabulary, index


def _level(
    reader: Reader,
    levels: list[Level],
    words: Array,
    numbers: tuple[Array, Array],
    first: int,
    vocabulary: list[str],
) -> Level:
    """A level from its words and numbers, in any order; first: the line on which it begins."""

    def complain(row: int, message: str) -> HandloomError:
        return reader.error(f"{' '.join(vocabulary[word] for word in words[row])!r} {message}", first + row)

    size = len(vocabulary)
    context = words[:, 0]
    for below, word in zip(levels[1:], words.T[1:-1], strict=True):
        context = below.find(context * size + word)
        if (context < 0).any():
            row, length = int(np.argmax(context < 0)), words.shape[1] - 1
            raise complain(row, f"is here, but its first {length} words are not among the {length}-grams.")
    keys = context * size + words[:, -1]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise complain(int(order[twice[0] + 1]), "stands here for the second time.")
    return Level(keys, numbers[0][order], numbers[1][order])
