"""Language models that go on with token sequences, one token at a time.

`Decoder` and `State` are all that searching knows of a model. A family joins by giving both; `CachedDecoder` does so
for decoders whose attention goes through nn.attention.attend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import DecoderConfig
from handloom.models.language_model import LanguageModel

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Cells = dict[str, Floats]
"""Keys and values by layer, "0.keys", "0.values", "1.keys", …: f32[slots, width]."""

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
SOURCES = {"source_key_starts": ("sequences",), "source_key_ends": ("sequences",)}
"""What is in it besides, where there are sources to look at."""
CAPACITY = {"tokens": CHUNK, "sequences": CHUNK, "rows": CHUNK, "slots": MOST_SLOTS, "source": MOST_SLOTS}


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


@runtime_checkable
class Conditional(Decoder, Protocol):
    """An encoder–decoder: `start` takes sources, and `given` those of which targets are begun otherwise, or scored."""

    def given(self, sources: Sequence[Ids], /) -> Decoder:
        """A decoder of the targets of these sources, which are read at once."""


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


class CacheProgram:
    """Layers over keys and values of what they have read, compiled: they read tokens, and write those of the tokens."""

    def __init__(
        self, model: LanguageModel, layers: int, width: int, *, threads: int | None = None, precision: str = "f32",
        weights: str = "f32", looks: bool = False,
    ) -> None:  # fmt: skip
        """layers, width: of the cache. looks: whether they look at a source, too. weights: what matrices are stored in,
        "f32", "bf16" or "int8": one new token takes the time that reading them takes."""
        self.model, self.layers, self.width = model, layers, width
        self.vocabulary, self.context = model.config.vocab_size, model.config.max_length
        self.cells = [f"{i}.{what}" for i in range(layers) for what in ("keys", "values")]
        self.params = model.parameters()
        self.how: dict[str, Any] = {"constant": ("params",), "threads": threads, "precision": precision,
                                    "weights": weights}  # fmt: skip
        self._run = ht.compile(
            self._forward,
            symbols={"cache": dict.fromkeys(self.cells, ("slots", width)),
                     "source": dict.fromkeys(self.cells if looks else (), ("source", width)),
                     "batch": {**SYMBOLS, **(SOURCES if looks else {})}},
            capacity=CAPACITY,
            donate=("cache",),
            **self.how,
        )  # fmt: skip

    def __call__(self, cache: Cells, source: Cells, batch: dict[str, Ids]) -> Floats:
        """Logits f32[R, vocabulary] of batch["rows"]; the cache is written to."""
        after, logits = self._run(self.params, cache, source, batch)
        for name, array in after.items():
            if array.numpy() is not cache[name]:  # the reference backend makes new ones
                cache[name] = array.numpy()
        found: Floats = logits.numpy()
        return found

    def _forward(self, params: Any, cache: Any, source: Any, batch: Any) -> Any:
        everything = {**batch, "cache": self._pairs(cache), "longest": self.context}
        if source:
            everything |= {"source": self._pairs(source), "source_longest": self.context}
        with self.model.bound(params):
            logits = self.model.score(self.model.encode(everything), everything)
        return self.named(everything["cache"]), logits

    def _pairs(self, cells: Any) -> list[Any]:
        return [(cells[f"{i}.keys"], cells[f"{i}.values"]) for i in range(self.layers)]

    def named(self, pairs: Sequence[Any]) -> dict[str, Any]:
        """Keys and values by layer, as cells."""
        return dict(zip(self.cells, (x for pair in pairs for x in pair), strict=True))


class CachedDecoder:
    """A Decoder whose sequences are read into a `Cache`."""

    def __init__(self, model: LanguageModel, threads: int | None = None, precision: str = "f32", weights: str = "f32"):
        """weights: what matrices are stored in, as in CacheProgram."""
        config = model.config
        assert isinstance(config, DecoderConfig)
        width = config.key_value_heads * config.head_size
        self.program = CacheProgram(model, config.layers, width, threads=threads, precision=precision, weights=weights)

    @property
    def vocabulary(self) -> int:
        return self.program.vocabulary

    @property
    def context(self) -> int | None:
        return self.program.context

    def beginning(self, prompt: Ids) -> Ids:
        return prompt

    def start(self, prompts: Sequence[Ids]) -> tuple[Cache, Floats]:
        check_prompts(prompts, self.context)
        state = Cache(self, len(prompts), max(map(len, prompts)))
        return state, np.concatenate(list(state.read(prompts)))

    def logits(self, ids: Ids) -> Iterator[Floats]:
        check_prompts([ids[:-1] if len(ids) == self.context else ids], self.context)
        return Cache(self, 1, len(ids)).score(ids)

    def run(self, cache: Cells, batch: dict[str, Ids], prompts: Ids) -> Floats:
        """Logits f32[R, vocabulary] of batch["rows"]; the cache is written to. prompts: the number of the prompt that
        each sequence of the batch began with."""
        return self.program(cache, {}, batch)


@dataclass
class Cache:
    """The keys and values of some sequences, each with `room` slots of its own: a power of two that all of them share,
    doubled when one is full."""

    decoder: CachedDecoder
    sequences: int
    longest: int

    def __post_init__(self) -> None:
        self.room = power_of_two(self.longest + 1, SMALLEST_ROOM)
        self.lengths = np.zeros(self.sequences, np.int32)
        self.prompts = np.arange(self.sequences, dtype=np.int32)  # the number of the one that each began with
        shape = (self.sequences * self.room, self.decoder.program.width)
        self._cells = {name: np.zeros(shape, np.float32) for name in self.decoder.program.cells}

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
            self._move(np.arange(len(self.lengths)), power_of_two(length, SMALLEST_ROOM))

    def _move(self, sequences: npt.NDArray[np.intp], room: int) -> None:
        used = int(self.lengths.max(initial=0))
        self._cells = {name: self._moved(x, sequences, used, room) for name, x in self._cells.items()}
        self.lengths, self.prompts, self.room = self.lengths[sequences], self.prompts[sequences], room

    def _moved(self, x: Floats, sequences: npt.NDArray[np.intp], used: int, room: int) -> Floats:
        old = x.reshape(len(self.lengths), self.room, -1)
        new = np.zeros((len(sequences), room, old.shape[2]), np.float32)
        new[:, :used] = old[sequences, :used]
        return new.reshape(len(sequences) * room, -1)


def power_of_two(count: int, least: int) -> int:
    """The smallest that is not below either."""
    return max(least, 1 << (count - 1).bit_length())
