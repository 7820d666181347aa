"""Learning-rate schedules: a name, a number of steps and a warm-up give a function from step to learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from handloom.errors import UsageError

#: Fraction of the way from the end of warm-up (0) to the end of training (1) → fraction of the full rate.
SHAPES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda way: 1.0,
    "linear": lambda way: 1.0 - way,
    "cosine": lambda way: 0.5 * (1.0 + math.cos(math.pi * way)),
}


def warmup_steps(warmup: float, total: int) -> int:
    """Warm-up in steps: a value below 1 is a fraction of `total` (rounded down), any other a number of steps."""
    if not (math.isfinite(warmup) and warmup >= 0):
        raise UsageError(f"warmup is {warmup}; it must be a fraction from 0 to 1 or a number of steps")
    return min(int(total * warmup) if warmup < 1 else int(warmup), total)


def schedule(
    name: str, rate: float, total: int, warmup: float = 0.0, final: float = 0.0
) -> Callable[[int], float]:
    """The learning rate of each step 0 … total - 1.

    During the w steps of warm-up the rate of step s is rate · (s + 1) / w: no step is wasted on a rate of 0. After it
    the named shape runs from the full rate at step w to a rate that would be `final` (linear, cosine) at step `total`.
    """
    if name not in SHAPES:
        raise UsageError(f"unknown schedule {name!r}; choose one of {', '.join(SHAPES)}")
    if not (math.isfinite(rate) and rate > 0):
        raise UsageError(f"the learning rate is {rate}; it must be a positive number")
    if not 0 <= final <= rate:
        raise UsageError(f"the final learning rate is {final}; it must be from 0 to the learning rate, {rate}")
    warm, shape = warmup_steps(warmup, total), SHAPES[name]

    def at(step: int) -> float:
        if step < warm:
            return rate * (step + 1) / warm
        return final + (rate - final) * shape(min((step - warm) / max(total - warm, 1), 1.0))

    return at
