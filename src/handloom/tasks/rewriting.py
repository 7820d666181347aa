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
from handloom.errors import HandloomError, UsageError
from handloom.models.encoder_decoder import teach
from handloom.tasks.scorers import SCORERS
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Encoded, Feature, Task
from handloom.tensor import Tensor
from handloom.text.encoding import Encoding
from handloom.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Written:
    """What a model has written."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"written": self.text}


@dataclass(frozen=True, slots=True, eq=False)
class PairFeature(Feature):
    """A source, and the tokens of its target, i32 [n]: empty where there is none."""

    target: Array | None = None

    def __len__(self) -> int:
        return len(self.encoding) + (0 if self.target is None else len(self.target))


class Rewriting(Task):
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
        sources = tokenizer.encode_batch([self.prefix + example.text for example in examples])
        targets = tokenizer.target.encode_batch([example.targets[0] if example.targets else "" for example in examples])
        features: list[Feature] = []
        shortened = [0, 0]
        for index, (example, source, target) in enumerate(zip(examples, sources, targets, strict=True)):
            kept = [beginning(side, max_length) for side in (source, target)]
            shortened[0] += len(kept[0]) < len(source)
            learnt = None
            if example.targets:
                shortened[1] += len(kept[1]) < len(target)
                learnt = target.ids[kept[1]]
                if not len(learnt) or not len(kept[0]):
                    raise HandloomError(f"{example.where or 'the data'}: no tokens are left of {example.text!r:.60}")
            features.append(PairFeature(source.take(kept[0]), index, learnt, kept[0], len(source), None, None, learnt))
        notes = tuple(
            f"{count} of {len(examples)} {what} were longer than {max_length} tokens and have been shortened"
            for count, what in zip(shortened, ("texts", "targets"), strict=True) if count
        )  # fmt: skip
        return Encoded(features, len(examples), notes)

    def encode_sources(self, texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> list[Array]:
        """The tokens that are read of each text, i32 [n]."""
        coded = tokenizer.encode_batch([self.prefix + text for text in texts])
        return [one.ids[beginning(one, max_length)] for one in coded]

    def pack(self, part: Any) -> dict[str, Array]:
        pairs = [(feature.encoding.ids, feature.target) for feature in part]
        return teach(pairs, self.start)

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        source = {"source_ids": ("source_tokens",), "source_positions": ("source_tokens",),
                  "source_starts": ("sequences+1",)}  # fmt: skip
        target = {"ids": ("tokens",), "positions": ("tokens",), "starts": ("sequences+1",), "labels": ("tokens",)}
        return {**target, **source}

    def total(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        more = {"smoothing": self.smoothing} if self.smoothing else {}
        found: tuple[Tensor, Tensor] = model.loss(model.encode(batch), batch["labels"], **more)
        return found

    def score(self, examples: Sequence[RewritingExample], predictions: Sequence[Written], seed: int = 0) -> Scores:
        for example in examples:
            if not example.targets:
                raise HandloomError(f"{example.where or 'the data'}: there is no text to compare with")
        found = SCORERS[self.what]([p.text for p in predictions], [e.targets for e in examples], seed)
        wrong = sorted(zip(found.each, examples, predictions, strict=True), key=lambda row: row[0])
        return Scores(
            found.metrics, found.intervals,
            mistakes=[Mistake(e.text, e.targets[0], p.text, value) for value, e, p in wrong[:20]],
        )  # fmt: skip


def beginning(coded: Encoding, max_length: int) -> Array:
    """The indices of at most max_length tokens: special ones, and the first others."""
    everything = np.arange(len(coded), dtype=np.int32)
    if len(coded) <= max_length:
        return everything
    special = everything[coded.sequence < 0]
    if len(special) >= max_length:
        raise UsageError(f"max_length {max_length} leaves no room for text beside {len(special)} special tokens")
    own = everything[coded.sequence == 0][: max_length - len(special)]
    return np.sort(np.concatenate([special, own])).astype(np.int32)
