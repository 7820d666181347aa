"""y = x Wᵀ + b, and y = x W + b."""

from __future__ import annotations

import numpy as np

import handloom.tensor as ht
from handloom.nn.module import Array, Module, Seed, generator, normal, zeros
from handloom.tensor import Tensor, tensor


class Linear(Module):
    """x[..., width_in] -> [..., width_out], with weight [width_out, width_in] and bias [width_out].

    The weight is normal with deviation `std` (1/√width_in if not given), drawn from `rng`, a generator or a seed; the
    bias is 0. Layers of one shape with the same seed are equal: give the layers of a model one generator. With
    `rng=None` weight and bias are zeros that wait for `load`.
    """

    def __init__(self, width_in: int, width_out: int, bias: bool = True, *, rng: Seed = 0,
                 std: float | None = None) -> None:
        self.weight = zeros(width_out, width_in)
        self.bias = zeros(width_out) if bias else None
        if (drawn := generator(rng)) is not None:
            self.weight = tensor(normal(drawn, (width_out, width_in), width_in**-0.5 if std is None else std))

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        width_out, width_in = self.weight.numpy().shape
        fresh: dict[str, Array] = {"weight": normal(rng, (width_out, width_in), std)}
        return fresh if self.bias is None else {**fresh, "bias": np.zeros(width_out, np.float32)}

    def forward(self, x: Tensor) -> Tensor:
        return ht.linear(x, self.weight, self.bias)


class Conv1D(Module):
    """x[T, width_in] -> [T, width_out], with weight [width_in, width_out] and bias [width_out].

    GPT-2's checkpoints store their linear maps this way round, and this is transformers' name for one. `shrink`
    multiplies the deviation of fresh weights.
    """

    def __init__(self, width_in: int, width_out: int, shrink: float = 1.0) -> None:
        self.weight = zeros(width_in, width_out)
        self.bias = zeros(width_out)
        self.shrink = shrink

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        weight = normal(rng, self.weight.numpy().shape, std * self.shrink)
        return {"weight": weight, "bias": np.zeros(weight.shape[1], np.float32)}

    def forward(self, x: Tensor) -> Tensor:
        return ht.matmul(x, self.weight) + self.bias
