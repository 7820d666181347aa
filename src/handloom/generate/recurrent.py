"""Recurrent models that go on with token sequences: what they keep of a text is a state of a few vectors, and of a
source its hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import UsageError
from handloom.generate.decoder import Floats, Ids, check_prompts
from handloom.models.rnn import RNNForCausalLM, RNNForConditionalGeneration
from handloom.nn.lanes import layout
from handloom.text.counting import counted

PIECE = 64
"""Tokens of a text that are read in one run of the program."""


class RecurrentDecoder:
    """A language model of one direction; texts may have any length."""

    context = None

    def __init__(
        self, model: RNNForCausalLM, threads: int | None = None, precision: str = "f32", weights: str = "f32"
    ) -> None:
        """weights: what matrices are stored in, "f32", "bf16" or "int8"."""
        self.model = model
        self.rnn = model.model.rnn
        self.params = model.parameters()
        part = (self.rnn.num_layers, "sequences", self.rnn.hidden_size)
        batch = {"ids": ("tokens",), "starts": ("sequences+1",), "rows": ("rows",), **model.arranged()}
        how: dict[str, Any] = {
            "constant": ("params",), "threads": threads, "precision": precision, "weights": weights,
        }  # fmt: skip
        state = (part,) * self.rnn.states
        self._read = ht.compile(self._pieces, symbols={"batch": batch, "state": state}, **how)
        self._step = ht.compile(self._next, symbols={"ids": (1, "sequences"), "state": state}, **how)

    @property
    def vocabulary(self) -> int:
        return self.model.config.vocab_size

    def beginning(self, prompt: Ids) -> Ids:
        return prompt

    def start(self, prompts: Sequence[Ids]) -> tuple[RecurrentState, Floats]:
        check_prompts(prompts, self.context)
        state = RecurrentState.new(self, len(prompts))
        logits = np.empty((len(prompts), self.vocabulary), np.float32)
        lengths = np.array([len(prompt) for prompt in prompts])
        for begin in range(0, int(lengths.max()), PIECE):
            going = np.flatnonzero(lengths > begin).tolist()
            pieces = [prompts[i][begin : begin + PIECE] for i in going]
            ends = np.cumsum([len(piece) for piece in pieces]) - 1
            logits[going] = state.read(going, pieces, ends)
        return state, logits

    def logits(self, ids: Ids) -> Iterator[Floats]:
        check_prompts([ids], self.context)
        state = RecurrentState.new(self, 1)
        for begin in range(0, len(ids), PIECE):
            piece = ids[begin : begin + PIECE]
            yield state.read([0], [piece], np.arange(len(piece)))

    def read(self, batch: dict[str, Ids], state: Sequence[Floats]) -> tuple[Floats, list[Floats]]:
        """(logits f32[R, vocabulary] of batch["rows"], the states after each sequence)"""
        logits, last = self._read(self.params, {**batch, **self.model.arrange(batch)}, tuple(state))
        return logits.numpy(), [part.numpy() for part in last]

    def step(self, tokens: Ids, state: Sequence[Floats]) -> tuple[Floats, list[Floats]]:
        logits, last = self._step(self.params, tokens.reshape(1, -1), tuple(state))
        return logits.numpy(), [part.numpy() for part in last]

    def _pieces(self, params: Any, batch: Any, state: Any) -> Any:
        with self.model.bound(params):
            hidden, last = self.model.model.walk(batch, state)
            return self.model.score(hidden, batch), last

    def _next(self, params: Any, ids: Any, state: Any) -> Any:
        with self.model.bound(params):
            hidden, last = self.model.stream(ids, state)
            return self.model.score(hidden, {}), last


@dataclass
class RecurrentState:
    """The states of some sequences, each f32 [layers, sequences, hidden]."""

    decoder: RecurrentDecoder
    parts: list[Floats]

    @staticmethod
    def new(decoder: RecurrentDecoder, sequences: int) -> RecurrentState:
        return RecurrentState(decoder, [part.numpy() for part in decoder.model.begin(sequences)])

    def read(self, sequences: Sequence[int], pieces: Sequence[Ids], rows: Any) -> Floats:
        """Reads the next tokens of some sequences; logits of `rows` among them."""
        batch = {"ids": np.concatenate(pieces).astype(np.int32), "starts": _starts(pieces),
                 "rows": rows.astype(np.int32)}  # fmt: skip
        logits, last = self.decoder.read(batch, [_chosen(part, sequences) for part in self.parts])
        self.parts = [part.copy() for part in self.parts]
        for part, new in zip(self.parts, last, strict=True):
            part[:, list(sequences)] = new
        return logits

    def step(self, tokens: Ids) -> Floats:
        logits, self.parts = self.decoder.step(tokens.astype(np.int32), self.parts)
        return logits

    def keep(self, sequences: Sequence[int]) -> None:
        self.parts = [_chosen(part, sequences) for part in self.parts]


class RecurrentPairDecoder:
    """An encoder–decoder with attention: prompts are sources; a text begins with the configuration's start token."""

    context = None

    def __init__(
        self, model: RNNForConditionalGeneration, threads: int | None = None, precision: str = "f32",
        weights: str = "f32",
    ) -> None:  # fmt: skip
        self.model = model
        self.params = model.parameters()
        width, starts = model.config.hidden_size, ("sequences+1",)
        state = ((model.config.layers, "sequences", width),) * model.decoder.states
        how: dict[str, Any] = {
            "constant": ("params",), "threads": threads, "precision": precision, "weights": weights,
        }  # fmt: skip
        source = {"source_ids": ("source_tokens",), "source_starts": starts, **model.encoder.arranged()}
        self._read = ht.compile(self._sources, symbols={"batch": source}, **how)
        lanes = {name: shape for name, shape in model.arranged().items() if not name.startswith("source_")}
        batch = {"ids": ("tokens",), "starts": starts, "rows": ("rows",), "source_starts": starts, **lanes}
        memory = {"state": state, "memory": ("source_tokens", width)}
        self._write = ht.compile(self._pieces, symbols={"batch": batch, **memory}, **how)
        self._step = ht.compile(self._next, symbols={"ids": ("sequences",), "starts": starts, **memory}, **how)

    @property
    def vocabulary(self) -> int:
        return self.model.config.vocab_size

    def beginning(self, prompt: Ids) -> Ids:
        return np.array([self.model.encoder.config.start], np.int32)

    def start(self, prompts: Sequence[Ids]) -> tuple[PairState, Floats]:
        return self.given(prompts).start([self.beginning(prompt) for prompt in prompts])

    def logits(self, ids: Ids) -> Iterator[Floats]:
        raise UsageError("what an encoder–decoder writes is scored given what it reads: given([source]).logits(target)")

    def given(self, sources: Sequence[Ids]) -> GivenSources:
        """A decoder of the targets of these sources, of one token or more each, which are read at once."""
        check_prompts(sources, self.context)
        starts = _starts(sources)
        batch = {"source_ids": np.concatenate(sources).astype(np.int32), "source_starts": starts}
        memory, parts = self._read(self.params, {**batch, **self.model.encoder.arrange(batch)})
        return GivenSources(PairState(self, [part.numpy() for part in parts], memory.numpy(), starts))

    def read(self, targets: Sequence[Ids], rows: Any, state: PairState) -> tuple[Floats, list[Floats]]:
        """(logits f32[R, vocabulary] of `rows`, the states after each target)"""
        batch = {"ids": np.concatenate(targets).astype(np.int32), "starts": _starts(targets),
                 "rows": np.asarray(rows, np.int32), "source_starts": state.starts}  # fmt: skip
        lanes = layout(list(map(len, targets)), self.model.encoder.config.lanes)
        logits, parts = self._write(self.params, {**batch, **lanes}, tuple(state.parts), state.memory)
        return logits.numpy(), [part.numpy() for part in parts]

    def step(self, tokens: Ids, state: PairState) -> tuple[Floats, list[Floats]]:
        logits, parts = self._step(self.params, tokens, tuple(state.parts), state.memory, state.starts)
        return logits.numpy(), [part.numpy() for part in parts]

    def _sources(self, params: Any, batch: Any) -> Any:
        with self.model.bound(params):
            return self.model.read(batch)

    def _pieces(self, params: Any, batch: Any, state: Any, memory: Any) -> Any:
        with self.model.bound(params):
            hidden, last = self.model.write(batch, memory, state)
            return self.model.score(hidden, batch), last

    def _next(self, params: Any, ids: Any, state: Any, memory: Any, starts: Any) -> Any:
        with self.model.bound(params):
            return self.model.advance(ids, state, memory, starts)


class GivenSources:
    """A Decoder of targets: prompt number i goes with source number i, the one text of `logits` with the first."""

    context = None

    def __init__(self, state: PairState) -> None:
        self._state = state

    @property
    def vocabulary(self) -> int:
        return self._state.decoder.vocabulary

    def beginning(self, prompt: Ids) -> Ids:
        return prompt

    def start(self, prompts: Sequence[Ids]) -> tuple[PairState, Floats]:
        sources = len(self._state.starts) - 1
        if len(prompts) != sources:
            given = f"{counted(sources, 'source')} and {counted(len(prompts), 'beginning')} of targets"
            raise UsageError(f"{given}: one is needed for each")
        check_prompts(prompts, self.context)
        state = replace(self._state)
        return state, state.read(prompts, _starts(prompts)[1:] - 1)

    def logits(self, ids: Ids) -> Iterator[Floats]:
        check_prompts([ids], self.context)
        state = replace(self._state)
        state.keep([0])
        for begin in range(0, len(ids), PIECE):
            piece = ids[begin : begin + PIECE]
            yield state.read([piece], np.arange(len(piece)))


@dataclass
class PairState:
    """The states of some texts, each f32 [layers, sequences, hidden], and their sources' hidden states, packed."""

    decoder: RecurrentPairDecoder
    parts: list[Floats]
    memory: Floats
    starts: Ids

    def read(self, targets: Sequence[Ids], rows: Any) -> Floats:
        """Reads the next tokens of all texts; logits of `rows` among them."""
        logits, self.parts = self.decoder.read(targets, rows, self)
        return logits

    def step(self, tokens: Ids) -> Floats:
        logits, self.parts = self.decoder.step(tokens.astype(np.int32), self)
        return logits

    def keep(self, sequences: Sequence[int]) -> None:
        self.parts = [_chosen(part, sequences) for part in self.parts]
        pieces = [self.memory[self.starts[i] : self.starts[i + 1]] for i in sequences]
        self.memory, self.starts = np.concatenate(pieces), _starts(pieces)


def _chosen(part: Floats, sequences: Sequence[int]) -> Floats:
    return np.ascontiguousarray(part[:, list(sequences)])


def _starts(texts: Sequence[Any]) -> Ids:
    """Where each begins in all of them packed, i32 [n + 1]."""
    return np.cumsum([0, *map(len, texts)]).astype(np.int32)
