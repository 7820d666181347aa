"""mT5 (Xue and others, 2021): T5's second form in a hundred languages."""

from __future__ import annotations

from typing import Any

from handloom.models.config import Fields
from handloom.models.t5 import T5Config, T5ForConditionalGeneration, T5Model, shared_config


def read_config(fields: Fields) -> T5Config:
    return shared_config(fields, "mt5", "gated-gelu", scaled=False)


class MT5Model(T5Model):
    pass


class MT5ForConditionalGeneration(T5ForConditionalGeneration):
    pass


CLASSES: dict[str | None, Any] = {None: MT5Model, "text2text-generation": MT5ForConditionalGeneration}
