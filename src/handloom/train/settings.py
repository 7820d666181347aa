"""What a user can choose about a training, in one place with its defaults."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from handloom.ceilings import CHOICES
from handloom.data import meant_for
from handloom.errors import UsageError
from handloom.runtime.memory import size_of
from handloom.tasks.embedding import POOLINGS
from handloom.tasks.token_classification import SUBWORDS
from handloom.text.windows import HOW
from handloom.train.optimisers import OPTIMISERS
from handloom.train.schedules import SHAPES


@dataclass(frozen=True)
class Settings:
    """Settings of `fit`.

    epochs: passes over the training data, a fraction allowed. batch_size: examples a step; batch_tokens: instead of
    it, tokens a step. micro_batch_tokens: a larger batch is run in parts of at most so many tokens, to save memory.
    lr: peak learning rate; final_lr: what it goes down to. beta2: AdamW's and Adam's memory of squares. warmup:
    fraction (< 1) or steps. dropout: overrides the model's. clip: greatest global norm of a gradient, None for none.
    class_weights: "balanced", or a weight for each label. metric: what the best weights are best in, None for the
    task's own. patience: validations without improvement before stopping, None for never. validate_every: steps
    between validations beside those after each epoch. freeze: "embeddings", a number of layers (with the
    embeddings), or "all-but-head". longest_answer: tokens of an answer to a question (None: 30). subwords, crf: of a
    tagger, which sub-words speak for a word ("first", "all", "mean"), and whether a conditional random field goes over
    the words (None: as the model was trained, else "first" and no). augment: ways in which copies of the training
    examples are made, such as "mention,typo" (data/augment.py); augment_times: copies of each by each way. refuse:
    of labels for texts, "none of these" may be said of at most this share of the validation texts that have a label
    (None: never). Of sentence-similarity: pooling: "mean" or "cls" (None: as the model's folder says); symmetric: of
    pairs that belong together the second texts are to find the first ones, too; score_range: least and greatest score
    (None: a usual range that fits). prompt: what a decoder is asked for a translation or a summary, with {text} in it.
    max_length: tokens in a sequence; long: what happens to longer texts. threads: None for the physical cores.
    precision: of matrix products, "f32", "bf16", or "auto" for what is faster on this machine. max_memory: bytes that
    the process may hold, or such as "4GB": above it the forward pass is computed again.
    """

    epochs: float = 3
    batch_size: int | None = 16
    batch_tokens: int | None = None
    micro_batch_tokens: int | None = None
    lr: float = 1e-4
    final_lr: float = 0.0
    optimizer: str = "adamw"
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    beta2: float = 0.999
    dropout: float | None = None
    clip: float | None = 1.0
    label_smoothing: float = 0.0
    class_weights: str | Mapping[str, float] | None = None
    metric: str | None = None
    patience: int | None = None
    validate_every: int | None = None
    freeze: str | int | None = None
    longest_answer: int | None = None
    subwords: str | None = None
    crf: bool | None = None
    augment: str | None = None
    augment_times: int = 1
    refuse: float | None = None
    pooling: str | None = None
    symmetric: bool = False
    score_range: tuple[float, float] | None = None
    prompt: str | None = None
    max_length: int | None = None
    long: str = "windows"
    seed: int = 0
    threads: int | None = None
    precision: str = "auto"
    max_memory: str | int | None = None
    keep: str = "best"

    def __post_init__(self) -> None:
        for name in ("weight_decay", "warmup", "dropout", "label_smoothing", "final_lr", "beta2", "refuse"):
            _number(name, getattr(self, name))
        _positive("epochs", self.epochs)
        _positive("lr", self.lr)
        _one_of("optimizer", self.optimizer, OPTIMISERS)
        _one_of("schedule", self.schedule, SHAPES)
        _one_of("long", self.long, HOW)
        _one_of("keep", self.keep, ("best", "last"))
        _one_of("precision", self.precision, CHOICES)
        for name in ("batch_size", "batch_tokens", "micro_batch_tokens", "validate_every", "longest_answer", "threads"):
            _whole(name, getattr(self, name), 1)
        _whole("augment_times", self.augment_times, 1)
        if self.subwords is not None:
            _one_of("subwords", self.subwords, SUBWORDS)
        for name, least in (("max_length", 4), ("patience", 0), ("seed", 0)):
            _whole(name, getattr(self, name), least)
        if self.max_memory is not None:
            size_of(self.max_memory)
        if (self.batch_size is None) == (self.batch_tokens is None):
            raise UsageError("give either batch_size or batch_tokens")
        if self.clip is not None:
            _positive("clip", self.clip)
        if self.pooling is not None:
            _one_of("pooling", self.pooling, POOLINGS)
        if self.score_range is not None:
            object.__setattr__(self, "score_range", _range("score_range", self.score_range))
        if not 0 <= self.final_lr <= self.lr:
            raise UsageError(f"final_lr is {self.final_lr}; it must be from 0 to lr, which is {self.lr}")
        for name in ("dropout", "label_smoothing", "beta2", "refuse"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 0 and less than 1")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError(f"weight_decay is {self.weight_decay}; it must be 0 or more")
        if not (math.isfinite(self.warmup) and self.warmup >= 0):
            raise UsageError(f"warmup is {self.warmup}; it must be a fraction from 0 to 1 or a number of steps")
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise UsageError(
                f"class_weights is {self.class_weights!r}; it must be 'balanced' or a weight for each label"
            )
        freeze = int(self.freeze) if isinstance(self.freeze, str) and self.freeze.isdigit() else self.freeze
        object.__setattr__(self, "freeze", freeze)
        if isinstance(freeze, str):
            if freeze not in ("embeddings", "all-but-head"):
                raise UsageError(f"freeze is {freeze!r}; it must be 'embeddings', 'all-but-head' or a number of layers")
        elif freeze is not None and freeze < 0:
            raise UsageError(f"freeze is {freeze}; it must be 'embeddings', 'all-but-head' or a number of layers")

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for field in fields(cls)]

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """From keyword arguments; an unknown name is a UsageError with the nearest known one."""
        known = cls.names()
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
                raise UsageError(f"unknown setting {name!r}{hint}")
        if given.get("batch_tokens") is not None:
            given.setdefault("batch_size", None)
        return cls(**given)

    def check_meant(self, task: str) -> None:
        """UsageError for a setting that is for other tasks than this one, and was changed."""
        meant_for.check(task, (field.name for field in fields(self) if getattr(self, field.name) != field.default))

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _number(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise UsageError(f"{name} is {value!r}; it must be a number")


def _positive(name: str, value: float) -> None:
    _number(name, value)
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} is {value}; it must be a positive number")


def _whole(name: str, value: int | None, least: int) -> None:
    _number(name, value)
    if value is not None and (value != int(value) or value < least):
        raise UsageError(f"{name} is {value}; it must be a whole number, {least} or more")


def _range(name: str, value: Any) -> tuple[float, float]:
    wrong = UsageError(f"{name} is {value!r}; it must be two numbers, the least and the greatest")
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise wrong
    for end in value:
        _number(name, end)
    low, high = map(float, value)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise wrong
    return low, high


def _one_of(name: str, value: str, known: Any) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), list(known), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"unknown {name} {value!r}{hint} (there are {', '.join(known)})")
