"""How far two files are apart: nothing where they are of one kind, far where they are not, and by formulas known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.errors import HandloomError
from handloom.pipelines.distances import auc, between, familiar
from handloom.scoring import Perplexity, Scorer
from handloom.text.tokenizer import Tokenizer

COMMON = ["the", "a", "very", "old", "new", "big", "small", "good", "was", "is", "and", "of", "in", "on",
          "with", "that", "this", "one"]  # fmt: skip
SEA = ["boat", "wave", "harbour", "fish", "sail", "wind", "anchor"]
TOWN = ["street", "tram", "roof", "market", "window", "bell"]


def texts(words: list[str], count: int, seed: int, length: int = 10) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join([*rng.choice(COMMON, length - 2), *rng.choice(words, 2), f"n{seed}x{i}"]) for i in range(count)]


def test_texts_of_one_kind_are_not_told_apart() -> None:
    found = between(texts(SEA, 200, 0), texts(SEA, 200, 1))
    assert found.verdict == "not told apart" and found.interval[0] < 0.5 < found.interval[1]
    assert found.p_value > 0.05 and found.length_distance == 0 and found.known_words[0] > 0.85
    assert 0.5 < found.perplexity[1] / found.perplexity[0] < 1.5


def test_texts_of_two_kinds_are_told_apart_and_it_is_said_by_what() -> None:
    found = between(texts(SEA, 200, 0), texts(TOWN, 150, 1, length=14))
    assert found.verdict in ("apart", "far apart") and found.auc > 0.85 and found.p_value < 1e-6
    assert found.accuracy > 0.75 and 0.5 < found.interval[0] < found.auc < found.interval[1]
    assert {word for word, _ in found.words[0][:5]} <= set(SEA)
    assert {word for word, _ in found.words[1][:4]} <= set(TOWN) and found.words[0][0][1] > 2
    assert found.length_distance == 1 and found.lengths[0][0] == 11 and found.lengths[1][0] == 15
    assert found.perplexity[1] > 1.3 * found.perplexity[0]
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == found.verdict and "harbour" in str(found)
    assert found == between(texts(SEA, 200, 0), texts(TOWN, 150, 1, length=14))


def test_the_same_texts_are_no_help() -> None:
    """Copies are recognised by nobody: they stand on both sides."""
    one = texts(SEA, 100, 0)
    assert between(one + one, one).auc < 0.6
    with pytest.raises(HandloomError, match="the other file has 3 texts; a distance needs 20"):
        between(one, one[:3])
    with pytest.raises(HandloomError, match="this file has 0 texts"):
        between([" "] * 30, one)


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=12)


@given(scores, scores)
def test_auc_as_pairs_and_its_variance_as_delong_writes_it(ones: list[float], others: list[float]) -> None:
    value, low, high = auc(np.array(ones), np.array(others))
    kernel = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in others] for a in ones]
    assert value == pytest.approx(sum(map(sum, kernel)) / len(ones) / len(others))
    rows = [sum(row) / len(others) for row in kernel]
    columns = [sum(row[j] for row in kernel) / len(ones) for j in range(len(others))]
    variance = sum(
        sum((x - value) ** 2 for x in side) / (len(side) - 1) / len(side) for side in (rows, columns)
    )
    assert high == pytest.approx(min(value + 1.96 * math.sqrt(variance), 1)) and low <= value


class Guess(Scorer):
    """Halves every probability, token by token."""

    def score(self, text: str, *, source: str | None = None) -> list[object]:  # type: ignore[override]
        raise NotImplementedError

    def next_token_probabilities(self, text: str = "", top: int = 10, *, source: str | None = None) -> list[object]:  # type: ignore[override]
        raise NotImplementedError

    def perplexity(self, texts: object, *, sources: object = None) -> Perplexity:  # type: ignore[override]
        assert isinstance(texts, list)
        return Perplexity(len(texts), 10, 0, 20, -10 * math.log(2))


def test_how_familiar_texts_are_to_a_model(bert: Tokenizer) -> None:
    found = familiar(["the cat lives in paris", "playing жж cards"], bert)
    assert found.tokens_per_word == pytest.approx((5 + 2 + 1 + 2) / 8)  # play ##ing, card ##s
    assert found.cut_words == pytest.approx(2 / 8) and found.unknown == pytest.approx(1 / 10)
    assert found.perplexity is None and "perplexity" not in str(found)
    asked = familiar(["the cat lives in paris"] * 3, bert, Guess())
    assert asked.perplexity == pytest.approx(2) and asked.scored_texts == 3
    assert asked.bits_per_byte == pytest.approx(0.5)
