"""Mistral (Jiang and others, 2023): Llama with a sliding window."""

from __future__ import annotations

from typing import Any

from handloom.models.config import DecoderConfig, Fields
from handloom.models.llama import LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel, shared_config


def read_config(fields: Fields) -> DecoderConfig:
    layers = fields.whole("num_hidden_layers", high=1024)
    window = fields.whole("sliding_window", high=2**24) if fields.values.get("sliding_window") is not None else None
    return shared_config(fields, "mistral", windows=(window,) * layers)


class MistralForCausalLM(LlamaForCausalLM):
    pass


class MistralForSequenceClassification(LlamaForSequenceClassification):
    pass


CLASSES: dict[str | None, Any] = {
    None: LlamaModel,
    "text-generation": MistralForCausalLM,
    "text-classification": MistralForSequenceClassification,
}
