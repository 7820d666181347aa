"""A conversation with a model: what was said is kept, and so are the keys and values of what was read of it.

From turn to turn the text of a conversation grows at its end, so a model need only read what is new; of what a template
writes otherwise than before (some leave out a former turn's thoughts) everything behind the first difference.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from handloom.errors import HandloomError
from handloom.generate.decoder import Cache, CachedDecoder, Decoder, Floats, Ids, State, check_prompts
from handloom.generate.generator import Writer
from handloom.generate.search import Finish
from handloom.text.chat import Message


class Remembering:
    """A decoder of one text at a time that begins where the last text and the new one part."""

    def __init__(self, decoder: CachedDecoder) -> None:
        self.decoder = decoder
        self._cache: Cache | None = None
        self._read: list[int] = []  # the tokens that the cache holds

    @property
    def vocabulary(self) -> int:
        return self.decoder.vocabulary

    @property
    def context(self) -> int | None:
        return self.decoder.context

    def beginning(self, prompt: Ids) -> Ids:
        return self.decoder.beginning(prompt)

    def start(self, prompts: Sequence[Ids]) -> tuple[State, Floats]:
        [prompt] = prompts
        check_prompts(prompts, self.context)
        if self._cache is None:
            self._cache, logits = self.decoder.start(prompts)
        else:
            known = self.shared(prompt)
            self._cache.lengths[:] = known
            logits = np.concatenate(list(self._cache.read([prompt[known:]])))
        self._read = prompt.tolist()
        return self, logits

    def shared(self, prompt: Ids) -> int:
        """How many of a text's tokens need not be read again: never the last one, whose logits are wanted."""
        most = min(len(prompt) - 1, len(self._read))
        parts = np.flatnonzero(prompt[:most] != np.array(self._read[:most], np.int32))
        return int(parts[0]) if len(parts) else most

    def step(self, tokens: Ids) -> Floats:
        assert self._cache is not None
        logits = self._cache.step(tokens)
        self._read += tokens.tolist()
        return logits

    def keep(self, sequences: Sequence[int]) -> None:
        """There is only the one."""

    def logits(self, ids: Ids) -> Iterator[Floats]:
        return self.decoder.logits(ids)


class Conversation:
    """messages: [{"role", "content"}, …], what was said so far. forgotten: how many of them were too much for the
    context and have been left out, the oldest first; what the system said stays."""

    def __init__(self, generator: Writer, system: str | None = None) -> None:
        """Raises HandloomError for a model without a chat template."""
        if generator.template is None:
            raise HandloomError("this model has no chat template, so it cannot be talked with; see handloom generate")
        decoder: Decoder = generator.decoder
        if isinstance(decoder, CachedDecoder):
            decoder = Remembering(decoder)
        self.generator = Writer(
            decoder, generator.tokenizer, generator.ends, generator.template, generator.defaults
        )
        self.system = [] if system is None else [{"role": "system", "content": system}]
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forgets what was said."""
        self.messages: list[Message] = list(self.system)
        self.forgotten = 0

    def say(self, text: str, *, max_new_tokens: int | None = None, **how: Any) -> Generator[str, None, Finish]:
        """The reply, piece by piece; what is not taken of it was not said. how, and what is returned: as for
        Writer.stream.

        Raises HandloomError for a text that is too long even if all else is forgotten.
        """
        said = [*self.messages, {"role": "user", "content": text}]
        ids, oldest, most = self.generator.encode(said), len(self.system), self.generator.most(max_new_tokens)
        while not self._fits(ids, most) and len(said) > oldest + 1:  # the generator says it if that is not enough
            del said[oldest : oldest + 2]
            self.forgotten += 2
            ids = self.generator.encode(said)
        reply, pieces = "", self.generator.stream(ids, max_new_tokens=max_new_tokens, **how)
        try:
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as ended:
                    finish: Finish = ended.value
                    return finish
                reply += piece
                yield piece
        finally:
            self.messages = [*said, {"role": "assistant", "content": reply.strip()}] if reply else said[:-1]

    def _fits(self, ids: Ids, more: int) -> bool:
        context = self.generator.decoder.context
        return context is None or len(ids) + min(more, context // 2) <= context
