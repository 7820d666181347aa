"""Rotary positions (Su and others, 2021): pairs of a head's elements turned by angles that grow with the position.

The pairs are element i and element i + half, as in Hugging Face's checkpoints. What stretches a model to longer texts
changes the frequencies: `linear` (Chen and others, 2023), `dynamic` NTK, `yarn` (Peng and others, 2023), `llama3`,
`longrope` (Ding and others, 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import handloom.tensor as ht
from handloom.tensor import Tensor

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RotarySettings:
    """size: elements of a head. positions: the length of the texts that the model was first trained with."""

    size: int
    theta: float = 10_000.0
    kind: str = "default"
    factor: float = 1.0
    positions: int = 2048
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0  # of cosines and sines
    short: tuple[float, ...] = ()  # longrope: what divides each frequency, in texts up to `positions` and longer ones
    long: tuple[float, ...] = ()


class Rotary:
    """The angles' cosines and sines, and the turning itself."""

    def __init__(self, settings: RotarySettings) -> None:
        self.settings = settings
        self._frequencies = ht.tensor(frequencies(settings).astype(np.float32))

    def angles(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Cosines [T, 1, size / 2], and −sines and sines [T, 2, size / 2], of batch["positions"] i32[T]."""
        positions = batch["positions"].astype("f32").reshape(-1, 1)
        angles = positions * self._frequencies
        if self.settings.kind == "dynamic":
            angles = angles * self._stretch(batch)
        if self.settings.kind == "longrope":
            longer = (self._lengths(batch).reshape(-1, 1) > self.settings.positions).astype("f32")
            angles = angles * (1 - longer) + positions * ht.tensor(_longrope(self.settings).astype(np.float32)) * longer
        tokens, half = angles.shape
        cos, sin = (wave(angles).reshape(tokens, 1, half) for wave in (ht.cos, ht.sin))
        factor = np.float32(self.settings.attention_factor)
        return cos * float(factor), sin * ht.tensor(np.array([[-factor], [factor]]))

    def _stretch(self, batch: Mapping[str, Any]) -> Tensor:
        """[T, size / 2]: what a sequence longer than the training's multiplies its frequencies with.

        The base becomes base · growth^(size / (size − 2)), so frequency i shrinks by growth^(2i / (size − 2)).
        """
        settings = self.settings
        growth = self._lengths(batch).astype("f32") * (settings.factor / settings.positions) - (settings.factor - 1)
        own = ht.log(ht.maximum(growth, 1.0))  # [T]
        powers = np.arange(0, settings.size, 2, dtype=np.float32) / np.float32(max(settings.size - 2, 1))
        return ht.exp(own.reshape(-1, 1) * ht.tensor(-powers))


    def _lengths(self, batch: Mapping[str, Any]) -> Tensor:
        """i32[T]: how long each token's sequence is; with a cache, the tokens in it count."""
        positions, starts = batch["positions"], batch["starts"]
        lengths = ht.take(positions, starts[1:] - 1) + 1  # [S]
        # the sequence that a token belongs to: how many others have begun before it
        token = ht.iota(*positions.shape).reshape(-1, 1)
        begun = (starts[1:-1].reshape(1, -1) <= token).astype("i32")
        return ht.take(lengths, begun.sum(1))


def rotate(x: Tensor, heads: int, angles: tuple[Tensor, Tensor]) -> Tensor:
    """x [T, heads·size], the halves a and b of each head becoming a·cos − b·sin and b·cos + a·sin."""
    tokens, width = x.shape
    cos, sin = (part.reshape(tokens, 1, *part.shape[1:]) for part in angles)
    halves = x.reshape(tokens, heads, 2, cos.shape[-1])
    return (halves * cos + ht.flip(halves, 2) * sin).reshape(tokens, width)


def frequencies(settings: RotarySettings) -> F64:
    """[size / 2]: radians a position, by the kind's rule (of `dynamic` and `longrope`, those of a short text)."""
    return RULES[settings.kind](settings, _plain(settings))


def _plain(settings: RotarySettings) -> F64:
    found: F64 = settings.theta ** -(np.arange(0, settings.size, 2) / settings.size)
    return found


def _longrope(settings: RotarySettings) -> F64:
    """Of a long text."""
    found: F64 = _plain(settings) / np.array(settings.long)
    return found


def _llama3(settings: RotarySettings, plain: F64) -> F64:
    """Long waves are stretched, short ones kept, and those between interpolated."""
    turns = settings.positions * plain / (2 * math.pi)  # in the length of the training's texts
    low, high = settings.low_freq_factor, settings.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    found: F64 = plain * (kept + (1 - kept) / settings.factor)
    return found


def _yarn(settings: RotarySettings, plain: F64) -> F64:
    def dimension(turns: float) -> float:
        """Of the frequency that turns so often in the length of the training's texts."""
        waves = math.log(settings.positions / (turns * 2 * math.pi))
        return settings.size * waves / (2 * math.log(settings.theta))

    low, high = dimension(settings.beta_fast), dimension(settings.beta_slow)
    if settings.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, settings.size - 1)
    ramp = np.clip((np.arange(settings.size // 2) - low) / max(high - low, 0.001), 0.0, 1.0)
    found: F64 = plain * (1 - ramp + ramp / settings.factor)
    return found


def yarn_attention_factor(factor: float, mscale: float = 0.0, mscale_all: float = 0.0) -> float:
    """What YaRN multiplies cosines and sines with; the two scales are DeepSeek's."""

    def scaled(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

    return scaled(mscale) / scaled(mscale_all) if mscale and mscale_all else scaled(1.0)


def longrope_attention_factor(factor: float, positions: int) -> float:
    """What LongRoPE multiplies cosines and sines with. positions: of the first training."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(positions))


RULES: dict[str, Callable[[RotarySettings, F64], F64]] = {
    "default": lambda settings, plain: plain,
    "linear": lambda settings, plain: plain / settings.factor,
    "dynamic": lambda settings, plain: plain,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": lambda settings, plain: plain / np.array(settings.short),
}
