"""What a model has to beat: the most frequent label or tag, a linear bag of words, each word's most frequent tag,
the sentence most like the question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import (
    TRANSLATION,
    QuestionExample,
    RelationExample,
    RewritingExample,
    TextExample,
    TokenExample,
)
from handloom.tasks.matching import Matching
from handloom.tasks.multiple_choice import MultipleChoice
from handloom.tasks.ordered_labels import OrderedLabels
from handloom.tasks.prompted import Prompted
from handloom.tasks.question_answering import Answer, QuestionAnswering
from handloom.tasks.relation_extraction import RelationExtraction
from handloom.tasks.rewriting import Rewriting, Written
from handloom.tasks.scores import Scores
from handloom.tasks.several_labels import LabelSet, SeveralLabels
from handloom.tasks.task import Array, Task, softmax
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tasks.text_regression import Number, TextRegression
from handloom.tasks.text_task import TextTask
from handloom.tasks.token_classification import Tagged, TokenClassification
from handloom.text.bm25 import Bm25
from handloom.train.extractive import SENTENCE, central, lead, sentences, usual_count
from handloom.train.linear import Vectoriser, fit, linear, logits, split_words
from handloom.train.overlap import by_words, longest_choices, similar_choices


def baselines_for(
    task: Task, train: Sequence[Any], test: Sequence[Any], seed: int, threads: int | None
) -> dict[str, Scores]:
    """Scores on `test` of the baselines that fit a task; none for a task of the user's own."""
    if isinstance(task, TextTask) and type(task) in CONSTANT:
        name, constant = CONSTANT[type(task)]
        one = constant(task, [example for example in train if example.label is not None])
        return {
            name: task.score(test, [one] * len(test), seed),
            "linear bag of words": task.score(test, linear(task, train, test, seed, threads), seed),
        }
    if type(task) is RelationExtraction:
        flat = TextClassification(task.labels)
        given, asked = ([marked(example) for example in examples] for examples in (train, test))
        return {
            "most frequent relation": task.score(test, [majority(flat, given)] * len(test), seed),
            "linear bag of words": task.score(test, linear(flat, given, asked, seed, threads), seed),
        }
    if type(task) is Matching:
        return {"BM25": by_words(task, train, test, seed)}
    if type(task) is MultipleChoice:
        ways = {"longest choice": longest_choices, "most similar choice": similar_choices}
        return {name: task.score(test, choose(test), seed) for name, choose in ways.items()}
    if type(task) is QuestionAnswering:
        return {"most similar sentence": task.score(test, similar_sentences(test), seed)}
    if isinstance(task, (Rewriting, Prompted)):
        written = copies(task.what, train, test)
        return {name: task.score(test, list(map(Written, texts)), seed) for name, texts in written.items()}
    if type(task) is TokenClassification:
        return {
            "most frequent tag": task.score(test, one_tag(task, train, test), seed),
            "most frequent tag of each word": task.score(test, word_tags(task, train, test), seed),
            "linear bag of words": task.score(test, linear_tags(task, train, test, seed, threads), seed),
        }
    return {}


def copies(what: str, train: Sequence[RewritingExample], test: Sequence[RewritingExample]) -> dict[str, list[str]]:
    """What a model that writes has to beat: of translations the text itself, of summaries some of its sentences."""
    if what == TRANSLATION:
        return {"the text itself": [example.text for example in test]}
    count = usual_count(train)
    words = [split_words(sentence) for example in test for sentence in sentences(example.text)]
    vectoriser = Vectoriser(words)

    def rows(found: Sequence[str]) -> Any:
        ids, weights = vectoriser.rows([split_words(sentence) for sentence in found])
        used, places = np.unique(ids, return_inverse=True)
        dense = np.zeros((len(found), len(used)))
        np.add.at(dense, (np.arange(len(found))[:, None], places.reshape(ids.shape)), weights)
        return dense

    one = "sentence" if count == 1 else f"{count} sentences"
    return {
        f"the first {one}": [lead(example.text, count) for example in test],
        f"the most central {one}": [central(example.text, count, rows) for example in test],
    }


def marked(example: RelationExample) -> TextExample:
    """The text, and once more what stands between the two places."""
    (_, begin), (end, _) = sorted((example.first, example.second))
    return TextExample(example.text, example.text[begin:end], example.label)


def majority(task: TextClassification, train: Sequence[TextExample]) -> Prediction:
    """The most frequent label, with the labels' shares as scores."""
    shares = _frequencies(task.classes, train)
    best = max(task.classes, key=lambda label: shares[label])
    return Prediction(best, shares[best], shares)


def median(task: OrderedLabels, train: Sequence[TextExample]) -> Prediction:
    """The step in the middle of the labels, with the labels' shares as scores."""
    shares = _frequencies(task.classes, train)
    middle = task.classes[task.best(np.array([list(shares.values())]))[0]]
    return Prediction(middle, shares[middle], shares)


def usual_labels(task: SeveralLabels, train: Sequence[TextExample]) -> LabelSet:
    """The labels that most texts have, or else the most frequent one."""
    shares = _frequencies(task.labels, train)
    best = max(task.labels, key=lambda label: shares[label])
    return LabelSet(tuple(label for label in task.labels if shares[label] >= 0.5) or (best,), shares)


def mean(task: TextRegression, train: Sequence[TextExample]) -> Number:
    """The mean of the numbers."""
    return Number(float(np.mean([task.number(example) for example in train])))


def _frequencies(labels: Sequence[str], train: Sequence[TextExample]) -> dict[str, float]:
    counts = Counter(label for example in train for label in example.labels)
    return {label: counts[label] / max(len(train), 1) for label in labels}


CONSTANT: dict[type, tuple[str, Callable[[Any, Sequence[TextExample]], Any]]] = {
    TextClassification: ("most frequent label", majority),
    OrderedLabels: ("label in the middle", median),
    SeveralLabels: ("most frequent labels", usual_labels),
    TextRegression: ("the mean", mean),
}
"""What says the same of every text."""


def similar_sentences(test: Sequence[QuestionExample]) -> list[Answer]:
    """The sentence of each text that shares most words with the question, by BM25."""
    found = []
    for example in test:
        places = [sentence.span() for sentence in SENTENCE.finditer(example.context)]
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


# -- linear, for words ---------------------------------------------------------------------------------------------

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
    loss = lambda logits, batch: ht.cross_entropy(logits, batch["labels"])  # noqa: E731
    params = fit(*rows, labels, len(places), len(task.labels), loss, seed, threads, rows=1024, epochs=6)
    return softmax(logits(params, *_word_rows(asked, places)))


def _featured(task: TokenClassification, examples: Sequence[TokenExample]) -> list[list[list[str]]]:
    return [word_features([e.text[start:end] for start, end in task.words(e)]) for e in examples]


def _word_rows(sentences: Sequence[Sequence[Sequence[str]]], places: dict[str, int]) -> tuple[Array, Array]:
    """ids i32 [words, features] and weights f32, 0 for features that are not known."""
    kinds = len(word_features(["a"])[0])
    rows = [[places.get(name, -1) for name in word] for sentence in sentences for word in sentence]
    ids = np.array(rows, np.int32).reshape(-1, kinds)
    return np.maximum(ids, 0), (ids >= 0).astype(np.float32)
