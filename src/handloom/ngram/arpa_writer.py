"""A model as an ARPA file, which KenLM, SRILM and others read: for each order a section of lines

log10 of the probability ⇥ the n-gram's words, with blanks between ⇥ log10 of the back-off weight

The numbers are the shortest decimals that give the same f32 again. Lines are put together from pieces (a number with
its tab, a word with its blank) by one gather of bytes for many lines, which Python's strings would be much slower at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from handloom.ngram.corpus import Array
from handloom.ngram.table import Level, words_of

LINES = 1 << 16
"""Lines that are put together at once."""


class Pieces:
    """Pieces of text side by side in one array of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode() for text in texts]
        self.bytes = np.frombuffer(b"".join(encoded), np.uint8)
        self.lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self.starts = np.cumsum(self.lengths) - self.lengths

    @classmethod
    def of_numbers(cls, numbers: Array, end: str) -> Pieces:
        """The shortest decimals that give the same f32 again, each with an end of one character."""
        texts = numbers.astype(np.bytes_)
        pieces = cls([])
        pieces.lengths = np.strings.str_len(texts)
        padded = np.zeros((len(texts), texts.itemsize + 1), np.uint8)
        padded[:, :-1] = texts.view(np.uint8).reshape(len(texts), -1)
        padded[np.arange(len(texts)), pieces.lengths] = ord(end)
        pieces.lengths += 1
        pieces.bytes, pieces.starts = padded.ravel(), np.arange(len(texts)) * padded.shape[1]
        return pieces


def joined(columns: list[tuple[Pieces, Array]]) -> bytes:
    """Lines of which each column gives a piece by its number: n of each column's i64[n]."""
    offsets = np.cumsum([0, *(len(pieces.bytes) for pieces, _ in columns[:-1])])
    starts = np.stack([p.starts[which] + at for (p, which), at in zip(columns, offsets, strict=True)], axis=1).ravel()
    lengths = np.stack([pieces.lengths[which] for pieces, which in columns], axis=1).ravel()
    ends = np.cumsum(lengths)
    source = np.repeat(starts - ends + lengths, lengths)
    source += np.arange(len(source))
    return np.concatenate([pieces.bytes for pieces, _ in columns])[source].tobytes()


def blocks(levels: list[Level], vocabulary: list[str], remark: str = "") -> Iterator[bytes]:
    """The file's bytes. remark: a line before everything else, which others pass over."""
    counts = "".join(f"ngram {order}={len(level)}\n" for order, level in enumerate(levels, 1))
    yield f"{remark and f'# {remark}'}\n\\data\\\n{counts}".encode()
    inner, last, only = (Pieces([word + end for word in vocabulary]) for end in (" ", "\t", "\n"))
    for order, level in enumerate(levels, 1):
        yield f"\n\\{order}-grams:\n".encode()
        top = order == len(levels)
        columns = [np.unique(column, return_inverse=True) for column in (level.log10, level.backoff)]
        before, after = (Pieces.of_numbers(numbers, end) for (numbers, _), end in zip(columns, "\t\n", strict=True))
        for start in range(0, len(level), LINES):
            rows = np.arange(start, min(start + LINES, len(level)))
            *words, word = words_of(levels, len(vocabulary), order, rows)
            line = [(before, columns[0][1][rows]), *((inner, one) for one in words), (only if top else last, word)]
            yield joined(line if top else [*line, (after, columns[1][1][rows])])
    yield b"\n\\end\\\n"
