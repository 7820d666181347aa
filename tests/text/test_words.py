"""Words of untouched text, and texts of words."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.text.words import join_words, split_words, unit_of, within_word

cases = [
    ("Marie Curie worked.", ["Marie", "Curie", "worked", "."]),
    ("it's 3.5kg", ["it", "'", "s", "3", ".", "5kg"]),
    ("我爱Beijing北京!", ["我", "爱", "Beijing", "北", "京", "!"]),
    ("e\u0301te\u0301 naïve", ["e\u0301te\u0301", "naïve"]),
    ("🧑🏽‍🚀 ok👍🏽", ["🧑🏽‍🚀", "ok", "👍🏽"]),
    ("하늘 नमस्ते", ["하늘", "नमस्ते"]),
    ("สวัส", ["ส", "วั", "ส"]),
    ("\u200bab\u200bc\x00d", ["ab\u200bc", "d"]),
    ("Paris\u200b Bob\u200d", ["Paris", "Bob"]),
    ("\u202bMarie\u202c \u200b \ufeffx", ["Marie", "x"]),
    ("می\u200cخواهم\u200c", ["می\u200cخواهم"]),
    ("क्\u200dष", ["क्\u200dष"]),
    ("🏴\U000e0067\U000e0062\U000e007f!", ["🏴\U000e0067\U000e0062\U000e007f", "!"]),
    ("  \t\n\u3000", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "words"), cases)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


def test_characters() -> None:
    text = "2019年 e\u0301x"
    assert [text[s:e] for s, e in split_words(text, "characters")] == ["2", "0", "1", "9", "年", "e\u0301", "x"]


@given(st.text(), st.sampled_from(["words", "characters"]))
def test_words_lie_in_order_and_hold_all_that_is_visible(text: str, unit: str) -> None:
    words = split_words(text, unit)
    assert all(start < end for start, end in words)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(words))
    covered = {index for start, end in words for index in range(start, end)}
    for index, character in enumerate(text):
        invisible = character.isspace() or unicodedata.category(character) in ("Cc", "Zs", "Zl", "Zp")
        assert (index in covered) != invisible or unicodedata.category(character) == "Cf"
    assert all(text[at] not in "\u200b\u200c\u200d\u202c\ufeff" for start, end in words for at in (start, end - 1))


@given(st.text("ab1. -é\u0301👩🏽\u200d\u200b北ท่한", max_size=12))
def test_places_within_words_are_told_from_what_is_near(text: str) -> None:
    inside = {place for start, end in split_words(text) for place in range(start + 1, end)}
    far = f"{'far ' * 9}{text}{' far' * 9}"
    for place in range(len(text) + 1):
        assert within_word(text, place) == within_word(far, 36 + place) == (place in inside)


@given(st.lists(st.text(max_size=5), max_size=8), st.sampled_from(["words", "characters"]))
def test_joined_words_stand_where_it_is_said(words: list[str], unit: str) -> None:
    text, places = join_words(words, unit)
    assert [text[start:end] for start, end in places] == words
    assert unit == "words" or text == "".join(words)


def test_joining() -> None:
    assert join_words(["Marie", "Curie", "."])[0] == "Marie Curie ."
    assert join_words(["我", "爱", "Paris", "。"])[0] == "我爱 Paris 。"
    assert unit_of(["我", "1", "。"]) == "characters"
    assert unit_of(["我们", "1"]) == unit_of([]) == "words"
