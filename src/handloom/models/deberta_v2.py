"""DeBERTa v2 and v3 (He and others, 2021): BERT's layers with disentangled attention.

Beside content with content, the query's content meets the embedding of the distance to the key, and the key's content
that of the distance to the query. Distances fall into buckets; one table of their embeddings serves all layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models import bert
from handloom.models.config import ACTIVATIONS, EncoderConfig, Fields
from handloom.models.encoder import ACTIVATE, Batch, Classifier, Encoder, QuestionAnswerer, TokenClassifier, first_rows
from handloom.models.language_model import Bias, MaskedLanguageModel
from handloom.nn.distance import log_buckets
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Array, Module, normal, zeros
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor, tensor

KINDS = ("c2p", "p2c")  # content to position, position to content


@dataclass(frozen=True, kw_only=True)
class DebertaV2Config(EncoderConfig):
    embedding_size: int
    learned_positions: bool  # are added to the embeddings, too
    relative: tuple[str, ...]  # of KINDS; (): attention is plain
    terms: int  # of the scores, which their scale counts even where attention is plain
    span: int  # half the rows of the table of distances
    buckets: int | None  # for near distances one each, then by the logarithm; None: one for every distance
    farthest: int
    shared_projections: bool  # distances are projected as words are
    normed_distances: bool
    convolution: int  # width of the one beside the first layer; 0: there is none
    convolution_activation: str
    pooler_dropout: float
    pooler_activation: str
    legacy: bool  # of the two masked-language-model heads, the one that transformers began with


def read_config(fields: Fields) -> DebertaV2Config:
    values = {"layer_norm_eps": 1e-7, "type_vocab_size": 0, **fields.values}
    kinds = fields.values.get("pos_att_type") or []
    kinds = kinds.lower().split("|") if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not {str(kind).strip() for kind in kinds} <= set(KINDS):
        raise fields.wrong("pos_att_type", f"a list of {' and '.join(KINDS)}")
    asked = tuple(kind for kind in KINDS if kind in {str(one).strip() for one in kinds})
    relative = fields.flag("relative_attention", False)
    types = Fields(values, fields.path).whole("type_vocab_size", low=0, high=1024)
    # BERT's reader asks for a table of segments, of which this family may have none
    base = vars(bert.read_config(Fields({**values, "type_vocab_size": types or 1}, fields.path), "deberta-v2"))
    if fields.values.get("cls_dropout") is not None:
        rate = fields.rate("cls_dropout", 0.0) or 0.0
        base["classifier_dropout"] = {**base["classifier_dropout"], "text-classification": rate}
    farthest = fields.whole("max_relative_positions", -1, low=-1)
    farthest = base["positions"] if farthest < 1 else farthest
    buckets = fields.whole("position_buckets", -1, low=-1)
    if fields.whole("conv_groups", 1) != 1:
        raise fields.wrong("conv_groups", "1")
    convolution = fields.whole("conv_kernel_size", 0, low=0, high=3)
    if convolution == 2:
        raise fields.wrong("conv_kernel_size", "0, 1 or 3")
    return DebertaV2Config(**{
        **base,
        "types": types,
        "embedding_size": fields.whole("embedding_size", base["hidden_size"], high=2**16),
        "learned_positions": fields.flag("position_biased_input", True),
        "relative": asked if relative else (),
        "terms": 1 + len(asked),
        "span": buckets if buckets > 0 else farthest,
        "buckets": buckets if buckets > 0 else None,
        "farthest": farthest,
        "shared_projections": fields.flag("share_att_key", False),
        "normed_distances": "layer_norm" in str(fields.values.get("norm_rel_ebd", "none")).lower(),
        "convolution": convolution,
        "convolution_activation": fields.choice("conv_act", ACTIVATIONS, "tanh"),
        "pooler_dropout": fields.rate("pooler_dropout", 0.0) or 0.0,
        "pooler_activation": fields.choice("pooler_hidden_act", ACTIVATIONS, "gelu"),
        "legacy": fields.flag("legacy", True),
        "source": dict(fields.values),
    })


def bucket_rows(config: DebertaV2Config) -> Array:
    """i32 [2·farthest + 1]: the row of the table of distances for each key − query, from −farthest to farthest."""
    reach, span = config.farthest, config.span
    found = np.arange(reach, -reach - 1, -1) if config.buckets is None else log_buckets(reach, config.buckets, reach)
    return np.clip(found + span, 0, 2 * span - 1).astype(np.int32)


class Embeddings(Module):
    """ids, positions, types i32[T] -> [T, hidden]."""

    def __init__(self, config: DebertaV2Config) -> None:
        width = config.embedding_size
        self.word_embeddings = Embedding(config.vocab_size, width, None)
        self.position_embeddings = Embedding(config.positions, width, None) if config.learned_positions else None
        self.token_type_embeddings = Embedding(config.types, width, None) if config.types else None
        plain = width == config.hidden_size
        self.embed_proj = None if plain else Linear(width, config.hidden_size, bias=False, rng=None)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, batch: Batch) -> Tensor:
        x = self.word_embeddings(batch["ids"])
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(batch["positions"])
        if self.token_type_embeddings is not None:
            x = x + self.token_type_embeddings(batch["types"])
        return self.dropout(self.LayerNorm(x if self.embed_proj is None else self.embed_proj(x)))


class DisentangledSelfAttention(Module):
    """x [T, hidden], distances [rows, hidden] -> [T, hidden]."""

    def __init__(self, config: DebertaV2Config) -> None:
        hidden = config.hidden_size
        self.query_proj = Linear(hidden, hidden, rng=None)
        self.key_proj = Linear(hidden, hidden, rng=None)
        self.value_proj = Linear(hidden, hidden, rng=None)
        own = () if config.shared_projections else config.relative
        self.pos_key_proj = Linear(hidden, hidden, rng=None) if "c2p" in own else None
        self.pos_query_proj = Linear(hidden, hidden, rng=None) if "p2c" in own else None
        self.pos_dropout = Dropout(config.hidden_dropout)
        self.config = config

    def forward(self, x: Tensor, distances: Tensor | None, rows: Tensor, batch: Batch) -> Tensor:
        config = self.config
        q, k, v = self.query_proj(x), self.key_proj(x), self.value_proj(x)
        scale = 1 / math.sqrt(config.hidden_size // config.heads * config.terms)
        terms = None
        if distances is not None and config.relative:
            distances = self.pos_dropout(distances)
            of_keys = (self.pos_key_proj or self.key_proj)(distances)
            of_queries = (self.pos_query_proj or self.query_proj)(distances)
            terms = self._terms("c2p", q, of_keys), self._terms("p2c", k, of_queries), rows
        return ht.attention(q, k, v, batch["starts"], heads=config.heads, scale=scale,
                            dropout=config.attention_dropout, terms=terms)

    def _terms(self, kind: str, content: Tensor, positions: Tensor) -> Tensor:
        """[heads, T, rows]: content [T, hidden] times positions [rows, hidden], head by head; zeros for what is not
        there."""
        heads, width = self.config.heads, self.config.hidden_size
        a, c = (x.reshape(x.shape[0], heads, width // heads).transpose(1, 0, 2) for x in (content, positions))
        products = ht.matmul(a, c, transpose_b=True)
        return products if kind in self.config.relative else products * 0.0


class Attention(Module):
    def __init__(self, config: DebertaV2Config) -> None:
        self.self = DisentangledSelfAttention(config)
        self.output = bert.AddAndNorm(config, config.hidden_size)

    def forward(self, x: Tensor, distances: Tensor | None, rows: Tensor, batch: Batch) -> Tensor:
        return self.output(self.self(x, distances, rows, batch), x)


class Layer(Module):
    def __init__(self, config: DebertaV2Config) -> None:
        self.attention = Attention(config)
        self.intermediate = bert.Intermediate(config)
        self.output = bert.AddAndNorm(config, config.intermediate_size)

    def forward(self, x: Tensor, distances: Tensor | None, rows: Tensor, batch: Batch) -> Tensor:
        x = self.attention(x, distances, rows, batch)
        return self.output(self.intermediate(x), x)


class Conv1d(Module):
    """x [T, hidden] -> [T, hidden]: each token with its neighbours of the same sequence, as `torch.nn.Conv1d`."""

    def __init__(self, width: int, size: int) -> None:
        self.weight, self.bias = zeros(width, width, size), zeros(width)

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        shape = self.weight.numpy().shape
        return {"weight": normal(rng, shape, std), "bias": np.zeros(shape[0], np.float32)}

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        if self.weight.shape[2] == 1:
            return ht.linear(x, self.weight[:, :, 0], self.bias)
        before, after = (ht.linear(_neighbour(x, batch["positions"], step), self.weight[:, :, 1 + step])
                         for step in (-1, 1))  # fmt: skip
        return ht.linear(x, self.weight[:, :, 1], self.bias) + before + after


def _neighbour(x: Tensor, positions: Tensor, step: int) -> Tensor:
    """x [T, hidden] of the token before (−1) or after (1) each one; zeros where a sequence ends."""
    edge, none = ht.zeros(1, x.shape[1]), ht.zeros(1, dtype="i32")
    parts = (x[1:], edge) if step == 1 else (edge, x[:-1])
    places = (positions[1:], none) if step == 1 else (none, positions[:-1])
    # the token beside it stands at the next position, unless another sequence has begun; before a first one, at 0
    same = ht.concatenate(places).equal(positions + step)
    return ht.where(same.reshape(-1, 1), ht.concatenate(parts), 0.0)


class Convolution(Module):
    """Beside the first layer: LayerNorm(what came out of it + act(conv(what went into it)))."""

    def __init__(self, config: DebertaV2Config) -> None:
        self.conv = Conv1d(config.hidden_size, config.convolution)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.activation = config.convolution_activation

    def forward(self, before: Tensor, after: Tensor, batch: Batch) -> Tensor:
        return self.LayerNorm(after + ACTIVATE[self.activation](self.dropout(self.conv(before, batch))))


class Stack(Module):
    def __init__(self, config: DebertaV2Config) -> None:
        self.layer = [Layer(config) for _ in range(config.layers)]
        self.rel_embeddings = Embedding(2 * config.span, config.hidden_size, None) if config.relative else None
        normed = config.normed_distances
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps) if normed else None
        self.conv = Convolution(config) if config.convolution else None
        self.rows = bucket_rows(config)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        distances = None if self.rel_embeddings is None else self.rel_embeddings.weight
        if distances is not None and self.LayerNorm is not None:
            distances = self.LayerNorm(distances)
        rows = tensor(self.rows)
        for number, layer in enumerate(self.layer):
            after = layer(x, distances, rows, batch)
            x = self.conv(x, after, batch) if number == 0 and self.conv is not None else after
        return x


class DebertaV2Model(Encoder):
    """The encoder: hidden states [T, hidden]."""

    prefix = "deberta."
    layers_prefix = "encoder.layer."

    def __init__(self, config: DebertaV2Config) -> None:
        if config.layers < 1:
            raise HandloomError(f"{config.path}: num_hidden_layers must be at least 1")
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Stack(config)

    def forward(self, batch: Batch) -> Tensor:
        return self.encoder(self.embeddings(batch), batch)


class ContextPooler(Module):
    """first [S, hidden] -> act(W · dropout(first) + b)."""

    def __init__(self, config: DebertaV2Config) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.dropout = Dropout(config.pooler_dropout)
        self.activation = config.pooler_activation

    def forward(self, first: Tensor) -> Tensor:
        return ACTIVATE[self.activation](self.dense(self.dropout(first)))


class DebertaV2ForSequenceClassification(Classifier):
    """Logits [S, labels] from the pooled first token."""

    task = "text-classification"
    encoder_name = "deberta"

    def __init__(self, config: DebertaV2Config, labels: int) -> None:
        self.config = config
        self.deberta = DebertaV2Model(config)
        self.pooler = ContextPooler(config)
        self.dropout = Dropout(config.classifier_dropout[self.task])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.dropout(self.pooler(first_rows(hidden, batch))))


class DebertaV2ForTokenClassification(TokenClassifier):
    encoder_name = "deberta"
    make_encoder = DebertaV2Model


class DebertaV2ForQuestionAnswering(QuestionAnswerer):
    encoder_name = "deberta"
    make_encoder = DebertaV2Model


class LMHead(bert.Transform):
    """The newer head: BERT's transform and the bias of the output layer side by side."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.bias = zeros(config.vocab_size)

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return {"bias": np.zeros(self.bias.numpy().shape, np.float32)}


class Predictions(Bias):
    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config.vocab_size)
        self.transform = bert.Transform(config, config.embedding_size)


class Heads(Module):
    """`cls` of the older head, `lm_predictions` of the newer one."""

    def __init__(self, config: DebertaV2Config) -> None:
        if config.legacy:
            self.predictions = Predictions(config)
        else:
            self.lm_head = LMHead(config)


class DebertaV2ForMaskedLM(MaskedLanguageModel):
    encoder_name = "deberta"

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        if not config.legacy and config.embedding_size != config.hidden_size:
            raise HandloomError(f"{config.path}: without legacy, embedding_size must be the hidden size, "
                                f"{config.hidden_size}, and not {config.embedding_size}")
        self.deberta = DebertaV2Model(config)
        self.legacy = config.legacy
        setattr(self, "cls" if config.legacy else "lm_predictions", Heads(config))

    @property
    def _heads(self) -> Any:
        return getattr(self, "cls" if self.legacy else "lm_predictions")

    @property
    def copies(self) -> tuple[str, ...]:
        return ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias") if self.legacy else ()

    @property
    def output_bias(self) -> Tensor:
        found: Tensor = self._heads.predictions.bias if self.legacy else self._heads.lm_head.bias
        return found

    def transformed(self, hidden: Tensor) -> Tensor:
        found: Tensor = (self._heads.predictions.transform if self.legacy else self._heads.lm_head)(hidden)
        return found


CLASSES: dict[str | None, Any] = {
    None: DebertaV2Model,
    "text-classification": DebertaV2ForSequenceClassification,
    "token-classification": DebertaV2ForTokenClassification,
    "question-answering": DebertaV2ForQuestionAnswering,
    "fill-mask": DebertaV2ForMaskedLM,
}
