"""Translator and Summarizer: models that are trained on pairs of texts, and write one for the other.

An encoder–decoder reads the text; a decoder is asked for it by a prompt (tasks/prompted.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from handloom.data.examples import SUMMARIZATION, TRANSLATION, RewritingExample
from handloom.errors import HandloomError, UsageError
from handloom.models.registry import FAMILIES
from handloom.nn import Module
from handloom.tasks.prompted import ROOM, Prompted
from handloom.tasks.rewriting import Rewriting, Written
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Task
from handloom.train import modeling
from handloom.train.datasets import Sets
from handloom.train.engine import Engine
from handloom.train.settings import Settings
from handloom.train.writing import WritingEstimator


class Rewriter(WritingEstimator):
    """A model that reads one text and writes another: an encoder–decoder, or a decoder with a prompt. A checkpoint of
    such a model can write at once, and is trained further by `fit`, where it is judged by its loss; at the end, and by
    `evaluate`, by what it writes."""

    asks = judged_by = ("beams",)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, prompt: str | None = None, **how: Any) -> Any:
        """As of every estimator. prompt: what a decoder is asked, with {text} where the text goes; None for the usual
        one of summaries. UsageError for an encoder–decoder, which is asked nothing."""
        found = super().from_pretrained(name, **how)
        if prompt is not None:
            found.task = found._with_prompt(prompt)
        return found

    def _load_trained(self, task: Task | None) -> None:
        super()._load_trained(task)
        if self.task is None:
            self.task = self._task_from((), {})
            self.model, self.config, _ = modeling.build(self.folder, self.task, seed=0)

    def fit(self, *data: Any, **options: Any) -> Any:
        """As of every estimator. prompt: as for `from_pretrained`."""
        if isinstance(self.task, Prompted) and options.get("prompt") is None:
            options["prompt"] = self.task.prompt  # it is written down with the run
        return super().fit(*data, **options)

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        if isinstance(self.task, Rewriting):
            if settings.prompt is not None:
                self._with_prompt(settings.prompt)
            return Rewriting(self.task_name, self.task.start, self.task.prefix, settings.label_smoothing)
        task = self._with_prompt(settings.prompt)
        self.tokenizer.check_known(sets.train.texts)
        task.room, task.smoothing = self._room(sets.train.examples, settings), settings.label_smoothing
        return task

    def _with_prompt(self, prompt: str | None) -> Prompted:
        if not isinstance(self.task, Prompted):
            raise UsageError("a prompt is what a decoder is asked; an encoder–decoder reads the text alone")
        known = self.task
        asked = known.prompt if prompt is None else prompt
        task = Prompted(known.what, known.end, known.ends, asked, known.room)
        task.turn_ends = known.turn_ends  # what is found holds for what is written by either
        return task

    def _room(self, examples: Sequence[RewritingExample], settings: Settings) -> int:
        """Tokens of the longest text that was written for these, with what ends it, but not more than half of all."""
        most = modeling.longest(self.tokenizer, self.config, settings.max_length)
        sizes = map(len, self.tokenizer.ids_batch([example.targets[0] for example in examples if example.targets]))
        return max(4, min(max(sizes, default=0) + 4, most // 2))

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        start = getattr(self.config, "start", None)
        if start is None:
            if Prompted.name not in FAMILIES[self.config.model_type].classes:
                raise HandloomError(
                    f"{self.folder}: {self.task_name} needs an encoder–decoder or a decoder, and a "
                    f"{self.config.model_type} is neither"
                )
            room = min(int(settings.get("room", ROOM)), self.max_length // 2)
            return Prompted(self.task_name, self.end(), self.ends(), settings.get("prompt"), room)
        own = (self.config.source.get("task_specific_params") or {}).get(self.task_name) or {}
        prefix = settings.get("prefix", own.get("prefix", ""))
        return Rewriting(self.task_name, int(start), str(prefix))

    def judge_encoded(
        self, engine: Engine, task: Task, examples: Sequence[Any], encoded: Encoded, seed: int = 0, *,
        final: bool = False, beams: int = 1,
    ) -> tuple[Scores, list[Any]]:  # fmt: skip
        """Loss and perplexity of the targets; at the end also what is written, and its scores."""
        found = self.losses(engine, encoded)
        if not final:
            return found, []
        written = self._write(engine.model, [example.text for example in examples], task, beams)
        scores = task.score(examples, written, seed)
        scores.metrics = {**scores.metrics, **found.metrics}
        return scores, written

    def said_of(self, examples: Sequence[Any], beams: int = 1) -> list[Written]:
        model, task = self._ready()
        return self._write(model, [example.text for example in examples], task, beams)

    def predict(self, data: Any, **how: Any) -> Any:
        """What is written for one text (or one row, a dict), or for each of a list, a Path or a Dataset. beams: look
        for the likeliest text with so many; else the likeliest word is taken each time."""
        return super().predict(data, **how)

    def shown(self, prediction: Written) -> str:
        return prediction.text

    def _write(self, model: Module, texts: Sequence[str], task: Task, beams: int = 1) -> list[Written]:
        """Of texts that are too long for the model the beginning is read."""
        assert isinstance(task, (Prompted, Rewriting))
        prompts, notes = task.prompts(texts, self.tokenizer, self.max_length)
        self.tell(notes)
        most = task.room if isinstance(task, Prompted) else self.max_length
        return self.written(model, prompts, most, beams)


class Translator(Rewriter):
    task_name = TRANSLATION


class Summarizer(Rewriter):
    task_name = SUMMARIZATION
