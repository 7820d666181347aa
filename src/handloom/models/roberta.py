"""RoBERTa (Liu and others, 2019): BERT's layers; positions begin behind the padding's row, and the heads differ."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from handloom.models import bert
from handloom.models.config import EncoderConfig, Fields
from handloom.models.encoder import FirstRowClassifier, QuestionAnswerer, TokenClassifier
from handloom.models.language_model import MaskedLanguageModel, MaskHead
from handloom.tensor import Tensor


def read_config(fields: Fields, model_type: str = "roberta") -> EncoderConfig:
    pad = fields.whole("pad_token_id", 1, low=0, high=2**24)
    values = {"layer_norm_eps": 1e-5, "pad_token_id": pad, **fields.values}
    return bert.read_config(Fields(values, fields.path), model_type, first_position=pad + 1)


class RobertaModel(bert.BertModel):
    prefix = "roberta."


class RobertaForSequenceClassification(FirstRowClassifier):
    encoder_name = "roberta"
    make_encoder = partial(RobertaModel, pooler=False)


class RobertaForTokenClassification(TokenClassifier):
    encoder_name = "roberta"
    make_encoder = partial(RobertaModel, pooler=False)


class RobertaForQuestionAnswering(QuestionAnswerer):
    encoder_name = "roberta"
    make_encoder = partial(RobertaModel, pooler=False)


class RobertaForMaskedLM(MaskedLanguageModel):
    encoder_name = "roberta"
    make_encoder: ClassVar[Any] = partial(RobertaModel, pooler=False)

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        setattr(self, self.encoder_name, type(self).make_encoder(config))
        self.lm_head = MaskHead(config)

    @property
    def copies(self) -> tuple[str, ...]:
        return "lm_head.decoder.weight", "lm_head.decoder.bias"

    @property
    def output_bias(self) -> Tensor:
        return self.lm_head.bias

    def transformed(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden)


CLASSES: dict[str | None, Any] = {
    None: RobertaModel,
    "text-classification": RobertaForSequenceClassification,
    "token-classification": RobertaForTokenClassification,
    "question-answering": RobertaForQuestionAnswering,
    "fill-mask": RobertaForMaskedLM,
}
