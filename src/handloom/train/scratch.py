"""A model that has learnt nothing yet: its vocabulary learnt from the user's own data, its weights drawn from a seed.

It is a folder like any other, kept with what Handloom can make again: training, resuming and saving need not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.models.cache import published
from handloom.models.config import LABELLED, TASKS, Fields, read_json
from handloom.models.describe import Shape, config_values, unknown
from handloom.models.registry import FAMILIES, new_model, read_config
from handloom.runtime.cache import home
from handloom.text.tokenizer import Tokenizer
from handloom.text.vocabularies import KINDS, learn
from handloom.train.storage import publish_file, publish_json, safetensors_blocks

FORMAT = 1


@dataclass(frozen=True)
class Scratch:
    """What a new model is to be.

    model_type: the family, with its shape; config: instead of both a config.json. tokenizer: a kind of vocabulary to
    learn (bpe, wordpiece, unigram, character; None for the family's usual one) or a folder with one; vocab_size: tokens
    of one to learn. dropout: the rate of all of the model's places. values: what config.json is to say besides, such as
    {"bidirectional": True}. seed: of the weights.
    """

    model_type: str | None = None
    shape: Shape = field(default_factory=Shape)
    config: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    dropout: float = 0.1
    values: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.model_type is None) == (self.config is None):
            raise UsageError("a model from scratch needs either model_type or config")
        if self.tokenizer is not None and self.tokenizer not in KINDS and not Path(self.tokenizer).is_dir():
            raise UsageError(
                f"tokenizer is {self.tokenizer!r}; it must be {', '.join(KINDS)}, or a folder with a tokenizer"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; it must be at least 0 and less than 1")

    @classmethod
    def of(cls, **given: Any) -> Scratch:
        """From keyword arguments: the fields' names, those of a Shape, and whatever else config.json is to say."""
        own, shape = ([part.name for part in fields(kind)] for kind in (cls, Shape))
        rest = {name: value for name, value in given.items() if name not in own and name not in shape}
        numbers = {name: value for name, value in given.items() if name in shape and value is not None}
        if numbers and given.get("config") is not None:
            raise UsageError(f"{next(iter(numbers))} goes with model_type: config says itself what the model is")
        chosen = {name: value for name, value in given.items() if name in own and value is not None}
        values = {**chosen.pop("values", {}), **rest}
        return cls(**chosen, shape=Shape(**numbers), values=values)

    @property
    def family(self) -> str:
        """The model type, however it was given. UsageError for one that is unknown."""
        found = self.model_type if self.config is None else str(read_json(Path(self.config)).get("model_type"))
        if found not in FAMILIES:
            raise unknown(str(found))
        return str(found)


def make(asked: Scratch, task: str, texts: Sequence[str]) -> Path:
    """The folder of a new model for a task (`None`'s stack where the task brings the head), made if it is not there.

    texts: what its vocabulary is learnt from. Raises UsageError for a shape or a family that makes no sense, and for a
    family without what the task needs.
    """
    family = asked.family
    head = _head(family, task)
    digest = hashlib.sha256()
    for text in texts:
        digest.update(b"%d:" % len(text))
        digest.update(text.encode())
    versions = [FORMAT, metadata.version("tokenizers"), np.__version__]
    described = [asdict(asked), _config_text(asked), _tokenizer_digest(asked), head, digest.hexdigest(), versions]
    folder = home() / "new" / hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]

    def whole() -> bool:
        return (folder / "model.safetensors").is_file()

    if not whole():
        tokenizer = _tokenizer(asked, family, head, texts)
        config = read_config(Fields(_values(asked, family, tokenizer), asked.config or "config.json"))
        if tokenizer.size > config.vocab_size:
            raise HandloomError(
                f"the tokenizer has {tokenizer.size:,} tokens, but {config.path} has vocab_size {config.vocab_size:,}"
            )
        model = new_model(config, head, np.random.default_rng(np.random.SeedSequence([asked.seed, 1])))
        weights = {name: value.numpy() for name, value in model.parameters().items()}
        with published(folder, whole) as staging:
            tokenizer.save(staging)
            publish_json(staging / "config.json", config.to_json())
            publish_file(staging / "model.safetensors", safetensors_blocks(weights, {"format": "pt"}))
    return folder


def _head(family: str, task: str) -> str | None:
    """The head that the family itself has for a task and that the folder's weights are to hold."""
    needed = {"translation": "text2text-generation", "summarization": "text2text-generation"}.get(task, task)
    classes = FAMILIES[family].classes
    if needed in TASKS and needed not in classes:
        able = ", ".join(name for name, each in FAMILIES.items() if needed in each.classes)
        raise UsageError(f"{family} is no model for {task}; these are: {able}")
    return None if needed in LABELLED or needed not in classes else needed


def _style(family: str, head: str | None, kind: str | None) -> str:
    """Which special tokens a learnt vocabulary has (vocabularies.STYLES)."""
    if "bart" in family or "roberta" in family:
        return "bart"
    if head == "text2text-generation":
        return "marian"
    if "fill-mask" in FAMILIES[family].classes:
        return "bert" if kind in (None, "wordpiece", "character") else "bart"
    return "gpt"


def _tokenizer(asked: Scratch, family: str, head: str | None, texts: Sequence[str]) -> Tokenizer:
    kind = asked.tokenizer
    if kind is not None and kind not in KINDS:
        return Tokenizer.load(kind)
    style = _style(family, head, kind)
    return learn(kind or ("wordpiece" if style == "bert" else "bpe"), texts, style, asked.vocab_size)


def _values(asked: Scratch, family: str, tokenizer: Tokenizer) -> dict[str, Any]:
    if asked.config is not None:
        return {**read_json(Path(asked.config)), **asked.values}
    made = config_values(family, asked.shape, tokenizer.size, tokenizer.roles, asked.dropout)
    return {**made, **asked.values}


def _config_text(asked: Scratch) -> str | None:
    return None if asked.config is None else Path(asked.config).read_text("utf-8")


def _tokenizer_digest(asked: Scratch) -> str | None:
    return None if asked.tokenizer is None or asked.tokenizer in KINDS else Tokenizer.load(asked.tokenizer).identity
