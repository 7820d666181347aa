"""Windows of a token file in the order of a training, found by number: a resumed run need remember none of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from handloom.data.permutation import key_of, permuted
from handloom.data.token_file import TokenFile
from handloom.errors import HandloomError
from handloom.tasks.pretraining import Array, Pretraining, Streamed, Windows

_ORDER, _PHASE, _CHANCE = 1, 2, 3  # what a key is for


class Sampler:
    """Batches of `size` windows (see `Batches`), in parts of `at_once` windows at most. pieces: as `densest` finds.

    An epoch goes through the file once, in windows that lie side by side, beginning at another place each time; their
    order is a keyed permutation.
    """

    def __init__(
        self, file: TokenFile, task: Pretraining, steps: int | None, epochs: float, size: int, at_once: int,
        pieces: int, seed: int,
    ) -> None:  # fmt: skip
        self.file, self.task, self.seed = file, task, seed
        self.size, self.at_once = size, min(size, at_once)
        if len(file) < task.width + task.beyond:
            raise HandloomError(
                f"the training text has {len(file):,} tokens, fewer than one window of {task.width + task.beyond}; "
                "take more text, or a smaller --context"
            )
        self.count = len(file) // task.width  #: windows of an epoch
        self.steps = max(1, round(epochs * self.count / size)) if steps is None else steps
        self.epochs = round(self.epochs_after(self.steps), 2)
        self.pieces = pieces

    @property
    def accumulates(self) -> bool:
        return self.at_once < self.size

    def step(self, number: int) -> list[Windows]:
        numbers = np.arange(number * self.size, (number + 1) * self.size)
        epochs, places = np.divmod(numbers, self.count)
        first = np.empty_like(numbers)
        for epoch in dict.fromkeys(epochs.tolist()):
            own = epochs == epoch
            phase = key_of(_PHASE, self.seed, epoch) % len(self.file)
            index = permuted(places[own], self.count, key_of(_ORDER, self.seed, epoch))
            first[own] = (phase + index * self.task.width) % len(self.file)
        lengths = np.full(len(numbers), self.task.width)
        seed = key_of(_CHANCE, self.seed)
        return [
            Windows(self.file, first[part], lengths[part], numbers[part], seed)
            for part in (slice(at, at + self.at_once) for at in range(0, self.size, self.at_once))
        ]

    def largest(self) -> list[Windows]:
        return self.step(0)

    def epochs_after(self, steps: int) -> float:
        return steps * self.size / self.count

    def validates_after(self, steps: int) -> bool:
        """At the end only: an epoch of a large text is long, one of a small text short."""
        return steps == self.steps

    def capacity(self) -> dict[str, int]:
        return self.task.capacity(self.at_once, self.pieces)


class Streams(Sampler):
    """For `Streamed` tasks: in an epoch each of `size` rows goes through its own part of the file, window by window."""

    def __init__(
        self, file: TokenFile, task: Streamed, steps: int | None, epochs: float, size: int, pieces: int, seed: int
    ) -> None:
        self.each = len(file) // task.width // size  #: windows of a row in an epoch
        if not self.each:
            raise HandloomError(
                f"the training text has {len(file):,} tokens, fewer than one window of {task.width} for each of {size} "
                "rows; take more text, or a smaller --context or --batch-size"
            )
        if steps is None:
            steps = max(1, round(epochs * self.each))
        super().__init__(file, task, steps, epochs, size, size, pieces, seed)

    def step(self, number: int) -> list[Windows]:
        epoch, place = divmod(number, self.each)
        phase = key_of(_PHASE, self.seed, epoch) % len(self.file)
        first = (phase + (np.arange(self.size) * self.each + place) * self.task.width) % len(self.file)
        lengths = np.full(self.size, self.task.width)
        return [Windows(self.file, first, lengths, np.arange(self.size), self.seed, follows=place > 0)]

    def epochs_after(self, steps: int) -> float:
        return steps / self.each


def held_out(file: TokenFile, task: Pretraining, at_once: int, limit: int) -> Iterator[Windows]:
    """What to validate on: every time the same, in the same way."""
    return _rows(file, task, limit) if isinstance(task, Streamed) else _side_by_side(file, task, at_once, limit)


def _rows(file: TokenFile, task: Streamed, limit: int) -> Iterator[Windows]:
    """The whole file in rows, or the beginning of each row, about `limit` tokens altogether."""
    each = (len(file) - task.beyond) // task.streams
    if each < 1:
        raise HandloomError(
            f"the validation text has {len(file):,} tokens, fewer than the {task.streams} rows of a batch; take more "
            "text, or a smaller --batch-size"
        )
    numbers = np.arange(task.streams)
    length = min(each, max(task.width, limit // task.streams))
    for at in range(0, length, task.width):
        lengths = np.full(task.streams, min(task.width, length - at))
        yield Windows(file, numbers * each + at, lengths, numbers, follows=at > 0)


def _side_by_side(file: TokenFile, task: Pretraining, at_once: int, limit: int) -> Iterator[Windows]:
    """The windows to validate on: those of a whole file side by side, or about `limit` tokens of them chosen evenly;
    the same ones, corrupted the same way, every time."""
    last = len(file) - task.beyond
    if last < 1:
        raise HandloomError("the validation text has no tokens")
    count = -(-last // task.width)
    chosen = np.arange(count)
    if last > limit:
        chosen = np.sort(permuted(np.arange(max(1, limit // task.width)), count, key_of(_ORDER)))
    for at in range(0, len(chosen), at_once):
        first = chosen[at : at + at_once] * task.width
        yield Windows(file, first, np.minimum(task.width, last - first), chosen[at : at + at_once], key_of(_CHANCE))


def densest(starts: Array, length: int) -> int:
    """The most documents that any `length` tokens in a row touch. starts: i64 [documents + 1], where they begin."""
    most, block = 1, 1 << 20
    for at in range(0, len(starts) - 1, block):
        here = np.asarray(starts[at : min(at + block, len(starts) - 1)])
        inside = np.searchsorted(starts, here + length, side="left") - np.arange(at, at + len(here))
        most = max(most, int(inside.max()) + 1)  # and the document before the first that begins there
    return most + 1  # the ring's end may lie in a window, too
