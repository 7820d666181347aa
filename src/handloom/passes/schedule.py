"""Steps that do not wait for each other share a wave: between waves all threads meet.

Works on what a step reads and writes, whatever that is. Promises: a step's wave is the first that comes after the waves
of all that made what it reads, and after those of all that read or wrote what it overwrites. So a gradient of a weight
is made beside the gradient that goes on to the layer below, and what both read can be given up early.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def waves(reads: Sequence[Sequence[Hashable]], writes: Sequence[Sequence[Hashable]]) -> list[int]:
    """The wave of every step, from 0; the steps are given in an order in which they could run one by one."""
    result: list[int] = []
    read: dict[Hashable, int] = {}
    written: dict[Hashable, int] = {}
    for inputs, outputs in zip(reads, writes, strict=True):
        before = [written.get(key, -1) for key in (*inputs, *outputs)] + [read.get(key, -1) for key in outputs]
        wave = 1 + max(before, default=-1)
        for key in inputs:
            read[key] = max(wave, read.get(key, -1))
        for key in outputs:
            written[key] = wave
        result.append(wave)
    return result
