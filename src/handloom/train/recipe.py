"""What a user can choose about a pre-training beside the settings of every training."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from handloom.data.corpus import DOCUMENTS
from handloom.errors import UsageError
from handloom.models.describe import Shape
from handloom.tasks.pretraining import OBJECTIVES
from handloom.train.settings import Settings

#: Settings that pre-training begins with instead of those of fine-tuning, and settings that it has no use for.
DEFAULTS: Mapping[str, Any] = {
    "epochs": 1, "lr": 5e-4, "schedule": "cosine", "warmup": 0.02, "weight_decay": 0.1, "beta2": 0.95,
}  # fmt: skip
UNUSED = ("label_smoothing", "class_weights", "metric", "freeze", "max_length", "long", "refuse")


@dataclass(frozen=True)
class Recipe:
    """objective: one of `OBJECTIVES`, None for the model's usual one. model_type: the family of a model from scratch;
    config: instead of it and its shape, a config.json. tokenizer: a kind to learn (bpe, wordpiece, unigram, character)
    or a folder with one; vocab_size: of one to learn. context: tokens that the model sees at once. steps: instead of
    epochs. mask_rate, mean_span: share of tokens that are hidden, and how long spans are; whole_words: masks hide words
    as a whole. documents: what a document of a text file is, "file", "paragraphs" or "lines"; text_column: of JSON
    lines. valid_share: of the text set aside where no validation text is given, None for a tenth, but no more than
    10 MB; valid_tokens: tokens that a validation looks at, about.
    """

    objective: str | None = None
    model_type: str | None = None
    config: str | None = None
    tokenizer: str = "bpe"
    vocab_size: int | None = None
    context: int | None = None
    steps: int | None = None
    mask_rate: float | None = None
    mean_span: float | None = None
    whole_words: bool = False
    documents: str = "file"
    text_column: str | None = None
    encoding: str = "utf-8"
    valid_share: float | None = None
    valid_tokens: int = 200_000

    def __post_init__(self) -> None:
        for name, known in (("objective", OBJECTIVES), ("documents", DOCUMENTS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                near = difflib.get_close_matches(str(value), list(known), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"{name} is {value!r}{hint} (there are {', '.join(known)})")
        for name, least in (("vocab_size", 2), ("context", 2), ("steps", 1), ("valid_tokens", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value != int(value) or value < least):
                raise UsageError(f"{name} is {value}; it must be a whole number, {least} or more")
        for name in ("mask_rate", "valid_share"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name} is {value}; it must be above 0 and below 1")
        if self.mean_span is not None and not 1 <= self.mean_span < 100:
            raise UsageError(f"mean_span is {self.mean_span}; it must be from 1 to 100")


@dataclass(frozen=True)
class Asked:
    """All of a pre-training's options."""

    settings: Settings
    recipe: Recipe
    shape: Shape

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for kind in (Settings, Recipe, Shape) for field in fields(kind) if field.name not in UNUSED]

    @classmethod
    def of(cls, **given: Any) -> Asked:
        """From keyword arguments; an unknown name is a UsageError with the nearest known one."""
        parts: list[dict[str, Any]] = []
        rest = dict(given)
        for kind in (Recipe, Shape):
            names = [field.name for field in fields(kind)]
            parts.append({name: rest[name] for name in names if name in rest})
        for name in {*parts[0], *parts[1]}:
            del rest[name]
        known = cls.names()
        for name in rest:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"unknown setting {name!r} of pre-training{hint}")
        if rest.get("batch_tokens") is not None:
            rest.setdefault("batch_size", None)
        shape = {name: value for name, value in parts[1].items() if value is not None}
        described = sorted(set(shape) - {"context"})
        recipe = Recipe(**parts[0])
        if described and recipe.model_type is None:
            raise UsageError(f"{described[0]} describes a model from scratch: it goes with model_type")
        if recipe.model_type is not None and recipe.config is not None:
            raise UsageError("give either model_type or config")
        return cls(Settings(**{**DEFAULTS, **rest}), recipe, Shape(**shape))

    def to_dict(self) -> dict[str, Any]:
        """The keyword arguments, all of them."""
        unused = dict.fromkeys(UNUSED)
        settings = {name: value for name, value in self.settings.to_dict().items() if name not in unused}
        shape = asdict(self.shape) if self.recipe.model_type is not None else {}
        return {**settings, **shape, **asdict(self.recipe)}
