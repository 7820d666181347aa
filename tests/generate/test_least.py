"""The least text of a regular expression matches it, and patterns that a search alone would not end are allowed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_constraints import markov

from handloom.generate.least import least

LEAVES = st.sampled_from(
    ["a", "天", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", ".", "[a-f]", "[^a]", "[^ -~]", r"[\d_]"]
)
OFTEN = st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{1,}?"])
PATTERNS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: f"(?:{'|'.join(ways)})"),
        st.tuples(inner, OFTEN).map(lambda one: f"(?:{one[0]}){one[1]}"),
    ),
    max_leaves=8,
)


@given(PATTERNS)
def test_it_matches(pattern: str) -> None:
    text = least(pattern, 1000)
    assert text is not None and re.fullmatch(pattern, text)


def test_what_is_long_or_cannot_be_read() -> None:
    assert least("a{1000}", 1000) == "a" * 1000
    for pattern in ("a{1001}", "((a{1000}){1000}){1000}", "(" * 5000 + ")" * 5000, "(", r"\p{L}", "(?=a)"):
        assert least(pattern, 1000) is None


@pytest.mark.parametrize(
    ("pattern", "room", "longest"),
    [(r".*[0-9]{3}-[0-9]{4}", 3, 11), (r".*on the mat\.", 4, 15), (r"\w{300}", 5, 300), (r".*cat", 3, 6)],
)
def test_patterns_whose_beginnings_are_all_alike(pattern: str, room: int, longest: int) -> None:
    """Every text may come first: what makes the end is tried as a whole."""
    found = markov("character").generate("the", pattern=pattern, max_new_tokens=room, temperature=1.0, samples=3)
    for one in found:
        assert re.fullmatch(pattern, one.text, re.DOTALL) and len(one.text) <= longest
        assert one.finish == "closed"
