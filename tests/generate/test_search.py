"""Searches over a model of two tokens' memory, against searching through everything there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from markov import Markov

from handloom.errors import HandloomError, UsageError
from handloom.generate.sampling import Sampling, log_probabilities
from handloom.generate.search import Beams, Token, beam_search, generate

GREEDY = Sampling()


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def texts(found: list[Token], count: int) -> list[list[int]]:
    return [[token.id for token in found if token.sequence == i] for i in range(count)]


def test_greedy_follows_the_largest_logit() -> None:
    model, text = Markov(), [3]
    for _ in range(9):
        text.append(int(model.row(text).argmax()))
    found = list(generate(model, [ids(3)], GREEDY, 9))
    assert texts(found, 1) == [text[1:]]
    assert [token.finish for token in found] == [None] * 8 + ["length"]


def test_sequences_end_one_by_one_and_cost_nothing_afterwards() -> None:
    model = Markov(seed=0)
    prompts = [ids(i) for i in range(6)]
    alone = [texts(list(generate(model, [prompt], GREEDY, 20, frozenset({5}))), 1)[0] for prompt in prompts]
    assert len({len(text) for text in alone}) > 1, "the example shows nothing"
    model.steps = 0
    found = list(generate(model, prompts, GREEDY, 20, frozenset({5})))
    assert texts(found, 6) == alone
    assert model.steps == sum(len(text) - 1 for text in alone)


@pytest.mark.parametrize("seed", [0, 9])
def test_a_seed_gives_the_same_text_whatever_is_beside_it(seed: int) -> None:
    how = Sampling(temperature=1.3, seed=seed, top_p=0.9)
    prompts = [ids(1, 2), ids(7), ids(1, 2)]
    together = texts(list(generate(Markov(), prompts, how, 12)), 3)
    assert together[0] == together[2] == texts(list(generate(Markov(), [ids(1, 2)], how, 12)), 1)[0]
    samples = texts(list(generate(Markov(), [ids(1, 2)] * 2, how, 12, samples=[0, 1])), 2)
    assert samples[0] == together[0] != samples[1]


def test_a_watcher_ends_a_sequence() -> None:
    seen: list[int] = []

    def stopped(sequence: int, token: int) -> bool:
        seen.append(token)
        return len(seen) == 3

    found = list(generate(Markov(), [ids(3)], GREEDY, 9, stopped=stopped))
    assert len(found) == 3 and found[-1].finish == "stop"


def test_the_context_ends_a_text_and_a_longer_prompt_is_an_error() -> None:
    model = Markov(context=5)
    assert len(list(generate(model, [ids(1, 2, 3)], GREEDY, 99))) == 2
    with pytest.raises(HandloomError, match="prompt 2 has 5 tokens, and the model's context holds 5"):
        list(generate(model, [ids(1), ids(1, 2, 3, 4, 5)], GREEDY, 9))
    with pytest.raises(HandloomError, match="the prompt has no tokens"):
        list(generate(model, [ids()], GREEDY, 9))
    with pytest.raises(UsageError, match="at least one new token"):
        list(generate(model, [ids(1)], GREEDY, 0))


def every_text(model: Markov, prompt: list[int], length: int) -> list[tuple[float, list[int]]]:
    found = []
    for text in itertools.product(range(model.vocabulary), repeat=length):
        score, before = 0.0, list(prompt)
        for token in text:
            score += float(log_probabilities(model.row(before))[token])
            before.append(token)
        found.append((score / length, list(text)))
    return sorted(found, reverse=True)


def test_beams_as_many_as_there_are_texts_find_the_likeliest() -> None:
    model = Markov(vocabulary=5, seed=2)
    best = every_text(model, [3], 4)
    found = beam_search(model, ids(3), GREEDY, Beams(125), 4)
    assert [f.ids for f in found[:5]] == [text for _, text in best[:5]]
    assert found[0].score == pytest.approx(best[0][0], rel=1e-5)


def test_one_beam_is_greedy() -> None:
    [found] = beam_search(Markov(), ids(3), GREEDY, Beams(1), 9)
    assert found.ids == texts(list(generate(Markov(), [ids(3)], GREEDY, 9)), 1)[0] and found.finish == "length"


def test_a_length_penalty_prefers_longer_texts() -> None:
    lengths = []
    for penalty in (-2.0, 0.0, 3.0):
        found = beam_search(Markov(seed=1), ids(3), GREEDY, Beams(4, penalty, "never"), 12, frozenset({1, 4}))
        lengths.append(len(found[0].ids))
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_beams_keep_to_the_rules() -> None:
    for found in beam_search(Markov(), ids(3), Sampling(no_repeat_ngram=1), Beams(3), 8):
        assert len(set(found.ids)) == 8 and 3 not in found.ids


def test_settings_of_beams_are_checked() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Beams(0)
    with pytest.raises(UsageError, match="True, False or"):
        Beams(2, early="always")  # type: ignore[arg-type]


class Translator(Markov):
    """Reads a source and writes a text of its own, which begins with token 2."""

    def beginning(self, prompt: np.ndarray) -> np.ndarray:
        return ids(2)

    def start(self, prompts: list[np.ndarray]):  # type: ignore[no-untyped-def, override]
        return super().start([ids(int(prompt.sum()) % self.vocabulary, 2) for prompt in prompts])


def test_a_text_may_begin_otherwise_than_with_the_prompt() -> None:
    """An encoder–decoder's does: the source takes no room of the text's, and is not repeated by repeating it."""
    model = Translator(context=6)
    source = ids(*range(11), 0)
    [text] = texts(list(generate(model, [source], Sampling(no_repeat_ngram=1), 99)), 1)
    assert len(text) == 5 and 2 not in text and set(text) & set(source.tolist())
    [found, *_] = beam_search(model, source, Sampling(no_repeat_ngram=1), Beams(2), 99)
    assert len(found.ids) == 5 and 2 not in found.ids
