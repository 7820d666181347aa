"""BART (Lewis and others, 2020): post-norm layers, an encoder's and a decoder's, over words and learned positions.

Marian is built of the same layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import ACTIVATIONS, EncoderDecoderConfig, Fields, head_of
from handloom.models.encoder import ACTIVATE, Batch
from handloom.models.encoder_decoder import ConditionalLanguageModel, EncoderDecoder, Pair
from handloom.nn.attention import attend, attend_source
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Array, Module, zeros
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

OFFSET = 2
"""Row of a sequence's first position: the rows before it are left from a time when padding had one."""


@dataclass(frozen=True, kw_only=True)
class BartConfig(EncoderDecoderConfig):
    scale: float  # of words, before positions are added
    activation_dropout: float

    def with_dropout(self, rate: float) -> Self:
        return replace(super().with_dropout(rate), activation_dropout=rate)


def read_config(fields: Fields) -> BartConfig:
    return shared_config(fields, "bart", start=2, vocabulary=50265)


def shared_config(fields: Fields, model_type: str, start: int, vocabulary: int) -> BartConfig:
    """BART's config.json, and Marian's."""
    for unsupported in ("normalize_before", "add_final_layer_norm", "encoder_layerdrop", "decoder_layerdrop"):
        fields.false(unsupported)
    for needed in ("tie_word_embeddings", "share_encoder_decoder_embeddings"):
        if not fields.flag(needed, True):
            raise fields.wrong(needed, "true (one table of words for source, target and output)")
    hidden = fields.whole("d_model", 1024, high=2**16)
    sizes = {}
    for part in ("encoder", "decoder"):
        heads = fields.whole(f"{part}_attention_heads", 16, high=4096)
        if hidden % heads:
            raise HandloomError(f"{fields.path}: the hidden size {hidden} is not divisible by {heads} attention heads "
                                f"of the {part}")
        inner = fields.whole(f"{part}_ffn_dim", 4096, high=2**18)
        sizes[part] = fields.whole(f"{part}_layers", 12, high=1024), heads, inner
    (layers, heads, inner), (decoder_layers, decoder_heads, decoder_inner) = sizes["encoder"], sizes["decoder"]
    return BartConfig(
        model_type=model_type,
        vocab_size=fields.whole("vocab_size", vocabulary, high=2**24),
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        intermediate_size=inner,
        decoder_layers=decoder_layers,
        decoder_heads=decoder_heads,
        decoder_intermediate_size=decoder_inner,
        head_size=hidden // heads,
        decoder_width=hidden,
        positions=fields.whole("max_position_embeddings", 1024),
        scale=math.sqrt(hidden) if fields.flag("scale_embedding", False) else 1.0,
        activation=fields.choice("activation_function", ACTIVATIONS, "gelu"),
        norm_eps=1e-5,
        initializer_range=fields.positive("init_std", 0.02),
        tied=True,
        start=fields.whole_or("decoder_start_token_id", start, low=0, high=2**24),
        hidden_dropout=fields.rate("dropout", 0.1) or 0.0,
        attention_dropout=fields.rate("attention_dropout", 0.0) or 0.0,
        activation_dropout=fields.rate("activation_dropout", 0.0) or 0.0,
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


class LearnedPositions(Embedding):
    """positions i32[T] -> [T, hidden]."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config.positions + OFFSET, config.hidden_size, None)

    def forward(self, positions: Tensor) -> Tensor:
        return super().forward(positions + OFFSET)


class Words(Embedding):
    """Where words are multiplied before positions are added, fresh ones have deviation 1 then, as much as positions."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config.vocab_size, config.hidden_size, None)
        self.scale = config.scale

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return super().initial(rng, std if self.scale == 1 else 1 / self.scale)


class Attention(Module):
    def __init__(self, config: BartConfig) -> None:
        self.k_proj = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.v_proj = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.q_proj = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.out_proj = Linear(config.hidden_size, config.hidden_size, rng=None)


class Layer(Module):
    """What a layer of either stack has: attention to its own sequence, and a feed-forward part."""

    def __init__(self, config: BartConfig, inner: int) -> None:
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.fc1 = Linear(config.hidden_size, inner, rng=None)
        self.fc2 = Linear(inner, config.hidden_size, rng=None)
        self.final_layer_norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.dropout, self.inside = Dropout(config.hidden_dropout), Dropout(config.activation_dropout)
        self.config = config

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part = self.self_attn
        return part.q_proj(x), part.k_proj(x), part.v_proj(x)

    def added(self, x: Tensor, seen: Tensor) -> Tensor:
        return self.self_attn_layer_norm(x + self.dropout(self.self_attn.out_proj(seen)))

    def fed_forward(self, x: Tensor) -> Tensor:
        inner = self.inside(ACTIVATE[self.config.activation](self.fc1(x)))
        return self.final_layer_norm(x + self.dropout(self.fc2(inner)))


class EncoderLayer(Layer):
    def __init__(self, config: BartConfig) -> None:
        super().__init__(config, config.intermediate_size)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        config = self.config
        seen = ht.attention(*self.projected(x), batch["source_starts"], heads=config.heads,
                            dropout=config.attention_dropout)  # fmt: skip
        return self.fed_forward(self.added(x, seen))


class DecoderLayer(Layer):
    def __init__(self, config: BartConfig, layer: int) -> None:
        super().__init__(config, config.decoder_intermediate_size)
        self.encoder_attn = Attention(config)
        self.encoder_attn_layer_norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.layer = layer

    def source(self, hidden: Tensor) -> Pair:
        return self.encoder_attn.k_proj(hidden), self.encoder_attn.v_proj(hidden)

    def forward(self, x: Tensor, source: Pair, batch: Batch) -> Tensor:
        config, cross = self.config, self.encoder_attn
        how: dict[str, Any] = {"heads": config.decoder_heads, "dropout": config.attention_dropout}
        x = self.added(x, attend(*self.projected(x), batch, layer=self.layer, **how))
        seen = attend_source(cross.q_proj(x), source, batch, **how)
        return self.fed_forward(self.encoder_attn_layer_norm(x + self.dropout(cross.out_proj(seen))))


class Stack(Module):
    """x, words [T, hidden] and positions i32[T] -> [T, hidden]; with a source for each layer, a decoder."""

    def __init__(self, config: BartConfig, layers: Sequence[Layer], positions: Module, norm: bool) -> None:
        self.embed_positions = positions
        self.layers = list(layers)
        self.layernorm_embedding = LayerNorm(config.hidden_size, config.norm_eps) if norm else None
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, words: Tensor, positions: Tensor, batch: Batch, source: Sequence[Pair] | None = None) -> Tensor:
        x = words + self.embed_positions(positions)
        x = self.dropout(x if self.layernorm_embedding is None else self.layernorm_embedding(x))
        for number, layer in enumerate(self.layers):
            x = layer(x, batch) if source is None else layer(x, source[number], batch)
        return x


class BartModel(EncoderDecoder):
    prefix = "model."
    layers_prefix = "encoder.layers."
    embeddings_prefixes: ClassVar[tuple[str, ...]] = (
        "shared.", "encoder.embed_positions.", "encoder.layernorm_embedding.", "decoder.embed_positions.",
        "decoder.layernorm_embedding.",
    )  # fmt: skip
    positions: type[Any] = LearnedPositions  # made from the configuration
    norm = True  # of words and positions, before the first layer
    config: BartConfig

    def __init__(self, config: BartConfig) -> None:
        encoder = [EncoderLayer(config) for _ in range(config.layers)]
        decoder = [DecoderLayer(config, layer) for layer in range(config.decoder_layers)]
        self.config = config
        self.shared = Words(config)
        self.encoder = Stack(config, encoder, self.positions(config), self.norm)
        self.decoder = Stack(config, decoder, self.positions(config), self.norm)

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        return {"shared.weight": ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")}

    def read(self, batch: Batch) -> Tensor:
        return self.encoder(self._words(batch["source_ids"]), batch["source_positions"], batch)

    def source(self, hidden: Tensor) -> list[Pair]:
        return [layer.source(hidden) for layer in self.decoder.layers if isinstance(layer, DecoderLayer)]

    def write(self, source: Sequence[Pair], batch: Batch) -> Tensor:
        return self.decoder(self._words(batch["ids"]), batch["positions"], batch, source)

    def _words(self, ids: Tensor) -> Tensor:
        return self.shared(ids) * self.config.scale if self.config.scale != 1 else self.shared(ids)


class BartForConditionalGeneration(ConditionalLanguageModel):
    """Its output layer is the table of words, with a bias that no training changes."""

    encoder_name = "model"
    layers: type[BartModel] = BartModel
    config: BartConfig

    def __init__(self, config: BartConfig) -> None:
        self.config = config
        self.model = self.layers(config)
        self.final_logits_bias = zeros(1, config.vocab_size)

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return {"final_logits_bias": np.zeros((1, self.config.vocab_size), np.float32)}

    @property
    def output_weight(self) -> Tensor:
        return self.model.shared.weight

    @property
    def output_bias(self) -> Tensor:
        return ht.stop_gradient(self.final_logits_bias).reshape(self.config.vocab_size)


CLASSES: dict[str | None, Any] = {None: BartModel, "text2text-generation": BartForConditionalGeneration}
