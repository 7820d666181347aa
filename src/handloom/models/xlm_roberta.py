"""XLM-RoBERTa (Conneau and others, 2019): RoBERTa with a vocabulary of a hundred languages."""

from __future__ import annotations

from functools import partial
from typing import Any

from handloom.models import roberta

read_config = partial(roberta.read_config, model_type="xlm-roberta")


class XLMRobertaModel(roberta.RobertaModel):
    pass


class XLMRobertaForSequenceClassification(roberta.RobertaForSequenceClassification):
    pass


class XLMRobertaForTokenClassification(roberta.RobertaForTokenClassification):
    pass


class XLMRobertaForQuestionAnswering(roberta.RobertaForQuestionAnswering):
    pass


class XLMRobertaForMaskedLM(roberta.RobertaForMaskedLM):
    pass


CLASSES: dict[str | None, Any] = {
    None: XLMRobertaModel,
    "text-classification": XLMRobertaForSequenceClassification,
    "token-classification": XLMRobertaForTokenClassification,
    "question-answering": XLMRobertaForQuestionAnswering,
    "fill-mask": XLMRobertaForMaskedLM,
}
