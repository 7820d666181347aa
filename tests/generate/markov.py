"""A language model that needs no engine: what comes next depends on the last two tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from handloom.generate.decoder import Floats, Ids, check_prompts


class Markov:
    def __init__(self, vocabulary: int = 11, seed: int = 0, context: int | None = None) -> None:
        self.vocabulary, self.context = vocabulary, context
        table = np.random.default_rng(seed).standard_normal((vocabulary, vocabulary, vocabulary)) * 2
        self.table = table.astype(np.float32)
        self.steps = 0

    def row(self, text: Sequence[int]) -> Floats:
        return self.table[text[-2] if len(text) > 1 else 0, text[-1]]

    def beginning(self, prompt: Ids) -> Ids:
        return prompt

    def start(self, prompts: Sequence[Ids]) -> tuple[MarkovState, Floats]:
        check_prompts(prompts, self.context)
        state = MarkovState(self, [list(map(int, prompt)) for prompt in prompts])
        return state, state.rows()

    def logits(self, ids: Ids) -> Iterator[Floats]:
        for end in range(1, len(ids) + 1):
            yield self.row(ids[:end].tolist())[None]


class MarkovState:
    def __init__(self, model: Markov, texts: list[list[int]]) -> None:
        self.model, self.texts = model, texts

    def rows(self) -> Floats:
        return np.stack([self.model.row(text) for text in self.texts])

    def step(self, tokens: Ids) -> Floats:
        assert len(tokens) == len(self.texts)
        self.model.steps += len(tokens)
        for text, token in zip(self.texts, tokens, strict=True):
            text.append(int(token))
        return self.rows()

    def keep(self, sequences: Sequence[int]) -> None:
        self.texts = [list(self.texts[i]) for i in sequences]
