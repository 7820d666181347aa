"""Qwen 2 (Yang and others, 2024): Llama with biases on queries, keys and values, and windows from some layer on."""

from __future__ import annotations

from typing import Any

from handloom.models.config import DecoderConfig, Fields
from handloom.models.llama import LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel, shared_config

LAYER_TYPES = ("full_attention", "sliding_attention")


def read_config(fields: Fields) -> DecoderConfig:
    return shared_config(fields, "qwen2", attention_bias=True, windows=windows(fields))


def windows(fields: Fields) -> tuple[int | None, ...]:
    """By layer: `layer_types` says which ones slide; without it, those from `max_window_layers` on, if any do."""
    layers = fields.whole("num_hidden_layers", high=1024)
    if not fields.flag("use_sliding_window", False) or fields.values.get("sliding_window") is None:
        return ()
    window = fields.whole("sliding_window", high=2**24)
    types = fields.values.get("layer_types")
    if types is None:
        full = fields.whole("max_window_layers", 28, low=0, high=1024)
        types = [LAYER_TYPES[number >= full] for number in range(layers)]
    if not isinstance(types, list) or len(types) != layers or any(kind not in LAYER_TYPES for kind in types):
        raise fields.wrong("layer_types", f"a list of {layers} words, each {' or '.join(LAYER_TYPES)}")
    return tuple(window if kind == LAYER_TYPES[1] else None for kind in types)


class Qwen2ForCausalLM(LlamaForCausalLM):
    pass


class Qwen2ForSequenceClassification(LlamaForSequenceClassification):
    pass


CLASSES: dict[str | None, Any] = {
    None: LlamaModel,
    "text-generation": Qwen2ForCausalLM,
    "text-classification": Qwen2ForSequenceClassification,
}
