"""What `fit` does, from the user's data to the finished run folder, in the order in which it happens."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handloom.ceilings import choose
from handloom.compiler import backend, target
from handloom.data.augment import augmented, plain_ways
from handloom.data.check import shared_texts
from handloom.data.readers import is_parallel
from handloom.errors import HandloomError, UsageError
from handloom.models.config import Config
from handloom.nn import Module
from handloom.runtime import memory
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Task
from handloom.text.counting import counted
from handloom.train import modeling
from handloom.train.baselines import baselines_for
from handloom.train.batches import Batches, Examples
from handloom.train.datasets import Sets, read_sets
from handloom.train.engine import Engine
from handloom.train.loop import Loop
from handloom.train.optimisers import optimiser
from handloom.train.progress import Console, Listener, Progress
from handloom.train.report import Report, render
from handloom.train.run import RunFolder, versions
from handloom.train.settings import Settings
from handloom.train.stopping import Diverged
from handloom.train.storage import publish_text

if TYPE_CHECKING:
    from handloom.train.estimator import Estimator


@dataclass(frozen=True)
class Prepared:
    """All that is known before the first step. encoded: by the name of the set; frozen: names of parameters."""

    task: Task
    model: Module
    config: Config
    encoded: dict[str, Encoded]
    frozen: list[str]
    notes: tuple[str, ...]


class Fit:
    """One call of `fit`."""

    def __init__(
        self,
        estimator: Estimator,
        settings: Settings,
        reading: dict[str, Any],
        task: Task | None,
        listener: Listener | None,
        before: bool,
        baselines: bool | None,
    ) -> None:
        self.estimator, self.reading = estimator, reading
        # decided here, so that it is written down with the run
        self.settings = replace(settings, precision=choose(settings.precision))
        self.own_task, self.before, self.baselines = task, before, baselines
        self.listener: Listener = listener or Console()
        self.chosen = ""  #: on validation data, in words
        self.predicted = 0  #: bytes that the process will hold at most, as foretold

    def run(self, data: dict[str, Any], out: str | os.PathLike[str] | None, overwrite: bool, resume: bool) -> None:
        """Read, train, score, save. The run folder is locked from its making to the end."""
        estimator, seed = self.estimator, self.settings.seed
        known = estimator.task.labels if estimator.task else ()
        reading = estimator.reading_with(self.reading, self.settings)
        sets = read_sets(data["train"], data["valid"], data["test"], estimator.task_name, seed, reading, known)
        if self.settings.augment is not None:  # after the split: copies are for training alone
            ways = plain_ways(sets.train, [name.strip() for name in self.settings.augment.split(",")])
            sets = replace(sets, train=augmented(sets.train, ways, self.settings.augment_times, seed))
        task = self.own_task or self.estimator.make_task(sets, self.settings)
        wanted = self.settings.metric
        if wanted is not None and task.metrics and wanted not in task.metrics:
            raise UsageError(f"there is no metric {wanted!r}; there are {', '.join(task.metrics)}")
        if out is None:
            if resume or overwrite:
                raise UsageError("resume and overwrite need out, the run folder")
            self._train(sets, self._prepared(sets, task), None)
            return
        if Path(out).resolve() == self.estimator.folder.resolve():
            raise UsageError(f"{out} is the folder of the model itself; choose another --out")
        asked = self._asked(sets, data)
        if resume:
            with RunFolder.open(out) as run:
                check_same(run.settings(), asked, Path(out))
                self._train(sets, self._prepared(sets, task), run)
        else:
            RunFolder.check_free(out, overwrite)
            prepared = self._prepared(sets, task)  # before there is a folder: all that can be refused is refused here
            with RunFolder.create(out, asked, overwrite) as run:
                self._train(sets, prepared, run)

    def _asked(self, sets: Sets, data: dict[str, Any]) -> dict[str, Any]:
        """settings.json: all that decides the bits of the run."""
        described = sets.to_dict()
        for name, entry in described.items():
            if entry is not None and isinstance(data[name], (str, os.PathLike)):
                entry["path"] = str(Path(data[name]).resolve())
            elif entry is not None and is_parallel(data[name]):
                entry["path"] = [str(path.resolve()) for path in data[name]]
        return {
            "task": self.estimator.task_name,
            "own_task": self.own_task is not None,
            "base": self._base(),
            "weights": modeling.weights_hash(self.estimator.folder),
            "settings": self.settings.to_dict(),
            "reading": self.reading,
            "data": described,
            "continued": self.estimator.continued,
            "kernels": kernels(self.settings.precision),
            "before": self.before,
            "baselines": self.baselines,
        }

    def _base(self) -> dict[str, Any]:
        return {"folder": str(self.estimator.folder.resolve()), "seed": self.settings.seed}

    # -- the training

    def _prepared(self, sets: Sets, task: Task) -> Prepared:
        estimator, settings = self.estimator, self.settings
        model, config, notes = self._model(task)
        estimator.max_length = estimator.longest(config, settings.max_length)
        estimator.long = settings.long
        encoded = self._encode(task, sets)
        given = {"train": sets.train, "validation": sets.valid, "test": sets.test}
        warnings = shared_texts({name: data for name, data in given.items() if data is not None})
        assumed = () if self.own_task else estimator.remarks(sets, settings)
        notes = (*sets.train.notes, *assumed, *warnings, *notes, *encoded["train"].notes)
        return Prepared(task, model, config, encoded, modeling.frozen_names(model, settings.freeze), notes)

    def _model(self, task: Task) -> tuple[Module, Config, tuple[str, ...]]:
        """The model with the weights that the training begins with."""
        estimator = self.estimator
        model, config, notes = modeling.build(estimator.folder, task, self.settings.seed, self.settings.dropout)
        if estimator.model is not None and estimator.task is not None:
            modeling.carry(model, estimator.model, task.labels, estimator.task.labels)
        return model, config, notes

    def _start(self, task: Task) -> dict[str, Any]:
        return {name: value.numpy() for name, value in self._model(task)[0].parameters().items()}

    def _train(self, sets: Sets, prepared: Prepared, run: RunFolder | None) -> None:
        estimator, settings = self.estimator, self.settings
        task, model, encoded = prepared.task, prepared.model, prepared.encoded
        parts = (("train", sets.train), ("valid", sets.valid), ("test", sets.test))
        read = ", ".join(f"{name} {len(data):,}" for name, data in parts if data is not None)
        self._note(f"examples: {read}", *prepared.notes)
        engine, loop = self._loop(prepared, sets, run)
        measured, name = (sets.test, "test") if sets.test is not None else (sets.valid, "valid")
        stopped: Diverged | None = None
        try:
            loop.train()
        except Diverged as problem:
            stopped = problem
        engine.forget_moments()
        if task.tunes and sets.valid is not None:
            logits, _ = engine.logits(encoded["valid"])
            self.chosen = task.tune(sets.valid.examples, encoded["valid"], logits)
            self._note(self.chosen)
        trained = engine.weights()
        model.load(trained)
        scores = None
        if measured is not None:
            examples, told = measured.examples, {*estimator.notes, *encoded[name].notes}
            scores, _ = estimator.judge_encoded(engine, task, examples, encoded[name], settings.seed, final=True)
            self._note(*(note for note in estimator.notes if note not in told))
            scores.before = self._before(engine, task, measured, encoded[name], trained)
        estimator.precision = settings.precision
        estimator.trained(model, prepared.config, task, self._base())
        estimator.scores = scores
        estimator.baselines = self._baselines(sets, task, measured, run)
        self._finish(sets, loop, scores, name, run, stopped)
        if stopped is not None:
            raise stopped

    def _encode(self, task: Task, sets: Sets) -> dict[str, Encoded]:
        estimator = self.estimator
        found = {}
        for name, data in (("train", sets.train), ("valid", sets.valid), ("test", sets.test)):
            if data is not None:
                found[name] = task.encode(data.examples, estimator.tokenizer, estimator.max_length, estimator.long)
        texts = {feature.example: feature.encoding for feature in found["train"].features}
        names = sorted(texts)[:5000]
        examples = sets.train.examples
        if all(isinstance(getattr(examples[i], "text", None), str) for i in names):
            estimator.tokenizer.unknown_report([examples[i].text for i in names], [texts[i] for i in names])
        return found

    def _loop(self, prepared: Prepared, sets: Sets, run: RunFolder | None) -> tuple[Engine, Loop]:
        settings, task, encoded = self.settings, prepared.task, prepared.encoded
        batches = Examples(encoded["train"].features, settings)

        def engine_for(recompute: bool) -> Engine:
            return training_engine(prepared.model, task, settings, batches, prepared.frozen, recompute)

        engine, self.predicted = fitting_engine(engine_for, batches, settings.max_memory, self._note)
        validate = None
        if sets.valid is not None:
            examples, coded = sets.valid.examples, encoded["valid"]

            def validate() -> Scores:
                return self.estimator.judge_encoded(engine, task, examples, coded, settings.seed)[0]

        metric = settings.metric or task.metric
        start = lambda: self._start(task)  # noqa: E731
        return engine, Loop(engine, batches, settings, metric, validate, start, self.listener, run)

    def _before(
        self, engine: Engine, task: Task, data: Any, encoded: Encoded, trained: dict[str, Any]
    ) -> Scores | None:
        """Scores of the weights that the training began with, read once more. They are found at the end, where nobody
        waits for the first step, and where the memory of the training is free."""
        if not self.before:
            return None
        engine.put(self._start(task))
        scores, _ = self.estimator.judge_encoded(engine, task, data.examples, encoded, self.settings.seed)
        engine.put(trained)
        return scores

    def _baselines(self, sets: Sets, task: Task, measured: Any, run: RunFolder | None) -> dict[str, Scores]:
        wanted = run is not None if self.baselines is None else self.baselines
        if not wanted or measured is None:
            return {}
        return baselines_for(task, sets.train.examples, measured.examples, self.settings.seed, self.settings.threads)

    # -- the end

    def _finish(
        self, sets: Sets, loop: Loop, scores: Scores | None, name: str, run: RunFolder | None, stopped: Diverged | None
    ) -> None:
        estimator = self.estimator
        estimator.about = {
            "base": self._base(),
            "settings": self.settings.to_dict(),
            "data": sets.to_dict(),
            "measured_on": name,
            "steps": loop.state.step,
            "kept_step": loop.kept_step,
            **({"stopped": str(stopped)} if stopped else {}),
            **({"scores": scores.to_dict()} if scores else {}),
            "baselines": {key: value.to_dict() for key, value in estimator.baselines.items()},
        }
        estimator.report = self.report(sets, loop, scores, name, estimator.task_name if run is None else run.path.name)
        if run is None:
            return
        publish_text(run.path / "report.html", render(estimator.report))
        estimator.save(run.path)
        run.remove_checkpoints()

    def report(self, sets: Sets, loop: Loop, scores: Scores | None, name: str, title: str) -> Report:
        state, settings = loop.state, self.settings
        speed = state.tokens / state.seconds if state.seconds else 0.0
        summary = (
            f"{self.estimator.task_name} · {counted(len(sets.train), 'example')} · {counted(state.step, 'step')} in "
            f"{state.seconds:,.0f} s · {speed:,.0f} tokens a second · {time.strftime('%Y-%m-%d %H:%M')}"
        )
        return Report(
            title=title,
            summary=summary,
            metric=loop.metric,
            measured_on={"test": "test", "valid": "validation"}[name],
            after=scores,
            baselines=self.estimator.baselines,
            losses=loop.losses,
            history=state.history,
            details={
                **({"Chosen on the validation data": {"": self.chosen}} if self.chosen else {}),
                "Settings": {key: value for key, value in settings.to_dict().items() if value is not None},
                "Data": {key: _data_line(entry) for key, entry in sets.to_dict().items() if entry},
                "Versions": dict(versions()),
                "Memory": {
                    "foretold": memory.shown(self.predicted), "at most": memory.shown(memory.peak_bytes()),
                },
            },
        )

    def _note(self, *notes: str) -> None:
        for note in notes:
            self.listener(Progress("note", text=note))


def training_engine(
    model: Module, task: Task, settings: Settings, batches: Batches, frozen: Iterable[str] = (), recompute: bool = False
) -> Engine:
    """What trains a model, in its own arrays."""
    return Engine(
        model,
        task,
        optimiser(settings.optimizer, settings.weight_decay, settings.beta2),
        clip=settings.clip,
        seed=settings.seed,
        threads=settings.threads,
        frozen=frozen,
        capacity=batches.capacity(),
        accumulates=batches.accumulates,
        precision=settings.precision,
        owns=True,
        recompute=recompute,
        faster={name: times for name in model.parameters() if (times := task.speed(name, settings.lr)) != 1},
    )


def fitting_engine(
    make: Callable[[bool], Engine], batches: Batches, max_memory: str | int | None, note: Callable[[str], None]
) -> tuple[Engine, int]:
    """The engine (made with recomputation or without) whose steps fit the memory that may be used, and the bytes that
    the process will hold at most; says so.

    Raises HandloomError where even one that keeps little of the forward pass takes too much.
    """
    parts = batches.largest()
    most = None if max_memory is None else memory.size_of(max_memory)
    needed = 0
    for recompute in (False, True):
        engine = make(recompute)
        needed = engine.reserve(parts)
        if most is None or needed <= most:
            again = ", computing the forward pass again for the gradients" if recompute else ""
            note(f"memory: about {memory.shown(needed)}{again}")
            return engine, needed
    raise HandloomError(
        f"a step takes about {memory.shown(needed)}, even if it keeps little of the forward pass, and "
        f"{memory.shown(most or 0)} may be used; a smaller --micro-batch-tokens needs less"
    )


def kernels(precision: str) -> str:
    """What computes: a resume must do it with the same, or the bits would differ."""
    return f"{target().name if backend() == 'compiled' else 'reference'} {precision}"


def _data_line(entry: dict[str, Any]) -> str:
    return f"{entry['path'] or entry['form']}, {counted(entry['examples'], 'example')}, SHA-256 {entry['sha256'][:16]}…"


def check_same(found: dict[str, Any], asked: dict[str, Any], run: Path) -> None:
    """A resumed run must be the run that was stopped. Threads may differ: they change no bit."""
    for name in asked.keys() - {"settings", "data", "base", "before", "baselines"}:
        if found.get(name) != asked[name]:
            raise HandloomError(f"{run} was trained with {name} {found.get(name)!r}, not {asked[name]!r}")
    for name, entry in asked["data"].items():
        old = found["data"].get(name)
        if (old and old["sha256"]) != (entry and entry["sha256"]):
            raise HandloomError(f"the {name} data is not what {run} was trained on: it has changed since")
    for name, value in asked["settings"].items():
        old = found["settings"].get(name)
        same = old == value or (isinstance(value, float) and isinstance(old, float) and math.isclose(old, value))
        if name != "threads" and not same:
            raise UsageError(f"{run} was trained with {name} = {old!r}, not {value!r}")
