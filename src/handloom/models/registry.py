"""From a model directory to a model."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handloom import gguf_file
from handloom.errors import HandloomError, UsageError
from handloom.models import (
    bart,
    bert,
    deberta_v2,
    distilbert,
    electra,
    gpt2,
    llama,
    marian,
    mistral,
    modernbert,
    mpnet,
    mt5,
    qwen2,
    qwen3,
    rnn,
    roberta,
    t5,
    xlm_roberta,
)
from handloom.models.config import LABELLED, TASKS, Config, Fields, check_finished, read_json
from handloom.models.encoder import Classifier, Encoder, Headed
from handloom.models.gguf_checkpoint import GgufCheckpoint
from handloom.models.weights import LoadReport, Weights, read_parameters

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Family:
    """What stands behind a `model_type`: how its config.json is read, and its classes by task (None: no head)."""

    read_config: Any  # (Fields) -> Config
    classes: dict[str | None, Any]


FAMILIES: dict[str, Family] = {
    "bert": Family(bert.read_config, bert.CLASSES),
    "distilbert": Family(distilbert.read_config, distilbert.CLASSES),
    "roberta": Family(roberta.read_config, roberta.CLASSES),
    "xlm-roberta": Family(xlm_roberta.read_config, xlm_roberta.CLASSES),
    "electra": Family(electra.read_config, electra.CLASSES),
    "mpnet": Family(mpnet.read_config, mpnet.CLASSES),
    "deberta-v2": Family(deberta_v2.read_config, deberta_v2.CLASSES),
    "modernbert": Family(modernbert.read_config, modernbert.CLASSES),
    "gpt2": Family(gpt2.read_config, gpt2.CLASSES),
    "llama": Family(llama.read_config, llama.CLASSES),
    "mistral": Family(mistral.read_config, mistral.CLASSES),
    "qwen2": Family(qwen2.read_config, qwen2.CLASSES),
    "qwen3": Family(qwen3.read_config, qwen3.CLASSES),
    rnn.MODEL_TYPE: Family(rnn.read_config, rnn.CLASSES),
    "t5": Family(t5.read_config, t5.CLASSES),
    "mt5": Family(mt5.read_config, mt5.CLASSES),
    "bart": Family(bart.read_config, bart.CLASSES),
    "marian": Family(marian.read_config, marian.CLASSES),
}


# Fields of no family here that change what a model computes: what relatives of these families have, and how weights are
# packed.
REFUSED = (
    "quantization_config", "compression_config", "pruned_heads", "attn_logit_softcapping", "final_logit_softcapping",
    "logit_scale", "logits_scaling", "embedding_multiplier", "residual_multiplier", "attention_multiplier",
    "use_qk_norm", "qk_layernorm", "attention_sinks", "num_local_experts", "num_experts", "alibi",
    "use_parallel_residual",
)  # fmt: skip


def load_config(folder: str | Path) -> Config:
    """The checked config.json of a model directory, or what a GGUF file says in its place; an unknown `model_type`
    names the known ones, and a training that was stopped says how to end it."""
    check_finished(Path(folder))
    packed = gguf_file.within(folder)
    path = Path(folder) / "config.json" if packed is None else packed
    values = read_json(path) if packed is None else GgufCheckpoint(packed).config
    return read_config(Fields(values, str(path)))


def read_config(fields: Fields) -> Config:
    """The checked configuration in the values of a config.json."""
    model_type = fields.values.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise _unknown_type(fields.path, model_type)
    for name in REFUSED:
        fields.false(name)
    config: Config = family.read_config(fields)
    return config


def _unknown_type(path: str, model_type: Any) -> HandloomError:
    known = ", ".join(FAMILIES)
    if model_type is None:
        return HandloomError(f"{path}: has no model_type; known are {known}")
    near = difflib.get_close_matches(str(model_type), FAMILIES, 1, cutoff=0.5)
    hint = f" (the nearest is {near[0]!r})" if near else ""
    return HandloomError(f"{path}: the model_type {model_type!r} is unknown{hint}; known are {known}")


def load_model(
    folder: str | Path,
    task: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    rng: np.random.Generator | None = None,
    dropout: float | None = None,
) -> tuple[Encoder | Headed, Config, LoadReport]:
    """The model of a Hugging Face directory, for a task or (None) without a head; its config; what came of loading.

    `labels` are a classifier's outputs in order; left out, the checkpoint's own are used if it has this task's head.
    Where the checkpoint's head knows a label by name, its row is kept; the rest is drawn from `rng` (seed 0 if not
    given). `dropout` overrides every rate in the config. Raises HandloomError for whatever is wrong with the directory.
    """
    config = load_config(folder)
    if dropout is not None:
        config = config.with_dropout(dropout)
    rng = np.random.default_rng(0) if rng is None else rng
    found = _class(config, task)
    weights = Weights(folder)
    if task not in LABELLED:
        whole: Encoder | Headed = found(config)
        return whole, config, _fill(whole, weights, config, rng)

    trained = config.labels if config.head == task else ()
    names = trained if labels is None else tuple(labels)
    if not names:
        raise HandloomError(f"{folder}: has no head for {task}, so its labels must be given")
    if len(set(names)) != len(names):
        raise UsageError("the labels must be different from each other")
    config = replace(config, labels=names, head=task)
    model: Classifier = found(config, len(names))
    return model, config, _fill(model, weights, config, rng, trained)


def new_model(config: Config, task: str | None, rng: np.random.Generator) -> Encoder | Headed:
    """A model of the config's family, all of its values drawn from `rng`; a classifier's labels are the config's."""
    found = _class(config, task)
    model: Encoder | Headed = found(config, len(config.labels)) if task in LABELLED else found(config)
    model.load(_fresh(model, rng, config.initializer_range, set(model.parameters())))
    return model


def _class(config: Config, task: str | None) -> Any:
    if task is not None and task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, 1)
        raise UsageError(f"unknown task {task!r}; known are {', '.join(TASKS)}" + (f": {near[0]}?" if near else ""))
    classes = FAMILIES[config.model_type].classes
    if task not in classes:
        known = ", ".join(name for name in classes if name)
        raise HandloomError(f"{config.path}: {config.model_type} has no head for {task}; it has those for {known}")
    return classes[task]


def _fill(model: Encoder | Headed, weights: Weights, config: Config, rng: np.random.Generator,
          trained: tuple[str, ...] = ()) -> LoadReport:
    """Puts the file's tensors, and fresh values for what it lacks, into a model built empty."""
    expected = {name: value.numpy().shape for name, value in model.parameters().items()}
    last = f"{model.last_layer}." if isinstance(model, Classifier) else None
    head = {name for name in expected if last and name.startswith(last)}
    spare = model.copies if isinstance(model, Headed) else ()
    arrays, report = read_parameters(weights, expected, model.prefix, resized=head, spare=spare,
                                     aliases=model.aliases)
    fresh = _fresh(model, rng, config.initializer_range, set(expected) - set(arrays) | head)
    _check_complete(model, weights, report)
    if head & set(arrays):
        report = _adopt_rows(arrays, fresh, head, trained, config.labels, report)
    model.load({name: arrays.get(name, fresh.get(name)) for name in expected})  # type: ignore[misc]
    return report


def _check_complete(model: Encoder | Headed, weights: Weights, report: LoadReport) -> None:
    """A head may be new, and what a stack can do without; the rest of it has to be there."""
    stack = model.encoder_part if isinstance(model, Headed) else model
    prefix = model.stack_prefix if isinstance(model, Headed) else ""
    free = tuple(prefix + part for part in stack.dispensable)
    lacking = [name for name in report.new if name.startswith(prefix) and not name.startswith(free)]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        what = f"the tensor {lacking[0]!r}{more}"
        raise HandloomError(f"{weights.folder}: lacks {what}, which the configuration asks for")


def _fresh(model: Encoder | Headed, rng: np.random.Generator, std: float, names: set[str]) -> dict[str, F32]:
    """New values for the parameters `names`, drawn in the order of the model's layers."""
    fresh: dict[str, F32] = {}
    for prefix, module in model.modules():
        own = {name for name in names if name.rpartition(".")[0] == prefix}
        if own:
            drawn = module.initial(rng, std)
            fresh.update((name, drawn[name.rpartition(".")[2]]) for name in sorted(own))
    return fresh


def _adopt_rows(arrays: dict[str, F32], fresh: dict[str, F32], head: set[str], trained: tuple[str, ...],
                labels: tuple[str, ...], report: LoadReport) -> LoadReport:
    """A trained head under today's labels: rows of labels known by name stay, the others are fresh.

    Without the checkpoint's names (another task's head under the same tensor names) the head is fresh altogether.
    """
    usable = {name for name in head if name in arrays and len(trained) == len(arrays[name])
              and arrays[name].shape[1:] == fresh[name].shape[1:]}
    if trained == labels and usable == head:
        return report
    for name in head & set(arrays):
        old, new = arrays[name], fresh[name].copy()
        for row, label in enumerate(labels):
            if name in usable and label in trained:
                new[row] = old[trained.index(label)]
        arrays[name] = new
    kept = [label for label in labels if label in trained] if usable else []
    note = (f"the head keeps its rows for {len(kept)} of {len(labels)} labels, the others are new" if kept
            else "the head was trained for other labels and is new")
    return replace(report, notes=(*report.notes, note))
