"""Texts steered by a judge: it gets its way, the same seed gives the same text, and what makes no sense is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from markov import Markov

from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Writer
from handloom.generate.steering import likes, steer
from handloom.tasks.ordered_labels import OrderedLabels
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.text.vocabularies import learn

PROMPT = np.array([3], np.int32)


@pytest.fixture(scope="module")
def generator() -> Writer:
    tokenizer = learn("character", ["abcdefgh ABCDEFGH"], "gpt", 30)
    return Writer(Markov(tokenizer.size, context=64), tokenizer)


def upper(texts: Sequence[str]) -> list[float]:
    return [sum(letter.isupper() for letter in text) / max(len(text), 1) for text in texts]


def test_the_judge_gets_more_of_what_it_likes(generator: Writer) -> None:
    free = [found.text for found in generator.generate(PROMPT, samples=20, temperature=1.0, max_new_tokens=24)]
    steered = [steer(generator, PROMPT, upper, block=3, max_new_tokens=24, seed=seed) for seed in range(10)]
    assert np.mean(upper([one.generation.text for one in steered])) > np.mean(upper(free)) + 0.2
    one = steered[0]
    assert one.score == upper([one.generation.text])[0] and one.read == 8 * 8 and len(one.generation.ids) == 24
    assert steer(generator, PROMPT, upper, block=3, max_new_tokens=24) == one


def test_one_block_is_the_best_of_all(generator: Writer) -> None:
    drawn = generator.generate(PROMPT, samples=6, temperature=1.0, max_new_tokens=9)
    best = steer(generator, PROMPT, upper, candidates=6, block=100, max_new_tokens=9)
    assert best.score == max(upper([one.text for one in drawn])) and best.read == 6


def test_what_makes_no_sense_is_refused(generator: Writer) -> None:
    for wrong in ({"candidates": 1}, {"block": 0}, {"temperature": 0.0}):
        with pytest.raises(UsageError, match="candidates must be 2"):
            steer(generator, PROMPT, upper, **wrong)
    for judge in (lambda texts: [1.0], lambda texts: [float("nan")] * len(texts)):
        with pytest.raises(HandloomError, match="a finite number"):
            steer(generator, PROMPT, judge, max_new_tokens=2)


@pytest.mark.parametrize("kind", [TextClassification, OrderedLabels])
def test_a_classifier_judges_by_a_label_that_it_has(kind: type[TextClassification]) -> None:
    task = kind(("good", "bad"))  # the outputs of ordered labels have other names

    class Classifier:
        def __init__(self) -> None:
            self.task = task

        def predict(self, texts: Sequence[str]) -> list[Prediction]:
            return [Prediction("good", 0.75, {"good": 0.75, "bad": 0.25}) for _ in texts]

    assert likes(Classifier(), "bad")(["", "x"]) == [0.25, 0.25]
    with pytest.raises(UsageError, match="it has good, bad"):
        likes(Classifier(), "great")
