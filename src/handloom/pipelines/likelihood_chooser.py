"""LikelihoodChooser: the right one of several answers without training: the one that a language model finds likeliest.

The question is read once, and its choices go on from there, all of them side by side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from handloom.data.examples import CHOICE, ChoiceExample, Dataset
from handloom.data.readers import is_row, read
from handloom.data.results import result_rows
from handloom.errors import HandloomError, UsageError
from handloom.generate.decoder import Conditional, Decoder, Ids
from handloom.generate.generator import Writer
from handloom.generate.sampling import check_numbers, log_probabilities
from handloom.tasks.multiple_choice import Choice, choice_scores, chosen
from handloom.tasks.scores import Scores
from handloom.tasks.task import softmax

BY = ("sum", "token", "character")
PROMPT = "{context} {question}"
AT_ONCE = 16  #: choices that are read side by side, of whole questions


class LikelihoodChooser:
    """by: what is compared: the log-probability of a whole choice ("sum"), a token of it, or a character, so that long
    choices are not at a disadvantage. prompt: what a choice goes on with, after a blank; {context} and {question} stand
    for those of an example."""

    def __init__(self, generator: Writer, by: str = "token", prompt: str = PROMPT) -> None:
        if by not in BY:
            raise UsageError(f"choices cannot be compared by {by!r}; there are {', '.join(BY)}")
        if "{question}" not in prompt and "{context}" not in prompt:
            raise UsageError(f"the prompt {prompt!r} has neither {{question}} nor {{context}} in it")
        self.generator, self.by, self.prompt = generator, by, prompt
        self.notes: tuple[str, ...] = ()  #: what there is to say about the last questions

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, by: str = "token", prompt: str = PROMPT, **how: Any
    ) -> LikelihoodChooser:
        """A decoder or an encoder–decoder: a folder, a name of the catalogue, or `owner/name` on the hub. how: as for
        Writer.from_pretrained."""
        return cls(Writer.from_pretrained(name, **how), by, prompt)

    def read(self, data: Any, *, labelled: bool = False, **reading: Any) -> Dataset[ChoiceExample]:
        return read(data, CHOICE, labelled=labelled, **reading)

    def predict(self, data: Any, **reading: Any) -> Choice | list[Choice]:
        """Of (question, choices), (context, question, choices) or one row as a dict one choice; of a list, a path or a
        data set a list. `scores` are shares of what is compared (`by`)."""
        alone = is_row(data) and not isinstance(data, str)
        found = self._chosen(self.read([data] if alone else data, **reading).examples)
        return found[0] if alone else found

    def predict_dicts(self, data: Any, **reading: Any) -> list[dict[str, Any]]:
        """The question, its choices, the prediction, and the input's other columns."""
        dataset = self.read(data, **reading)
        return result_rows(dataset.examples, [one.to_dict() for one in self._chosen(dataset.examples)])

    def evaluate(self, data: Any, *, seed: int = 0, **reading: Any) -> Scores:
        """Accuracy on questions with their answers."""
        dataset = self.read(data, labelled=True, **reading)
        return choice_scores(dataset.examples, self._chosen(dataset.examples), seed)

    def log_probabilities(self, examples: Sequence[ChoiceExample]) -> list[list[list[float]]]:
        """For each example and choice the log-probabilities of the choice's tokens."""
        asked = [self._tokens(example) for example in examples]
        short = sum(cut for _, _, cut in asked)
        long = f"{short} of {len(asked)} questions are longer than the model's context; their ends were read"
        self.notes = (long,) if short else ()
        found: list[list[list[float]]] = []
        begin = 0
        while begin < len(asked):
            end = begin + 1
            while end < len(asked) and sum(len(tails) for _, tails, _ in asked[begin : end + 1]) <= AT_ONCE:
                end += 1
            group = [(head, tails) for head, tails, _ in asked[begin:end]]
            found += tail_scores(*self._decoder([head for head, _ in group]), [tails for _, tails in group])
            begin = end
        return found

    def _chosen(self, examples: Sequence[ChoiceExample]) -> list[Choice]:
        said = self.log_probabilities(examples)
        return [chosen(e.choices, softmax(self._compared(e, one))) for e, one in zip(examples, said, strict=True)]

    def _compared(self, example: ChoiceExample, said: Sequence[Sequence[float]]) -> Any:
        sums = np.array([sum(tokens) for tokens in said])
        if self.by == "sum":
            return sums
        return sums / [len(tokens if self.by == "token" else choice)
                       for choice, tokens in zip(example.choices, said, strict=True)]  # fmt: skip

    def _tokens(self, example: ChoiceExample) -> tuple[Ids, list[Ids], bool]:
        """What all choices go on from, how each does, and whether the question had to be cut. A decoder's texts part
        where their tokens do: a token may span the end of the question."""
        given = self.prompt.replace("{context}", example.context).replace("{question}", example.question).strip()
        tokenizer, context = self.generator.tokenizer, self.generator.decoder.context
        if isinstance(self.generator.decoder, Conditional):
            tails = [self.generator.written.ids(choice, frame=False) for choice in example.choices]
            head, most = tokenizer.ids(given), 0 if context is None else context
        else:
            wholes = [self.generator.encode(f"{given} {choice}") for choice in example.choices]
            shared = _shared([self.generator.encode(given), *(whole[:-1] for whole in wholes)])
            head, tails = wholes[0][:shared], [whole[shared:] for whole in wholes]
            most = 0 if context is None else context + 1 - max(2, *map(len, tails))
        where = example.where or "the question"
        if not len(head) or not all(map(len, tails)):
            raise HandloomError(f"{where}: the question or a choice has no tokens")
        if context is not None and most < 1:
            raise HandloomError(f"{where}: a choice is longer than the model's context of {context:,} tokens")
        return (head[-most:], tails, True) if most and len(head) > most else (head, tails, False)

    def _decoder(self, heads: Sequence[Ids]) -> tuple[Decoder, list[Ids]]:
        """What goes on, and from what: a decoder from the questions, an encoder–decoder that has read them from what
        its texts begin with."""
        decoder = self.generator.decoder
        if isinstance(decoder, Conditional):
            return decoder.given(heads), [decoder.beginning(head) for head in heads]
        return decoder, list(heads)


def tail_scores(decoder: Decoder, heads: Sequence[Ids], tails: Sequence[Sequence[Ids]]) -> list[list[list[float]]]:
    """For each head the log-probabilities of the tokens of its tails, which all go on from one reading of it."""
    rows = [(head, tail) for head, own in enumerate(tails) for tail in range(len(own))]
    found: list[list[list[float]]] = [[[] for _ in own] for own in tails]
    state, logits = decoder.start(list(heads))
    keep = [head for head, _ in rows]
    logits = logits[keep]
    state.keep(keep)
    at = 0
    while True:
        check_numbers(logits)
        chances = log_probabilities(logits)
        for (head, tail), row in zip(rows, chances, strict=True):
            found[head][tail].append(float(row[tails[head][tail][at]]))
        going = [i for i, (head, tail) in enumerate(rows) if len(tails[head][tail]) > at + 1]
        if not going:
            return found
        state.keep(going)
        rows = [rows[i] for i in going]
        logits = state.step(np.array([tails[head][tail][at] for head, tail in rows], np.int32))
        at += 1


def _shared(texts: Sequence[Ids]) -> int:
    """How many tokens all texts begin with."""
    least = min(map(len, texts))
    same = np.all([text[:least] == texts[0][:least] for text in texts], axis=0)
    return int(np.argmin(np.append(same, False)))
