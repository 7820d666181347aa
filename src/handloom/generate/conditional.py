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
from handloom.generate.decoder import Cache, Floats, Ids, adopt, check_prompts, names
from handloom.models.encoder_decoder import ConditionalLanguageModel

Cells = dict[str, Floats]


class CachedEncoderDecoder:
    """A model whose decoder keeps keys and values of what it has read, and of the sources."""

    def __init__(
        self, model: ConditionalLanguageModel, threads: int | None = None, precision: str = "f32", weights: str = "f32"
    ) -> None:
        """weights: what matrices are stored in, as in CachedDecoder."""
        self.model, self.config = model, model.config
        self.width = self.config.decoder_width
        self.params = model.parameters()
        self._how: dict[str, Any] = {"constant": ("params",), "threads": threads, "precision": precision,
                                     "weights": weights}  # fmt: skip
        each = ("sequences",)
        batch = {**base.SYMBOLS, "source_key_starts": each, "source_key_ends": each}
        cells = names(self.config.decoder_layers)
        self._write = ht.compile(
            self._next,
            symbols={"cache": dict.fromkeys(cells, ("slots", self.width)), "batch": batch,
                     "source": dict.fromkeys(cells, ("source", self.width))},
            capacity={**base.CAPACITY, "source": base.MOST_SLOTS},
            donate=("cache",),
            **self._how,
        )  # fmt: skip
        self._readers: dict[int, Any] = {}

    @property
    def vocabulary(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int | None:
        return self.config.max_length

    def beginning(self, prompt: Ids) -> Ids:
        return np.array([self.config.start], np.int32)

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
        cells = {name: np.concatenate([part[name] for part in parts]) for name in names(self.config.decoder_layers)}
        return Given(self, cells, np.cumsum([0, *map(len, sources)]).astype(np.int32))

    def _read(self, sources: Sequence[Ids]) -> Cells:
        total = sum(map(len, sources))
        room = max(base.CHUNK, 1 << (total - 1).bit_length())
        if room not in self._readers:
            batch = {"source_ids": ("tokens",), "source_positions": ("tokens",), "source_starts": ("sequences+1",)}
            capacity = {"tokens": room, "sequences": base.CHUNK}
            self._readers[room] = ht.compile(self._source, symbols={"batch": batch}, capacity=capacity, **self._how)
        given = {
            "source_ids": np.concatenate(sources).astype(np.int32),
            "source_positions": np.concatenate([np.arange(len(source), dtype=np.int32) for source in sources]),
            "source_starts": np.cumsum([0, *map(len, sources)]).astype(np.int32),
        }
        return {name: np.array(x.numpy()) for name, x in self._readers[room](self.params, given).items()}

    def _source(self, params: Any, batch: Any) -> Any:
        with self.model.bound(params):
            stack = self.model.stack
            pairs = stack.source(stack.read(batch))
        return dict(zip(names(len(pairs)), (x for pair in pairs for x in pair), strict=True))

    def _next(self, params: Any, cache: Any, source: Any, batch: Any) -> Any:
        def layers(cells: Any) -> list[Any]:
            return [(cells[f"{i}.keys"], cells[f"{i}.values"]) for i in range(self.config.decoder_layers)]

        longest = self.config.max_length
        everything = {**batch, "cache": layers(cache), "source": layers(source), "longest": longest,
                      "source_longest": longest}  # fmt: skip
        with self.model.bound(params):
            logits = self.model.score(self.model.encode(everything), everything)
        after = (x for layer in everything["cache"] for x in layer)
        return dict(zip(names(self.config.decoder_layers), after, strict=True)), logits

    def write(self, cache: Cells, source: Cells, batch: dict[str, Ids]) -> Floats:
        """Logits f32[R, vocabulary] of batch["rows"]; the cache is written to."""
        after, logits = self._write(self.params, cache, source, batch)
        adopt(cache, after)
        found: Floats = logits.numpy()
        return found


class Given:
    """A Decoder of targets: prompt number i goes with source number i, and however many sequences come of it; the one
    text of `logits` with the first."""

    def __init__(self, model: CachedEncoderDecoder, source: Cells, starts: Ids) -> None:
        self.model, self.width, self._source, self._starts = model, model.width, source, starts

    @property
    def vocabulary(self) -> int:
        return self.model.vocabulary

    @property
    def context(self) -> int | None:
        return self.model.context

    def beginning(self, prompt: Ids) -> Ids:
        return prompt

    def start(self, prompts: Sequence[Ids]) -> tuple[Cache, Floats]:
        if len(prompts) != len(self._starts) - 1:
            raise UsageError(f"there are {len(self._starts) - 1} sources, and beginnings of {len(prompts)} targets")
        check_prompts(prompts, self.context)
        state = Cache(self, len(prompts), max(map(len, prompts)))
        return state, np.concatenate(list(state.read(prompts)))

    def logits(self, ids: Ids) -> Iterator[Floats]:
        check_prompts([ids[:-1] if len(ids) == self.context else ids], self.context)
        return Cache(self, 1, len(ids)).score(ids)

    def cells(self) -> list[str]:
        return names(self.model.config.decoder_layers)

    def run(self, cache: Cells, batch: dict[str, Ids], prompts: Ids) -> Floats:
        """Of a Cache's sequences, which say what prompts, and so what sources, they have."""
        where = {"source_key_starts": self._starts[prompts], "source_key_ends": self._starts[prompts + 1]}
        return self.model.write(cache, self._source, {**batch, **where})
