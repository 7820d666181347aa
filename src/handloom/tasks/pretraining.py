"""Pre-training tasks: windows of a token file become packed batches with what the model is to predict in them.

A window is so many tokens of the file. Documents that it touches are sequences of their own: no attention goes from one
to another. `OBJECTIVES` says which objective teaches which kind of model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import handloom.tensor as ht
from handloom.data.draws import Draws
from handloom.data.token_file import TokenFile
from handloom.errors import HandloomError
from handloom.models.encoder import labelled_rows
from handloom.models.encoder_decoder import teach
from handloom.tasks import objectives
from handloom.tasks.task import Batch, Task
from handloom.tensor import Tensor
from handloom.text.marks import marks
from handloom.text.tokenizer import Tokenizer

Array = NDArray[Any]


@dataclass(frozen=True)
class Choices:
    """What a user can choose about an objective. rate and span: share and mean length of what is hidden, None for the
    published ones; start: the id that a decoder begins with."""

    context: int
    rate: float | None = None
    span: float | None = None
    whole_words: bool = False
    seed: int = 0
    start: int = 0


@dataclass(frozen=True)
class Windows:
    """Windows of a token file: their first tokens, their lengths, and the numbers that their random draws go by, i64[n]
    each. The file is a ring: a window that reaches its end goes on with its first document. follows: whether each goes
    on where the one of the batch before has ended."""

    file: TokenFile
    first: Array
    lengths: Array
    numbers: Array
    seed: int = 0
    follows: bool = False

    def continued(self) -> Array:
        """bool[n]: which windows go on with a document that the one before has begun."""
        first = self.first % len(self.file)
        starts = self.file.starts
        inside: Array = starts[np.searchsorted(starts, first)] != first
        return inside & self.follows

    def tokens(self, beyond: int = 0) -> tuple[Array, Array, Array]:
        """(ids i32, begins bool, owner i64) of all windows' tokens and `beyond` more behind each: where a sequence
        begins, and in which window each token is."""
        sizes = self.lengths + beyond
        owner = np.repeat(np.arange(len(sizes)), sizes)
        at = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + self.first[owner]
        at %= len(self.file)
        document = np.searchsorted(self.file.starts, at, side="right")
        begins = np.ones(len(at), bool)
        begins[1:] = (document[1:] != document[:-1]) | (owner[1:] != owner[:-1]) | (at[1:] == 0)
        return self.file.tokens[at].astype(np.int32), begins, owner

    def sequences(self) -> list[tuple[Array, Draws]]:
        """The ids of each document's part in each window, and its window's draws."""
        ids, begins, owner = self.tokens()
        starts = np.flatnonzero(begins)
        draws = [Draws(self.seed, int(number)) for number in self.numbers]
        parts = np.split(ids, starts[1:])
        return [(part, draws[owner[start]]) for part, start in zip(parts, starts.tolist(), strict=True)]


class Pretraining(Task):
    """An objective for windows of `width` tokens, and `beyond` more. head_task: whose model it teaches."""

    name = "pretraining"
    metric = "loss"
    metrics: tuple[str, ...] = ("loss", "perplexity")
    head_task: ClassVar[str]
    rate: ClassVar[float] = 0.0
    span: ClassVar[float] = 0.0
    beyond: ClassVar[int] = 0

    def __init__(self, tokenizer: Tokenizer, choices: Choices) -> None:
        self.choices = choices
        self.before, self.after = frame(tokenizer)
        self.hidden_share = self.rate if choices.rate is None else choices.rate
        self.mean_span = self.span if choices.span is None else choices.span
        self.width = choices.context - len(self.before) - len(self.after)
        self.prepare(tokenizer)
        if self.width < 1:
            raise HandloomError(f"a context of {choices.context} tokens leaves no room for text")

    def prepare(self, tokenizer: Tokenizer) -> None:
        """Looks up what the objective needs of the vocabulary. HandloomError for what it has not."""

    def batch(self, windows: Windows) -> dict[str, Array]:
        """The packed batch of some windows, a function of them alone."""
        raise NotImplementedError

    def capacity(self, windows: int, pieces: int) -> dict[str, int]:
        """The most that a batch of so many windows has if none of them has parts of more than `pieces` documents."""
        raise NotImplementedError

    def pack(self, part: Any) -> dict[str, Array]:
        return part if isinstance(part, dict) else self.batch(part)

    def total(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = model.loss(labelled_rows(model.encode(batch), batch), batch["labels"])
        return found


def frame(tokenizer: Tokenizer) -> tuple[Array, Array]:
    """The special tokens that a tokenizer puts before and after a text, i32 each."""
    coded = tokenizer.encode("a")
    own = np.flatnonzero(~coded.special)
    first, last = (int(own[0]), int(own[-1]) + 1) if len(own) else (len(coded), len(coded))
    return coded.ids[:first], coded.ids[last:]


def packed(sequences: list[Array]) -> dict[str, Array]:
    """ids, positions i32 [T], starts i32 [S + 1]."""
    sizes = np.fromiter(map(len, sequences), np.int64, len(sequences))
    starts = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=starts[1:])
    ids = np.concatenate(sequences).astype(np.int32)
    return {"ids": ids, "positions": _positions(starts), "starts": starts}


def _positions(starts: Array) -> Array:
    positions: Array = np.arange(starts[-1], dtype=np.int32) - np.repeat(starts[:-1], np.diff(starts))
    return positions


_PACKED: Mapping[str, tuple[Any, ...]] = {"ids": ("tokens",), "positions": ("tokens",), "starts": ("sequences+1",)}


def _room(tokens: int, sequences: int, **more: int) -> dict[str, int]:
    """Rounded up, so that like corpora share a compiled program."""
    sizes = {"tokens": tokens, **more}
    return {"sequences": sequences, **{name: -(-size // 64) * 64 for name, size in sizes.items()}}


class Causal(Pretraining):
    """Each token is predicted from those before it. Every token of a window has a label, except where the next one is
    another document's."""

    head_task = "text-generation"
    metrics = ("loss", "perplexity", "bits_per_byte")
    beyond = 1  # a window's last token is told its next one, too

    def prepare(self, tokenizer: Tokenizer) -> None:
        self.width = self.choices.context  # beginnings and ends of documents are in the file

    def batch(self, windows: Windows) -> dict[str, Array]:
        ids, begins, _ = windows.tokens(beyond=1)
        own = np.ones(len(ids), bool)
        own[np.cumsum(windows.lengths + 1) - 1] = False
        inside = np.flatnonzero(own)
        labels = np.where(begins[inside + 1], np.int32(objectives.NO_LABEL), ids[inside + 1])
        starts = np.append(np.flatnonzero(begins[inside]), len(inside)).astype(np.int32)
        return {"ids": ids[inside], "positions": _positions(starts), "starts": starts, "labels": labels}

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        return {**_PACKED, "labels": ("tokens",)}

    def capacity(self, windows: int, pieces: int) -> dict[str, int]:
        return _room(windows * self.width, windows * pieces)


class Streamed(Causal):
    """Causal, for recurrent models: windows follow each other row by row, and each row's state goes on from step to
    step, but not from document to document. No gradient reaches back to the step before (truncated back-propagation:
    Williams and Peng 1990; Mikolov and others 2010)."""

    def __init__(self, tokenizer: Tokenizer, choices: Choices, rows: int) -> None:
        super().__init__(tokenizer, choices)
        self.streams = rows

    def begin(self, model: Any) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = model.begin(self.streams)
        return found

    def carry(self, model: Any, batch: Batch, carried: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nothing = ht.zeros(carried[0].shape[0], 1, carried[0].shape[2])
        before = (ht.concatenate([nothing, part], 1) for part in carried)
        hidden, after = model.encoder_part.walk(batch, tuple(_rows(part, batch["continues"]) for part in before))
        return *model.loss(hidden, batch["labels"]), *(_rows(part, batch["lasts"]) for part in after)

    def batch(self, windows: Windows) -> dict[str, Array]:
        """continues i32 [sequences]: 1 + the row whose document a sequence goes on with, else 0; lasts i32 [rows]: the
        sequence that each row ends with."""
        found = super().batch(windows)
        ends = np.cumsum(windows.lengths)
        continues = np.zeros(len(found["starts"]) - 1, np.int32)
        first = np.searchsorted(found["starts"], ends - windows.lengths)
        continues[first] = np.where(windows.continued(), np.arange(1, len(ends) + 1), 0)
        lasts = np.searchsorted(found["starts"], ends) - 1
        return {**found, "continues": continues, "lasts": lasts.astype(np.int32)}

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        return {**super().symbols(), "continues": ("sequences",), "lasts": (self.streams,)}


def _rows(state: Tensor, numbers: Tensor) -> Tensor:
    """[layers, numbers, hidden]: some rows of a state [layers, rows, hidden]."""
    layers = state.shape[0]
    assert isinstance(layers, int)
    return ht.stack([ht.take(state[layer], numbers) for layer in range(layers)])


class Masked(Pretraining):
    """BERT's: 15 % of the tokens are to be predicted, most of them behind a mask."""

    head_task = "fill-mask"
    rate = 0.15

    def prepare(self, tokenizer: Tokenizer) -> None:
        self.mask = needed(tokenizer, "mask", "[MASK]")
        self.marks = marks(tokenizer)
        self.ordinary = np.flatnonzero(~self.marks.special)

    def batch(self, windows: Windows) -> dict[str, Array]:
        shown, rows, labels, at = [], [], [], 0
        for ids, draws in windows.sequences():
            places = objectives.chosen_places(
                self.marks.words(ids), self.hidden_share, self.choices.whole_words, draws
            )
            hidden = objectives.masked(ids, places, self.mask, self.ordinary, draws)
            rows.append(places + (at + len(self.before)))
            labels.append(ids[places])
            shown.append(np.concatenate([self.before, hidden, self.after]))
            at += len(shown[-1])
        found = packed(shown)
        return {
            **found, "types": np.zeros_like(found["ids"]),
            "rows": np.concatenate(rows).astype(np.int32), "labels": np.concatenate(labels).astype(np.int32),
        }  # fmt: skip

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        return {**_PACKED, "types": ("tokens",), "rows": ("rows",), "labels": ("rows",)}

    def capacity(self, windows: int, pieces: int) -> dict[str, int]:
        tokens = windows * (self.width + pieces * (len(self.before) + len(self.after)))
        return _room(tokens, windows * pieces, rows=tokens)


class Sequences(Pretraining):
    """For encoder–decoders: a corrupted source, and a target that the decoder says token by token."""

    head_task = "text2text-generation"

    def corrupted(self, ids: Array, draws: Draws) -> tuple[Array, Array] | None:
        """(source, target), both with all that frames them; None for a part that is too short."""
        raise NotImplementedError

    def batch(self, windows: Windows) -> dict[str, Array]:
        pairs = [pair for ids, draws in windows.sequences() if (pair := self.corrupted(ids, draws)) is not None]
        if not pairs:
            raise HandloomError("the documents are too short for this objective: none has two tokens")
        return teach(pairs, self.choices.start)

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        source = {"source_ids": ("source_tokens",), "source_positions": ("source_tokens",),
                  "source_starts": ("sequences+1",)}  # fmt: skip
        return {**_PACKED, **source, "labels": ("tokens",)}

    def capacity(self, windows: int, pieces: int) -> dict[str, int]:
        tokens = windows * (self.width + pieces * (1 + len(self.before) + len(self.after)))
        return _room(tokens, windows * pieces, source_tokens=tokens)


class SpanCorruption(Sequences):
    """T5's: spans are replaced by sentinels, the target says what was there. Windows are as long as it takes to fill
    the context after that."""

    rate, span = 0.15, 3.0

    def prepare(self, tokenizer: Tokenizer) -> None:
        found: list[int] = []
        while (index := tokenizer.token_id(f"<extra_id_{len(found)}>")) is not None:
            found.append(index)
        self.sentinels = np.array(found, np.int32)
        self.width = objectives.window_for(self.choices.context, self.hidden_share, self.mean_span)[0]
        spans = objectives.span_counts(self.width, self.hidden_share, self.mean_span)[1]
        if spans > len(found):
            raise HandloomError(
                f"span corruption with a context of {self.choices.context} needs {spans} sentinels, <extra_id_0> and "
                f"so on, and the tokenizer has {len(found)}; take a tokenizer made for it, or a shorter --context"
            )

    def corrupted(self, ids: Array, draws: Draws) -> tuple[Array, Array] | None:
        if len(ids) < 2:
            return None
        noise = objectives.noise_mask(len(ids), self.hidden_share, self.mean_span, draws)
        source, target = objectives.span_corruption(ids, noise, self.sentinels)
        return np.append(source, self.after), np.append(target, self.after)


class Denoising(Sequences):
    """BART's: sentences change places and spans hide behind single masks; the target is the text as it was."""

    rate, span = 0.3, 3.0

    def prepare(self, tokenizer: Tokenizer) -> None:
        self.mask = needed(tokenizer, "mask", "<mask>")
        self.marks = marks(tokenizer)

    def corrupted(self, ids: Array, draws: Draws) -> tuple[Array, Array] | None:
        moved = objectives.permuted_sentences(ids, self.marks.ends[ids], draws)
        hidden = objectives.infilled(moved, self.mask, self.hidden_share, self.mean_span, draws)
        return tuple(np.concatenate([self.before, part, self.after]) for part in (hidden, ids))  # type: ignore[return-value]


def needed(tokenizer: Tokenizer, role: str, usual: str) -> int:
    """The id of a special token. HandloomError where the vocabulary has none."""
    found: int | None = getattr(tokenizer, role)
    if found is None:
        raise HandloomError(
            f"the tokenizer has no {role} token (usually {usual}), which this objective needs; "
            f"take a tokenizer that has one, or let --tokenizer learn one"
        )
    return found


#: Objectives by name. Which kind of model each teaches is its `head_task`.
OBJECTIVES: Mapping[str, type[Pretraining]] = {
    "causal": Causal,
    "masked": Masked,
    "span-corruption": SpanCorruption,
    "denoising": Denoising,
}
