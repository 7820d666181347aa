from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handloom.text.bm25 import K1, B, Bm25, terms

WORDS = ["cat", "dog", "fish", "a", "猫", "猫狗"]
sentences = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


def test_terms() -> None:
    assert terms("The U.S. cats_2, ÉTÉ!") == ["the", "u", "s", "cats", "2", "été"]
    assert terms("我爱北京 2008年") == ["我爱", "爱北", "北京", "2008", "年"]
    assert terms("สวัสดี") == [a + b for a, b in zip("สวัสดี", "วัสดี", strict=False)]
    assert terms(" …\u200b") == []


def plainly(texts: list[str], question: str, number: int) -> float:
    """Robertson and Zaragoza 2009, equation 3.15, with ln(1 + …) so that a common word never counts against a text."""
    counts = [Counter(terms(text)) for text in texts]
    mean = sum(sum(count.values()) for count in counts) / len(texts)
    score = 0.0
    for term in set(terms(question)):
        having = sum(term in count for count in counts)
        often = counts[number][term]
        if often:
            length = sum(counts[number].values())
            weight = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            score += weight * often * (K1 + 1) / (often + K1 * (1 - B + B * length / mean))
    return score


@settings(max_examples=40, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=6), sentences)
def test_scores(texts: list[str], question: str) -> None:
    index = Bm25(texts)
    wanted = [plainly(texts, question, number) for number in range(len(texts))]
    assert index.scores(question).tolist() == pytest.approx(wanted)
    best = index.best(question, 3)
    assert [score for _, score in best] == pytest.approx(sorted((s for s in wanted if s > 0), reverse=True)[:3])
    assert all(score == pytest.approx(wanted[number]) for number, score in best)
