from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handloom.tasks import moments
from handloom.tasks.calibration import (
    Calibration,
    best_f1,
    calibrate,
    calibration_error,
    floor_of,
    likelihood_of_classes,
    likelihood_of_marks,
)
from handloom.tasks.metrics import evaluated, mean_of, set_counts, weighted
from handloom.tasks.ranking import average_precision
from handloom.tasks.task import softmax


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return np.log(softmax(logits))


def test_the_temperature_that_made_the_labels_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    true = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    for factor in (0.5, 1.0, 3.0):

        def error(of: np.ndarray) -> float:
            shares = softmax(of)
            return calibration_error(shares.max(-1), shares.argmax(-1) == true)

        found = calibrate(logits * factor, lambda of: likelihood_of_classes(log_softmax(of), true), error)
        assert found.temperature == pytest.approx(factor, rel=0.1) and found.examples == 4000
        assert found.after < 0.03 and (factor == 1 or found.before > found.after)
    assert Calibration.from_dict(found.to_dict()) == found
    with pytest.raises(ValueError, match="positive"):
        Calibration.from_dict({**found.to_dict(), "temperature": float("nan")})


def test_a_model_that_is_always_right_stays_within_bounds() -> None:
    logits, true = np.eye(2)[[0, 1] * 10] * 4, np.array([0, 1] * 10)
    found = calibrate(logits, lambda of: likelihood_of_classes(log_softmax(of), true), lambda of: 0.0)
    assert softmax(logits / found.temperature).max(-1)[0] == pytest.approx(1 - 1 / 42, abs=2e-3)
    marks = np.ones((20, 1))
    found = calibrate(np.full((20, 1), 4.0), lambda of: likelihood_of_marks(of, marks), lambda of: 0.0)
    assert 1 / (1 + np.exp(-4 / found.temperature)) == pytest.approx(20.5 / 21, abs=2e-3)
    assert calibrate(np.zeros((0, 2)), lambda of: 0.0, lambda of: 0.0) == Calibration()


def test_a_temperature_that_tells_nothing_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    logits = 3 * rng.normal(size=(400, 3))
    true = np.array([rng.choice(3, p=row) for row in softmax(logits / 3)])

    def loss(of: Any) -> float:
        return likelihood_of_classes(log_softmax(of), true[: len(of)])

    def fitting(of: Any) -> float:
        """Less, the hotter."""
        return float(np.abs(of).mean())

    assert calibrate(logits, loss, fitting).temperature > 2
    for rows, error in ((logits[:19], fitting), (logits, lambda of: -fitting(of))):  # too few; made worse
        found = calibrate(rows, loss, error)
        assert found.temperature == 1 and found.before == found.after and "stay as they are" in str(found)
    endless = calibrate(logits, fitting, fitting)
    assert endless.temperature == 1 and endless.examples == 400


def test_calibration_error_by_hand() -> None:
    assert calibration_error(np.array([0.95, 0.95, 0.55]), np.array([1, 0, 1])) == pytest.approx((0.9 + 0.45) / 3)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0
    assert calibration_error(np.zeros(0), np.zeros(0)) == 0


scored = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30)


@given(scored)
def test_no_threshold_has_a_better_f1(rows: list[tuple[int, bool]]) -> None:
    scores, marks = np.array([s / 20 for s, _ in rows]), np.array([m for _, m in rows])
    found = best_f1(scores, marks)
    if not marks.any():
        assert found is None
        return

    def f1(line: float) -> float:
        said = scores >= line
        return float(2 * (said & marks).sum() / (said.sum() + marks.sum()))

    assert found is not None and 0 <= found[0] <= 1
    assert f1(found[0]) == pytest.approx(found[1]) == max(f1(i / 40) for i in range(41))


@given(scored, st.floats(0, 0.9), st.lists(st.integers(0, 20), max_size=10))
def test_no_more_than_the_share_is_refused(rows: list[tuple[int, bool]], share: float, rest: list[int]) -> None:
    sure, right = np.array([s / 20 for s, _ in rows]), np.array([m for _, m in rows])
    nothing = np.array(rest, np.float64) / 20
    floor = floor_of(sure, right, nothing, share)
    assert (sure < floor).sum() <= share * len(sure) + 1e-6

    def merit(at: float) -> float:
        return float((right & (sure >= at)).mean() + (nothing < at).mean())

    if rest:
        allowed = [i / 40 for i in range(42) if (sure < i / 40).sum() <= share * len(sure) + 1e-9]
        assert merit(floor) >= max(map(merit, allowed)) - 1e-9
    else:
        assert (sure <= floor).sum() > share * len(sure) - 1e-6


@pytest.mark.parity
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(-1, 1, width=16)), min_size=3, max_size=40))
def test_scores_of_numbers_beside_scipy_and_scikit_learn(rows: list[tuple[int, int, float]]) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    stats = pytest.importorskip("scipy.stats")
    gold, guess = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    steps = moments.moments(gold, guess).sum(0)
    if len({*gold.tolist(), *guess.tolist()}) > 1:
        expected = sk.cohen_kappa_score(gold, guess, weights="quadratic", labels=range(5))
        assert moments.quadratic_kappa(steps) == pytest.approx(expected, abs=1e-9)
    assert moments.mean_absolute_error(steps) == pytest.approx(np.abs(gold - guess).mean())
    assert moments.same(steps) == pytest.approx((gold == guess).mean())
    other = gold + np.array([r[2] for r in rows])
    found = moments.ranked_moments(gold * 1e3 + 1e6, other).sum(0)
    if len(set(gold.tolist())) > 1 and len(set(other.tolist())) > 1 and other.std() > 1e-3:
        assert moments.pearson(found) == pytest.approx(stats.pearsonr(gold, other)[0], abs=1e-5)
        assert moments.OF_NUMBERS["spearman"](found) == pytest.approx(stats.spearmanr(gold, other)[0], abs=1e-9)
    squared = moments.mean_squared_error(moments.moments(gold, other).sum(0))
    assert squared == pytest.approx(((gold - other) ** 2).mean(), abs=1e-12)
    marks = gold > 2
    if marks.any():
        expected = sk.average_precision_score(marks, guess)
        assert float(average_precision(guess.astype(float), marks)) == pytest.approx(expected)


@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30))
def test_ranks_share_their_mean(values: list[float]) -> None:
    wanted = [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]
    assert moments.ranks(values).tolist() == wanted


def test_a_constant_goes_with_nothing() -> None:
    assert moments.pearson(moments.moments([1.0, 2.0, 3.0], [0.1] * 3).sum(0)) == 0
    assert moments.ranks([3.0, 1.0, 3.0]).tolist() == [2.5, 1, 2.5]
    assert float(average_precision(np.ones(2), np.zeros(2))) == 0


def test_means_of_weighted_examples() -> None:
    values, intervals = evaluated(weighted([1.0, 0.0, 0.5], np.array([1.0, 2.0, 1.0])), {"mean": mean_of(1)})
    assert values == {"mean": pytest.approx(1.5 / 4)} and intervals["mean"][0] < 1.5 / 4 < intervals["mean"][1]
    assert evaluated(weighted([]), {"mean": mean_of(1)}) == ({"mean": 0.0}, {"mean": (0.0, 0.0)})
    millionths = np.array([[2, 3_000_000]])
    assert float(mean_of(1, scale=1_000_000)(millionths.sum(0))) == 1.5


def test_sets_are_counted() -> None:
    counts = set_counts(["a", "b", "c"], [("a", "b"), ()], [("b", "c"), ()])
    assert counts.counts[0].tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 0]] and counts.right.tolist() == [False, True]
