"""A decoder that translates or summarizes: it is asked to, and what it replies is the text.

The question is a prompt with {text} in it. A model with a chat template is asked by it, as a user would; any other goes
on with the prompt. Of a text that is too long the beginning is read, so that there is always room for what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from handloom.data.examples import SUMMARIZATION, GenerationExample, RewritingExample, Turn
from handloom.errors import UsageError
from handloom.tasks.continuing import Frame
from handloom.tasks.dialogue import messages
from handloom.tasks.rewriting import WrittenTexts
from handloom.tasks.scorers import SCORERS
from handloom.tasks.task import Encoded
from handloom.tasks.text_generation import TextGeneration
from handloom.text.chat import render_all
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Ints
from handloom.text.tokenizer import Tokenizer

TEXT = "{text}"
ASKED = {SUMMARIZATION: "Summarize this text:\n\n{text}"}
GONE_ON_WITH = {SUMMARIZATION: "{text}\n\nTL;DR:"}
"""Prompts for models with a chat template, and for others (Radford et al. 2019, section 3.6)."""
ROOM = 128
"""Tokens that may be written, unless training data shows how many it takes."""


class Prompted(WrittenTexts, TextGeneration):  # type: ignore[misc]
    """what: "translation" or "summarization", which says how texts are scored. prompt: with {text} in it; None for the
    usual one, which translation has not, for it has to name languages. room: tokens that may be written."""

    def __init__(
        self, what: str, end: int | None, ends: frozenset[int] = frozenset(), prompt: str | None = None,
        room: int = ROOM,
    ) -> None:  # fmt: skip
        super().__init__(end, ends)
        if prompt is not None and prompt.count(TEXT) != 1:
            raise UsageError(f"the prompt {prompt!r} must have {TEXT} in it once, where the text goes")
        self.what, self.prompt, self.room = what, prompt, room
        self.metrics = ("loss", "perplexity", *SCORERS[what].names)

    def settings(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "room": self.room}

    def encode(
        self, examples: Sequence[RewritingExample], tokenizer: Tokenizer, max_length: int, long: str  # type: ignore[override]
    ) -> Encoded:  # fmt: skip
        posed, shortened = self._posed([example.text for example in examples], tokenizer, max_length)
        targets = [example.targets[0].strip() if example.targets else None for example in examples]
        long_ones = 0
        for number, (target, (ids, ends)) in enumerate(
            zip(targets, tokenizer.ids_with_ends([target or "" for target in targets]), strict=True)
        ):
            if target is not None and len(ids) > self.room - 2:  # the token that ends it, and a blank before it
                targets[number], long_ones = target[: int(ends[self.room - 3])], long_ones + 1
        taught = [
            self._answered(one, target, example.where)
            for one, target, example in zip(posed, targets, examples, strict=True)
        ]
        found = super().encode(taught, tokenizer, max_length, "windows")
        told = ((shortened, "text"), (long_ones, "target"))
        notes = (note for count, what in told for note in self._told(count, len(examples), what, max_length))
        return replace(found, notes=(*notes, *found.notes))

    def prompts(
        self, texts: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> tuple[list[Ints], tuple[str, ...]]:
        """The tokens that a model is given to go on with, and what there is to say of them."""
        posed, shortened = self._posed(texts, tokenizer, max_length)
        return self._ids(posed, tokenizer), self._told(shortened, len(texts), "text", max_length)

    def _told(self, count: int, of: int, what: str, max_length: int) -> tuple[str, ...]:
        were = agreed(count, f"[was|were] too long for {max_length} tokens, {self.room} of them for what is written, "
                             "and [has|have] been shortened")  # fmt: skip
        said = f"{count:,} of {counted(of, what)} {were}"
        return (said,) if count else ()

    def _answered(self, posed: GenerationExample, target: str | None, where: str) -> GenerationExample:
        if posed.turns:
            return GenerationExample((*posed.turns, Turn("assistant", target or "")), where=where)
        return GenerationExample(prompt=posed.prompt, target=None if target is None else f" {target}", where=where)

    def _posed(
        self, texts: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> tuple[list[GenerationExample], int]:
        """The prompts, whose texts leave room for what is written, and how many had to be shortened for it."""
        talks = tokenizer.chat_template is not None
        prompt = self.prompt or (ASKED if talks else GONE_ON_WITH).get(self.what)
        if prompt is None:
            raise UsageError(f"a decoder needs a prompt for {self.what}, which says what is to be written: "
                             f"--prompt 'Translate this into German: {TEXT}'")  # fmt: skip
        before, after = prompt.split(TEXT)
        limit = max_length - self.room
        kept = [text.strip() for text in texts]
        found: list[GenerationExample] = [GenerationExample()] * len(texts)
        waiting, shortened = list(range(len(texts))), set[int]()
        while waiting:
            for i in waiting:
                said = before + kept[i] + after
                found[i] = GenerationExample((Turn("user", said),)) if talks else GenerationExample(prompt=said)
            sizes = dict(zip(waiting, map(len, self._ids([found[i] for i in waiting], tokenizer)), strict=True))
            waiting = [i for i, size in sizes.items() if size > limit]
            shortened.update(waiting)
            ends = dict(zip(waiting, tokenizer.ids_with_ends([kept[i] for i in waiting]), strict=True))
            for i in waiting:
                left = len(ends[i][0]) - (sizes[i] - limit)
                if left < 1:
                    raise UsageError(f"max_length is {max_length}, which leaves no room for a text beside the prompt "
                                     f"and {self.room} tokens to be written")  # fmt: skip
                kept[i] = kept[i][: int(ends[i][1][left - 1])].rstrip()
        return found, len(shortened)

    def _ids(self, posed: Sequence[GenerationExample], tokenizer: Tokenizer) -> list[Ints]:
        if not posed or not posed[0].turns:
            frame = Frame(tokenizer, None)
            return [frame.around(ids) for ids in tokenizer.ids_batch([one.prompt for one in posed])]
        assert tokenizer.chat_template is not None
        asked = [(messages(one.turns), True) for one in posed]
        return tokenizer.ids_batch(render_all(tokenizer.chat_template, asked, tokenizer.token_names))
