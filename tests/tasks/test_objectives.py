"""Objectives of pre-training: their statistics, their edges, and the way back to the text."""

from __future__ import annotations

import numpy as np
import pytest

from handloom.data.draws import Draws
from handloom.errors import HandloomError
from handloom.tasks import objectives
from handloom.text.marks import marks
from handloom.text.vocabularies import learn

MASK, ORDINARY = 4, np.arange(5, 1000)


def ids_of(count: int, seed: int = 0) -> np.ndarray:
    return ORDINARY[Draws(seed, 10**6).below(len(ORDINARY), count)].astype(np.int32)


def test_next_tokens_stop_at_the_ends_of_documents() -> None:
    ids = np.arange(10, 19)
    labels = objectives.next_tokens(ids, np.array([-3, 0, 2, 3, 8, 9]))
    assert labels.tolist() == [11, -100, -100, 14, 15, 16, 17, -100]
    assert objectives.next_tokens(np.array([1]), np.array([0])).tolist() == []


def test_masked_places_are_as_many_and_anywhere() -> None:
    counts = np.zeros(40)
    for number in range(2000):
        places = objectives.chosen_places(np.ones(40, bool), 0.15, False, Draws(1, number))
        assert len(places) == 6 and (np.diff(places) > 0).all()
        counts[places] += 1
    assert abs(counts - 300).max() < 80  # five deviations of 16
    assert objectives.chosen_places(np.ones(1, bool), 0.15, False, Draws(1, 0)).tolist() == [0]


def test_eighty_ten_ten() -> None:
    ids, places = ids_of(100_000), np.arange(0, 100_000, 2)
    shown = objectives.masked(ids, places, MASK, ORDINARY, Draws(2, 0))
    assert (shown[1::2] == ids[1::2]).all()
    assert abs((shown[places] == MASK).mean() - 0.8) < 0.01
    other = shown[places][shown[places] != MASK]
    assert abs((other == ids[places][shown[places] != MASK]).mean() - 0.5) < 0.02
    assert set(shown.tolist()) <= {MASK, *ORDINARY.tolist()}
    assert (objectives.masked(ids, places, MASK, ORDINARY, Draws(2, 0)) == shown).all()
    assert (objectives.masked(ids, places, MASK, ORDINARY, Draws(2, 1)) != shown).any()


def test_words_are_masked_whole() -> None:
    rng = np.random.default_rng(0)
    total = 0
    for number in range(300):
        begins = rng.random(80) < 0.5
        places = objectives.chosen_places(begins, 0.15, True, Draws(3, number))
        begins[0] = True
        word = np.cumsum(begins)
        for chosen in set(word[places].tolist()):
            assert set(np.flatnonzero(word == chosen)) <= set(places.tolist())
        assert 1 <= len(places) <= 12
        total += len(places)
    assert total > 300 * 11.5  # passing over what does not fit loses little
    long = np.zeros(9, bool)  # one word, longer than all that should be masked
    assert objectives.chosen_places(long, 0.15, True, Draws(3, 0)).tolist() == list(range(9))


@pytest.mark.parametrize(("kind", "style", "text", "words"), [
    ("wordpiece", "bert", "unbelievable things 我爱北京, isn't it", "unbelievable things 我 爱 北 京 , isn ' t it"),
    ("unigram", "gpt", "unbelievable things 我, yes it is", "unbelievable things 我 , yes it is"),
    ("bpe", "gpt", "unbelievable things, 我 yes it is", "unbelievable things , 我 yes it is"),
    ("character", "gpt", "two words, 我爱 yes", "two words , 我 爱 yes"),
])  # fmt: skip
def test_words_of_a_vocabulary(kind: str, style: str, text: str, words: str) -> None:
    corpus = ["things and words, " * 20, "yes it is. it isn't unbelievably late? 我爱北京天安门。" * 5, text]
    tokenizer = learn(kind, corpus, style, {"bpe": 300, "unigram": 60}.get(kind, 90))
    table = marks(tokenizer)
    ids = tokenizer.ids_batch([text])[0]
    starts = np.flatnonzero(table.words(ids))
    found = [tokenizer._tokenizer.decode(part.tolist()).replace(" ", "") for part in np.split(ids, starts[1:])]
    assert [word for word in found if word] == words.split()
    assert table.special[tokenizer.special_ids].all() and not table.special[ids].any()


@pytest.mark.parametrize("length", [2, 3, 7, 20, 114, 512])
def test_span_corruption_keeps_its_counts_and_can_be_undone(length: int) -> None:
    sentinels = np.arange(2000, 1900, -1)
    noise, spans = objectives.span_counts(length, 0.15, 3.0)
    ids = ids_of(length)
    at = np.zeros(length)
    for number in range(200):
        chosen = objectives.noise_mask(length, 0.15, 3.0, Draws(4, number))
        assert chosen.sum() == noise and not chosen[0] and chosen[-1]
        assert (np.diff(chosen.astype(int)) == 1).sum() == spans
        source, target = objectives.span_corruption(ids, chosen, sentinels)
        assert len(source) == length - noise + spans and len(target) == noise + spans
        assert restored(source, target, set(sentinels.tolist())) == ids.tolist()
        assert [i for i in source if i > 1900] == [i for i in target if i > 1900] == sentinels[:spans].tolist()
        at += chosen
    if length == 114:
        assert abs(at[20:-10].mean() / 200 - 0.15) < 0.02  # nowhere more than elsewhere


def restored(source: np.ndarray, target: np.ndarray, sentinels: set[int]) -> list[int]:
    """The text, from both sides."""
    spans: dict[int, list[int]] = {}
    for token in target.tolist():
        if token in sentinels:
            last = spans.setdefault(token, [])
        else:
            last.append(token)
    return [part for token in source.tolist() for part in spans.get(token, [token])]


def test_windows_of_span_corruption_are_those_published() -> None:
    # T5's 512 tokens of input come from 568 tokens of text and have 114 of target (Raffel et al., section 3.1.4).
    assert objectives.window_for(512, 0.15, 3.0) == (568, 114)
    with pytest.raises(HandloomError, match="too short for span corruption; 3 is least"):
        objectives.window_for(2, 0.15, 3.0)
    with pytest.raises(HandloomError, match="2 spans are corrupted, but the vocabulary has 1 sentinels"):
        objectives.span_corruption(np.arange(5), np.array([0, 1, 0, 1, 1], bool), np.array([9]))


def test_infilling_hides_so_many_tokens_behind_fewer_masks() -> None:
    ids = ids_of(200)
    masks = tokens = 0
    for number in range(400):
        shown = objectives.infilled(ids, MASK, 0.3, 3.0, Draws(5, number))
        kept = shown[shown != MASK]
        assert len(kept) == 140
        positions = iter(ids.tolist())
        assert all(token in positions for token in kept.tolist())  # what stays is in order
        masks += len(shown) - 140
        tokens += 60
    assert 2.8 < tokens / masks < 3.2
    assert objectives.infilled(ids[:1], MASK, 0.3, 3.0, Draws(5, 0)).tolist() == ids[:1].tolist()
    assert objectives.infilled(ids[:0], MASK, 0.3, 3.0, Draws(5, 0)).tolist() == []


def test_poisson_draws() -> None:
    found = Draws(6, 0).poisson(3.0, 50_000)
    assert abs(found.mean() - 3) < 0.05 and abs(found.var() - 3) < 0.1
    assert abs((found == 0).mean() - np.exp(-3)) < 0.005


def test_sentences_change_places_whole() -> None:
    ids = np.arange(12)
    ends = np.isin(ids, [2, 5, 6])
    seen = set()
    for number in range(100):
        found = objectives.permuted_sentences(ids, ends, Draws(7, number)).tolist()
        assert sorted(found) == ids.tolist()
        for sentence in ([0, 1, 2], [3, 4, 5], [6], [7, 8, 9, 10, 11]):
            at = found.index(sentence[0])
            assert found[at : at + len(sentence)] == sentence
        seen.add(tuple(found))
    assert len(seen) == 24
