"""Dropout: noise while training, nothing otherwise."""

from __future__ import annotations

import handloom.tensor as ht
from handloom.errors import UsageError
from handloom.nn.module import Module
from handloom.tensor import Tensor


class Dropout(Module):
    """Each element is 0 with probability `rate`, else x / (1 - rate); the identity outside training."""

    def __init__(self, rate: float) -> None:
        if not 0.0 <= rate < 1.0:
            raise UsageError(f"a dropout rate must be at least 0 and below 1, not {rate}")
        self.rate = float(rate)

    def forward(self, x: Tensor) -> Tensor:
        return ht.dropout(x, self.rate) if self.rate else x
