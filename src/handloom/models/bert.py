"""BERT (Devlin and others, 2018): a stack of post-norm transformer layers over words, positions and segments.

Attributes are named as the tensors of a checkpoint. Batches are packed: T tokens of S sequences, one after another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import handloom.tensor as ht
from handloom.models.config import ACTIVATIONS, EncoderConfig, Fields, head_of
from handloom.models.encoder import ACTIVATE, Batch, Classifier, Encoder, QuestionAnswerer, TokenClassifier, first_rows
from handloom.models.language_model import Bias, MaskedLanguageModel
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor


def read_config(fields: Fields, model_type: str = "bert", first_position: int = 0) -> EncoderConfig:
    """BERT's config.json, and RoBERTa's, whose positions begin behind the padding's."""
    fields.choice("position_embedding_type", ("absolute",), "absolute")
    for unsupported in ("is_decoder", "add_cross_attention"):
        fields.false(unsupported)
    hidden_dropout = fields.rate("hidden_dropout_prob", 0.1) or 0.0
    classifier_dropout = fields.rate("classifier_dropout", hidden_dropout) or 0.0
    return EncoderConfig(
        model_type=model_type,
        vocab_size=fields.whole("vocab_size", high=2**24),
        hidden_size=fields.whole("hidden_size", high=2**16),
        layers=fields.whole("num_hidden_layers", high=1024),
        heads=fields.whole("num_attention_heads", high=4096),
        intermediate_size=fields.whole("intermediate_size", high=2**18),
        positions=fields.whole("max_position_embeddings"),
        first_position=first_position,
        types=fields.whole("type_vocab_size", 2, high=1024),
        activation=fields.choice("hidden_act", ACTIVATIONS, "gelu"),
        layer_norm_eps=fields.positive("layer_norm_eps", 1e-12),
        initializer_range=fields.positive("initializer_range", 0.02),
        hidden_dropout=hidden_dropout,
        attention_dropout=fields.rate("attention_probs_dropout_prob", 0.1) or 0.0,
        classifier_dropout={"text-classification": classifier_dropout, "token-classification": classifier_dropout},
        pad_token_id=fields.whole("pad_token_id", 0, low=0, high=2**24),
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


class Embeddings(Module):
    """ids, positions i32[T], and types i32[T] where there are any -> [T, width] (hidden_size unless given)."""

    def __init__(self, config: EncoderConfig, width: int | None = None) -> None:
        width = width or config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, width, None)
        self.position_embeddings = Embedding(config.positions, width, None)
        self.token_type_embeddings = Embedding(config.types, width, None) if config.types else None
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.config = config

    def forward(self, batch: Batch) -> Tensor:
        positions = batch["positions"]
        if self.config.first_position:
            positions = positions + self.config.first_position
        x = self.word_embeddings(batch["ids"])
        types = self.token_type_embeddings
        if types is not None:  # a table of one row (RoBERTa's) is added as a row: no look-up, whatever the batch says
            x = x + (types.weight if self.config.types == 1 else types(batch["types"]))
        x = x + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x))


class SelfAttention(Module):
    """[T, hidden] -> [T, hidden]: each token looks at its own sequence."""

    def __init__(self, config: EncoderConfig) -> None:
        self.query = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.key = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.value = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.heads = config.heads
        self.rate = config.attention_dropout

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        return ht.attention(self.query(x), self.key(x), self.value(x), batch["starts"], heads=self.heads,
                            dropout=self.rate)


class AddAndNorm(Module):
    """x [T, width], residual [T, hidden] -> LayerNorm(residual + dropout(W x + b)): ends each half of a layer."""

    def __init__(self, config: EncoderConfig, width: int) -> None:
        self.dense = Linear(width, config.hidden_size, rng=None)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class Attention(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.self = SelfAttention(config)
        self.output = AddAndNorm(config, config.hidden_size)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        return self.output(self.self(x, batch), x)


class Intermediate(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.dense = Linear(config.hidden_size, config.intermediate_size, rng=None)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATE[self.activation](self.dense(x))


class Layer(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = AddAndNorm(config, config.intermediate_size)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        x = self.attention(x, batch)
        return self.output(self.intermediate(x), x)


class Stack(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.layer = [Layer(config) for _ in range(config.layers)]

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        for layer in self.layer:
            x = layer(x, batch)
        return x


class Pooler(Module):
    """tanh(W x + b) of each sequence's first row."""

    def __init__(self, config: EncoderConfig) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, rng=None)

    def forward(self, first: Tensor) -> Tensor:
        return ht.tanh(self.dense(first))


class BertModel(Encoder):
    """The encoder: hidden states [T, hidden]; `pooled` gives [S, hidden] where there is a pooler."""

    prefix = "bert."
    layers_prefix = "encoder.layer."

    def __init__(self, config: EncoderConfig, pooler: bool = True) -> None:
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Stack(config)
        self.pooler = Pooler(config) if pooler else None

    def forward(self, batch: Batch) -> Tensor:
        return self.encoder(self.embeddings(batch), batch)

    def pooled(self, hidden: Tensor, batch: Batch) -> Tensor:
        first = first_rows(hidden, batch)
        return first if self.pooler is None else self.pooler(first)


class BertForSequenceClassification(Classifier):
    """Logits [S, labels] from the pooled first token."""

    task = "text-classification"
    encoder_name = "bert"

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        self.config = config
        self.bert = BertModel(config)
        self.dropout = Dropout(config.classifier_dropout[self.task])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.dropout(self.bert.pooled(hidden, batch)))


class BertForTokenClassification(TokenClassifier):
    encoder_name = "bert"
    make_encoder = partial(BertModel, pooler=False)


class BertForQuestionAnswering(QuestionAnswerer):
    encoder_name = "bert"
    make_encoder = partial(BertModel, pooler=False)


class Transform(Module):
    """[R, hidden] -> [R, width] (hidden unless given): dense, activation, norm."""

    def __init__(self, config: EncoderConfig, width: int | None = None, activation: str | None = None) -> None:
        width = width or config.hidden_size
        self.dense = Linear(config.hidden_size, width, rng=None)
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps)
        self.activation = activation or config.activation

    def forward(self, hidden: Tensor) -> Tensor:
        return self.LayerNorm(ACTIVATE[self.activation](self.dense(hidden)))


class Predictions(Bias):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.vocab_size)
        self.transform = Transform(config)


class MaskHeads(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.predictions = Predictions(config)


class BertForMaskedLM(MaskedLanguageModel):
    encoder_name = "bert"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, pooler=False)
        self.cls = MaskHeads(config)

    @property
    def copies(self) -> tuple[str, ...]:
        return "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"

    @property
    def output_bias(self) -> Tensor:
        return self.cls.predictions.bias

    def transformed(self, hidden: Tensor) -> Tensor:
        return self.cls.predictions.transform(hidden)


CLASSES: dict[str | None, Any] = {
    None: BertModel,
    "text-classification": BertForSequenceClassification,
    "token-classification": BertForTokenClassification,
    "question-answering": BertForQuestionAnswering,
    "fill-mask": BertForMaskedLM,
}
