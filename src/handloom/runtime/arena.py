"""Memory: aligned arrays, and one arena a program in which buffers with disjoint lives share addresses."""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from handloom.runtime.forks import renew_after_fork

ALIGNMENT = 64
_HUGE = 2 << 20
_HUGE_FROM = 4 << 20


def plan(buffers: Sequence[tuple[int, int, int]], alignment: int = ALIGNMENT) -> tuple[list[int], int]:
    """Places buffers so that no two that live at the same time overlap.

    buffers: (size in bytes, first use, last use), uses counted in steps, both inclusive.
    Gives (offset of each, total bytes), all multiples of `alignment`. Largest first; each goes into the smallest gap
    that holds it between the buffers that it meets in time, or else after the last of them. A buffer of no bytes gets
    offset 0. Raises ValueError for a life that ends before it begins.
    """
    sizes = [-(-size // alignment) * alignment for size, _, _ in buffers]
    order = sorted(range(len(buffers)), key=lambda i: (-sizes[i], buffers[i][1], i))
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; kept in the order of offsets
    total = 0
    for i in order:
        size, (_, first, last) = sizes[i], buffers[i]
        if first > last:
            raise ValueError(f"buffer {i} is last used at step {last}, before its first use at step {first}")
        if size == 0:
            continue
        best, gap, cursor = -1, math.inf, 0
        for offset, end, begin, finish in placed:
            if begin > last or finish < first:
                continue
            if offset - cursor >= size and offset - cursor < gap:
                best, gap = cursor, offset - cursor
            cursor = max(cursor, end)
        offset = cursor if best < 0 else best
        offsets[i] = offset
        total = max(total, offset + size)
        placed.append((offset, offset + size, first, last))
        placed.sort()
    return offsets, total


def lower_bound(buffers: Sequence[tuple[int, int, int]], alignment: int = ALIGNMENT) -> int:
    """The most bytes that are alive at one step: no plan can do with less."""
    changes: dict[int, int] = {}
    for size, first, last in buffers:
        padded = -(-size // alignment) * alignment
        changes[first] = changes.get(first, 0) + padded
        changes[last + 1] = changes.get(last + 1, 0) - padded
    most = alive = 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most


def allocate(size: int, alignment: int = ALIGNMENT) -> npt.NDArray[np.uint8]:
    """`size` bytes of zeros, aligned (a power of two up to 4,096); in huge pages from 4 MiB on where there are any.

    Private to the process, and taken from the system page by page as it is touched: unused capacity costs nothing.
    """
    if size < _HUGE_FROM:
        raw = np.zeros(size + alignment, np.uint8)
        start = -raw.ctypes.data % alignment
        return raw[start : start + size]
    if hasattr(mmap, "MAP_PRIVATE"):  # an anonymous map is shared with children by default
        pages = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        pages = mmap.mmap(-1, size + _HUGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them: ordinary pages do
            pages.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(pages, np.uint8)
    start = -raw.ctypes.data % _HUGE
    return raw[start : start + size]


def empty(shape: tuple[int, ...], dtype: str, alignment: int = ALIGNMENT) -> npt.NDArray[np.generic]:
    """An aligned C-contiguous array (NumPy's own are aligned to 16 bytes only)."""
    kind = np.dtype(dtype)
    return allocate(math.prod(shape) * kind.itemsize, alignment).view(kind).reshape(shape)


class Arena:
    """The memory that a program's buffers live in. Programs may share one; its lock lets one of them run at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes = allocate(max(size, ALIGNMENT))
        self.address: int = self.bytes.ctypes.data
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """A new lock: after a fork the old one may be held by a thread that is not here."""
        self.lock = threading.Lock()

    def view(self, offset: int, shape: tuple[int, ...], dtype: str) -> npt.NDArray[np.generic]:
        """An array over the arena's own memory, to look inside."""
        count = math.prod(shape) * np.dtype(dtype).itemsize
        if offset < 0 or offset + count > self.size:
            raise ValueError(f"bytes {offset} to {offset + count} lie outside the arena of {self.size}")
        return self.bytes[offset : offset + count].view(dtype).reshape(shape)
