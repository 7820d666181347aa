"""Normalisation of rows."""

from __future__ import annotations

import numpy as np

import handloom.tensor as ht
from handloom.nn.module import Array, Module, zeros
from handloom.tensor import Tensor, tensor


class LayerNorm(Module):
    """x[..., width], each row brought to mean 0 and variance 1, then weight · x + bias, if there is one."""

    def __init__(self, width: int, eps: float = 1e-5, bias: bool = True) -> None:
        self.weight = tensor(np.ones(width, np.float32))
        self.bias = zeros(width) if bias else None
        self.eps = eps

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        (width,) = self.weight.numpy().shape
        fresh: dict[str, Array] = {"weight": np.ones(width, np.float32)}
        return fresh if self.bias is None else {**fresh, "bias": np.zeros(width, np.float32)}

    def forward(self, x: Tensor) -> Tensor:
        return ht.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """x[..., width], each row divided by its root mean square, then weight · x."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        self.weight = tensor(np.ones(width, np.float32))
        self.eps = eps

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return {"weight": np.ones(self.weight.numpy().shape, np.float32)}

    def forward(self, x: Tensor) -> Tensor:
        return ht.rms_norm(x, self.weight, self.eps)
