"""Causal fine-tuning of a decoder: on conversations, on prompts with what follows them, on whole texts and programs.

It is judged by the loss of what is learnt and, at the end, by what it writes where something was asked: exact matches,
and the F1 of the longest common subsequence of words (ROUGE-L).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from handloom.data.examples import GenerationExample
from handloom.errors import HandloomError
from handloom.tasks.continuing import Continuing, Frame, bare, feature, windows
from handloom.tasks.dialogue import Dialogues
from handloom.tasks.metrics import Summands, evaluated, mean_of
from handloom.tasks.rewriting import Written
from handloom.tasks.scorers import rouge_l, words
from handloom.tasks.scores import LOWEST, Mistake, Scores
from handloom.tasks.task import Array, Counted, Encoded, Feature
from handloom.text.counting import agreed, counted
from handloom.text.tokenizer import Tokenizer

WRITTEN = {"exact_match": mean_of(1), "rougeL": mean_of(2)}
"""Metrics of what is written, as sums over examples."""


class TextGeneration(Continuing):
    """end: the token that ends a text. ends: all that may end one. talks: the model learns or has learnt conversations.
    plain: by a template that it did not have. `turn_ends`: the tokens that end a turn of the assistant's, once
    conversations have been encoded."""

    metrics: tuple[str, ...] = ("loss", "perplexity", "exact_match", "rougeL")

    def __init__(
        self, end: int | None, ends: frozenset[int] = frozenset(), talks: bool = False, plain: bool = False
    ) -> None:
        self.end, self.ends, self.talks, self.plain = end, ends, talks, plain
        self.turn_ends: set[int] = set()

    def encode(
        self, examples: Sequence[GenerationExample], tokenizer: Tokenizer, max_length: int, long: str
    ) -> Encoded:
        """A text that is too long is read in windows one behind the other (its head with `long="head"`); of a prompt
        that is too long the end, of what follows it the beginning; conversations are cut between turns. Notes say so.
        """
        found: list[list[Feature]] = [[] for _ in examples]
        notes: list[str] = []
        frame = Frame(tokenizer, self.end)
        self._texts(examples, tokenizer, frame, max_length, long, found, notes)
        self._pairs(examples, tokenizer, frame, max_length, found, notes)
        if talks := [(number, example) for number, example in enumerate(examples) if example.turns]:
            template = tokenizer.chat_template
            if template is None:
                raise HandloomError("the model has no chat template, so that it cannot be told conversations")
            read = Dialogues(tokenizer, template, self.ends, max_length, long)
            read.read(talks)
            for part, made in read.features:
                found[part.example].append(made)
            if self.plain:
                notes.append("the model has no chat template: turns are written plainly, as 'user:', a line end and "
                             "what is said; this template is saved with the model")  # fmt: skip
            notes += read.notes
            self.turn_ends |= read.turn_ends
        features = [one for group in found for one in group]
        if examples and not features:
            raise HandloomError("nothing is left to learn: " + ("; ".join(notes) or "the texts have one token at most"))
        return Encoded(features, len(examples), tuple(notes))

    def _texts(
        self, examples: Sequence[GenerationExample], tokenizer: Tokenizer, frame: Frame, max_length: int, long: str,
        found: list[list[Feature]], notes: list[str],
    ) -> None:  # fmt: skip
        places = [i for i, e in enumerate(examples) if not e.turns and not e.prompt]
        cut = parts = 0
        for number, ids in zip(places, tokenizer.ids_batch([examples[i].target or "" for i in places]), strict=True):
            whole = frame.around(ids, ended=not examples[number].goes_on)
            found[number] = windows(number, whole, max_length, long)
            if len(whole) > max_length + 1:
                cut, parts = cut + 1, parts + len(found[number])
        if cut:
            how = "shortened" if long == "head" else f"read in {counted(parts, 'window')}"
            are = agreed(cut, f"[is|are] longer than {max_length} tokens and [is|are]")
            notes.append(f"{cut:,} of {counted(len(places), 'text')} {are} {how}")

    def _pairs(
        self, examples: Sequence[GenerationExample], tokenizer: Tokenizer, frame: Frame, max_length: int,
        found: list[list[Feature]], notes: list[str],
    ) -> None:  # fmt: skip
        """The tokens of prompt and target together, as they would stand in a text."""
        places = [i for i, e in enumerate(examples) if not e.turns and e.prompt]
        prompts = tokenizer.ids_batch([examples[i].prompt for i in places])
        coded = tokenizer.ids_with_ends([examples[i].prompt + (examples[i].target or "") for i in places])
        shortened = unlike = 0
        for number, alone, (ids, ends) in zip(places, prompts, coded, strict=True):
            begun = int((ends <= len(examples[number].prompt)).sum())
            unlike += begun != len(alone) or bool((ids[:begun] != alone).any())
            first, last = fitted(begun, len(ids) - begun, max_length - len(frame.before))
            whole = frame.around(ids[begun - first : begun + last], ended=last == len(ids) - begun)
            shortened += first < begun or last < len(ids) - begun
            kept = np.arange(len(whole), dtype=np.int32)
            kept[len(frame.before) :] += begun - first
            learnt = np.arange(len(whole)) >= len(frame.before) + first
            size = len(frame.around(ids)) - 1
            if examples[number].target is None:  # nothing is known of what follows, and nothing counts
                shown = whole[: len(frame.before) + first]
                rows = np.array([len(shown) - 1], np.int32)
                found[number] = [Feature(bare(shown), number, None, kept[: len(shown)], size, rows, rows)]
            elif (made := feature(number, whole, learnt, kept, size)) is not None:
                found[number] = [made]
        if shortened:
            are = agreed(shortened, f"with what follows [is|are] longer than {max_length} tokens")
            notes.append(f"{shortened:,} of {counted(len(places), 'prompt')} {are}: of the prompt the end is read, "
                         "of what follows the beginning")  # fmt: skip
        if unlike:
            have = agreed(unlike, "[has|have] other tokens when [it stands|they stand]")
            notes.append(f"{counted(unlike, 'prompt')} {have} alone (one that ends with a blank, "
                         "say): what follows will begin a little otherwise than it was learnt")  # fmt: skip

    def score(
        self, examples: Sequence[GenerationExample], predictions: Sequence[Written], seed: int = 0
    ) -> Scores:
        """Of what was written where something was asked; nothing for whole texts."""
        asked = [(e, p) for e, p in zip(examples, predictions, strict=True) if e.answer is not None]
        if not asked:
            return Scores({})
        sums = self._sums([e for e, _ in asked], [p for _, p in asked])
        judged = zip(sums[:, 2].tolist(), asked, strict=True)
        wrong = sorted(((value, e, p) for value, (e, p) in judged if p.text != e.answer), key=lambda row: row[0])
        return Scores(
            *evaluated(sums, WRITTEN, seed),
            mistakes=[Mistake(_question(e), str(e.answer), p.text, value) for value, e, p in wrong[:20]],
            listed=LOWEST,
        )  # fmt: skip

    def counted(self, examples: Sequence[GenerationExample], predictions: Sequence[Written]) -> Counted | None:
        if all(example.answer is None for example in examples):
            return None
        sums = self._sums(examples, predictions)
        return Counted(Summands(sums, sums[:, 1] > 0), WRITTEN)

    def _sums(self, examples: Sequence[GenerationExample], predictions: Sequence[Written]) -> Array:
        """f64 [examples, 3]: 1, exact match and ROUGE-L; all 0 where nothing was asked."""
        rows = []
        for example, said in zip(examples, predictions, strict=True):
            if example.answer is None:
                rows.append([0.0, 0.0, 0.0])
                continue
            exact = said.text.split() == example.answer.split()
            rows.append([1.0, float(exact), rouge_l(words(said.text), words(example.answer))])
        return np.array(rows, np.float64).reshape(len(rows), 3)

    def settings(self) -> dict[str, Any]:
        return {"talks": self.talks}


def fitted(before: int, after: int, room: int) -> tuple[int, int]:
    """(of the prompt, of what follows) tokens that are read, `room` together: what follows comes first, up to half of
    it; the token that is learnt last is not read."""
    if before + after <= room:
        return before, after
    kept = min(after, max(room // 2, room - before))
    return min(before, room - kept), kept


def _question(example: GenerationExample) -> str:
    """What was asked, without the reply."""
    return "\n".join(turn.content for turn in example.asked) or example.prompt
