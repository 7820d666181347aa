"""Labels are looked at on the host, once a batch: a kernel takes one that is out of range for a class that there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handloom.errors import HandloomError
from handloom.graph.node import Dimension, Node
from handloom.tensor.tensor import Array, Tensor, Trace


@dataclass(frozen=True)
class Classes:
    """What labels may be: 0 to count − 1, or `ignore`."""

    count: int
    ignore: int

    def check(self, labels: Array) -> None:
        """Raises HandloomError for labels i32 of any shape among which one stands for no class."""
        wrong = ((labels < 0) | (labels >= self.count)) & (labels != self.ignore)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise HandloomError(
                f"row {row:,} has the label {labels.reshape(-1)[row]}, and there are {self.count:,} classes: "
                f"a label must be from 0 to {self.count - 1}, or {self.ignore} where there is none"
            )


def expect(labels: Tensor, count: Dimension, ignore: int) -> None:
    """Checks labels that are known, and has every call of a program check those that are given to it."""
    value = labels.value
    if not isinstance(count, int):
        return
    if not isinstance(value, Node):
        Classes(count, ignore).check(value)
        return
    while value.op == "reshape":
        value = value.inputs[0]
    for trace in Trace.stack:
        if value in trace.inputs:
            trace.labels[value] = Classes(count, ignore)
