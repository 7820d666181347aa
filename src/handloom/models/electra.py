"""ELECTRA (Clark and others, 2020): BERT's layers over embeddings of a width of their own; no pooler.

A discriminator is what one fine-tunes; a generator is a small masked language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handloom.models import bert
from handloom.models.config import EncoderConfig, Fields
from handloom.models.encoder import Batch, FirstRowClassifier, QuestionAnswerer, TokenClassifier
from handloom.models.language_model import Bias, MaskedLanguageModel
from handloom.nn.linear import Linear
from handloom.tensor import Tensor


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(EncoderConfig):
    embedding_size: int


def read_config(fields: Fields) -> ElectraConfig:
    return ElectraConfig(**vars(bert.read_config(fields, "electra")),
                         embedding_size=fields.whole("embedding_size", 128, high=2**16))


class ElectraModel(bert.BertModel):
    """Hidden states [T, hidden]. Where embeddings have another width, `embeddings_project` brings them to hidden."""

    prefix = "electra."
    embeddings_prefixes = ("embeddings.", "embeddings_project.")

    def __init__(self, config: ElectraConfig) -> None:
        self.config = config
        self.embeddings = bert.Embeddings(config, config.embedding_size)
        widths = config.embedding_size, config.hidden_size
        self.embeddings_project = None if widths[0] == widths[1] else Linear(*widths, rng=None)
        self.encoder = bert.Stack(config)
        self.pooler = None

    def forward(self, batch: Batch) -> Tensor:
        x = self.embeddings(batch)
        return self.encoder(x if self.embeddings_project is None else self.embeddings_project(x), batch)


class ElectraForSequenceClassification(FirstRowClassifier):
    encoder_name = "electra"
    make_encoder = ElectraModel
    activation = "gelu"


class ElectraForTokenClassification(TokenClassifier):
    encoder_name = "electra"
    make_encoder = ElectraModel


class ElectraForQuestionAnswering(QuestionAnswerer):
    encoder_name = "electra"
    make_encoder = ElectraModel


class ElectraForMaskedLM(MaskedLanguageModel):
    """A generator: its output layer is as wide as the embeddings."""

    encoder_name = "electra"

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.electra = ElectraModel(config)
        self.generator_predictions = bert.Transform(config, config.embedding_size, "gelu")
        self.generator_lm_head = Bias(config.vocab_size)

    @property
    def copies(self) -> tuple[str, ...]:
        return ("generator_lm_head.weight",)

    @property
    def output_bias(self) -> Tensor:
        return self.generator_lm_head.bias

    def transformed(self, hidden: Tensor) -> Tensor:
        return self.generator_predictions(hidden)


CLASSES: dict[str | None, Any] = {
    None: ElectraModel,
    "text-classification": ElectraForSequenceClassification,
    "token-classification": ElectraForTokenClassification,
    "question-answering": ElectraForQuestionAnswering,
    "fill-mask": ElectraForMaskedLM,
}
