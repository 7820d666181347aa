from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.tasks import metrics
from handloom.text.spans import runs

GOLD = [0, 0, 0, 1, 1, 2]
GUESS = [0, 1, 0, 1, 2, 2]


def test_confusion_and_scores_by_hand() -> None:
    matrix = metrics.confusion(GOLD, GUESS, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    table = metrics.per_label(matrix)
    assert table["precision"].tolist() == [1.0, 0.5, 0.5, 0.0]
    assert table["recall"].tolist() == pytest.approx([2 / 3, 0.5, 1.0, 0.0])
    assert table["f1"].tolist() == pytest.approx([0.8, 0.5, 2 / 3, 0.0])
    assert table["support"].tolist() == [3, 2, 1, 0]
    assert metrics.accuracy(matrix) == pytest.approx(4 / 6)
    assert metrics.macro_f1(matrix) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)  # the fourth label never occurs
    assert metrics.weighted_f1(matrix) == pytest.approx((0.8 * 3 + 0.5 * 2 + 2 / 3) / 6)


@pytest.mark.parity
def test_against_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    gold, guess = rng.integers(0, 7, 300), rng.integers(0, 8, 300)
    matrix = metrics.confusion(gold, guess, 9)
    assert metrics.accuracy(matrix) == pytest.approx(sklearn.accuracy_score(gold, guess))
    for ours, average in ((metrics.macro_f1, "macro"), (metrics.weighted_f1, "weighted")):
        assert ours(matrix) == pytest.approx(sklearn.f1_score(gold, guess, average=average, zero_division=0))
    p, r, f, _ = sklearn.precision_recall_fscore_support(gold, guess, labels=range(9), zero_division=0)
    table = metrics.per_label(matrix)
    for ours_, theirs in ((table["precision"], p), (table["recall"], r), (table["f1"], f)):
        np.testing.assert_allclose(ours_, theirs)


def test_span_scores_by_hand() -> None:
    gold = [["B-x", "I-x", "O", "B-y"], ["O", "O"], ["B-x", "O"]]
    guess = [["B-x", "I-x", "O", "B-x"], ["B-y", "O"], ["B-x", "O"]]
    counted = metrics.span_counts(map(runs, gold), map(runs, guess))
    assert counted.labels == ("x", "y")
    assert counted.counts[:, :, 0].tolist() == [[1, 0], [0, 0], [1, 0]]  # right
    found = {name: metric(counted.counts.sum(0)) for name, metric in metrics.OF_SPANS.items()}
    assert found == pytest.approx({"span_f1": 4 / 7, "span_precision": 0.5, "span_recall": 2 / 3})
    assert counted.right.tolist() == [False, False, True]
    assert counted.per_label()["x"] == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2.0})
    assert metrics.micro_f1_of(counted.counts.sum(0)) == pytest.approx(4 / 7)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=30))
def test_counts_of_labels_give_the_scores_of_a_confusion_matrix(pairs: list[tuple[str, str]]) -> None:
    gold, guess = [g for g, _ in pairs], [p for _, p in pairs]
    matrix = metrics.confusion(["abcd".index(g) for g in gold], ["abcd".index(p) for p in guess], 4)
    counted = metrics.label_counts([(g,) for g in gold], [(p,) for p in guess])
    for name, metric in metrics.OF_LABELS.items():
        assert metric(counted.counts.sum(0)) == pytest.approx(float(metrics.OF_CONFUSION[name](matrix)))
    assert counted.right.tolist() == [g == p for g, p in pairs]
    wide = counted.among(["z", *"dcba"])
    assert metrics.macro_f1_of(wide.counts.sum(0)) == pytest.approx(metrics.macro_f1_of(counted.counts.sum(0)))
    assert {k: v for k, v in wide.per_label().items() if k in counted.labels} == counted.per_label()


def test_interval_of_accuracy_is_the_binomial_one() -> None:
    matrix = np.array([[40, 10], [10, 40]])
    low, high = metrics.confusion_interval(matrix, metrics.accuracy, seed=3, draws=4000)
    assert (low, high) == pytest.approx((0.72, 0.88), abs=0.011)  # 0.8 ± 1.96 · √(0.8 · 0.2 / 100)
    assert metrics.confusion_interval(matrix, metrics.accuracy, seed=3, draws=4000) == (low, high)


def test_interval_of_spans_matches_plain_resampling() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (80, 2, 3))
    counts[..., 0] = counts.min(-1)
    drawn = [metrics.micro_f1_of(counts[rng.integers(0, 80, 80)].sum(0)) for _ in range(3000)]
    low, high = metrics.interval(counts, metrics.micro_f1_of, draws=3000)
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.02)


def test_nothing_measured_is_zero_not_an_error() -> None:
    empty = np.zeros((2, 2), np.int64)
    assert metrics.accuracy(empty) == 0
    assert metrics.confusion_interval(empty, metrics.accuracy) == (0.0, 0.0)
