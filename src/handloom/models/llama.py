"""Llama (Touvron and others, 2023): pre-norm layers with rotary positions, RMS norms, grouped queries and gated MLPs.

Mistral and Qwen are built of the same parts.
"""

from __future__ import annotations

from typing import Any

from handloom.errors import HandloomError
from handloom.models.config import ACTIVATIONS, DecoderConfig, Fields, head_of
from handloom.models.encoder import ACTIVATE, Batch, Classifier, Encoder
from handloom.models.language_model import LanguageModel, LastRow
from handloom.nn.attention import attend
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.nn.norm import RMSNorm
from handloom.nn.rotary import RULES, Rotary, RotarySettings, longrope_attention_factor, rotate, yarn_attention_factor
from handloom.tensor import Tensor

Angles = tuple[Tensor, Tensor]
PARTS = ("short", "long")
OUTSIDE = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")  # of rope_scaling, in old files


def read_config(fields: Fields) -> DecoderConfig:
    bias, mlp_bias = fields.flag("attention_bias", False), fields.flag("mlp_bias", False)
    return shared_config(fields, "llama", attention_bias=bias, output_bias=bias, mlp_bias=mlp_bias)


def shared_config(fields: Fields, model_type: str, **differences: Any) -> DecoderConfig:
    """What the config.json of Llama and its relatives has in common; `differences` are fields of the result."""
    hidden, heads = fields.whole("hidden_size", high=2**16), fields.whole("num_attention_heads", high=4096)
    size = fields.whole_or("head_dim", hidden // heads or 1, high=2**16)
    positions = fields.whole("max_position_embeddings", 2048, high=2**24)
    return DecoderConfig(**{
        "model_type": model_type,
        "vocab_size": fields.whole("vocab_size", high=2**24),
        "hidden_size": hidden,
        "layers": fields.whole("num_hidden_layers", high=1024),
        "heads": heads,
        "key_value_heads": fields.whole_or("num_key_value_heads", heads, high=4096),
        "head_size": size,
        "intermediate_size": fields.whole("intermediate_size", high=2**18),
        "positions": positions,
        "rotary": rotary_settings(fields, size, positions),
        "activation": fields.choice("hidden_act", ACTIVATIONS, "silu"),
        "norm_eps": fields.positive("rms_norm_eps", 1e-6),
        "initializer_range": fields.positive("initializer_range", 0.02),
        "tied": fields.flag("tie_word_embeddings", False),
        "hidden_dropout": 0.0,
        "attention_dropout": fields.rate("attention_dropout", 0.0) or 0.0,
        "labels": fields.labels(),
        "head": head_of(fields.values),
        "source": dict(fields.values),
        "path": fields.path,
        **differences,
    })


def rotary_settings(fields: Fields, size: int, positions: int) -> RotarySettings:
    """From `rope_parameters`, or from `rope_theta` and `rope_scaling` as files before 2026 have them."""
    name = "rope_parameters" if fields.values.get("rope_parameters") else "rope_scaling"
    found = fields.values.get(name) or {}
    if not isinstance(found, dict):
        raise fields.wrong(name, "an object")
    outside = {key: fields.values[key] for key in OUTSIDE if key in fields.values}
    values = {**outside, **found, "rope_type": found.get("rope_type", found.get("type", "default"))}
    rope = Fields(values, f"{fields.path}: {name}")
    kind = rope.choice("rope_type", tuple(RULES), "default")
    if rope.values.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise rope.wrong("partial_rotary_factor", "1")
    if size % 2:
        raise HandloomError(f"{fields.path}: a head of {size} elements cannot be turned in pairs")
    original = rope.whole_or("original_max_position_embeddings", positions, high=2**24)
    factor = rope.positive("factor", positions / original if kind in ("yarn", "longrope") else 1.0)
    scales = [rope.positive(key, 1.0) if rope.values.get(key) else 0.0 for key in ("mscale", "mscale_all_dim")]
    attention = 1.0
    if kind == "yarn":
        attention = rope.positive("attention_factor", yarn_attention_factor(factor, *scales))
    elif kind == "longrope":
        if original < 2:
            raise rope.wrong("original_max_position_embeddings", "2 or more")
        attention = rope.positive("attention_factor", longrope_attention_factor(factor, original))
    lists = {part: _factors(rope, f"{part}_factor", size // 2) if kind == "longrope" else () for part in PARTS}
    return RotarySettings(
        size=size,
        theta=rope.positive("rope_theta", 10_000.0, 1e12),
        kind=kind,
        factor=factor,
        positions=positions if kind == "dynamic" else original,
        low_freq_factor=rope.positive("low_freq_factor", 1.0),
        high_freq_factor=rope.positive("high_freq_factor", 4.0),
        beta_fast=rope.positive("beta_fast", 32.0),
        beta_slow=rope.positive("beta_slow", 1.0),
        truncate=rope.flag("truncate", True),
        attention_factor=attention,
        short=lists["short"],
        long=lists["long"],
    )


def _factors(rope: Fields, name: str, count: int) -> tuple[float, ...]:
    """One number for each frequency."""
    values = rope.values.get(name)
    good = isinstance(values, list) and len(values) == count
    if not good or not all(type(x) in (int, float) and 0 < x < 1e6 for x in values or ()):
        raise rope.wrong(name, f"a list of {count} positive numbers, one for each pair of a head's elements,")
    return tuple(float(x) for x in values or ())


class Attention(Module):
    """[T, hidden] -> [T, hidden]: each token looks at those before it in its own sequence."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        queries, keys = config.heads * config.head_size, config.key_value_heads * config.head_size
        bias = config.attention_bias
        self.q_proj = Linear(config.hidden_size, queries, bias, rng=None)
        self.k_proj = Linear(config.hidden_size, keys, bias, rng=None)
        self.v_proj = Linear(config.hidden_size, keys, bias, rng=None)
        self.o_proj = Linear(queries, config.hidden_size, config.output_bias, rng=None)
        self.config, self.layer = config, layer

    def forward(self, x: Tensor, angles: Angles, batch: Batch) -> Tensor:
        config = self.config
        q, k = self.queries(x), self.keys(x)
        seen = attend(rotate(q, config.heads, angles), rotate(k, config.key_value_heads, angles), self.v_proj(x), batch,
                      layer=self.layer, heads=config.heads, key_value_heads=config.key_value_heads,
                      window=config.window(self.layer), dropout=config.attention_dropout)
        return self.o_proj(seen)

    def queries(self, x: Tensor) -> Tensor:
        return self.q_proj(x)

    def keys(self, x: Tensor) -> Tensor:
        return self.k_proj(x)


class GatedFeedForward(Module):
    """[T, hidden] -> [T, hidden] (Shazeer, 2020)."""

    def __init__(self, config: DecoderConfig) -> None:
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, config.mlp_bias, rng=None)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, config.mlp_bias, rng=None)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias, rng=None)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(ACTIVATE[self.activation](self.gate_proj(x)) * self.up_proj(x))


class Layer(Module):
    attention: type[Attention] = Attention

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        self.self_attn = self.attention(config, layer)
        self.mlp = GatedFeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, x: Tensor, angles: Angles, batch: Batch) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), angles, batch)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(Encoder):
    """The layers: hidden states [T, hidden] after the final norm."""

    prefix = "model."
    layers_prefix = "layers."
    embeddings_prefixes = ("embed_tokens.",)
    layer: type[Layer] = Layer

    def __init__(self, config: DecoderConfig) -> None:
        assert config.rotary is not None
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, None)
        self.layers = [self.layer(config, number) for number in range(config.layers)]
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.rotary = Rotary(config.rotary)

    def forward(self, batch: Batch) -> Tensor:
        x, angles = self.embed_tokens(batch["ids"]), self.rotary.angles(batch)
        for layer in self.layers:
            x = layer(x, angles, batch)
        return self.norm(x)


class LlamaForCausalLM(LanguageModel):
    encoder_name = "model"
    stack: type[LlamaModel] = LlamaModel

    def __init__(self, config: DecoderConfig) -> None:
        self.config = config
        self.model = self.stack(config)
        self.lm_head = None if config.tied else Linear(config.hidden_size, config.vocab_size, bias=False, rng=None)

    @property
    def output_weight(self) -> Tensor:
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight


class LlamaForSequenceClassification(Classifier):
    """Logits [S, labels] from each sequence's last token."""

    task = "text-classification"
    encoder_name = "model"
    last_layer = "score"
    stack: type[LlamaModel] = LlamaModel

    def __init__(self, config: DecoderConfig, labels: int) -> None:
        self.config = config
        self.model = self.stack(config)
        self.score = LastRow(config.hidden_size, labels)  # type: ignore[method-assign]


CLASSES: dict[str | None, Any] = {
    None: LlamaModel,
    "text-generation": LlamaForCausalLM,
    "text-classification": LlamaForSequenceClassification,
}
