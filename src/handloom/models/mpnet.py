"""MPNet (Song and others, 2020): BERT's layers by other names, with a bias by distance that all layers share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import handloom.tensor as ht
from handloom.models import bert
from handloom.models.config import EncoderConfig, Fields
from handloom.models.encoder import Batch, Encoder, FirstRowClassifier, QuestionAnswerer, TokenClassifier, first_rows
from handloom.models.roberta import RobertaForMaskedLM
from handloom.nn.distance import bias_by_distance, distance_buckets
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor

PADDING = 1  # the architecture's own: positions begin behind this row, whatever config.json says of padding
BUCKETS, FARTHEST = 32, 128  # the architecture's own, too


@dataclass(frozen=True, kw_only=True)
class MPNetConfig(EncoderConfig):
    buckets: int  # rows of the table of distances; those beyond BUCKETS are never read


def read_config(fields: Fields) -> MPNetConfig:
    values = {"type_vocab_size": 1, "pad_token_id": PADDING, **fields.values}
    base = vars(bert.read_config(Fields(values, fields.path), "mpnet", first_position=PADDING + 1))
    buckets = fields.whole("relative_attention_num_buckets", BUCKETS, low=BUCKETS)
    return MPNetConfig(**{**base, "types": 0, "buckets": buckets})


class SelfAttention(Module):
    """[T, hidden], bias [heads, distances] -> [T, hidden]."""

    def __init__(self, config: MPNetConfig) -> None:
        self.q = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.k = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.v = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.o = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.heads = config.heads
        self.rate = config.attention_dropout

    def forward(self, x: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        seen = ht.attention(self.q(x), self.k(x), self.v(x), batch["starts"], heads=self.heads, bias=bias,
                            dropout=self.rate)
        return self.o(seen)


class Attention(Module):
    def __init__(self, config: MPNetConfig) -> None:
        self.attn = SelfAttention(config)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        return self.LayerNorm(self.dropout(self.attn(x, bias, batch)) + x)


class Layer(Module):
    def __init__(self, config: MPNetConfig) -> None:
        self.attention = Attention(config)
        self.intermediate = bert.Intermediate(config)
        self.output = bert.AddAndNorm(config, config.intermediate_size)

    def forward(self, x: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        x = self.attention(x, bias, batch)
        return self.output(self.intermediate(x), x)


class Stack(Module):
    def __init__(self, config: MPNetConfig) -> None:
        self.layer = [Layer(config) for _ in range(config.layers)]
        self.relative_attention_bias = Embedding(config.buckets, config.heads, None)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        bias = bias_by_distance(self.relative_attention_bias.weight, distance_buckets(FARTHEST, BUCKETS, FARTHEST))
        for layer in self.layer:
            x = layer(x, bias, batch)
        return x


class MPNetModel(Encoder):
    """The encoder: hidden states [T, hidden]; `pooled` gives [S, hidden] where there is a pooler."""

    prefix = "mpnet."
    layers_prefix = "encoder.layer."

    def __init__(self, config: MPNetConfig, pooler: bool = True) -> None:
        self.config = config
        self.embeddings = bert.Embeddings(config)
        self.encoder = Stack(config)
        self.pooler = bert.Pooler(config) if pooler else None

    def forward(self, batch: Batch) -> Tensor:
        return self.encoder(self.embeddings(batch), batch)

    def pooled(self, hidden: Tensor, batch: Batch) -> Tensor:
        first = first_rows(hidden, batch)
        return first if self.pooler is None else self.pooler(first)


class MPNetForSequenceClassification(FirstRowClassifier):
    encoder_name = "mpnet"
    make_encoder = partial(MPNetModel, pooler=False)


class MPNetForTokenClassification(TokenClassifier):
    encoder_name = "mpnet"
    make_encoder = partial(MPNetModel, pooler=False)


class MPNetForQuestionAnswering(QuestionAnswerer):
    encoder_name = "mpnet"
    make_encoder = partial(MPNetModel, pooler=False)


class MPNetForMaskedLM(RobertaForMaskedLM):
    encoder_name = "mpnet"
    make_encoder = partial(MPNetModel, pooler=False)


CLASSES: dict[str | None, Any] = {
    None: MPNetModel,
    "text-classification": MPNetForSequenceClassification,
    "token-classification": MPNetForTokenClassification,
    "question-answering": MPNetForQuestionAnswering,
    "fill-mask": MPNetForMaskedLM,
}
