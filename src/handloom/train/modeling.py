"""From a folder and a task to the model that is trained, and from the model to a folder that transformers opens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from handloom import gguf_file
from handloom.errors import HandloomError, UsageError
from handloom.models.config import Config
from handloom.models.encoder import Classifier, Encoder, Headed, freezable
from handloom.models.registry import load_config, load_model
from handloom.nn import Module
from handloom.tasks.task import Array, Batch, Task
from handloom.tensor import Tensor
from handloom.text.tokenizer import Tokenizer
from handloom.train.storage import file_hash, publish_file, publish_text, safetensors_blocks, storage_error

LONGEST = 512  #: tokens a sequence has at most unless the user says otherwise


class WithHead(Module):
    """An encoder and a task's own head: head(hidden, batch)."""

    def __init__(self, encoder: Encoder, head: Module) -> None:
        self._name = encoder.prefix.rstrip(".") or "encoder"
        setattr(self, self._name, encoder)
        self.head = head

    @property
    def encoder_part(self) -> Encoder:
        found = getattr(self, self._name)
        assert isinstance(found, Encoder)
        return found

    def arrange(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        return self.encoder_part.arrange(batch)

    def arranged(self) -> dict[str, tuple[str, ...]]:
        return self.encoder_part.arranged()

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.encoder_part(batch), batch)


def build(
    folder: Path, task: Task, seed: int, dropout: float | None = None
) -> tuple[Module, Config, tuple[str, ...]]:
    """The model of a folder with the head of a task, its configuration, and notes for the user.

    What the folder has no weights for is drawn from the seed.
    """
    config = load_config(folder)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    head = task.head(config.hidden_size, rng)
    if head is None:
        model, config, report = load_model(folder, task.head_name, labels=task.labels, rng=rng, dropout=dropout)
        beside = task.beside(rng)
        for name, part in beside.items():
            setattr(model, name, part)
        kept = (note for name in beside for note in _own_part(folder, model, name))
        return model, config, (*report.notes, *kept)
    if config.is_encoder_decoder:
        raise HandloomError(f"{folder}: {task.name} needs an encoder, and this {config.model_type} writes texts: it is "
                            "for translation and summarization")  # fmt: skip
    encoder, config, report = load_model(folder, None, rng=rng, dropout=dropout)
    assert isinstance(encoder, Encoder)
    joined = WithHead(encoder, head)
    return joined, config, (*report.notes, *_own_part(folder, joined, "head"))


def _own_part(folder: Path, model: Module, part: str) -> tuple[str, ...]:
    """Fill a part that a task adds to a model from a folder that was saved with one of the same shape."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return ()
    shapes = {name: value.shape for name, value in model.parameters().items() if name.startswith(f"{part}.")}
    with safe_open(path, framework="numpy") as file:
        there = set(file.keys())
        found = {name: file.get_tensor(name) for name in shapes if name in there}
    fitting = {name: array for name, array in found.items() if tuple(array.shape) == tuple(shapes[name])}
    if len(fitting) == len(shapes):
        model.load(fitting)
        return ()
    return (f"the {part} is new",)


def check_complete(folder: Path, model: Module) -> None:
    """Raises HandloomError if a folder that was trained does not hold all of its model: nothing may be drawn afresh."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return  # in several files: whoever wrote those has loaded the model
    with safe_open(path, framework="numpy") as file:
        there = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name, value in model.parameters().items():
        if there.get(name) != tuple(value.shape):
            what = f"has {name} in the shape {there[name]}" if name in there else f"does not hold {name}"
            raise HandloomError(f"{path} {what}, of shape {tuple(value.shape)} in this task: it is another task's")


def carry(model: Module, previous: Module, labels: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Take over the weights of a model that was trained before: the head's rows of known labels, all else by name."""
    old, new = previous.parameters(), model.parameters()
    last = f"{getattr(model, 'last_layer', 'head')}."
    taken: dict[str, Array] = {}
    for name, value in new.items():
        if name not in old:
            continue
        source = old[name].numpy()
        if name.startswith("crf."):  # every axis is one of labels
            both = [(i, known.index(label)) for i, label in enumerate(labels) if label in known]
            scores = value.numpy().copy()
            if both:
                here, there = (np.ix_(*[list(side)] * source.ndim) for side in zip(*both, strict=True))
                scores[here] = source[there]
            taken[name] = scores
        elif name.startswith(last) and len(source) == len(known) and value.shape[0] == len(labels):
            rows = value.numpy().copy()
            for i, label in enumerate(labels):
                if label in known:
                    rows[i] = source[known.index(label)]
            taken[name] = rows
        elif source.shape == tuple(value.shape):
            taken[name] = source.copy()
    model.load(taken)


def frozen_names(model: Module, freeze: str | int | None) -> list[str]:
    """Parameters that a setting of `freeze` keeps as they are."""
    if freeze is None or freeze == 0:
        return []
    inner: Module
    if isinstance(model, WithHead):
        inner, prefix = model.encoder_part, f"{model._name}."
    else:
        inner, prefix = model, ""
    word = {"all-but-head": "encoder"}.get(str(freeze), str(freeze) if isinstance(freeze, str) else f"layers:{freeze}")
    if isinstance(model, WithHead) and word == "encoder":
        return [name for name in model.parameters() if name.startswith(prefix)]
    if isinstance(freeze, int) and isinstance(inner, (Headed, Encoder)):
        depth = (inner.encoder_part if isinstance(inner, Headed) else inner).config.layers
        if freeze > depth:
            raise UsageError(f"freeze is {freeze}, but this model has {depth} layers")
    if not isinstance(inner, (Headed, Encoder)):
        raise UsageError(f"freeze is not known for a {type(model).__name__}")
    return [prefix + name for name in freezable(inner, word)]


def longest(tokenizer: Tokenizer, config: Config, wanted: int | None) -> int:
    """Tokens that a sequence may have: what the user wants, if the model can."""
    limit = config.max_length
    if wanted is None:
        return min(limit, LONGEST)
    if wanted > limit:
        raise UsageError(f"max_length is {wanted}, but the model has positions for {limit} tokens only")
    return wanted


def weights_hash(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights' files of a folder."""
    packed = gguf_file.within(folder)
    files = sorted(folder.glob("*.safetensors")) if packed is None else [packed]
    return {path.name: file_hash(path) for path in files}


def save(
    folder: Path, model: Module, config: Config, tokenizer: Tokenizer, weights: Mapping[str, Array], about: Any,
    problem_type: str | None = None,
) -> None:  # fmt: skip
    """Hugging Face's layout and handloom.json, which is written last: with it the folder is a finished model."""
    labels: Iterable[str] | None = config.labels if isinstance(model, Classifier) else getattr(model, "outputs", None)
    architecture = model.architecture if isinstance(model, Headed) else None
    values = replace(config).to_json(architecture, None if labels is None else tuple(labels))
    if problem_type is not None:
        values["problem_type"] = problem_type
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder)
    except OSError as problem:
        raise storage_error(folder, problem) from problem
    publish_text(folder / "config.json", json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n")
    digest = publish_file(folder / "model.safetensors", safetensors_blocks(weights, {"format": "pt"}))
    publish_text(
        folder / "handloom.json", json.dumps({**about, "weights": digest}, ensure_ascii=False, indent=2) + "\n"
    )


def read_about(folder: Path) -> dict[str, Any] | None:
    """handloom.json of a folder; None where there is none."""
    path = folder / "handloom.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] != 1:
            raise HandloomError(f"{path}: format {found['format']}; this version reads format 1")
        return dict(found)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise HandloomError(f"{path} cannot be read: {problem!r}") from problem
