"""Each rule on rows worked out by hand, and value by value against transformers' logits processors."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from handloom.errors import UsageError
from handloom.generate import sampling
from handloom.generate.sampling import NEVER, Place, Sampling, choose, processed

ROW = np.array([1.0, 3.0, -2.0, 2.0, 3.0], np.float32)
NOTHING = np.zeros(0, np.int32)


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def kept(row: np.ndarray) -> list[int]:
    return np.flatnonzero(row > NEVER).tolist()


def test_top_k_keeps_what_is_as_likely_as_the_last() -> None:
    assert kept(sampling.top_k(ROW, 1)) == [1, 4]
    assert kept(sampling.top_k(ROW, 3)) == [1, 3, 4]
    assert kept(sampling.top_k(ROW, 99)) == [0, 1, 2, 3, 4]


def test_top_p_keeps_at_least_one() -> None:
    assert len(kept(sampling.top_p(ROW, 1e-9))) == 1
    even = np.zeros(4, np.float32)
    assert len(kept(sampling.top_p(even, 0.6))) == 3
    assert len(kept(sampling.top_p(even, 1.0))) == 4


def test_min_p() -> None:
    assert kept(sampling.min_p(ROW, 0.3)) == [1, 3, 4]
    assert kept(sampling.min_p(ROW, 0.0)) == [0, 1, 2, 3, 4]
    assert kept(sampling.min_p(ROW, 1.0)) == [1, 4]


def test_repetition_penalty_works_on_both_sides_of_zero() -> None:
    got = sampling.repetition_penalty(ROW, ids(2, 3, 3), 2.0)
    np.testing.assert_array_equal(got, np.array([1, 3, -4, 1, 3], np.float32))


@pytest.mark.parametrize(
    ("before", "size", "banned"),
    [
        (ids(1, 2, 1), 2, [2]),
        (ids(1, 2, 3, 1, 2), 3, [3]),
        (ids(1, 2, 4, 1, 2, 3, 1, 2), 3, [3, 4]),
        (ids(0, 1), 1, [0, 1]),
        (ids(1), 2, []),
        (NOTHING, 1, []),
    ],
)
def test_no_ngram_comes_twice(before: np.ndarray, size: int, banned: list[int]) -> None:
    assert kept(sampling.no_repeat_ngram(ROW, before, size)) == [i for i in range(5) if i not in banned]


def test_the_row_that_was_given_stays() -> None:
    how = Sampling(0.5, 2, 0.9, 0.1, 1.5, 1, {0: 4.0})
    row = ROW.copy()
    processed(row, ids(1, 2), how, Place())
    np.testing.assert_array_equal(row, ROW)


def test_a_bias_outside_of_the_vocabulary_is_named() -> None:
    with pytest.raises(UsageError, match="the token 5; the vocabulary has 0 to 4"):
        sampling.bias(ROW, {5: 1.0})


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    assert choose(ROW, NOTHING, Sampling(), Place(0)) == 1
    assert choose(ROW, NOTHING, Sampling(logit_bias={0: 9.0}), Place(0)) == 0


def test_drawn_as_often_as_likely_and_never_what_is_forbidden() -> None:
    how = Sampling(temperature=1.0, top_k=3, seed=3)
    drawn = Counter(choose(ROW, NOTHING, how, Place(place)) for place in range(4000))
    wanted = sampling.probabilities(sampling.top_k(ROW, 3).astype(np.float64))
    assert set(drawn) == {1, 3, 4}
    for token in drawn:
        assert drawn[token] / 4000 == pytest.approx(wanted[token], abs=0.03)


def test_chance_depends_on_seed_place_and_sample() -> None:
    row = np.zeros(1000, np.float32)
    how = Sampling(temperature=1.0, seed=2**40 + 7)
    first = choose(row, NOTHING, how, Place(3), 1)
    assert choose(row, ids(5), how, Place(3), 1) == first
    other = Sampling(temperature=1.0, seed=7)
    others = [choose(row, NOTHING, other, Place(3), 1), choose(row, NOTHING, how, Place(4), 1)]
    assert first not in [*others, choose(row, NOTHING, how, Place(3), 2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "temperature must be 0 or more, and is -1"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p must be above 0"),
        ({"temperature": 1.0, "top_k": 0}, "top_k must be a whole number, at least 1"),
        ({"temperature": 1.0, "top_k": 2.5}, "top_k must be a whole number"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        ({"top_k": 5}, "give a temperature above 0"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sampling(**options)  # type: ignore[arg-type]


@pytest.mark.parity
def test_every_rule_as_transformers_has_it() -> None:
    torch = pytest.importorskip("torch")
    from transformers.generation import logits_process as theirs

    generator = np.random.default_rng(0)
    for trial in range(60):
        row = (generator.standard_normal(50) * 3).astype(np.float32)
        before = generator.integers(0, 50 if trial % 2 else 6, 30).astype(np.int32)
        value = float(generator.uniform(0.05, 0.95))
        pairs = [
            (theirs.TemperatureLogitsWarper(value), sampling.temperature(row, value)),
            (theirs.TopKLogitsWarper(1 + trial % 12), sampling.top_k(row, 1 + trial % 12)),
            (theirs.TopPLogitsWarper(value), sampling.top_p(row, value)),
            (theirs.MinPLogitsWarper(value), sampling.min_p(row, value)),
            (theirs.RepetitionPenaltyLogitsProcessor(1 + value), sampling.repetition_penalty(row, before, 1 + value)),
            (theirs.NoRepeatNGramLogitsProcessor(1 + trial % 4), sampling.no_repeat_ngram(row, before, 1 + trial % 4)),
            (theirs.SequenceBiasLogitsProcessor([[[7], value]]), sampling.bias(row, {7: value})),
        ]
        for processor, ours in pairs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                want = processor(torch.tensor(before.astype(np.int64))[None], torch.tensor(row.copy())[None])[0]
            np.testing.assert_allclose(ours, want.numpy(), rtol=1e-6, err_msg=type(processor).__name__)


def test_what_must_come_and_what_must_not() -> None:
    def left(before: np.ndarray, place: Place, **rules: object) -> list[int]:
        return kept(processed(ROW, before, Sampling(**rules), place))  # type: ignore[arg-type]

    ends = frozenset({2})
    assert left(ids(9, 3), Place(1), bad_words=[[3, 0], [9, 9, 1], [4]]) == [1, 2, 3]
    assert left(ids(9, 9), Place(1, ends=ends), bad_words=[[9, 9, 1], [2], [0, 2]]) == [0, 2, 3, 4]
    assert left(ids(9), Place(0, ends=ends), min_length=2) == [0, 1, 3, 4] == left(ids(9), Place(0, ends=ends),
                                                                                  min_new_tokens=1)  # fmt: skip
    assert left(ids(9, 9), Place(1, ends=ends), min_length=2, min_new_tokens=1) == [0, 1, 2, 3, 4]
    assert left(ids(9), Place(), force_first=3) == [3] and len(left(ids(9, 3), Place(1), force_first=3)) == 5
    assert left(ids(9), Place(5, last=True), force_last=(2, 4)) == [2, 4]
    assert left(ids(9), Place(), suppress=[0], suppress_first=[1]) == [2, 3, 4]
    assert left(ids(9, 8), Place(1), suppress_first=[1]) == [0, 1, 2, 3, 4]
    # behind a forced first token the second one is the first that is chosen
    assert left(ids(9, 8), Place(1), force_first=3, suppress_first=[1]) == [0, 2, 3, 4]
    assert left(ids(9, 8), Place(0), force_first=3, suppress_first=[1]) == [0, 2, 3, 4]
