"""Translator and Summarizer: encoder–decoders that are trained on pairs of texts, and write."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handloom.data.examples import SUMMARIZATION, TRANSLATION
from handloom.errors import HandloomError, UsageError
from handloom.generate import defaults
from handloom.generate.generator import TextGenerator, decoder_of
from handloom.models.language_model import LanguageModel
from handloom.nn import Module
from handloom.tasks.rewriting import Rewriting, Written
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Task
from handloom.train import modeling
from handloom.train.datasets import Sets
from handloom.train.engine import Engine
from handloom.train.estimator import Estimator
from handloom.train.settings import Settings

AT_ONCE = 32
"""Texts that are written together."""


class Rewriter(Estimator):
    """An encoder–decoder that reads one text and writes another. A checkpoint of such a model can write at once, and is
    trained further by `fit`, where it is judged by its loss; at the end, and by `evaluate`, by what it writes."""

    def _load_trained(self, task: Task | None) -> None:
        super()._load_trained(task)
        if self.task is None:
            self.task = self._task_from((), {})
            self.model, self.config, _ = modeling.build(self.folder, self.task, seed=0)
        self._writer: tuple[Module, TextGenerator] | None = None

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        if settings.class_weights is not None:
            raise UsageError(f"class_weights are for tasks with labels, and {self.task_name} has none")
        assert isinstance(self.task, Rewriting)
        return Rewriting(self.task_name, self.task.start, self.task.prefix, settings.label_smoothing)

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        start = getattr(self.config, "start", None)
        if start is None:
            raise HandloomError(
                f"{self.folder}: {self.task_name} needs an encoder–decoder, and a {self.config.model_type} is none"
            )
        own = (self.config.source.get("task_specific_params") or {}).get(self.task_name) or {}
        prefix = settings.get("prefix", own.get("prefix", ""))
        return Rewriting(self.task_name, int(start), str(prefix))

    def save(self, folder: str | os.PathLike[str]) -> None:
        super().save(folder)
        beside = self.folder / defaults.FILE
        if beside.is_file() and Path(folder).resolve() != self.folder.resolve():
            shutil.copyfile(beside, Path(folder) / defaults.FILE)

    def judge(self, engine: Engine, task: Task, examples: Sequence[Any], seed: int = 0) -> tuple[Scores, list[Any]]:
        encoded = task.encode(examples, self.tokenizer, self.max_length, self.long)
        return self.judge_encoded(engine, task, examples, encoded, seed, final=True)

    def judge_encoded(
        self, engine: Engine, task: Task, examples: Sequence[Any], encoded: Encoded, seed: int = 0, *,
        final: bool = False,
    ) -> tuple[Scores, list[Any]]:  # fmt: skip
        """Loss and perplexity of the targets; at the end also what is written, and its scores."""
        total, weight = engine.total(engine.parts(encoded.features))
        loss = total / weight if weight else float("nan")
        found = Scores({"loss": loss, "perplexity": math.exp(min(loss, 700.0))})
        if not final:
            return found, []
        assert isinstance(task, Rewriting)
        written = self._written(engine.model, [example.text for example in examples], task)
        scores = task.score(examples, written, seed)
        scores.metrics = {**scores.metrics, **found.metrics}
        return scores, written

    def predict_raw(self, data: Any, *, beams: int = 1, **reading: Any) -> list[Written]:
        self._ready()
        rows = [data] if isinstance(data, str) else data
        if isinstance(rows, (list, tuple)) and not len(rows):
            return []
        dataset = self.read(rows, labelled=False, **reading)
        for example in dataset.examples:
            if not example.text.strip():
                raise HandloomError(f"{example.where or 'the text'}: an empty text has nothing to read")
        return self.said_of(dataset.examples, beams)

    def said_of(self, examples: Sequence[Any], beams: int = 1) -> list[Written]:
        model, task = self._ready()
        assert isinstance(task, Rewriting)
        return self._written(model, [example.text for example in examples], task, beams)

    def predict(self, data: Any, **how: Any) -> Any:
        """What is written for one text, or for each of a list, a Path or a Dataset. beams: look for the likeliest text
        with so many; else the likeliest word is taken each time."""
        return super().predict(data, **how)

    def shown(self, prediction: Written) -> str:
        return prediction.text

    def _written(self, model: Module, texts: Sequence[str], task: Rewriting, beams: int = 1) -> list[Written]:
        """Texts of like length together; the beginning of those that are too long for the model."""
        writer = self._generator(model)
        sources = [one.windows[0].ids for one in task.read(texts, self.tokenizer, self.max_length)[1]]
        order = sorted(range(len(texts)), key=lambda i: len(sources[i]))
        found = [""] * len(texts)
        for begin in range(0, len(order), AT_ONCE):
            group = order[begin : begin + AT_ONCE]
            if beams > 1:
                made = [writer.beams(sources[i], beams=beams, max_new_tokens=self.max_length)[0] for i in group]
            else:
                made = writer.generate([sources[i] for i in group], max_new_tokens=self.max_length)
            for i, one in zip(group, made, strict=True):
                found[i] = one.text.strip()
        return [Written(text) for text in found]

    def _generator(self, model: Module) -> TextGenerator:
        """What writes by a model, compiled once as long as it is the same."""
        if self._writer is not None and self._writer[0] is model:
            return self._writer[1]
        assert isinstance(model, LanguageModel)
        own = defaults.load(self.folder, self.config, self.tokenizer)
        decoder = decoder_of(model, self.config, self.threads, self.precision, "f32", own.start)
        self._writer = model, TextGenerator(decoder, self.tokenizer, own.ends, None, own)
        return self._writer[1]


class Translator(Rewriter):
    task_name = TRANSLATION


class Summarizer(Rewriter):
    task_name = SUMMARIZATION
