"""Tags, spans and schemes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.errors import HandloomError
from handloom.text.schemes import LETTERS, Scheme, recognise
from handloom.text.spans import Span, check_spans, runs, spans_of_tags, tags_of_runs, tags_of_spans

SCHEMES = [Scheme(name, separator) for name in LETTERS for separator in "-_"] + [Scheme("IO", "")]
LABELS = ["PER", "LOC", "creative-work", "B-52", "人名", "O_o"]

recognised = [
    ("B-PER I-PER O", "BIO"),
    ("I-PER O I-LOC", "IO"),
    ("PER O LOC", "IO with bare labels"),
    ("B-PER I-PER E-PER S-LOC O", "BIOES"),
    ("B-PER I-PER L-PER U-LOC O", "BILOU"),
    ("B-NAME M-NAME E-NAME S-NAME O", "BMES"),
    ("B-NAME M-NAME E-NAME W-NAME O", "BMEWO"),
    ("B M E S", "BMES without types"),
    ("B I O", "BIO without types"),
    ("B_PER I_PER O", "BIO"),
    ("NOUN VERB DET", "plain"),
    ("O", "BIO"),
]


@pytest.mark.parametrize(("tags", "name"), recognised)
def test_the_scheme_is_recognised_and_said(tags: str, name: str) -> None:
    assert str(recognise(tags.split())) == name


def test_a_mixture_of_prefixed_and_bare_tags_is_refused() -> None:
    with pytest.raises(HandloomError, match="mix two ways of writing: B-PER, I-PER with a prefix, LOC without"):
        recognise(["B-PER", "I-PER", "LOC", "O"])


# As conlleval reads them: (tags, spans in words)
inconsistent = [
    ("O I-PER I-PER O", [(1, 3, "PER")]),
    ("B-PER I-LOC", [(0, 1, "PER"), (1, 2, "LOC")]),
    ("B-PER B-PER I-PER", [(0, 1, "PER"), (1, 3, "PER")]),
    ("I-PER I-LOC B-LOC", [(0, 1, "PER"), (1, 2, "LOC"), (2, 3, "LOC")]),
    ("B-PER E-PER I-PER S-PER", [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "PER")]),
    ("E-PER E-PER O", [(0, 1, "PER"), (1, 2, "PER")]),
    ("B-PER I-PER", [(0, 2, "PER")]),
    ("S-PER I-PER E-PER", [(0, 1, "PER"), (1, 3, "PER")]),
    ("B-NAME M-NAME E-NAME O S-NAME", [(0, 3, "NAME"), (4, 5, "NAME")]),
    ("PER PER O LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
    ("", []),
]


@pytest.mark.parametrize(("tags", "expected"), inconsistent)
def test_sequences_are_read_as_conlleval_reads_them(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert runs(tags.split()) == expected


def test_a_word_without_a_tag_neither_ends_nor_begins_a_span() -> None:
    tags = ["B-PER", None, "I-PER", None, "O", None, "B-LOC", None]
    assert runs(tags) == [(0, 3, "PER"), (6, 7, "LOC")]


@st.composite
def spans_in_words(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, str]]]:
    """A length, and spans apart from each other by at least a word (IO cannot tell neighbours apart)."""
    found, at = [], 0
    for _ in range(draw(st.integers(0, 5))):
        first = at + draw(st.integers(0, 3))
        end = first + draw(st.integers(1, 4))
        found.append((first, end, draw(st.sampled_from(LABELS))))
        at = end + 1
    return at + draw(st.integers(0, 3)), found


@given(spans_in_words(), st.sampled_from(SCHEMES))
def test_spans_survive_every_scheme(case: tuple[int, list[tuple[int, int, str]]], scheme: Scheme) -> None:
    length, found = case
    tags = tags_of_runs(found, length, scheme)
    assert runs(tags, scheme) == found
    assert set(tags) <= set(scheme.tags(label for _, _, label in found))


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["PER", "LOC"])), max_size=6), st.sampled_from(SCHEMES))
def test_neighbours_stay_apart_in_schemes_that_mark_beginnings(parts: list[tuple[int, str]], scheme: Scheme) -> None:
    if scheme.name == "IO":
        return
    found, at = [], 0
    for length, label in parts:
        found.append((at, at + length, label))
        at += length
    assert runs(tags_of_runs(found, at, scheme), scheme) == found


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "M-B", "L-B", "U-A", None, "B-"])))
def test_any_sequence_reads_as_ordered_spans_apart(tags: list[str | None]) -> None:
    found = runs(tags, Scheme("BIOES"))
    for (_, end, _), (start, _, _) in itertools.pairwise(found):
        assert end <= start
    covered = {index for first, end, _ in found for index in range(first, end)}
    assert {i for i, tag in enumerate(tags) if tag not in (None, "O")} <= covered
    assert not covered & {i for i, tag in enumerate(tags) if tag == "O"}


def test_tags_become_character_spans() -> None:
    text = "Marie Curie aß 我爱北京 🧑🏽‍🚀"
    words = [(0, 5), (6, 11), (12, 14), (15, 16), (16, 17), (17, 18), (18, 19), (20, 24)]
    tags = ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "I-LOC", "B-PER"]
    assert spans_of_tags(text, words, tags) == [
        Span(0, 11, "PER", "Marie Curie"),
        Span(17, 19, "LOC", "北京"),
        Span(20, 24, "PER", "🧑🏽‍🚀"),
    ]


def test_blanks_are_no_part_of_a_span() -> None:
    assert check_spans(" Anna \tx", [Span(0, 7, "PER", " Anna \t")], "row 0") == (Span(1, 5, "PER", "Anna"),)
    assert len(check_spans("a b", [Span(0, 2, "X"), Span(1, 3, "Y")], "row 0")) == 2  # what they share is a blank
    with pytest.raises(HandloomError, match=r"row 0: the span 1–3 .* nothing but blanks"):
        check_spans("a  b", [Span(1, 3, "X")], "row 0")


def test_spans_become_tags_and_inexact_ones_are_counted() -> None:
    words = [(0, 5), (6, 11), (12, 15)]
    assert tags_of_spans(words, [Span(0, 11, "PER")], Scheme()) == (["B-PER", "I-PER", "O"], [])
    wide, both, blank = [Span(2, 8, "PER")], [Span(0, 3, "A"), Span(3, 8, "B")], [Span(5, 6, "A")]
    assert tags_of_spans(words, wide, Scheme()) == (["B-PER", "I-PER", "O"], wide)
    assert tags_of_spans(words, both, Scheme()) == (["B-A", "B-B", "O"], both)
    assert tags_of_spans(words, blank, Scheme()) == (["O", "O", "O"], blank)
    assert tags_of_spans(words, [Span(0, 5, "A"), Span(12, 15, "A")], Scheme("BIOES")) == (["S-A", "O", "S-A"], [])


refused = [
    ([Span(0, 9, "A")], r"x:1: the span 0–9 \(A\) does not fit a text of 5 characters"),
    ([Span(3, 3, "A")], "does not fit"),
    ([Span(-1, 2, "A")], "does not fit"),
    ([Span(0, 3, "A"), Span(2, 4, "B")], r"x:1: the spans 0–3 \(A\) and 2–4 \(B\) overlap"),
    ([Span(0, 2, "A"), Span(0, 2, "B")], "overlap"),
    ([Span(0, 2, "A", "xy")], "should read 'xy', but there stands 'he'"),
]


@pytest.mark.parametrize(("spans", "message"), refused)
def test_bad_spans_are_refused(spans: list[Span], message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        check_spans("hello", spans, "x:1")
    with pytest.raises(HandloomError, match="does not fit a text of 1 character;"):
        check_spans("a", [Span(0, 2, "A")], "x:1")


def test_good_spans_are_sorted_and_said() -> None:
    assert check_spans("hello", [Span(3, 5, "B"), Span(0, 2, "A"), Span(0, 2, "A")], "") == (
        Span(0, 2, "A", "he"),
        Span(3, 5, "B", "lo"),
    )
