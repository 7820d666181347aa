"""Scores of similarities, beside definitions written out, and beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.tasks import ranking

SCORED = st.lists(st.tuples(st.integers(0, 6).map(float), st.booleans()), min_size=1, max_size=30)


@given(SCORED)
def test_average_precision_by_its_definition(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = np.array([s for s, _ in pairs]), np.array([y for _, y in pairs])
    total = 0.0
    for limit in sorted(set(scores.tolist()), reverse=True):  # each different score is one step
        taken = scores >= limit
        total += (labels & (scores == limit)).sum() * labels[taken].mean()
    assert float(ranking.average_precision(scores, labels)) == pytest.approx(total / max(labels.sum(), 1))


@given(SCORED, st.integers(0, 100))
def test_drawn_examples_are_weights(pairs: list[tuple[float, bool]], seed: int) -> None:
    scores, labels = np.array([s for s, _ in pairs]), np.array([y for _, y in pairs])
    rng = np.random.default_rng(seed)
    picks = [rng.integers(0, len(pairs), len(pairs)) for _ in range(3)]
    drawn = np.stack([np.bincount(pick, minlength=len(pairs)) for pick in picks])
    wanted = [float(ranking.average_precision(scores[pick], labels[pick])) for pick in picks]
    assert ranking.average_precision(scores, labels, drawn) == pytest.approx(wanted)


@given(SCORED)
def test_no_threshold_is_better(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = np.array([s for s, _ in pairs]), np.array([y for _, y in pairs])
    found = ((scores > ranking.best_threshold(scores, labels)) == labels).sum()
    assert found == max(((scores > limit) == labels).sum() for limit in [-1.0, *scores.tolist()])


@given(st.lists(st.integers(0, 4).map(float), min_size=1, max_size=12), st.data())
def test_places_are_those_of_a_stable_sort(row: list[float], data: st.DataObject) -> None:
    own = data.draw(st.lists(st.integers(0, len(row) - 1), unique=True))
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    wanted = sorted(order.index(i) + 1 for i in own)
    assert ranking.places(np.array(row), np.array(own, np.int64)).tolist() == wanted


def test_search_metrics() -> None:
    ranks = np.array([2, 4, 30])
    assert ranking.recall_at(ranks, 3, 1) == 0 and ranking.recall_at(ranks, 3, 5) == pytest.approx(2 / 3)
    assert ranking.reciprocal_rank(ranks) == 0.5 and ranking.reciprocal_rank(np.array([11])) == 0
    assert ranking.reciprocal_rank(np.zeros(0, np.int64)) == 0
    gained, best = 1 / np.log2(3) + 1 / np.log2(5), 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert ranking.gain(ranks, 3) == pytest.approx(gained / best)
    assert ranking.gain(np.array([1]), 1) == 1 and ranking.gain(np.arange(1, 11), 40) == pytest.approx(1)


def test_ranked_answers() -> None:
    answers = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0.5, 0], [0, 0, 1]], np.float32)
    found = list(ranking.ranked(queries, answers, [np.array([1]), np.array([0, 2])]))
    assert [(ranks.tolist(), best) for ranks, best in found] == [([2], 0), ([1, 2], 2)]


def test_the_interval_holds_the_value() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random(200), rng.random(200) < 0.4
    value = float(ranking.average_precision(scores, labels))
    low, high = ranking.precision_interval(scores, labels, 1)
    assert low < value < high and high - low < 0.25
    assert (low, high) == ranking.precision_interval(scores, labels, 1)
    assert ranking.precision_interval(scores[:0], labels[:0]) == (0.0, 0.0)
    assert ranking.precision_interval(scores, np.ones(200, bool)) == (1.0, 1.0)


@pytest.mark.parity
def test_beside_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    scores, labels = rng.integers(0, 20, 300).astype(float), rng.random(300) < 0.3
    wanted = theirs.average_precision_score(labels, scores)
    assert float(ranking.average_precision(scores, labels)) == pytest.approx(wanted)
    relevant = np.zeros((1, 40))
    relevant[0, [3, 7, 20]] = 1
    row = rng.permutation(40).astype(float)
    ranks = ranking.places(row, np.array([3, 7, 20]))
    assert ranking.gain(ranks, 3) == pytest.approx(theirs.ndcg_score(relevant, row[None], k=10))
