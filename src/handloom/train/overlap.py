"""What words in common are worth: BM25 in place of a model that compares texts, or chooses one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from handloom.data.examples import ChoiceExample, MatchExample
from handloom.data.texts import folded
from handloom.tasks import ranking
from handloom.tasks.matching import LABELLED, PAIRS, TRIPLETS, Match, Matching, kind_of
from handloom.tasks.multiple_choice import Choice, chosen
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, softmax
from handloom.text.bm25 import Bm25

TUNED_ON = 2000  #: pairs by which BM25's threshold is chosen


def by_words(task: Matching, train: Sequence[MatchExample], test: Sequence[MatchExample], seed: int) -> Scores:
    """How many words two texts share; among the second texts of the data, where they are searched."""
    if kind_of(test) in (PAIRS, TRIPLETS):
        return task.score(test, _found_by_words(test), seed)
    limit = None
    if task.kind == LABELLED == kind_of(test):
        some = train[:TUNED_ON]
        limit = ranking.best_threshold(_shared_words(some), np.array([e.score == 1 for e in some]))
    judge = Matching(task.kind, span=task.span, threshold=limit)
    return judge.score(test, [Match(score) for score in _shared_words(test).tolist()], seed)


def _shared_words(examples: Sequence[MatchExample]) -> Array:
    """f64: BM25's score of each second text for its first one."""
    numbers = {text: i for i, text in enumerate(dict.fromkeys(e.other for e in examples))}
    index = Bm25(list(numbers))
    rows: dict[str, Array] = {}
    found = []
    for example in examples:
        if example.text not in rows:
            rows = {example.text: index.scores(example.text)}  # the same text often stands in rows one behind the other
        found.append(float(rows[example.text][numbers[example.other]]))
    return np.array(found)


def _found_by_words(examples: Sequence[MatchExample]) -> list[Match]:
    """Where the right texts stand among all that BM25 finds; a text without a word in common is not found."""
    answers: dict[str, int] = {}
    texts: list[str] = []
    right: dict[str, set[int]] = {}
    for example in examples:
        for text in (example.other, example.negative):
            if text is not None and answers.setdefault(folded(text), len(texts)) == len(texts):
                texts.append(text)
        right.setdefault(folded(example.text), set()).add(answers[folded(example.other)])
    index = Bm25(texts)
    often = Counter(folded(example.text) for example in examples)
    known: dict[str, tuple[Array, Array]] = {}
    said = []
    for example in examples:
        key = folded(example.text)
        if key not in known:
            row = index.scores(example.text)
            own = np.array([i for i in sorted(right[key]) if row[i] > 0], np.int64)
            known[key] = row, ranking.places(row, own)
        row, ranks = known[key]
        negative = None if example.negative is None else float(row[answers[folded(example.negative)]])
        score = float(row[answers[folded(example.other)]])
        best = texts[int(row.argmax())] if row.any() else ""
        near = tuple(ranks[ranks <= 10].tolist())
        margin = None if negative is None else score - negative
        said.append(Match(score, None, near, len(right[key]), best, 1 / often[key], margin))
    return said


def longest_choices(examples: Sequence[ChoiceExample]) -> list[Choice]:
    return [chosen(e.choices, softmax(np.array([float(len(choice)) for choice in e.choices]))) for e in examples]


def similar_choices(examples: Sequence[ChoiceExample]) -> list[Choice]:
    """The choice that shares most words with the question and its context."""
    found = []
    for example in examples:
        scores = Bm25(example.choices).scores(f"{example.context} {example.question}")
        found.append(chosen(example.choices, softmax(scores)))
    return found
