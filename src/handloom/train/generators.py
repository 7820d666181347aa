"""TextGenerator: a language model that goes on with texts and replies in conversations, and is fine-tuned to."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from handloom.data import conversations
from handloom.data.examples import GENERATION, Dataset, GenerationExample, Turn
from handloom.errors import HandloomError, UsageError
from handloom.generate.constraints import Constraint
from handloom.generate.decoder import Ids
from handloom.generate.generator import Generation, Prompt, Said, Writer
from handloom.generate.search import Finish
from handloom.models.registry import load_model
from handloom.nn import Module
from handloom.scoring import Likely, Scorer, TokenScore
from handloom.tasks.dialogue import exchanges, messages
from handloom.tasks.rewriting import Written
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Task
from handloom.tasks.text_generation import TextGeneration
from handloom.text.chat import PLAIN, render_all
from handloom.text.encoding import Ints
from handloom.train.datasets import Sets
from handloom.train.engine import Engine
from handloom.train.settings import Settings
from handloom.train.writing import WritingEstimator

JUDGED, REPLY = 100, 128
"""How many of the prompts of a test are written for, the first ones, and the tokens that this may take each."""


class TextGenerator(WritingEstimator, Scorer):
    """A language model: what it goes on with (`generate`, `stream`, `beams`), how likely it finds texts (`score`,
    `next_token_probabilities`, `perplexity`), and all that estimators do (`fit`, `evaluate`, `predict`, `save`).

    `fit` takes conversations, of which the assistant's words are learnt, prompts with what follows them, texts, and
    folders of texts or programs. An encoder–decoder writes here, too; it is fine-tuned by Translator and Summarizer.
    """

    task_name = GENERATION
    asks = ("max_new_tokens",)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, weights: str = "f32", **how: Any) -> Any:
        """As of every estimator. weights: what matrices are stored in while texts are written, "f32", "bf16" or "int8":
        a new word takes as long as reading them (docs/performance.md has what it costs). precision: "auto" is for
        training; texts are written with products of f32, unless "bf16" is asked for."""
        found = super().from_pretrained(name, **how)
        found.weights = weights
        return found

    def _load_trained(self, task: Task | None) -> None:
        super()._load_trained(task)
        if self.model is None:  # an encoder–decoder, or one that was trained for another task: it can write
            pairs = self.config.is_encoder_decoder
            head = "text2text-generation" if pairs else GENERATION
            self.model, self.config, _ = load_model(self.folder, head, dropout=0.0)
            self.task = None if pairs else self._task_from((), {})

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        if self.task is None:
            raise UsageError("an encoder–decoder is fine-tuned by Translator or Summarizer: handloom train translation")
        known = self.task
        assert isinstance(known, TextGeneration)
        self.tokenizer.check_known(sets.train.texts)
        talks = any(example.turns for data in (sets.train, sets.valid, sets.test) for example in data or ())
        plain = talks and self.tokenizer.chat_template is None
        if plain:
            if "eos_token" not in self.tokenizer.token_names:
                raise HandloomError(
                    f"{self.folder}: the model has no chat template, and its tokenizer names no eos_token that could "
                    "end a turn; put a chat_template.jinja into the folder, or an eos_token into tokenizer_config.json"
                )
            self.tokenizer.adopt_chat_template(PLAIN)
        task = TextGeneration(known.end, known.ends, known.talks or talks, plain)
        task.smoothing = settings.label_smoothing
        task.turn_ends = known.turn_ends  # what is found holds for what is written by either
        return task

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        return TextGeneration(self.end(), self.ends(), bool(settings.get("talks", False)))

    # -- judged

    def judge_encoded(
        self, engine: Engine, task: Task, examples: Sequence[Any], encoded: Encoded, seed: int = 0, *,
        final: bool = False,
    ) -> tuple[Scores, list[Any]]:  # fmt: skip
        """Loss and perplexity; at the end also what is written for the first JUDGED prompts, if there are any."""
        found = self.losses(engine, encoded)
        prompts = [one for one in examples if one.answer is not None]
        asked = prompts[: JUDGED if final else 0]
        if not asked:
            return found, []
        if len(asked) < len(prompts):
            self.tell([f"what is written is judged for the first {len(asked)} of {len(prompts):,} prompts"])
        written = self._replies(engine.model, asked, REPLY)
        scores = task.score(asked, written, seed)
        scores.metrics = {**found.metrics, **scores.metrics}
        return scores, written

    def predict(self, data: Any, **how: Any) -> Any:
        """What is written behind a text, or as the reply in a conversation ([{"role", "content"}, …], or its only
        message); for each of a list of such, a Path or a Dataset. A model that was trained on conversations takes a
        text for the user's words. max_new_tokens: at most."""
        return super().predict(data, **how)

    def is_alone(self, data: Any) -> bool:
        return conversations.is_talk(data) or super().is_alone(data)

    def asked_for(self, data: Any, **reading: Any) -> Dataset[Any]:
        return super().asked_for([data] if conversations.is_turn(data) else data, **reading)

    def predict_raw(self, data: Any, *, max_new_tokens: int | None = None, **reading: Any) -> list[Written]:
        examples = self.asked_for(data, **reading).examples
        for example in examples:
            if not example.text.strip():
                raise HandloomError(f"{example.where or 'the text'}: an empty text has nothing to go on with")
        if isinstance(self.task, TextGeneration) and self.task.talks:
            examples = tuple(one if one.turns else replace(one, turns=(Turn("user", one.prompt),)) for one in examples)
        return self.said_of(examples, max_new_tokens) if examples else []

    def said_of(self, examples: Sequence[Any], max_new_tokens: int | None = None) -> list[Written]:
        return self._replies(self._whole, examples, self._asked.most(max_new_tokens))

    def shown(self, prediction: Written) -> str:
        return prediction.text

    def command(self, run: str) -> str:
        talks = isinstance(self.task, TextGeneration) and self.task.talks
        return f"handloom chat {run}" if talks else super().command(run)

    def _replies(self, model: Module, examples: Sequence[GenerationExample], most: int) -> list[Written]:
        return self.written(model, self._prompts(model, examples, most), most)

    def _prompts(self, model: Module, examples: Sequence[GenerationExample], most: int) -> list[Ints]:
        """The tokens to go on with. Of a conversation that leaves no room for a reply the oldest exchanges are left
        out, as in Conversation; of a text the end is read. `notes` says of how many."""
        writer = self.writer(model)
        context = writer.decoder.context
        room = None if context is None else context - min(most, context // 2)
        whole = [one.asked for one in examples]
        found: list[Ints] = [writer.encode(one.prompt or one.text) if not told else writer.encode("")
                             for one, told in zip(examples, whole, strict=True)]  # fmt: skip
        # the fewest exchanges of each conversation that have to be left out are between these, found by bisection
        between = {number: (0, len(exchanges(told)[1])) for number, told in enumerate(whole) if told}
        out = dict.fromkeys(between, 0)
        if between and writer.template is None:
            raise HandloomError("this model has no chat template: give it plain texts to go on with")
        while between:
            texts = render_all(
                str(writer.template), [(messages(_shorter(whole[i], out[i])), True) for i in between],
                self.tokenizer.token_names, [examples[i].where for i in between],
            )  # fmt: skip
            for i, ids in zip(list(between), self.tokenizer.ids_batch(texts), strict=True):
                found[i] = ids
                low, high = between.pop(i)
                low, high = (low, out[i]) if room is None or len(ids) <= room else (out[i] + 1, high)
                if low < high or low == high != out[i]:
                    between[i], out[i] = (low, high), (low + high) // 2
        if room is None:
            return found
        parted = sum(count > 0 for count in out.values())
        longer = sum(len(ids) > room for ids in found)
        end = f"so that {context} tokens hold prompt and answer"
        self.tell([f"{what}: {count} of {len(found)}, {end}" for count, what in (
            (parted, "conversations read without their oldest turns"), (longer, "prompts read from their end"),
        ) if count])  # fmt: skip
        return [ids[-room:] for ids in found]

    # -- asked

    @property
    def _whole(self) -> Module:
        assert self.model is not None
        return self.model

    @property
    def _asked(self) -> Writer:
        return self.writer(self._whole)

    def generate(self, prompts: Prompt | Sequence[Prompt], **how: Any) -> Any:
        """What the model goes on with: see generate.generator.Writer.generate."""
        return self._asked.generate(prompts, **how)

    def stream(self, prompt: Prompt, **how: Any) -> Generator[str, None, Finish]:
        """The text of `generate`, piece by piece as it becomes certain; see generate.generator.Writer.stream."""
        return self._asked.stream(prompt, **how)

    def beams(self, prompt: Prompt, **how: Any) -> list[Generation]:
        """The likeliest continuations that a search with so many beams finds, best first."""
        return self._asked.beams(prompt, **how)

    def encode(self, prompt: Prompt) -> Ids:
        """The tokens of a text that is to go on, or of a conversation with the beginning of the reply."""
        return self._asked.encode(prompt)

    def most(self, given: int | None) -> int:
        """New tokens at most: as given, else as the model says."""
        return self._asked.most(given)

    def constraint(self, **wanted: Any) -> Constraint:
        """What texts must be like (schema, pattern, choices, required, forbidden), to be used many times."""
        return self._asked.constraint(**wanted)

    def score(self, text: str, *, source: str | None = None) -> list[TokenScore]:
        """How likely the model finds each token of a text, given those before it (and an encoder–decoder's source)."""
        return self._asked.score(text, source=source)

    def next_token_probabilities(self, text: Said = "", top: int = 10, *, source: str | None = None) -> list[Likely]:
        """The likeliest tokens to come next, likeliest first."""
        return self._asked.next_token_probabilities(text, top, source=source)


def _shorter(turns: tuple[Turn, ...], out: int) -> tuple[Turn, ...]:
    """Without so many of the oldest exchanges; what the system says and what is asked last stay."""
    system, old = exchanges(turns)
    return (*system, *turns[len(system) + sum(map(len, old[:out])) :])
