"""What estimators have in common that write texts: they learn by the loss of each token, and are judged by that and, at
the end, by what they write."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from handloom.errors import UsageError
from handloom.generate import defaults
from handloom.generate.generator import Writer, decoder_of
from handloom.models.config import read_json
from handloom.models.language_model import LanguageModel
from handloom.nn import Module
from handloom.tasks.rewriting import Written
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded
from handloom.tasks.text_generation import TextGeneration
from handloom.text.counting import counted
from handloom.text.encoding import Ints
from handloom.train.engine import Engine
from handloom.train.estimator import Estimator

AT_ONCE = 32
"""Texts that are written together."""


class WritingEstimator(Estimator):
    """weights: what matrices are stored in where texts are written, "f32", "bf16" or "int8"."""

    weights: str = "f32"
    _writer: tuple[Module, frozenset[int], Writer] | None = None

    def save(self, folder: str | os.PathLike[str]) -> None:
        super().save(folder)
        beside, here = self.folder / defaults.FILE, Path(folder) / defaults.FILE
        if beside.is_file() and here.resolve() != beside.resolve():
            shutil.copyfile(beside, here)
        if more := self._turn_ends() - self.ends():  # whoever opens the folder has to stop there, too
            values = read_json(here) if here.is_file() else {}
            values["eos_token_id"] = sorted(self.ends() | more)
            here.write_text(json.dumps(values, indent=2) + "\n", "utf-8")

    def ends(self) -> frozenset[int]:
        """The tokens that end a text, as the model's folder says."""
        return defaults.load(self.folder, self.config, self.tokenizer).ends

    def end(self) -> int | None:
        """The one that is put behind a text, such that the model stops there."""
        found, ends = defaults.end_of_text(self.config, self.tokenizer), self.ends()
        return found if found in ends or not ends else min(ends)

    def _turn_ends(self) -> set[int]:
        return self.task.turn_ends if isinstance(self.task, TextGeneration) else set()

    def losses(self, engine: Engine, encoded: Encoded) -> Scores:
        """Loss and perplexity of all tokens that are learnt."""
        total, weight = engine.total(engine.parts(encoded.features))
        loss = total / weight if weight else float("nan")
        return Scores({"loss": loss, "perplexity": math.exp(min(loss, 700.0))})

    def written(self, model: Module, prompts: Sequence[Ints], most: int, beams: int = 1) -> list[Written]:
        """What the model makes of prompts (an encoder–decoder: of sources), those of like length together. `notes` says
        how many of the texts break off."""
        if isinstance(beams, bool) or not isinstance(beams, int) or beams < 1:
            raise UsageError(f"beams is a whole number from 1 on, not {beams!r}")
        writer = self.writer(model)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found = [Written("")] * len(prompts)
        for begin in range(0, len(order), AT_ONCE):
            group = order[begin : begin + AT_ONCE]
            if beams > 1:
                made = [writer.beams(prompts[i], beams=beams, max_new_tokens=most)[0] for i in group]
            else:
                made = writer.generate([prompts[i] for i in group], max_new_tokens=most)
            for i, one in zip(group, made, strict=True):
                found[i] = Written(one.text.strip(), one.finish == "length")
        if cut := sum(one.cut for one in found):
            self.tell([f"{cut:,} of {counted(len(found), 'text')} broke off when {most} tokens were written"])
        return found

    def writer(self, model: Module) -> Writer:
        """What writes by a model, compiled once as long as it is the same."""
        turn_ends = frozenset(self._turn_ends())
        if self._writer is None or self._writer[0] is not model or self._writer[1] != turn_ends:
            assert isinstance(model, LanguageModel)
            own = defaults.load(self.folder, self.config, self.tokenizer)
            own = replace(own, ends=own.ends | turn_ends)
            precision = "f32" if self.precision == "auto" else self.precision
            decoder = decoder_of(model, self.config, self.threads, precision, self.weights, own.start)
            writer = Writer(decoder, self.tokenizer, own.ends, self.tokenizer.chat_template, own)
            self._writer = model, turn_ends, writer
        return self._writer[2]
