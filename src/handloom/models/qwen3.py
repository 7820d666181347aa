"""Qwen 3 (Yang and others, 2025): Qwen 2 without biases; each head's queries and keys are normalised."""

from __future__ import annotations

from typing import Any

from handloom.models import llama
from handloom.models.config import DecoderConfig, Fields
from handloom.models.qwen2 import windows
from handloom.nn.norm import RMSNorm
from handloom.tensor import Tensor


def read_config(fields: Fields) -> DecoderConfig:
    bias = fields.flag("attention_bias", False)
    fields = Fields({"head_dim": 128, **fields.values}, fields.path)
    return llama.shared_config(fields, "qwen3", attention_bias=bias, output_bias=bias, windows=windows(fields))


class Attention(llama.Attention):
    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.q_norm = RMSNorm(config.head_size, config.norm_eps)
        self.k_norm = RMSNorm(config.head_size, config.norm_eps)

    def queries(self, x: Tensor) -> Tensor:
        return self._by_heads(self.q_norm, self.q_proj(x), self.config.heads)

    def keys(self, x: Tensor) -> Tensor:
        return self._by_heads(self.k_norm, self.k_proj(x), self.config.key_value_heads)

    def _by_heads(self, norm: RMSNorm, x: Tensor, heads: int) -> Tensor:
        tokens, width = x.shape
        return norm(x.reshape(tokens, heads, self.config.head_size)).reshape(tokens, width)


class Layer(llama.Layer):
    attention = Attention


class Qwen3Model(llama.LlamaModel):
    layer = Layer


class Qwen3ForCausalLM(llama.LlamaForCausalLM):
    stack = Qwen3Model


class Qwen3ForSequenceClassification(llama.LlamaForSequenceClassification):
    stack = Qwen3Model


CLASSES: dict[str | None, Any] = {
    None: Qwen3Model,
    "text-generation": Qwen3ForCausalLM,
    "text-classification": Qwen3ForSequenceClassification,
}
