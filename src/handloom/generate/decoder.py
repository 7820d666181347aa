"""Language models that go on with token sequences, one token at a time.

`Decoder` and `State` are all that searching knows of a model. A family joins by giving both; `CachedDecoder` does so
for decoders whose attention goes through nn.attention.attend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import DecoderConfig
from handloom.models.language_model import LanguageModel

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

CHUNK = 1024
"""Tokens of prompts that are read in one run of the program, and so the most sequences that go on together."""
SCORED = 256
"""Rows of logits that are held at once where every token's is wanted."""
SMALLEST_ROOM = 256
MOST_SLOTS = 2**31 - 1
"""Rows of a cache: they are counted in i32, and no memory is planned by their number."""

SYMBOLS = {"ids": ("tokens",), "positions": ("tokens",), "slots": ("tokens",), "starts": ("sequences+1",),
           "key_starts": ("sequences",), "key_ends": ("sequences",), "rows": ("rows",)}  # fmt: skip
"""The batch of one run over a cache."""
CAPACITY = {"tokens": CHUNK, "sequences": CHUNK, "rows": CHUNK, "slots": MOST_SLOTS}


class State(Protocol):
    """Some sequences, as far as they have been read."""

    def step(self, tokens: Ids, /) -> Floats:
        """Reads one more token of every sequence, i32[S]; logits f32[S, vocabulary] of what comes next."""

    def keep(self, sequences: Sequence[int], /) -> None:
        """Goes on with these of its sequences, in this order; one may come several times."""


class Decoder(Protocol):
    @property
    def vocabulary(self) -> int: ...

    @property
    def context(self) -> int | None:
        """The most tokens that a sequence can have; None: there is no limit."""

    def beginning(self, prompt: Ids, /) -> Ids:
        """What a text consists of before its first new token, which penalties and the context count: the prompt itself,
        or what an encoder–decoder writes first."""

    def start(self, prompts: Sequence[Ids], /) -> tuple[State, Floats]:
        """Reads prompts of one token or more each; logits f32[S, vocabulary] of what comes after them."""

    def logits(self, ids: Ids, /) -> Iterator[Floats]:
        """Of every token of a text, what comes after it: f32[n, vocabulary] piece by piece, in order."""


def check_prompts(prompts: Sequence[Ids], context: int | None) -> None:
    """Raises HandloomError for a prompt without tokens, and for one that leaves no room for a token."""
    for number, prompt in enumerate(prompts, 1):
        which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
        if not len(prompt):
            raise HandloomError(f"{which} has no tokens, and the tokenizer adds none at the beginning: write something")
        if context is not None and len(prompt) >= context:
            raise HandloomError(
                f"{which} has {len(prompt):,} tokens, and the model's context holds {context:,} "
                "with at least one new token among them: shorten the prompt"
            )


class Reader(Protocol):
    """What a cache asks of the model whose keys and values it holds."""

    width: int

    def cells(self) -> list[str]:
        """The names of a cache's arrays [slots, width]."""

    def run(self, cache: dict[str, Floats], batch: dict[str, Ids], prompts: Ids, /) -> Floats:
        """Logits f32[R, vocabulary] of batch["rows"]; the cache is written to. prompts: the number of the prompt that
        each sequence of the batch began with."""


class CachedDecoder:
    """A model whose layers keep keys and values of what they have read."""

    def __init__(
        self, model: LanguageModel, threads: int | None = None, precision: str = "f32", weights: str = "f32"
    ) -> None:
        """weights: what matrices are stored in, "f32", "bf16" or "int8": one new token takes the time that reading
        them takes."""
        config = model.config
        assert isinstance(config, DecoderConfig)
        self.model, self.config = model, config
        self.width = config.key_value_heads * config.head_size
        self.params = model.parameters()
        self._run = ht.compile(
            self._forward,
            symbols={"cache": dict.fromkeys(self.cells(), ("slots", self.width)), "batch": SYMBOLS},
            capacity=CAPACITY,
            donate=("cache",),
            constant=("params",),
            threads=threads,
            precision=precision,
            weights=weights,
        )

    @property
    def vocabulary(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int | None:
        return self.config.max_length

    def beginning(self, prompt: Ids) -> Ids:
        return prompt

    def start(self, prompts: Sequence[Ids]) -> tuple[Cache, Floats]:
        check_prompts(prompts, self.context)
        state = Cache(self, len(prompts), max(map(len, prompts)))
        return state, np.concatenate(list(state.read(prompts)))

    def logits(self, ids: Ids) -> Iterator[Floats]:
        check_prompts([ids[:-1] if len(ids) == self.context else ids], self.context)
        return Cache(self, 1, len(ids)).score(ids)

    def _forward(self, params: Any, cache: Any, batch: Any) -> Any:
        layers = [(cache[f"{i}.keys"], cache[f"{i}.values"]) for i in range(self.config.layers)]
        everything = {**batch, "cache": layers, "longest": self.context}
        with self.model.bound(params):
            logits = self.model.score(self.model.encode(everything), everything)
        return dict(zip(self.cells(), (x for layer in layers for x in layer), strict=True)), logits

    def cells(self) -> list[str]:
        return names(self.config.layers)

    def run(self, cache: dict[str, Floats], batch: dict[str, Ids], prompts: Ids) -> Floats:
        after, logits = self._run(self.params, cache, batch)
        adopt(cache, after)
        found: Floats = logits.numpy()
        return found


def names(layers: int) -> list[str]:
    """Of the arrays that hold keys and values of so many layers."""
    return [f"{i}.{what}" for i in range(layers) for what in ("keys", "values")]


def adopt(cache: dict[str, Floats], after: dict[str, Any]) -> None:
    """Takes over the arrays that a run has made of a cache."""
    for name, array in after.items():
        if array.numpy() is not cache[name]:  # the reference backend makes new ones
            cache[name] = array.numpy()


@dataclass
class Cache:
    """The keys and values of some sequences, each with `room` slots of its own: a power of two that all of them share,
    doubled when one is full."""

    decoder: Reader
    sequences: int
    longest: int

    def __post_init__(self) -> None:
        self.room = _room(self.longest + 1)
        self.lengths = np.zeros(self.sequences, np.int32)
        self.prompts = np.arange(self.sequences, dtype=np.int32)  # the number of the one that each began with
        shape = (self.sequences * self.room, self.decoder.width)
        self._cells = {name: np.zeros(shape, np.float32) for name in self.decoder.cells()}

    def read(self, prompts: Sequence[Ids]) -> Iterator[Floats]:
        """Reads prompts packed, CHUNK tokens a run; the logits of those that end in a run."""
        pieces: list[tuple[int, Ids]] = []
        free, ended = CHUNK, []
        for number, prompt in enumerate(prompts):
            begin = 0
            while begin < len(prompt):
                piece = prompt[begin : begin + free]
                pieces.append((number, piece))
                begin, free = begin + len(piece), free - len(piece)
                if begin == len(prompt):
                    ended.append(CHUNK - free - 1)
                if not free or (number == len(prompts) - 1 and begin == len(prompt)):
                    yield self.run(pieces, np.asarray(ended, np.int32))
                    pieces, free, ended = [], CHUNK, []

    def score(self, ids: Ids) -> Iterator[Floats]:
        """Reads a text as the only sequence; the logits of all its tokens, SCORED a piece."""
        for begin in range(0, len(ids), SCORED):
            part = ids[begin : begin + SCORED]
            yield self.run([(0, part)], np.arange(len(part), dtype=np.int32))

    def step(self, tokens: Ids) -> Floats:
        found = []
        for begin in range(0, len(tokens), CHUNK):
            part = tokens[begin : begin + CHUNK]
            pieces = [(begin + i, part[i : i + 1]) for i in range(len(part))]
            found.append(self.run(pieces, np.arange(len(part), dtype=np.int32)))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def run(self, pieces: Sequence[tuple[int, Ids]], rows: Ids) -> Floats:
        """Reads the next tokens of some sequences; logits of `rows` among them."""
        numbers = np.array([number for number, _ in pieces], np.int32)
        counts = np.array([len(piece) for _, piece in pieces], np.int32)
        before = self.lengths[numbers]
        self._grow(int((before + counts).max()))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        positions = np.arange(starts[-1], dtype=np.int32) + np.repeat(before - starts[:-1], counts)
        first = numbers * np.int32(self.room)
        batch = {
            "ids": np.concatenate([piece for _, piece in pieces]).astype(np.int32),
            "positions": positions,
            "slots": positions + np.repeat(first, counts),
            "starts": starts,
            "key_starts": first,
            "key_ends": first + before + counts,
            "rows": rows,
        }
        logits = self.decoder.run(self._cells, batch, self.prompts[numbers])
        self.lengths[numbers] += counts
        return logits

    def keep(self, sequences: Sequence[int]) -> None:
        if list(sequences) != list(range(len(self.lengths))):
            self._move(np.asarray(sequences, np.intp), self.room)

    def _grow(self, length: int) -> None:
        if length > self.room:
            self._move(np.arange(len(self.lengths)), _room(length))

    def _move(self, sequences: npt.NDArray[np.intp], room: int) -> None:
        used = int(self.lengths.max(initial=0))
        self._cells = {name: self._moved(x, sequences, used, room) for name, x in self._cells.items()}
        self.lengths, self.prompts, self.room = self.lengths[sequences], self.prompts[sequences], room

    def _moved(self, x: Floats, sequences: npt.NDArray[np.intp], used: int, room: int) -> Floats:
        old = x.reshape(len(self.lengths), self.room, -1)
        new = np.zeros((len(sequences), room, old.shape[2]), np.float32)
        new[:, :used] = old[sequences, :used]
        return new.reshape(len(sequences) * room, -1)


def _room(tokens: int) -> int:
    return max(SMALLEST_ROOM, 1 << (tokens - 1).bit_length())
