"""Rows of a table, looked up by their numbers."""

from __future__ import annotations

import numpy as np

import handloom.tensor as ht
from handloom.nn.module import Array, Module, Seed, generator, normal, zeros
from handloom.tensor import Tensor, tensor


class Embedding(Module):
    """ids i32[N] -> [N, width]: rows of weight [rows, width].

    The rows are normal with deviation `std`, drawn from `rng`, a generator or a seed; with `rng=None` they are zeros
    that wait for `load`.
    """

    def __init__(self, rows: int, width: int, rng: Seed = 0, std: float = 0.02) -> None:
        drawn = generator(rng)
        self.weight = zeros(rows, width) if drawn is None else tensor(normal(drawn, (rows, width), std))

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        rows, width = self.weight.numpy().shape
        return {"weight": normal(rng, (rows, width), std)}

    def forward(self, ids: Tensor) -> Tensor:
        return ht.take(self.weight, ids)
