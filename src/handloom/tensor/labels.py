"""Labels are looked at on the host, once a batch: a kernel takes one that is out of range for a class that there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.errors import HandloomError

Array = np.ndarray[Any, Any]


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
