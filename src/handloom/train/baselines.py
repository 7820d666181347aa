"""What a model has to beat: the most frequent label or tag, a linear bag of words, each word's most frequent tag,
the sentence most like the question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import (
    SUMMARIZATION,
    TRANSLATION,
    QuestionExample,
    RelationExample,
    TextExample,
    TokenExample,
)
from handloom.tasks.question_answering import Answer, QuestionAnswering
from handloom.tasks.relation_extraction import RelationExtraction
from handloom.tasks.rewriting import Rewriting, Written
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, Task, softmax
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tasks.token_classification import Tagged, TokenClassification
from handloom.tensor import Tensor
from handloom.text.bm25 import Bm25
from handloom.train.batches import Indices
from handloom.train.optimisers import Moments, Scalars, Tree, adam, apply
from handloom.train.schedules import schedule

FEATURES = 20_000  #: the most words and pairs of words that the linear model looks at
LONGEST = 160  #: of a text's features, those that weigh most
ROWS, EPOCHS, RATE = 256, 10, 0.05

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|[。！？]|$)", re.DOTALL)
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")


def baselines_for(
    task: Task, train: Sequence[Any], test: Sequence[Any], seed: int, threads: int | None
) -> dict[str, Scores]:
    """Scores on `test` of the baselines that fit a task; none for a task of the user's own."""
    if type(task) is TextClassification:
        return {
            "most frequent label": task.score(test, majority(task, train, test), seed),
            "linear bag of words": task.score(test, linear(task, train, test, seed, threads), seed),
        }
    if type(task) is RelationExtraction:
        flat = TextClassification(task.labels)
        given, asked = ([marked(example) for example in examples] for examples in (train, test))
        return {
            "most frequent relation": task.score(test, majority(flat, given, asked), seed),
            "linear bag of words": task.score(test, linear(flat, given, asked, seed, threads), seed),
        }
    if type(task) is QuestionAnswering:
        return {"most similar sentence": task.score(test, similar_sentences(test), seed)}
    if type(task) is Rewriting:
        name, write = COPIES[task.what]
        return {name: task.score(test, [Written(write(example.text)) for example in test], seed)}
    if type(task) is TokenClassification:
        return {
            "most frequent tag": task.score(test, one_tag(task, train, test), seed),
            "most frequent tag of each word": task.score(test, word_tags(task, train, test), seed),
            "linear bag of words": task.score(test, linear_tags(task, train, test, seed, threads), seed),
        }
    return {}


def first_sentence(text: str) -> str:
    """Up to the first end of a sentence that blanks follow, or a Chinese one.

    >>> first_sentence("It costs 3.50 a day. We pay."), first_sentence("你好。再见。")
    ('It costs 3.50 a day.', '你好。')
    """
    end = re.search(r"[.!?](?=\s)|[。！？]", text)
    return text if end is None else text[: end.end()]


COPIES: dict[str, tuple[str, Callable[[str], str]]] = {
    TRANSLATION: ("the text itself", lambda text: text),
    SUMMARIZATION: ("the first sentence", first_sentence),
}
"""What a model that writes has to beat."""


def marked(example: RelationExample) -> TextExample:
    """The text, and once more what stands between the two places."""
    (_, begin), (end, _) = sorted((example.first, example.second))
    return TextExample(example.text, example.text[begin:end], example.label)


def majority(task: TextClassification, train: Sequence[TextExample], test: Sequence[TextExample]) -> list[Prediction]:
    """The most frequent label for every text, with the labels' shares as scores."""
    counts = Counter(example.label for example in train)
    shares = {label: counts[label] / len(train) for label in task.labels}
    best = max(task.labels, key=lambda label: shares[label])
    return [Prediction(best, shares[best], shares) for _ in test]


def similar_sentences(test: Sequence[QuestionExample]) -> list[Answer]:
    """The sentence of each text that shares most words with the question, by BM25."""
    found = []
    for example in test:
        places = [sentence.span() for sentence in _SENTENCE.finditer(example.context)]
        best = Bm25([example.context[slice(*place)] for place in places]).best(example.question, 1)
        start, end = places[best[0][0]] if best else (0, 0)
        found.append(Answer(example.context[start:end], start, end, 1.0))
    return found


def one_tag(task: TokenClassification, train: Sequence[TokenExample], test: Sequence[TokenExample]) -> list[Tagged]:
    """The most frequent tag for every word, with its share as score."""
    counts = Counter(tag for example in train for tag in task.tags(example) or ())
    tag, count = counts.most_common(1)[0]
    share = count / counts.total()
    found = []
    for example in test:
        words = task.words(example)
        found.append(task.tagged(example.text, words, [tag] * len(words), [share] * len(words)))
    return found


def word_tags(task: TokenClassification, train: Sequence[TokenExample], test: Sequence[TokenExample]) -> list[Tagged]:
    """For each word the tag that it has most often in training; the most frequent tag for words never seen."""
    seen: dict[str, Counter[str]] = {}
    overall: Counter[str] = Counter()
    for example in train:
        for (start, end), tag in zip(task.words(example), task.tags(example) or (), strict=True):
            seen.setdefault(example.text[start:end], Counter())[tag] += 1
            overall[tag] += 1
    usual = overall.most_common(1)[0][0]
    found = []
    for example in test:
        words = task.words(example)
        tags = [
            seen[word].most_common(1)[0][0] if (word := example.text[start:end]) in seen else usual
            for start, end in words
        ]
        found.append(task.tagged(example.text, words, tags, [1.0] * len(tags)))
    return found


# -- linear bag of words --------------------------------------------------------------------------------------------


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
    task: TextClassification,
    train: Sequence[TextExample],
    test: Sequence[TextExample],
    seed: int = 0,
    threads: int | None = None,
) -> list[Prediction]:
    """Softmax regression on tf-idf of words and pairs of words, trained by the same engine."""
    texts, asked = [words_of(e) for e in train], [words_of(e) for e in test]
    vectoriser = Vectoriser(texts)
    width = min(LONGEST, max((len(set(words)) for words in texts), default=1))
    width = max(8, -(-width // 8) * 8)
    labels = np.array([task.labels.index(str(e.label)) for e in train], np.int32)
    params = _fit(*vectoriser.rows(texts, width), labels, len(vectoriser), len(task.labels), seed, threads)
    found: list[Prediction] = []
    for row in _shares(params, *vectoriser.rows(asked, width)):
        best = int(row.argmax())
        shares = dict(zip(task.labels, row.tolist(), strict=True))
        found.append(Prediction(task.labels[best], float(row[best]), shares))
    return found


# -- the same for words ---------------------------------------------------------------------------------------------

WORD_FEATURES = 40_000  #: the most features of words that are looked at
_OUTSIDE = ("", "")  #: where a sentence has no more neighbours


def shape(word: str) -> str:
    """How a word is written: runs of capitals, small letters and digits, all else as it is.

    >>> shape("McDonald's"), shape("R2-D2"), shape("我")
    ("XxXx'x", 'X9-X9', 'x')
    """
    kinds = ("X" if c.isupper() else "9" if c.isdigit() else "x" if c.isalpha() else c for c in word[:20])
    return "".join(kind for kind, _ in groupby(kinds))


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Of each word of a sentence: itself, in lower case, beginnings and endings up to 3, its shape, two neighbours on
    either side. Each feature is marked with what it is."""
    small = [*_OUTSIDE, *(word.lower() for word in words), *_OUTSIDE]
    found = []
    for at, word in enumerate(words):
        low = small[at + 2]
        affixes = [f"{n}^{low[:n]}" for n in (1, 2, 3)] + [f"{n}${low[-n:]}" for n in (1, 2, 3)]
        beside = [f"{n}@{small[at + 2 + n]}" for n in (-2, -1, 1, 2)]
        found.append([f"={word}", f"~{low}", f"#{shape(word)}", *affixes, *beside])
    return found


def linear_tags(
    task: TokenClassification,
    train: Sequence[TokenExample],
    test: Sequence[TokenExample],
    seed: int = 0,
    threads: int | None = None,
) -> list[Tagged]:
    """Softmax regression on features of each word and its neighbours, trained by the same engine."""
    shares = tag_shares(task, train, test, seed, threads)
    best, at, found = shares.argmax(-1), 0, []
    for example in test:
        words = task.words(example)
        some = range(at, at + len(words))
        at += len(words)
        tags, sure = [task.labels[best[i]] for i in some], [float(shares[i, best[i]]) for i in some]
        found.append(task.tagged(example.text, words, tags, sure))
    return found


def tag_shares(
    task: TokenClassification,
    train: Sequence[TokenExample],
    test: Sequence[TokenExample],
    seed: int = 0,
    threads: int | None = None,
) -> Array:
    """f64 [words, tags]: how likely that model finds each tag of each word of `test`, one sentence after the other."""
    known, asked = _featured(task, train), _featured(task, test)
    spread = Counter(feature for words in known for word in words for feature in word)
    least = 2 if len(known) >= 200 else 1
    ranked = sorted((name for name, count in spread.items() if count >= least), key=lambda name: (-spread[name], name))
    places = {name: i for i, name in enumerate(ranked[:WORD_FEATURES])}
    index = {label: i for i, label in enumerate(task.labels)}
    labels = np.array([index[tag] for example in train for tag in task.tags(example) or ()], np.int32)
    rows = _word_rows(known, places)
    params = _fit(*rows, labels, len(places), len(task.labels), seed, threads, rows=1024, epochs=6)
    return _shares(params, *_word_rows(asked, places))


def _featured(task: TokenClassification, examples: Sequence[TokenExample]) -> list[list[list[str]]]:
    return [word_features([e.text[start:end] for start, end in task.words(e)]) for e in examples]


def _word_rows(sentences: Sequence[Sequence[Sequence[str]]], places: dict[str, int]) -> tuple[Array, Array]:
    """ids i32 [words, features] and weights f32, 0 for features that are not known."""
    kinds = len(word_features(["a"])[0])
    rows = [[places.get(name, -1) for name in word] for sentence in sentences for word in sentence]
    ids = np.array(rows, np.int32).reshape(-1, kinds)
    return np.maximum(ids, 0), (ids >= 0).astype(np.float32)


# -- the training ---------------------------------------------------------------------------------------------------


def _shares(params: dict[str, Array], ids: Array, weights: Array) -> Array:
    """f64 [rows, classes]: the softmax of each row."""
    table, bias = params["table.weight"], params["bias"]
    blocks = [slice(at, at + ROWS) for at in range(0, len(ids), ROWS)]
    logits = [np.einsum("nk,nkc->nc", weights[some], table[ids[some]]) + bias for some in blocks]
    return softmax(np.concatenate([np.zeros((0, len(bias))), *logits]))


def _fit(
    ids: Array, weights: Array, labels: Array, features: int, classes: int, seed: int, threads: int | None,
    rows: int = ROWS, epochs: int = EPOCHS,
) -> dict[str, Array]:
    rule = adam()
    state: Any = (
        {"table.weight": np.zeros((max(features, 1), classes), np.float32), "bias": np.zeros(classes, np.float32)},
        {},
    )
    state = (state[0], rule.init(state[0]))
    rows = min(rows, -(-len(labels) // 8) * 8)
    per_epoch = -(-len(labels) // rows)
    rate = schedule("linear", RATE, epochs * per_epoch)
    step: Callable[..., Any] = ht.compile(_step_of(rows, ids.shape[1]), donate=("params", "moments"), threads=threads)
    number = 0
    for epoch in range(epochs):
        for batch in _batches(len(labels), rows, seed, epoch):
            chosen = labels[batch]
            chosen = np.concatenate([chosen, np.full(rows - len(batch), -100, np.int32)])
            padded = np.concatenate([batch, np.zeros(rows - len(batch), np.int64)])
            given = {key: np.float32(value) for key, value in rule.scalars(rate(number), number + 1).items()}
            state = step(*state, ids[padded].reshape(-1), weights[padded].reshape(-1, 1), chosen, given)
            number += 1
    return {name: np.asarray(value.numpy()) for name, value in state[0].items()}


def _batches(count: int, rows: int, seed: int, epoch: int) -> list[Indices]:
    from handloom.data.packing import order

    shuffled = order(count, seed, epoch)
    return [shuffled[at : at + rows] for at in range(0, count, rows)]


def _step_of(rows: int, width: int) -> Callable[..., Any]:
    """A step for batches of `rows` texts with `width` features each."""

    def step(
        params: Tree, moments: Moments, ids: Tensor, weights: Tensor, labels: Tensor, given: Scalars
    ) -> tuple[Tree, Moments]:
        def loss_of(chosen: Tree) -> tuple[Tensor, Tensor]:
            picked = ht.take(chosen["table.weight"], ids) * weights
            classes = picked.shape[1]
            logits = picked.reshape(rows, width, classes).sum(axis=1) + chosen["bias"]
            return ht.cross_entropy(logits, labels)

        (_, weight), grads = ht.value_and_grad(loss_of, has_aux=True)(params)
        params, moments, _ = apply(adam(), None, params, moments, grads, weight, given)
        return params, moments

    return step
