"""Texts that are longer than the model: windows with overlap, or a cut; and the way back from windows to texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.errors import UsageError
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Encoding, Ints

HOW = ("windows", "head", "head-tail")
"""What `--long` accepts: overlapping windows (default), the beginning, or the beginning and the end."""

OVERLAP = 1 / 4
"""Share of a window that it has in common with the next."""

HEAD = 1 / 4
"""Share of a head-tail cut that comes from the beginning; endings carry more of what a text is about."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One text made to fit. `windows`: one or more encodings; `kept`: for each, the indices that its tokens have in
    the whole encoding; `shortened`: tokens were dropped for good."""

    windows: tuple[Encoding, ...]
    kept: tuple[Ints, ...]
    shortened: bool


@dataclass(frozen=True, slots=True)
class LongTexts:
    """How many of `texts` were longer than the model, in how many windows they ended, how many were shortened."""

    texts: int
    long: int
    windows: int
    shortened: int

    def __str__(self) -> str:
        if not self.long:
            return f"all {counted(self.texts, 'text')} {agreed(self.texts, '[fits|fit]')} the model"
        if self.shortened:
            were = agreed(self.shortened, "[was|were] longer than the model and [has|have] been shortened")
            return f"{self.shortened:,} of {counted(self.texts, 'text')} {were}"
        read = self.windows - self.texts + self.long
        are = agreed(self.long, "[is|are] longer than the model and [is|are] read in")
        return f"{self.long:,} of {counted(self.texts, 'text')} {are} {counted(read, 'window')}"


def cut(
    encoding: Encoding, max_length: int, how: str = "windows", overlap: int | None = None, moving: int | None = None
) -> Cut:
    """Fits an encoding into sequences of at most `max_length` tokens, special tokens included.

    Special tokens stay in every window. Of a text and its pair the longer is cut; the shorter stays whole unless it
    alone takes more than half of the room, of which then its beginning stays. `overlap`: tokens shared by neighbours,
    a quarter of the room by default. moving: which of the two is cut (0 the text, 1 its pair); the other stays whole,
    and a UsageError says so where that leaves no room.
    """
    if how not in HOW:
        raise UsageError(f"--long {how} is not known; there are {', '.join(HOW)}.")
    everything = np.arange(len(encoding), dtype=np.int32)
    if len(encoding) <= max_length:
        return Cut((encoding,), (everything,), False)
    special = everything[encoding.sequence < 0]
    parts = [everything[encoding.sequence == number] for number in (0, 1)]
    longer = int(len(parts[1]) > len(parts[0])) if moving is None else moving
    room = max_length - len(special)
    if room < 2:
        raise UsageError(f"--max-length {max_length} leaves no room for text beside {len(special)} special tokens.")
    beside = parts[1 - longer] if moving is not None else parts[1 - longer][: room // 2]
    if moving is not None and room - len(beside) < 2:
        raise UsageError(f"--max-length {max_length} leaves no room beside {len(beside) + len(special)} tokens.")
    fixed = np.concatenate([special, beside])
    sliding = parts[longer]
    pieces = _pieces(len(sliding), room - len(beside), how, overlap)
    kept = tuple(np.sort(np.concatenate([fixed, sliding[piece]])).astype(np.int32) for piece in pieces)
    shortened = how != "windows" or len(beside) < len(parts[1 - longer])
    return Cut(tuple(encoding.take(indices) for indices in kept), kept, shortened)


def cut_all(
    encodings: Sequence[Encoding], max_length: int, how: str = "windows", overlap: int | None = None
) -> tuple[list[Cut], LongTexts]:
    """Every text made to fit, and what to say about it."""
    cuts = [cut(encoding, max_length, how, overlap) for encoding in encodings]
    long = sum(len(encoding) > max_length for encoding in encodings)
    windows = sum(len(found.windows) for found in cuts)
    return cuts, LongTexts(len(cuts), long, windows, sum(found.shortened for found in cuts))


def _pieces(length: int, room: int, how: str, overlap: int | None) -> list[NDArray[Any]]:
    if how == "head":
        return [np.arange(min(room, length))]
    if how == "head-tail":
        if length <= room:
            return [np.arange(length)]
        head = max(1, int(room * HEAD))
        return [np.concatenate([np.arange(head), np.arange(length - (room - head), length)])]
    return [np.arange(start, end) for start, end in window_ranges(length, room, overlap)]


def window_ranges(length: int, size: int, overlap: int | None = None) -> list[tuple[int, int]]:
    """(start, end) of windows of `size` over `length` tokens; the last is moved back so that it is full, too."""
    shared = int(size * OVERLAP) if overlap is None else overlap
    if not 0 <= shared < size:
        raise UsageError(f"An overlap of {shared} tokens does not fit windows of {size}; it must be smaller.")
    if length <= size:
        return [(0, length)]
    starts = [*range(0, length - size, size - shared), length - size]
    return [(start, start + size) for start in starts]


def owners(kept: Sequence[Ints], length: int) -> tuple[Ints, Ints]:
    """For each of `length` tokens: the window (i32) in which it has most context, and its index there (i32).

    Context is the distance to the nearer edge at which the window cuts the text; the text's own edges cut nothing.
    Ties go to the earlier window. A token that no window holds has -1 in both.
    """
    window = np.full(length, -1, np.int32)
    place = np.full(length, -1, np.int32)
    best = np.full(length, -1, np.int64)
    for number, indices in enumerate(kept):
        # A gap in the indices is a cut as well (special tokens of a pair, head and tail).
        gaps = np.flatnonzero(np.diff(indices) != 1)
        begins = np.concatenate([[0], gaps + 1])
        ends = np.concatenate([gaps + 1, [len(indices)]])
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            run = indices[begin:end]
            before = np.arange(end - begin) if run[0] > 0 else np.full(end - begin, length)
            after = np.arange(end - begin)[::-1] if run[-1] < length - 1 else np.full(end - begin, length)
            context = np.minimum(before, after)
            better = context > best[run]
            window[run[better]] = number
            place[run[better]] = (np.arange(begin, end))[better]
            best[run[better]] = context[better]
    return window, place


def mean_logits(logits: NDArray[Any], texts: NDArray[Any], count: int) -> NDArray[Any]:
    """f32[count, C]: the mean over each text's windows of logits [W, C]; `texts` [W] says whose window each is.

    Summed in f64 in the order of the windows, so that one window alone keeps its bits.
    """
    total = np.zeros((count, logits.shape[1]), np.float64)
    np.add.at(total, texts, logits.astype(np.float64))
    windows = np.bincount(texts, minlength=count)
    return (total / np.maximum(windows, 1)[:, None]).astype(np.float32)
