"""Optimisers as small pairs of functions over trees of tensors, and global-norm clipping.

An optimiser is (init, scalars, update). `scalars` turns the learning rate and the step into the few numbers that the
update needs; it runs on the host in double precision, so that 1 - β₂ᵗ loses nothing, and its results are run-time
inputs of the compiled update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

import handloom.tensor as ht
from handloom.errors import UsageError
from handloom.tensor import Tensor
from handloom.train.storage import Array

Tree = dict[str, Tensor]
Moments = dict[str, Tree]
Scalars = dict[str, Tensor]


@dataclass(frozen=True)
class Optimiser:
    """names: the moments kept for each parameter. scalars(rate, step from 1) → numbers. update: see `adamw`.

    rest(param, given, decayed): what `update` makes, to the bit, of a parameter whose gradient and moments are zero,
    and stay zero. None where moments come into being without a gradient.
    """

    names: tuple[str, ...]
    scalars: Callable[[float, int], dict[str, float]]
    update: Callable[[Tensor, Tensor, Mapping[str, Tensor], Scalars, bool], tuple[Tensor, Tree]]
    rest: Callable[[Tensor, Scalars, bool], Tensor] | None = None

    def init(self, params: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """Moments of zeros: {moment: {parameter: f32 array}}."""
        return {name: {key: np.zeros(value.shape, np.float32) for key, value in params.items()} for name in self.names}


def decays(name: str) -> bool:
    """Whether weight decay applies: not to biases and the weights of norms."""
    parts = name.lower().split(".")
    return parts[-1] not in ("bias", "beta", "gamma", "final_logits_bias") and not any(
        "norm" in part or part == "ln" or part.startswith("ln_") for part in parts
    )


def _kept(param: Tensor, given: Scalars, decayed: bool) -> Tensor:
    return param * given["keep"] if decayed else param


def _resting(weight_decay: float) -> Callable[[Tensor, Scalars, bool], Tensor]:
    """Decoupled decay alone. Nothing is subtracted, as in the updates, since that makes zeros of subnormal numbers."""
    return lambda param, given, decayed: _kept(param, given, decayed and weight_decay > 0) - given["rate"] * 0.0


def adamw(weight_decay: float = 0.01, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimiser:
    """Adam with decoupled weight decay: θ ← θ - ηλθ - η · m̂ / (√v̂ + ε)."""

    def scalars(rate: float, step: int) -> dict[str, float]:
        return {
            "rate": rate / (1 - beta1**step),
            "spread": float((1 - beta2**step) ** -0.5),
            "keep": 1.0 - rate * weight_decay,
        }

    def update(
        param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], given: Scalars, decayed: bool
    ) -> tuple[Tensor, Tree]:
        first = moments["first"] * beta1 + grad * (1 - beta1)
        second = moments["second"] * beta2 + grad * grad * (1 - beta2)
        base = _kept(param, given, decayed and weight_decay > 0)
        return base - given["rate"] * first / (ht.sqrt(second) * given["spread"] + eps), {
            "first": first,
            "second": second,
        }

    return Optimiser(("first", "second"), scalars, update, _resting(weight_decay))


def adam(weight_decay: float = 0.0, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimiser:
    """Adam as published; a weight decay, if given, is added to the gradient (L2) as Adam always did."""
    inner = adamw(0.0, beta1, beta2, eps)

    def update(
        param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], given: Scalars, decayed: bool
    ) -> tuple[Tensor, Tree]:
        return inner.update(
            param, grad + param * weight_decay if decayed and weight_decay else grad, moments, given, False
        )

    return Optimiser(inner.names, inner.scalars, update, None if weight_decay else inner.rest)


def sgd(weight_decay: float = 0.0, momentum: float = 0.9) -> Optimiser:
    """Stochastic gradient descent with momentum and decoupled decay: b ← μb + g, θ ← θ - ηλθ - ηb."""

    def scalars(rate: float, step: int) -> dict[str, float]:
        return {"rate": rate, "keep": 1.0 - rate * weight_decay}

    def update(
        param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], given: Scalars, decayed: bool
    ) -> tuple[Tensor, Tree]:
        base = _kept(param, given, decayed and weight_decay > 0)
        if not momentum:
            return base - given["rate"] * grad, {}
        velocity = moments["velocity"] * momentum + grad
        return base - given["rate"] * velocity, {"velocity": velocity}

    return Optimiser(("velocity",) if momentum else (), scalars, update, _resting(weight_decay))


#: Optimisers by the name a user gives; each takes the weight decay and β₂, for which sgd has no use.
OPTIMISERS: Mapping[str, Callable[[float, float], Optimiser]] = {
    "adamw": lambda decay, beta2: adamw(decay, beta2=beta2),
    "adam": lambda decay, beta2: adam(decay, beta2=beta2),
    "sgd": lambda decay, beta2: sgd(decay),
}


def optimiser(name: str, weight_decay: float, beta2: float = 0.999) -> Optimiser:
    if name not in OPTIMISERS:
        raise UsageError(f"unknown optimizer {name!r}; choose one of {', '.join(OPTIMISERS)}")
    return OPTIMISERS[name](weight_decay, beta2)


def global_norm(grads: Mapping[str, Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together (scalar)."""
    squares = [(grad * grad).sum() for grad in map(ht.distinct_rows, grads.values())]
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return ht.sqrt(total)


LARGEST = float(np.finfo(np.float32).max)
"""A gradient is taken for sound if its norm is smaller. No comparison holds of NaN."""


def apply(
    rule: Optimiser, clip: float | None, params: Tree, moments: Moments, grads: Tree, weight: Tensor, given: Scalars,
    faster: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Tree, Moments, Tensor]:  # fmt: skip
    """One update. grads: gradients of the summed loss; weight: what it is divided by; faster: by parameters' names, how
    many times as fast as the others they learn.

    Returns the new parameters and moments and the norm of the mean gradient, before clipping. If that norm is not
    finite, parameters and moments are returned as they were.
    """
    norm = global_norm(grads) / weight
    sound = norm < LARGEST
    scale = 1.0 / weight
    if clip is not None:
        scale = scale * ht.minimum(clip / (norm + 1e-6), 1.0)
    new_params: Tree = {}
    new_moments: Moments = {name: {} for name in rule.names}
    for name, param in params.items():
        old = {moment: moments[moment][name] for moment in rule.names}
        own = {**given, "rate": given["rate"] * faster[name]} if name in faster else given
        updated, new = rule.update(param, grads[name] * scale, old, own, decays(name))
        new_params[name] = ht.where(sound, updated, param)
        for moment in rule.names:
            new_moments[moment][name] = ht.where(sound, new[moment], old[moment])
    return new_params, new_moments, norm
