"""Layers, and the base class of models."""

from __future__ import annotations

from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Conv1D, Linear
from handloom.nn.module import Module
from handloom.nn.norm import LayerNorm, RMSNorm
from handloom.nn.recurrent import GRU, LSTM

__all__ = ["GRU", "LSTM", "Conv1D", "Dropout", "Embedding", "LayerNorm", "Linear", "Module", "RMSNorm"]


def __dir__() -> list[str]:
    return list(__all__)
