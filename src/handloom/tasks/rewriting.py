"""Texts for texts: an encoder–decoder reads one and writes another, a translation or a summary.

What is learnt is the target, token by token, given its source. Scores of what the model writes need it written, which
is not a matter of logits: `decode` and `score` take the texts (train/rewriters.py has them written).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.data.examples import RewritingExample
from handloom.errors import HandloomError
from handloom.models.encoder_decoder import teach
from handloom.tasks.metrics import Summands
from handloom.tasks.scorers import SCORERS
from handloom.tasks.scores import LOWEST, Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, Feature, Task
from handloom.tensor import Tensor, random
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Encoding, Ints
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import Cut, LongTexts, cut_all


@dataclass(frozen=True, slots=True)
class Written:
    """What a model has written. cut: whether it breaks off, because there was room for no more."""

    text: str
    cut: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"written": self.text, **({"cut": True} if self.cut else {})}


@dataclass(frozen=True, slots=True, eq=False)
class PairFeature(Feature):
    """A source, and the tokens of its target, i32 [n]: empty where there is none."""

    target: Array | None = None

    def __len__(self) -> int:
        return len(self.encoding) + (0 if self.target is None else len(self.target))


class WrittenTexts:
    """How texts that are written are judged. what: "translation" or "summarization", which says how."""

    what: str

    def score(self, examples: Sequence[RewritingExample], predictions: Sequence[Written], seed: int = 0) -> Scores:
        found = SCORERS[self.what]([p.text for p in predictions], self._right(examples), seed)
        judged = zip(found.each, examples, predictions, strict=True)
        wrong = sorted((row for row in judged if row[2].text not in row[1].targets), key=lambda row: row[0])
        return Scores(
            found.metrics, found.intervals,
            mistakes=[Mistake(e.text, e.targets[0], p.text, value) for value, e, p in wrong[:20]],
            listed=LOWEST,
        )  # fmt: skip

    def counted(self, examples: Sequence[RewritingExample], predictions: Sequence[Written]) -> Counted:
        """Of what BLEU, chrF and ROUGE are made of. A text is right where it is one of the references."""
        scorer = SCORERS[self.what]
        sums, _ = scorer.statistics([p.text for p in predictions], self._right(examples))
        right = [p.text in e.targets for e, p in zip(examples, predictions, strict=True)]
        return Counted(Summands(sums, np.array(right, np.bool_)), scorer.of_sums)

    def _right(self, examples: Sequence[RewritingExample]) -> list[tuple[str, ...]]:
        for example in examples:
            if not example.targets:
                raise HandloomError(f"{example.where or 'the data'}: there is no text to compare with")
        return [example.targets for example in examples]


class Rewriting(WrittenTexts, Task):
    """what: "translation" or "summarization", which says how texts are scored. prefix: is put before every source, such
    as T5's "summarize: ". start: the token that a target begins with. smoothing: of labels."""

    name = "text2text-generation"
    metric = "loss"

    def __init__(self, what: str, start: int, prefix: str = "", smoothing: float = 0.0) -> None:
        self.what, self.start, self.prefix, self.smoothing = what, start, prefix, smoothing
        self.metrics = ("loss", "perplexity", *SCORERS[what].names)

    def settings(self) -> dict[str, Any]:
        return {"prefix": self.prefix, "start": self.start}

    def encode(self, examples: Sequence[RewritingExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """Of a source or a target that is longer than the model allows the beginning is read, whatever `long` says; a
        note says how many there were."""
        read, sources, long_ones = self._read([example.text for example in examples], tokenizer, max_length)
        whole = tokenizer.target.encode_batch([example.targets[0] if example.targets else "" for example in examples])
        targets, found = cut_all(whole, max_length, "head")
        features: list[Feature] = []
        for index, (example, source, target) in enumerate(zip(examples, sources, targets, strict=True)):
            [coded], [kept] = source.windows, source.kept
            learnt = target.windows[0].ids if example.targets else None
            if learnt is not None and not (len(learnt) and len(coded)):
                raise HandloomError(f"{example.where or 'the data'}: no tokens are left of {example.text!r:.60}")
            features.append(PairFeature(coded, index, learnt, kept, len(read[index]), None, None, learnt))
        notes = (*_told(long_ones, "text", max_length), *_told(found, "target", max_length))
        return Encoded(features, len(examples), notes)

    def prompts(
        self, texts: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> tuple[list[Ints], tuple[str, ...]]:
        """What is read of texts, and what there is to say of it."""
        _, cuts, found = self._read(texts, tokenizer, max_length)
        return [one.windows[0].ids for one in cuts], _told(found, "text", max_length)

    def _read(
        self, texts: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> tuple[list[Encoding], list[Cut], LongTexts]:
        """The tokens of texts, their beginnings, which are what is read of them, and how many were longer."""
        whole = tokenizer.encode_batch([self.prefix + text for text in texts])
        return (whole, *cut_all(whole, max_length, "head"))

    def pack(self, part: Any) -> dict[str, Array]:
        pairs = [(feature.encoding.ids, feature.target) for feature in part]
        return teach(pairs, self.start)

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        source = {"source_ids": ("source_tokens",), "source_positions": ("source_tokens",),
                  "source_starts": ("sequences+1",)}  # fmt: skip
        target = {"ids": ("tokens",), "positions": ("tokens",), "starts": ("sequences+1",), "labels": ("tokens",)}
        return {**target, **source}

    def total(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        smoothing = self.smoothing if random.training() else 0.0  # a perplexity is of what is written, not of all words
        found: tuple[Tensor, Tensor] = model.loss(model.encode(batch), batch["labels"], smoothing)
        return found


def _told(found: LongTexts, what: str, max_length: int) -> tuple[str, ...]:
    were = agreed(found.shortened, f"[was|were] longer than {max_length} tokens and [has|have] been shortened")
    said = f"{found.shortened:,} of {counted(found.texts, what)} {were}"
    return (said,) if found.shortened else ()
