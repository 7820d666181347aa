"""Linear models of texts as bags of words, trained by the same engine: what a large model has to beat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TextExample
from handloom.data.packing import order
from handloom.tasks.task import Array, Batch
from handloom.tasks.text_task import TextTask
from handloom.tensor import Tensor
from handloom.train.batches import Indices
from handloom.train.optimisers import Moments, Scalars, Tree, adam, apply
from handloom.train.schedules import schedule

FEATURES = 20_000  #: the most words and pairs of words that the linear model looks at
LONGEST = 160  #: of a text's features, those that weigh most
ROWS, EPOCHS, RATE = 256, 10, 0.05
HELD = 0.1  #: of the texts, where thresholds have to be chosen

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
Loss = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]


def split_words(text: str) -> list[str]:
    """Words and signs in lower case; CJK by the character."""
    return _WORD.findall(text.lower())


def words_of(example: TextExample) -> list[str]:
    """Words and pairs of neighbours. Words of a pair are marked."""
    words = split_words(example.text)
    found = words + [f"{a} {b}" for a, b in pairwise(words)]
    if example.pair is not None:
        other = split_words(example.pair)
        found += [f"⏐{word}" for word in other + [f"{a} {b}" for a, b in pairwise(other)]]
    return found


class Vectoriser:
    """Texts to sparse tf-idf rows of length 1: (1 + ln tf) · (ln((1 + n) / (1 + df)) + 1)."""

    def __init__(self, texts: Sequence[Sequence[str]], limit: int = FEATURES) -> None:
        spread: Counter[str] = Counter()
        for words in texts:
            spread.update(set(words))
        least = 2 if len(texts) >= 200 else 1
        ranked = sorted((word for word, df in spread.items() if df >= least), key=lambda word: (-spread[word], word))
        self.places = {word: i for i, word in enumerate(ranked[:limit])}
        df = np.array([spread[word] for word in ranked[:limit]], np.float64)
        self.idf = np.log((1 + len(texts)) / (1 + df)) + 1

    def __len__(self) -> int:
        return len(self.places)

    def rows(self, texts: Sequence[Sequence[str]], width: int = LONGEST) -> tuple[Array, Array]:
        """ids i32 [texts, width] and weights f32 [texts, width], filled up with weight 0."""
        ids = np.zeros((len(texts), width), np.int32)
        weights = np.zeros((len(texts), width), np.float32)
        for row, words in enumerate(texts):
            counts = Counter(place for word in words if (place := self.places.get(word)) is not None)
            if not counts:
                continue
            found = np.fromiter(counts, np.int64, len(counts))
            value = (1 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))) * self.idf[found]
            if len(found) > width:
                kept = np.sort(np.argsort(-value, kind="stable")[:width])
                found, value = found[kept], value[kept]
            ids[row, : len(found)] = found
            weights[row, : len(found)] = value / np.sqrt((value * value).sum())
        return ids, weights


def linear(
    task: TextTask, train: Sequence[TextExample], test: Sequence[TextExample], seed: int = 0, threads: int | None = None
) -> list[Any]:
    """Predictions of a text task by a linear layer on tf-idf of words and pairs of words, with the task's own loss.

    Where a task chooses what it says on validation data, a tenth of the texts is kept for that.
    """
    task = task.untuned()
    train = [example for example in train if example.label is not None]
    texts, asked = [words_of(e) for e in train], [words_of(e) for e in test]
    vectoriser = Vectoriser(texts)
    width = min(LONGEST, max((len(set(words)) for words in texts), default=1))
    width = max(8, -(-width // 8) * 8)
    ids, weights = vectoriser.rows(texts, width)
    targets = np.stack([np.asarray(task.target(example)) for example in train])
    held = order(len(train), seed, EPOCHS)[: int(HELD * len(train))] if task.decides else np.zeros(0, np.int64)
    learnt = np.setdiff1d(np.arange(len(train)), held)
    params = fit(ids[learnt], weights[learnt], targets[learnt], len(vectoriser), len(task.labels), task.loss, seed,
                 threads)  # fmt: skip
    if len(held):
        task.tune_texts([train[i] for i in held], logits(params, ids[held], weights[held]))
    return task.said(logits(params, *vectoriser.rows(asked, width)))


def logits(params: dict[str, Array], ids: Array, weights: Array) -> Array:
    """f64 [rows, outputs]."""
    table, bias = params["table.weight"], params["bias"]
    blocks = [slice(at, at + ROWS) for at in range(0, len(ids), ROWS)]
    found = [np.einsum("nk,nkc->nc", weights[some], table[ids[some]]) + bias for some in blocks]
    return np.concatenate([np.zeros((0, len(bias))), *found])


def fit(
    ids: Array, weights: Array, targets: Array, features: int, outputs: int, loss: Loss, seed: int,
    threads: int | None, rows: int = ROWS, epochs: int = EPOCHS,
) -> dict[str, Array]:  # fmt: skip
    """A table of weights and a bias, for rows of features ids i32 and weights f32 [texts, width]."""
    rule = adam()
    state: Any = (
        {"table.weight": np.zeros((max(features, 1), outputs), np.float32), "bias": np.zeros(outputs, np.float32)},
        {},
    )
    state = (state[0], rule.init(state[0]))
    rows = min(rows, -(-len(targets) // 8) * 8)
    per_epoch = -(-len(targets) // rows)
    rate = schedule("linear", RATE, epochs * per_epoch)
    traced = _step_of(rows, ids.shape[1], loss)
    step: Callable[..., Any] = ht.compile(traced, donate=("params", "moments"), threads=threads)
    number = 0
    for epoch in range(epochs):
        for batch in _batches(len(targets), rows, seed, epoch):
            full = np.resize(batch, rows)  # the last one begins again where it is too short
            given = {key: np.float32(value) for key, value in rule.scalars(rate(number), number + 1).items()}
            state = step(*state, ids[full].reshape(-1), weights[full].reshape(-1, 1), targets[full], given)
            number += 1
    return {name: np.asarray(value.numpy()) for name, value in state[0].items()}


def _batches(count: int, rows: int, seed: int, epoch: int) -> list[Indices]:
    shuffled = order(count, seed, epoch)
    return [shuffled[at : at + rows] for at in range(0, count, rows)]


def _step_of(rows: int, width: int, loss: Loss) -> Callable[..., Any]:
    """A step for batches of `rows` texts with `width` features each."""

    def step(
        params: Tree, moments: Moments, ids: Tensor, weights: Tensor, targets: Tensor, given: Scalars
    ) -> tuple[Tree, Moments]:
        def loss_of(chosen: Tree) -> tuple[Tensor, Tensor]:
            picked = ht.take(chosen["table.weight"], ids) * weights
            outputs = picked.shape[1]
            logits = picked.reshape(rows, width, outputs).sum(axis=1) + chosen["bias"]
            return loss(logits, {"labels": targets})

        (_, weight), grads = ht.value_and_grad(loss_of, has_aux=True)(params)
        params, moments, _ = apply(adam(), None, params, moments, grads, weight, given)
        return params, moments

    return step
