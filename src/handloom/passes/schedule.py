"""Steps that do not wait for each other share a wave: between waves all threads meet.

Works on what a step reads and writes, whatever that is. Promises: a step's wave comes after the waves of all that it
reads, and after those of all that read or wrote what it overwrites.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def waves(reads: Sequence[Sequence[Hashable]], writes: Sequence[Sequence[Hashable]]) -> list[int]:
    """The wave of every step, in the order given; numbers never fall."""
    result: list[int] = []
    wave = 0
    read: set[Hashable] = set()
    written: set[Hashable] = set()
    for inputs, outputs in zip(reads, writes, strict=True):
        if written & set(inputs) or (written | read) & set(outputs):
            wave += 1
            read, written = set(), set()
        read |= set(inputs)
        written |= set(outputs)
        result.append(wave)
    return result
