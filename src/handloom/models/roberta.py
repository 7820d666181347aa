"""RoBERTa (Liu and others, 2019): BERT's layers; positions begin behind the padding's row, and the heads differ."""

from __future__ import annotations

from typing import Any

import handloom.tensor as ht
from handloom.models import bert
from handloom.models.config import EncoderConfig, Fields
from handloom.models.encoder import Batch, Classifier, first_rows, labelled_rows
from handloom.nn.dropout import Dropout
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.tensor import Tensor


def read_config(fields: Fields) -> EncoderConfig:
    pad = fields.whole("pad_token_id", 1, low=0, high=2**24)
    values = {"layer_norm_eps": 1e-5, "pad_token_id": pad, **fields.values}
    return bert.read_config(Fields(values, fields.path), "roberta", first_position=pad + 1)


class RobertaModel(bert.BertModel):
    prefix = "roberta."


class RobertaClassificationHead(Module):
    """first [S, hidden] -> logits [S, labels]: dropout, tanh(dense), dropout, projection."""

    def __init__(self, config: EncoderConfig, labels: int, rate: float) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.dropout = Dropout(rate)
        self.out_proj = Linear(config.hidden_size, labels, rng=None)

    def forward(self, first: Tensor) -> Tensor:
        return self.out_proj(self.dropout(ht.tanh(self.dense(self.dropout(first)))))


class RobertaForSequenceClassification(Classifier):
    """Logits [S, labels] from the first token."""

    task = "text-classification"
    encoder_name = "roberta"
    last_layer = "classifier.out_proj"

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        self.config = config
        self.roberta = RobertaModel(config, pooler=False)
        self.classifier = RobertaClassificationHead(config, labels, config.classifier_dropout[self.task])

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(first_rows(hidden, batch))


class RobertaForTokenClassification(Classifier):
    """Logits [T, labels], or [R, labels] of the rows that the batch names."""

    task = "token-classification"
    encoder_name = "roberta"

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        self.config = config
        self.roberta = RobertaModel(config, pooler=False)
        self.dropout = Dropout(config.classifier_dropout[self.task])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.dropout(labelled_rows(hidden, batch)))


CLASSES: dict[str | None, Any] = {
    None: RobertaModel,
    "text-classification": RobertaForSequenceClassification,
    "token-classification": RobertaForTokenClassification,
}
