"""DistilBERT (Sanh and others, 2019): BERT's layers by other names, without segments and without a pooler."""

from __future__ import annotations

from typing import Any

import handloom.tensor as ht
from handloom.models import bert
from handloom.models.config import ACTIVATIONS, EncoderConfig, Fields, head_of
from handloom.models.encoder import ACTIVATE, Batch, Classifier, Encoder, QuestionAnswerer, TokenClassifier, first_rows
from handloom.models.language_model import Bias, MaskedLanguageModel
from handloom.nn.dropout import Dropout
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor

LAYER_NORM_EPS = 1e-12  # the architecture's own; config.json does not hold it


def read_config(fields: Fields) -> EncoderConfig:
    fields.choice("position_embedding_type", ("absolute",), "absolute")
    dropout = fields.rate("dropout", 0.1) or 0.0
    return EncoderConfig(
        model_type="distilbert",
        vocab_size=fields.whole("vocab_size", high=2**24),
        hidden_size=fields.whole("dim", high=2**16),
        layers=fields.whole("n_layers", high=1024),
        heads=fields.whole("n_heads", high=4096),
        intermediate_size=fields.whole("hidden_dim", high=2**18),
        positions=fields.whole("max_position_embeddings", 512),
        first_position=0,
        types=0,
        activation=fields.choice("activation", ACTIVATIONS, "gelu"),
        layer_norm_eps=LAYER_NORM_EPS,
        initializer_range=fields.positive("initializer_range", 0.02),
        hidden_dropout=dropout,
        attention_dropout=fields.rate("attention_dropout", 0.1) or 0.0,
        classifier_dropout={
            "text-classification": fields.rate("seq_classif_dropout", 0.2) or 0.0,
            "token-classification": dropout,
            "question-answering": fields.rate("qa_dropout", 0.1) or 0.0,
        },
        pad_token_id=fields.whole("pad_token_id", 0, low=0, high=2**24),
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


class SelfAttention(Module):
    """[T, hidden] -> [T, hidden]: each token looks at its own sequence."""

    def __init__(self, config: EncoderConfig) -> None:
        self.q_lin = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.k_lin = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.v_lin = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.out_lin = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.heads = config.heads
        self.rate = config.attention_dropout

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        seen = ht.attention(self.q_lin(x), self.k_lin(x), self.v_lin(x), batch["starts"], heads=self.heads,
                            dropout=self.rate)
        return self.out_lin(seen)


class FeedForward(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.lin1 = Linear(config.hidden_size, config.intermediate_size, rng=None)
        self.lin2 = Linear(config.intermediate_size, config.hidden_size, rng=None)
        self.dropout = Dropout(config.hidden_dropout)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.lin2(ACTIVATE[self.activation](self.lin1(x))))


class Layer(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.attention = SelfAttention(config)
        self.sa_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.ffn = FeedForward(config)
        self.output_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        x = self.sa_layer_norm(self.attention(x, batch) + x)
        return self.output_layer_norm(self.ffn(x) + x)


class Stack(Module):
    def __init__(self, config: EncoderConfig) -> None:
        self.layer = [Layer(config) for _ in range(config.layers)]

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        for layer in self.layer:
            x = layer(x, batch)
        return x


class DistilBertModel(Encoder):
    """The encoder: hidden states [T, hidden]."""

    prefix = "distilbert."
    layers_prefix = "transformer.layer."

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config
        self.embeddings = bert.Embeddings(config)
        self.transformer = Stack(config)

    def forward(self, batch: Batch) -> Tensor:
        return self.transformer(self.embeddings(batch), batch)


class DistilBertForSequenceClassification(Classifier):
    """Logits [S, labels]: relu(dense) of the first token, dropout, projection."""

    task = "text-classification"
    encoder_name = "distilbert"

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        self.config = config
        self.distilbert = DistilBertModel(config)
        self.pre_classifier = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.classifier = Linear(config.hidden_size, labels, rng=None)
        self.dropout = Dropout(config.classifier_dropout[self.task])

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        pooled = ht.relu(self.pre_classifier(first_rows(hidden, batch)))
        return self.classifier(self.dropout(pooled))


class DistilBertForTokenClassification(TokenClassifier):
    encoder_name = "distilbert"
    make_encoder = DistilBertModel


class DistilBertForQuestionAnswering(QuestionAnswerer):
    encoder_name = "distilbert"
    make_encoder = DistilBertModel


class DistilBertForMaskedLM(MaskedLanguageModel):
    encoder_name = "distilbert"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.vocab_transform = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.vocab_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.vocab_projector = Bias(config.vocab_size)

    @property
    def copies(self) -> tuple[str, ...]:
        return ("vocab_projector.weight",)

    @property
    def output_bias(self) -> Tensor:
        return self.vocab_projector.bias

    def transformed(self, hidden: Tensor) -> Tensor:
        return self.vocab_layer_norm(ACTIVATE[self.config.activation](self.vocab_transform(hidden)))


CLASSES: dict[str | None, Any] = {
    None: DistilBertModel,
    "text-classification": DistilBertForSequenceClassification,
    "token-classification": DistilBertForTokenClassification,
    "question-answering": DistilBertForQuestionAnswering,
    "fill-mask": DistilBertForMaskedLM,
}
