"""Encoder–decoders: prompts are sources, and texts are targets, each of which begins with the model's start token.

`given(sources)` is a `Decoder` of targets whose sources are known, where targets may begin otherwise and be scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.generate import decoder as base
from handloom.generate.decoder import Cache, CachedDecoder, CacheProgram, Cells, Floats, Ids, power_of_two
from handloom.models.encoder_decoder import ConditionalLanguageModel
from handloom.text.counting import counted

READ = {"source_ids": ("tokens",), "source_positions": ("tokens",), "source_starts": ("sequences+1",)}
"""The batch of one run of the encoder."""


class CachedEncoderDecoder:
    """A model whose decoder keeps keys and values of what it has read, and of the sources."""

    def __init__(
        self, model: ConditionalLanguageModel, threads: int | None = None, precision: str = "f32", weights: str = "f32",
        start: int | None = None,
    ) -> None:  # fmt: skip
        """weights: what matrices are stored in, as in CacheProgram. start: the token that targets begin with, if it is
        another than the configuration's."""
        self.first = model.config.start if start is None else start
        self.model, self.config = model, model.config
        self.program = CacheProgram(
            model, self.config.decoder_layers, self.config.decoder_width,
            threads=threads, precision=precision, weights=weights, looks=True,
        )  # fmt: skip
        self._readers: dict[int, Any] = {}  # by the tokens that they have room for

    @property
    def vocabulary(self) -> int:
        return self.program.vocabulary

    @property
    def context(self) -> int | None:
        return self.program.context

    def beginning(self, prompt: Ids) -> Ids:
        return np.array([self.first], np.int32)

    def start(self, prompts: Sequence[Ids]) -> tuple[Cache, Floats]:
        return self.given(prompts).start([self.beginning(prompt) for prompt in prompts])

    def logits(self, ids: Ids) -> Iterator[Floats]:
        raise UsageError("what an encoder–decoder writes is scored given what it reads: given([source]).logits(target)")

    def given(self, sources: Sequence[Ids]) -> Given:
        """A decoder of the targets of these sources, of one token or more each, which are read at once.

        Raises HandloomError for a source without tokens, and for one that is longer than the model can read.
        """
        if not sources:
            raise UsageError("there are no texts to read")
        for number, source in enumerate(sources, 1):
            if not 1 <= len(source) <= self.config.max_length:
                which = f"text {number}" if len(sources) > 1 else "the text"
                raise HandloomError(f"{which} has {len(source):,} tokens, and the model reads 1 to "
                                    f"{self.config.max_length:,}")  # fmt: skip
        runs: list[list[Ids]] = [[]]
        free = base.CHUNK
        for source in sources:
            if runs[-1] and len(source) > free:
                runs.append([])
                free = base.CHUNK
            runs[-1].append(source)
            free -= len(source)
        parts = [self._read(run) for run in runs]
        cells = {name: np.concatenate([part[name] for part in parts]) for name in self.program.cells}
        return Given(self.program, cells, np.cumsum([0, *map(len, sources)]).astype(np.int32))

    def _read(self, sources: Sequence[Ids]) -> Cells:
        room = power_of_two(sum(map(len, sources)), base.CHUNK)
        if room not in self._readers:
            capacity = {"tokens": room, "sequences": base.CHUNK}
            self._readers[room] = ht.compile(
                self._source, symbols={"batch": READ}, capacity=capacity, **self.program.how
            )
        given = {
            "source_ids": np.concatenate(sources).astype(np.int32),
            "source_positions": np.concatenate([np.arange(len(source), dtype=np.int32) for source in sources]),
            "source_starts": np.cumsum([0, *map(len, sources)]).astype(np.int32),
        }
        return {name: np.array(x.numpy()) for name, x in self._readers[room](self.program.params, given).items()}

    def _source(self, params: Any, batch: Any) -> Any:
        with self.model.bound(params):
            stack = self.model.stack
            return self.program.named(stack.source(stack.read(batch)))


class Given(CachedDecoder):
    """A Decoder of targets: prompt number i goes with source number i, and however many sequences come of it; the one
    text of `logits` with the first."""

    def __init__(self, program: CacheProgram, source: Cells, starts: Ids) -> None:
        self.program, self._source, self._starts = program, source, starts

    def start(self, prompts: Sequence[Ids]) -> tuple[Cache, Floats]:
        if len(prompts) != len(self._starts) - 1:
            sources = counted(len(self._starts) - 1, "source")
            raise UsageError(f"{sources} and {counted(len(prompts), 'beginning')} of targets: one is needed for each")
        return super().start(prompts)

    def run(self, cache: Cells, batch: dict[str, Ids], prompts: Ids) -> Floats:
        where = {"source_key_starts": self._starts[prompts], "source_key_ends": self._starts[prompts + 1]}
        return self.program(cache, self._source, {**batch, **where})
