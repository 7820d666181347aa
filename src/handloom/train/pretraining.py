"""Pre-training, from a text to a model's folder, in the order in which it happens.

Where it begins is a folder like any other: a checkpoint, or, for a model from scratch, RUN/start, which holds the
config.json and the tokenizer but no weights. So a resume needs to know nothing else.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from handloom.ceilings import choose
from handloom.data.corpus import Corpus
from handloom.data.token_file import TokenFile
from handloom.errors import HandloomError, UsageError
from handloom.generate.defaults import end_of_text
from handloom.models.config import Config, Fields, read_json
from handloom.models.describe import config_values
from handloom.models.registry import FAMILIES, load_config, load_model, new_model, read_config
from handloom.models.resolve import model_folder
from handloom.models.rnn import RecurrentConfig
from handloom.nn import Module
from handloom.runtime import memory
from handloom.tasks.pretraining import OBJECTIVES, Choices, Pretraining, Streamed, frame
from handloom.tasks.scores import Scores
from handloom.text.counting import counted
from handloom.text.tokenizer import Tokenizer
from handloom.text.vocabularies import KINDS
from handloom.train import modeling
from handloom.train.corpora import Texts
from handloom.train.engine import Engine
from handloom.train.fitting import check_same, fitting_engine, kernels, training_engine
from handloom.train.loop import Loop
from handloom.train.progress import Console, Listener, Progress, silent
from handloom.train.recipe import Asked
from handloom.train.report import Report, framed, render
from handloom.train.run import FORMAT, RunFolder, versions
from handloom.train.settings import Settings
from handloom.train.stopping import Diverged
from handloom.train.storage import publish_text
from handloom.train.windows import Sampler, Streams, densest, held_out

EVALUATION_TOKENS = 4096
LONGEST = 512  #: tokens of context for a checkpoint, unless the user says otherwise
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass
class Pretrained:
    """What a pre-training made. task: whose head the model has; scores: on the validation text, with those of the
    checkpoint it began with, if any, as `before`."""

    folder: Path
    task: str
    scores: Scores | None
    baselines: dict[str, Scores] = field(default_factory=dict)

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the report in the folder."""
        page = self.folder / "report.html"
        return framed(page.read_text("utf-8"), self.folder.name) if page.is_file() else None


@dataclass(frozen=True)
class Start:
    """What a training begins with. folder: None for a model from scratch."""

    folder: Path | None
    tokenizer: Tokenizer
    config: Config
    head_task: str
    seed: int
    dropout: float | None

    def model(self) -> tuple[Module, Config, tuple[str, ...]]:
        """The model with the weights that the training begins with, its configuration, and notes."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 1]))
        if self.folder is not None:
            model, config, report = load_model(self.folder, self.head_task, rng=rng, dropout=self.dropout)
            return model, config, tuple(report.notes)
        config = self.config if self.dropout is None else self.config.with_dropout(self.dropout)
        return new_model(config, self.head_task, rng), config, ()


@dataclass(frozen=True)
class Prepared:
    """All that is known before the first step."""

    settings: Settings
    start: Start
    task: Pretraining
    batches: Sampler
    valid: TokenFile
    model: Module
    config: Config
    notes: tuple[str, ...]

    def engine(self, recompute: bool = False) -> Engine:
        """What trains the model, in its own arrays."""
        return training_engine(self.model, self.task, self.settings, self.batches, recompute=recompute)


def pretrain(
    train: Paths,
    valid: Paths | None = None,
    *,
    out: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener | None = None,
    **options: Any,
) -> Pretrained:
    """Train a language model on plain text, from scratch or from a checkpoint.

    train, valid: files or folders, .txt or .jsonl, also .gz; without `valid` a part of `train` is set aside. out: the
    run folder, in the end the model's, too. model: a checkpoint to go on with; else `model_type` (with layers, hidden,
    heads, context, intermediate, key_value_heads) or `config` describes a new one. The other keywords are those of
    Recipe and Settings. Raises UsageError for options that make no sense, HandloomError for faulty text or a tokenizer
    that lacks what the objective needs, both before anything is written to `out`.
    """
    return _run_of(train, valid, model, Path(out), listener or Console(), options).run(overwrite, resume)


def prepare(
    train: Paths, valid: Paths | None = None, *, model: str | os.PathLike[str] | None = None, **options: Any
) -> Prepared:
    """What `pretrain` does before the first step, without a run folder: to go on by hand, step by step."""
    run = _run_of(train, valid, model, None, silent, options)
    texts = run.texts()
    return run.prepared(run.beginning(texts), texts)


def _run_of(
    train: Paths, valid: Paths | None, model: str | os.PathLike[str] | None, out: Path | None, listener: Listener,
    options: Mapping[str, Any],
) -> _Run:  # fmt: skip
    asked = Asked.of(**options)
    if (model is None) == (asked.recipe.model_type is None and asked.recipe.config is None):
        raise UsageError("give either model, to go on with a checkpoint, or model_type or config, for a new one")
    folder = None if model is None else model_folder(os.fspath(model))
    run = _Run(asked, folder, train, valid, out or Path(), listener)
    run.foresee()
    return run


class _Run:
    """One call of `pretrain`."""

    def __init__(
        self, asked: Asked, folder: Path | None, train: Paths, valid: Paths | None, out: Path, listener: Listener
    ) -> None:
        self.asked = replace(asked, settings=replace(asked.settings, precision=choose(asked.settings.precision)))
        self.settings, self.recipe = self.asked.settings, self.asked.recipe
        self.folder, self.out, self.listener = folder, out, listener
        self.paths = {"train": _listed(train), "valid": None if valid is None else _listed(valid)}
        self.predicted = 0

    def foresee(self) -> None:
        """Refuses what can be refused before the text is read, which may take long."""
        recipe = self.recipe
        if self.folder is not None:
            self._objective(load_config(self.folder).model_type)
        elif recipe.config is not None:
            self._objective(str(read_json(Path(recipe.config)).get("model_type")))
        else:
            config_values(str(recipe.model_type), self.asked.shape, 2**16, {})
            self._objective(str(recipe.model_type))
        if recipe.tokenizer not in KINDS and not Path(recipe.tokenizer).is_dir():
            raise UsageError(
                f"tokenizer is {recipe.tokenizer!r}; it must be {', '.join(KINDS)}, or a folder with a tokenizer"
            )

    def run(self, overwrite: bool, resume: bool) -> Pretrained:
        if self.folder is not None and self.out.resolve() == self.folder.resolve():
            raise UsageError(f"{self.out} is the folder of the model itself; choose another --out")
        if not resume:
            RunFolder.check_free(self.out, overwrite)
        texts = self.texts()
        described = self._described(texts)
        if resume:
            with RunFolder.open(self.out) as run:
                check_same(run.settings(), described, self.out)
                begun = run.path / "start"
                start = self._checkpoint(self.folder) if self.folder is not None else self._begun(begun)
                return self._train(self.prepared(start, texts), texts, run)
        start = self.beginning(texts)
        prepared = self.prepared(start, texts)  # before there is a folder: all that can be refused is refused here
        with RunFolder.create(self.out, described, overwrite) as run:
            if start.folder is None:
                begun = run.path / "start"
                start.tokenizer.save(begun)
                publish_text(begun / "config.json", json.dumps(start.config.to_json(), indent=2) + "\n")
            return self._train(prepared, texts, run)

    # -- what it begins with

    def texts(self) -> Texts:
        def corpus(paths: list[str] | None) -> Corpus | None:
            recipe = self.recipe
            return None if paths is None else Corpus(paths, recipe.documents, recipe.text_column, recipe.encoding)

        train = corpus(self.paths["train"])
        assert train is not None
        seed = self.settings.seed
        return Texts.read(train, corpus(self.paths["valid"]), self.recipe.valid_share, seed, self._note)

    def beginning(self, texts: Texts) -> Start:
        return self._checkpoint(self.folder) if self.folder is not None else self._scratch(texts)

    def _described(self, texts: Texts) -> dict[str, Any]:
        """settings.json: all that decides the bits of the run."""
        data = texts.to_dict()
        for name, entry in data.items():
            entry["paths"] = [str(Path(path).resolve()) for path in self.paths[name] or ()]
        return {
            "kind": "pretraining",
            "base": None if self.folder is None else {"folder": str(self.folder.resolve())},
            "weights": {} if self.folder is None else modeling.weights_hash(self.folder),
            "settings": self.asked.to_dict(),
            "data": data,
            "kernels": kernels(self.settings.precision),
        }

    def _checkpoint(self, folder: Path) -> Start:
        config = load_config(folder)
        given = self.recipe.tokenizer
        tokenizer = Tokenizer.load(given) if given not in KINDS else Tokenizer.load(folder)
        return self._start(folder, tokenizer, config, self._objective(config.model_type))

    def _begun(self, folder: Path) -> Start:
        config = load_config(folder)
        return self._start(None, Tokenizer.load(folder), config, self._objective(config.model_type))

    def _scratch(self, texts: Texts) -> Start:
        recipe, values = self.recipe, None
        if recipe.config is not None:
            values = read_json(Path(recipe.config))
        model_type = str(recipe.model_type if values is None else values.get("model_type"))
        objective = self._objective(model_type)
        tokenizer = self._tokenizer(objective, texts)
        if values is None:
            values = config_values(model_type, self.asked.shape, tokenizer.size, tokenizer.roles)
        return self._start(None, tokenizer, read_config(Fields(values, recipe.config or "config.json")), objective)

    def _tokenizer(self, objective: str, texts: Texts) -> Tokenizer:
        kind = self.recipe.tokenizer
        if kind in KINDS:
            return texts.tokenizer(kind, self.recipe.vocab_size, _style(objective, kind), self._note)
        return Tokenizer.load(kind)

    def _objective(self, model_type: str) -> str:
        """The objective that was asked for, or the family's usual one. HandloomError where the two do not fit."""
        family = FAMILIES.get(model_type)
        if family is None:
            known = ", ".join(FAMILIES)
            raise HandloomError(f"the model type {model_type!r} is unknown; known are {known}")
        fitting = [name for name, kind in OBJECTIVES.items() if kind.head_task in family.classes]
        if "bart" in model_type:
            fitting.reverse()
        wanted = self.recipe.objective
        if not fitting or (wanted is not None and wanted not in fitting):
            raise HandloomError(
                f"{model_type} cannot be pre-trained with {wanted or 'any objective'}: "
                f"it has no head for that{'; it can with ' + ', '.join(fitting) if fitting else ''}"
            )
        return wanted or fitting[0]

    def _start(self, folder: Path | None, tokenizer: Tokenizer, config: Config, objective: str) -> Start:
        if tokenizer.size > config.vocab_size:
            raise HandloomError(
                f"the tokenizer has {tokenizer.size:,} tokens, but the model's vocab_size is {config.vocab_size:,}"
            )
        head = OBJECTIVES[objective].head_task
        return Start(folder, tokenizer, config, head, self.settings.seed, self.settings.dropout)

    # -- the training

    def prepared(self, start: Start, texts: Texts) -> Prepared:
        recipe, settings, config = self.recipe, self.settings, start.config
        objective = self._objective(config.model_type)
        decoder_start = config.source.get("decoder_start_token_id")
        choices = Choices(
            self._context(start), recipe.mask_rate, recipe.mean_span, recipe.whole_words, settings.seed,
            decoder_start if isinstance(decoder_start, int) else 0,
        )  # fmt: skip
        task: Pretraining
        if objective == "causal" and isinstance(config, RecurrentConfig):
            task = Streamed(start.tokenizer, choices, self._windows(choices.context))
        else:
            task = OBJECTIVES[objective](start.tokenizer, choices)
        begin: Sequence[int] = ()
        end = None
        if objective == "causal":  # elsewhere each part of a document gets its frame when it is packed
            begin, end = frame(start.tokenizer)[0].tolist(), end_of_text(config, start.tokenizer)
        train, valid = texts.tokens(start.tokenizer, begin, end, self._note)
        size = self._windows(task.width)
        at_once = max(1, (settings.micro_batch_tokens or size * task.width) // task.width)
        reach = task.width + task.beyond
        pieces = max(densest(train.starts, reach), densest(valid.starts, reach))
        batches: Sampler
        if isinstance(task, Streamed):
            if at_once < size:
                raise UsageError(
                    "micro_batch_tokens is smaller than a batch, and a recurrent model's rows go on from step to step: "
                    "take a smaller batch_size"
                )
            batches = Streams(train, task, recipe.steps, settings.epochs, size, pieces, settings.seed)
        else:
            batches = Sampler(train, task, recipe.steps, settings.epochs, size, at_once, pieces, settings.seed)
        next(iter(held_out(valid, task, 1, recipe.valid_tokens)))
        model, config, notes = start.model()
        about = (
            f"{objective}, {len(train):,} tokens in {counted(train.about.documents, 'document')} to train on, "
            f"{len(valid):,} to validate; {counted(batches.steps, 'step')} of {counted(size, 'window')} of "
            f"{task.width} tokens, {batches.epochs:.2f} times through the text; {model.count():,} parameters"
        )
        return Prepared(settings, start, task, batches, valid, model, config, (*notes, about))

    def _context(self, start: Start) -> int:
        limit = start.config.max_length
        wanted = self.recipe.context or (self.asked.shape.context if self.recipe.model_type else min(limit, LONGEST))
        if wanted > limit:
            raise UsageError(f"context is {wanted}, but the model has positions for {limit} tokens only")
        return wanted

    def _windows(self, width: int) -> int:
        settings = self.settings
        if settings.batch_tokens is None:
            assert settings.batch_size is not None
            return settings.batch_size
        if settings.batch_tokens < width:
            raise UsageError(f"batch_tokens is {settings.batch_tokens}, less than one window of {width} tokens")
        return settings.batch_tokens // width

    def _train(self, prepared: Prepared, texts: Texts, run: RunFolder) -> Pretrained:
        settings, batches = self.settings, prepared.batches
        self._note(*prepared.notes)
        engine, self.predicted = fitting_engine(prepared.engine, batches, settings.max_memory, self._note)
        validate = lambda: self._scores(engine, prepared)  # noqa: E731
        loop = Loop(engine, batches, settings, "loss", validate, self._weights(prepared), self.listener, run)
        stopped: Diverged | None = None
        try:
            loop.train()
        except Diverged as problem:
            stopped = problem
        engine.forget_moments()
        trained = engine.weights()
        scores = self._scores(engine, prepared)
        if prepared.start.folder is not None:
            engine.put(self._weights(prepared)())
            scores.before = self._scores(engine, prepared)
        prepared.model.load(trained)
        self._finish(prepared, texts, loop, scores, trained, run, stopped)
        if stopped is not None:
            raise stopped
        return Pretrained(run.path, prepared.start.head_task, scores)

    def _weights(self, prepared: Prepared) -> Callable[[], Mapping[str, Any]]:
        return lambda: {name: value.numpy() for name, value in prepared.start.model()[0].parameters().items()}

    def _scores(self, engine: Engine, prepared: Prepared) -> Scores:
        """Loss (nats a predicted token), perplexity, and for causal models bits per byte of text: the loss times the
        tokens of the text, in bits, over its bytes in UTF-8."""
        task, valid = prepared.task, prepared.valid
        windows = held_out(valid, task, prepared.batches.at_once, self.recipe.valid_tokens)
        total, weight = engine.total(windows)
        loss = total / weight if weight else float("nan")
        metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)) if loss == loss else loss}
        if "bits_per_byte" in task.metrics and valid.about.size:
            metrics["bits_per_byte"] = loss * len(valid) / valid.about.size / math.log(2)
        return Scores(metrics)

    # -- the end

    def _finish(
        self, prepared: Prepared, texts: Texts, loop: Loop, scores: Scores, weights: Mapping[str, Any], run: RunFolder,
        stopped: Diverged | None,
    ) -> None:  # fmt: skip
        head = prepared.start.head_task
        about: dict[str, Any] = {
            "format": FORMAT,
            "task": head,
            "labels": [],
            "task_settings": {},
            "own_task": None,
            "max_length": prepared.task.choices.context,
            "base": None if self.folder is None else {"folder": str(self.folder.resolve()), "seed": self.settings.seed},
            "settings": self.asked.to_dict(),
            "data": texts.to_dict(),
            "measured_on": "valid",
            "steps": loop.state.step,
            "kept_step": loop.kept_step,
            **({"stopped": str(stopped)} if stopped else {}),
            "scores": scores.to_dict(),
            "baselines": {},
            "versions": versions(),
        }
        publish_text(run.path / "report.html", render(self._report(texts, loop, scores, run)))
        modeling.save(run.path, prepared.model, prepared.config, prepared.start.tokenizer, weights, about)
        run.remove_checkpoints()

    def _report(self, texts: Texts, loop: Loop, scores: Scores, run: RunFolder) -> Report:
        state = loop.state
        speed = state.tokens / state.seconds if state.seconds else 0.0
        return Report(
            title=run.path.name,
            summary=f"pre-training · {state.step:,} steps in {state.seconds:,.0f} s · {speed:,.0f} tokens a second · "
            f"{time.strftime('%Y-%m-%d %H:%M')}",
            metric="loss",
            measured_on="validation",
            after=scores,
            losses=loop.losses,
            history=state.history,
            details={
                "Settings": {key: value for key, value in self.asked.to_dict().items() if value is not None},
                "Data": {
                    key: f"{entry['path']}, {counted(entry['examples'], 'document')}, "
                    f"{entry['bytes']:,} bytes, SHA-256 {entry['sha256'][:16]}…"
                    for key, entry in texts.to_dict().items()
                },
                "Versions": dict(versions()),
                "Memory": {
                    "foretold": memory.shown(self.predicted), "at most": memory.shown(memory.peak_bytes()),
                },
            },
        )  # fmt: skip

    def _note(self, *notes: str) -> None:
        for note in notes:
            self.listener(Progress("note", text=note))


def resume(
    run: str | os.PathLike[str],
    threads: int | None = None,
    listener: Listener | None = None,
    moved: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Pretrained:
    """Go on with a pre-training that was stopped; see `estimators.resume`."""
    with RunFolder.open(run) as folder:
        found, finished = folder.settings(), folder.finished
    if finished:
        (listener or Console())(Progress("note", text=f"{run} had been trained to its end: nothing is left to do"))
        about = modeling.read_about(Path(run)) or {}
        scores = Scores.from_dict(about["scores"]) if "scores" in about else None
        return Pretrained(Path(run), str(about.get("task")), scores)
    moved = moved or {}
    places: dict[str, Any] = {name: entry["paths"] for name, entry in found["data"].items()}
    if found["base"] is not None:
        places["model"] = [found["base"]["folder"]]
    places.update({name: [os.fspath(place)] for name, place in moved.items()})
    for name, paths in places.items():
        for path in paths:
            if not Path(path).exists():
                what = "model" if name == "model" else f"{name} data"
                raise HandloomError(
                    f"{run} was trained on the {what} {path}, which is not there any more; "
                    f"if it was moved: handloom resume {run} --{name} PLACE"
                )
    options = {**found["settings"], **({"threads": threads} if threads else {})}
    model = places["model"][0] if "model" in places else None
    return pretrain(
        places["train"], places.get("valid"), out=run, model=model, resume=True, listener=listener, **options
    )


def _listed(paths: Paths) -> list[str]:
    return [os.fspath(paths)] if isinstance(paths, (str, os.PathLike)) else [os.fspath(path) for path in paths]


def _style(objective: str, kind: str) -> str:
    """Which special tokens a learnt vocabulary has (vocabularies.STYLES)."""
    if objective == "masked":
        return "bert" if kind in ("wordpiece", "character") else "bart"
    return {"causal": "gpt", "span-corruption": "t5", "denoising": "bart"}[objective]
