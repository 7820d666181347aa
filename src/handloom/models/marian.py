"""Marian (Junczys-Dowmunt and others, 2018), OPUS-MT's translators: BART's layers, over positions made of waves."""

from __future__ import annotations

from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.models.bart import BartConfig, BartForConditionalGeneration, BartModel, shared_config
from handloom.models.config import Fields
from handloom.nn.module import Array, Module
from handloom.tensor import Tensor


def read_config(fields: Fields) -> BartConfig:
    vocabulary = fields.whole("vocab_size", 58101, high=2**24)
    padding = fields.whole_or("pad_token_id", vocabulary - 1, low=0, high=2**24)
    return shared_config(fields, "marian", start=padding, vocabulary=vocabulary)


def waves(positions: int, width: int) -> Array:
    """f32 [positions, width]: sines in the first half of a row, cosines in the second, slower and slower (Vaswani and
    others, 2017, who had them by turns)."""
    slow = 10_000.0 ** (-2 * np.arange((width + 1) // 2) / width)
    angles = np.arange(positions)[:, None] * slow
    found: Array = np.concatenate([np.sin(angles), np.cos(angles[:, : width // 2])], 1).astype(np.float32)
    return found


class SinusoidalPositions(Module):
    """positions i32[T] -> [T, hidden]. What checkpoints hold is made anew."""

    def __init__(self, config: BartConfig) -> None:
        self.table = waves(config.positions, config.hidden_size)

    def forward(self, positions: Tensor) -> Tensor:
        return ht.take(ht.tensor(self.table), positions)


class MarianModel(BartModel):
    positions = SinusoidalPositions
    norm = False
    embeddings_prefixes = ("shared.",)


class MarianMTModel(BartForConditionalGeneration):
    layers = MarianModel


CLASSES: dict[str | None, Any] = {None: MarianModel, "text2text-generation": MarianMTModel}
