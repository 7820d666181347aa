"""T5 (Raffel and others, 2020): pre-norm layers without biases, and a bias of attention by distance for all positions.

Two forms: the first has one matrix before its ReLU and an output layer that is the table of words, shrunk by √hidden;
the second (1.1, FLAN's too) is gated and has an output layer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import ACTIVATIONS, EncoderDecoderConfig, Fields, head_of
from handloom.models.encoder import ACTIVATE, Batch, Encoder
from handloom.models.encoder_decoder import ConditionalLanguageModel, EncoderDecoder, Pair
from handloom.nn.attention import attend, attend_source
from handloom.nn.distance import bias_by_distance, distance_buckets
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Array, Module, normal
from handloom.nn.norm import RMSNorm
from handloom.tensor import Tensor

LONGEST = 2**14
"""Distances have no end, and so sequences have none; this one is for the memory that attention plans with."""


@dataclass(frozen=True, kw_only=True)
class T5Config(EncoderDecoderConfig):
    gated: bool
    buckets: int
    farthest: int  # distances from here on share the last bucket
    scaled: bool  # hidden states are divided by √hidden before the output layer


def read_config(fields: Fields) -> T5Config:
    scaled = fields.flag("scale_decoder_outputs", fields.values.get("tie_word_embeddings") is not False)
    return shared_config(fields, "t5", "relu", scaled)


def shared_config(fields: Fields, model_type: str, feed_forward: str, scaled: bool) -> T5Config:
    """T5's config.json, and mT5's. Where hidden states are not scaled, the output layer has a table of its own,
    whatever `tie_word_embeddings` says."""
    found = fields.values.get("feed_forward_proj", feed_forward)
    form, _, activation = str(found).rpartition("-")
    if activation not in ACTIVATIONS or form not in ("", "gated"):
        raise fields.wrong("feed_forward_proj", f"an activation, or gated- and one: {', '.join(ACTIVATIONS)}")
    heads, size = fields.whole("num_heads", high=4096), fields.whole("d_kv", high=2**16)
    layers, inner = fields.whole("num_layers", high=1024), fields.whole("d_ff", high=2**18)
    buckets = fields.whole("relative_attention_num_buckets", 32, low=4, high=2**16)
    farthest = fields.whole("relative_attention_max_distance", 128, low=2, high=LONGEST)
    if farthest <= buckets // 2 or buckets % 2:
        raise HandloomError(f"{fields.path}: {buckets} buckets cannot be spread over distances up to {farthest}")
    dropout = fields.rate("dropout_rate", 0.1) or 0.0
    return T5Config(
        model_type=model_type,
        vocab_size=fields.whole("vocab_size", high=2**24),
        hidden_size=fields.whole("d_model", high=2**16),
        layers=layers,
        decoder_layers=fields.whole_or("num_decoder_layers", layers, high=1024),
        heads=heads,
        decoder_heads=heads,
        head_size=size,
        decoder_width=heads * size,
        intermediate_size=inner,
        decoder_intermediate_size=inner,
        positions=LONGEST,
        activation="gelu_new" if found == "gated-gelu" else activation,  # as they were trained
        gated=form == "gated",
        buckets=buckets,
        farthest=farthest,
        norm_eps=fields.positive("layer_norm_epsilon", 1e-6),
        initializer_range=fields.positive("initializer_factor", 1.0),
        scaled=scaled,
        tied=scaled,
        start=fields.whole_or("decoder_start_token_id", 0, low=0, high=2**24),
        hidden_dropout=dropout,
        attention_dropout=dropout,
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


class Map(Linear):
    """A linear map without a bias, fresh weights being normal with deviation `spread` · std: what it adds keeps its
    size, whatever the width, for no score is divided by the size of a head."""

    def __init__(self, width_in: int, width_out: int, spread: float | None = None) -> None:
        super().__init__(width_in, width_out, bias=False, rng=None)
        self.spread = width_in**-0.5 if spread is None else spread

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return super().initial(rng, std * self.spread)


class Distances(Module):
    """A number for each bucket of distances and each head, [buckets, heads]."""

    def __init__(self, config: T5Config, both: bool) -> None:
        self.weight = ht.tensor(np.zeros((config.buckets, config.heads), np.float32))
        self.config, self.both = config, both

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return {"weight": normal(rng, self.weight.numpy().shape, std * self.config.hidden_size**-0.5)}

    def forward(self) -> Tensor:
        """[heads, 2·farthest + 1]: the bias of `ht.attention`."""
        config = self.config
        spread = distance_buckets(config.farthest, config.buckets, config.farthest, both=self.both)
        return bias_by_distance(self.weight, spread)


class Attention(Module):
    def __init__(self, config: T5Config, distances: Distances | None = None) -> None:
        width = config.heads * config.head_size
        self.q = Map(config.hidden_size, width, (config.hidden_size * config.head_size) ** -0.5)
        self.k = Map(config.hidden_size, width)
        self.v = Map(config.hidden_size, width)
        self.o = Map(width, config.hidden_size)
        self.relative_attention_bias = distances


class SelfAttention(Module):
    """[T, hidden], bias [heads, distances] -> [T, hidden], the sum of x and what its tokens see: all of their sequence,
    or what was before."""

    def __init__(self, config: T5Config, layer: int, causal: bool) -> None:
        self.SelfAttention = Attention(config, None if layer else Distances(config, both=not causal))
        self.layer_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.config, self.layer, self.causal = config, layer, causal

    def forward(self, x: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        part, config, normed = self.SelfAttention, self.config, self.layer_norm(x)
        q, k, v = part.q(normed), part.k(normed), part.v(normed)
        how: dict[str, Any] = {"heads": config.heads, "scale": 1.0, "bias": bias, "dropout": config.attention_dropout}
        if self.causal:
            seen = attend(q, k, v, batch, layer=self.layer, **how)
        else:
            seen = ht.attention(q, k, v, batch["source_starts"], **how)
        return x + self.dropout(part.o(seen))


class CrossAttention(Module):
    def __init__(self, config: T5Config) -> None:
        self.EncDecAttention = Attention(config)
        self.layer_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.config = config

    def source(self, hidden: Tensor) -> Pair:
        return self.EncDecAttention.k(hidden), self.EncDecAttention.v(hidden)

    def forward(self, x: Tensor, source: Pair, batch: Batch) -> Tensor:
        part, config = self.EncDecAttention, self.config
        seen = attend_source(part.q(self.layer_norm(x)), source, batch, heads=config.heads, scale=1.0,
                             dropout=config.attention_dropout)  # fmt: skip
        return x + self.dropout(part.o(seen))


class Inner(Module):
    """[T, hidden] -> [T, hidden], gated or not."""

    def __init__(self, config: T5Config) -> None:
        hidden, inner = config.hidden_size, config.intermediate_size
        self.wi_0 = Map(hidden, inner) if config.gated else None
        self.wi_1 = Map(hidden, inner) if config.gated else None
        self.wi = None if config.gated else Map(hidden, inner)
        self.wo = Map(inner, hidden)
        self.dropout = Dropout(config.hidden_dropout)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        activate = ACTIVATE[self.activation]
        if self.wi is not None:
            return self.wo(self.dropout(activate(self.wi(x))))
        assert self.wi_0 is not None and self.wi_1 is not None
        return self.wo(self.dropout(activate(self.wi_0(x)) * self.wi_1(x)))


class FeedForward(Module):
    def __init__(self, config: T5Config) -> None:
        self.DenseReluDense = Inner(config)
        self.layer_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.DenseReluDense(self.layer_norm(x)))


class Block(Module):
    """A list of layers, as the checkpoints have it: attention to itself, in a decoder to the source, and the rest."""

    def __init__(self, config: T5Config, layer: int, causal: bool) -> None:
        own, inner = SelfAttention(config, layer, causal), FeedForward(config)
        self.layer: list[Any] = [own, CrossAttention(config), inner] if causal else [own, inner]


class Stack(Module):
    """x [T, hidden] -> [T, hidden] after the final norm; with a source for each block, a decoder."""

    def __init__(self, config: T5Config, layers: int, causal: bool) -> None:
        self.block = [Block(config, layer, causal) for layer in range(layers)]
        self.final_layer_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, batch: Batch, source: Sequence[Pair] | None = None) -> Tensor:
        x, bias = self.dropout(x), self.block[0].layer[0].SelfAttention.relative_attention_bias()
        for number, block in enumerate(self.block):
            x = block.layer[0](x, bias, batch)
            if source is not None:
                x = block.layer[1](x, source[number], batch)
            x = block.layer[-1](x)
        return self.dropout(self.final_layer_norm(x))


class T5Model(EncoderDecoder):
    prefix = ""
    layers_prefix = "encoder.block."
    embeddings_prefixes = ("shared.",)
    config: T5Config

    def __init__(self, config: T5Config) -> None:
        self.config = config
        self.shared = Embedding(config.vocab_size, config.hidden_size, None)
        self.encoder = Stack(config, config.layers, causal=False)
        self.decoder = Stack(config, config.decoder_layers, causal=True)

    @classmethod
    def of(cls, parts: T5ForConditionalGeneration) -> T5Model:
        """The stack whose parts another module has beside its own."""
        found = cls.__new__(cls)
        found.config, found.shared = parts.config, parts.shared
        found.encoder, found.decoder = parts.encoder, parts.decoder
        return found

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        last = ("lm_head.weight",) if self.config.tied else ()
        return {"shared.weight": ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", *last)}

    def read(self, batch: Batch) -> Tensor:
        return self.encoder(self.shared(batch["source_ids"]), batch)

    def source(self, hidden: Tensor) -> list[Pair]:
        return [block.layer[1].source(hidden) for block in self.decoder.block]

    def write(self, source: Sequence[Pair], batch: Batch) -> Tensor:
        return self.decoder(self.shared(batch["ids"]), batch, source)


class T5ForConditionalGeneration(ConditionalLanguageModel):
    encoder_name = ""
    config: T5Config

    def __init__(self, config: T5Config) -> None:
        stack = T5Model(config)
        self.config = config
        self.shared, self.encoder, self.decoder = stack.shared, stack.encoder, stack.decoder
        self.lm_head = None if config.tied else Map(config.hidden_size, config.vocab_size, 1.0)

    @property
    def encoder_part(self) -> Encoder:
        return T5Model.of(self)

    @property
    def output_weight(self) -> Tensor:
        return self.shared.weight if self.lm_head is None else self.lm_head.weight

    def transformed(self, hidden: Tensor) -> Tensor:
        return hidden * self.config.hidden_size**-0.5 if self.config.scaled else hidden


CLASSES: dict[str | None, Any] = {None: T5Model, "text2text-generation": T5ForConditionalGeneration}
