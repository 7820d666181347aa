"""Kneser–Ney: by hand, against the formulas in dictionaries, and as a distribution for any corpus."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom import NgramModel
from handloom.ngram.kneser_ney import FALLBACK, discounts

_spec = importlib.util.spec_from_file_location("by_dictionary", Path(__file__).parent / "by_dictionary.py")
assert _spec is not None and _spec.loader is not None
by_dictionary = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(by_dictionary)

WORDS = st.text("abcdefg", min_size=1, max_size=1)
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=1, max_size=12)


def after(model: NgramModel, text: str) -> dict[str, float]:
    return dict(zip(model.vocabulary, model.distribution(text).tolist(), strict=True))


def test_two_words_by_hand() -> None:
    """Of "a b", "a c", "a b", order 2.

    Words are counted by what stands before them: a 1, b 1, c 1, </s> 2, of 5. No word is counted three times, so the
    discounts are 0.5 and 1, and half of the mass is spread over 5 words: 1/10 each. Pairs: <s> a 3, a b 2, a c 1,
    b </s> 2, c </s> 1; so Y = 2 / (2 + 2·2) = 1/3, D1 = 1/3, D2 = 3/2, D3 = 3.
    """
    model = NgramModel.train(["a b", "a c", "a b"], order=2)
    assert not model.discounts[0].estimated and model.discounts[0].amounts == FALLBACK
    assert model.discounts[1].amounts == pytest.approx((1 / 3, 3 / 2, 3))
    words = {"a": 0.2, "b": 0.2, "c": 0.2, "</s>": 0.3, "<unk>": 0.1, "<s>": 0.0}
    assert after(model, "zebra") == pytest.approx(words)
    assert after(model, "") == pytest.approx(words)  # the discount takes all of <s> a
    share = (3 / 2 + 1 / 3) / 3
    expected = {word: share * p for word, p in words.items()}
    expected["b"] += (2 - 3 / 2) / 3
    expected["c"] += (1 - 1 / 3) / 3
    assert after(model, "a") == pytest.approx(expected)
    assert model.log10("a c") == pytest.approx(np.log10(0.2 * expected["c"] * after(model, "c")["</s>"]))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_as_the_formulas_in_dictionaries(lines: list[str], order: int) -> None:
    slow, fast = by_dictionary.KneserNey(lines, order), NgramModel.train(lines, order)
    texts = [*lines, "the zebra ate the cat", "cat cat cat", "on on the mat a", "x y z", ""]
    expected = np.log10([p for text in texts for p in slow.sentence(text)])
    assert fast.scores(texts).log10 == pytest.approx(expected, abs=1e-6)
    assert [one.amounts for one in fast.discounts] == [pytest.approx(one[1:]) for one in slow.discounts[1:]]
    assert sorted(fast.vocabulary) == sorted([*slow.vocabulary, "<s>"])


@given(SENTENCES, st.integers(1, 5), st.lists(WORDS, max_size=4).map(" ".join))
def test_the_slow_truth_and_a_sum_of_one_for_any_corpus(sentences: list[str], order: int, history: str) -> None:
    model, slow = NgramModel.train(sentences, order), by_dictionary.KneserNey(sentences, order)
    found = after(model, history)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    known = ("<s>", *(word if word in found else "<unk>" for word in history.split()))
    for word in slow.vocabulary:
        assert found[word] == pytest.approx(slow.probability(word, known), rel=1e-5)


@given(
    SENTENCES,
    st.sampled_from([[0, 0, 1], [0, 1, 2], [1, 1, 1], [2]]),
    st.sampled_from(["kneser-ney", "add-k"]),
    st.lists(WORDS, max_size=3).map(" ".join),
)
def test_a_sum_of_one_after_pruning(sentences: list[str], prune: list[int], method: str, history: str) -> None:
    model = NgramModel.train(sentences, 3, prune=prune, method=method)
    assert model.distribution(history).sum() == pytest.approx(1, abs=1e-5)
    assert model.distribution(history)[1] == 0


@given(SENTENCES, st.sampled_from(["kneser-ney", "add-k", "stupid-backoff"]))
def test_scores_are_what_distributions_say(sentences: list[str], method: str) -> None:
    model = NgramModel.train(sentences, 3, method=method)
    text = "a b q " + sentences[0]
    words = text.split()
    scores = model.scores([text])
    for at, (number, log10) in enumerate(zip(scores.ids, scores.log10, strict=True)):
        given = model.distribution(" ".join(words[:at]))
        if method != "stupid-backoff":
            assert np.log10(given[number]) == pytest.approx(log10, abs=1e-5)


def test_pruning_leaves_out_what_is_rare(lines: list[str]) -> None:
    whole = NgramModel.train(lines, 3)
    model = NgramModel.train(lines, 3, prune=[0, 1])
    pairs = [pair for line in lines for pair in zip(line.split(), line.split()[1:], strict=False)]
    frequent = {pair for pair in pairs if pairs.count(pair) > 1}
    assert len(model.levels[0]) == len(whole.levels[0])
    found = {(model.vocabulary[key // 21], model.vocabulary[key % 21]) for key in model.levels[1].keys.tolist()}
    assert len(model.vocabulary) == 21
    assert {pair for pair in found if "s>" not in pair[0] + pair[1]} == frequent
    assert NgramModel.train(lines, 3, prune=[0, 0, 100]).order == 2
    few = NgramModel.train(lines, 2, prune=[2])
    assert "malt" not in few.vocabulary and "rat" in few.vocabulary


def test_discounts_that_a_corpus_cannot_tell() -> None:
    assert discounts(np.array([1, 1, 1])).amounts == FALLBACK
    assert discounts(np.array([2, 3, 4])).amounts == FALLBACK
    assert not discounts(np.array([1] + [2] * 3 + [3] * 50)).estimated  # D2 would be below 0
    assert discounts(np.array([1] * 8 + [2] * 4 + [3] * 2 + [4])).amounts == pytest.approx((0.5, 1.25, 2.0))


def test_held_out_speeches_beside_the_slow_truth(speeches: list[list[str]]) -> None:
    """A twelfth of the speeches, every fifth of them held out; all of them are for benchmarks/ngram.py."""
    chosen = [[line for line in speech if line.strip()] for speech in speeches[::12]]
    held_out = [line for speech in chosen[::5] for line in speech][:200]
    training = [line for at, speech in enumerate(chosen) if at % 5 for line in speech]
    model, slow = NgramModel.train(training, 5), by_dictionary.KneserNey(training, 5)
    independent = np.log10([p for line in held_out for p in slow.sentence(line)])
    assert model.perplexity(held_out).perplexity == pytest.approx(10 ** -independent.mean(), rel=1e-4)
    assert model.scores(held_out).log10 == pytest.approx(independent, abs=1e-4)
