"""Numbers of things in sentences."""

from __future__ import annotations

from handloom.text.counting import agreed, counted


def test_one_and_more() -> None:
    assert [counted(n, "text") for n in (0, 1, 2, 1234)] == ["0 texts", "1 text", "2 texts", "1,234 texts"]
    assert [counted(n, "copy", "copies") for n in (1, 2)] == ["1 copy", "2 copies"]


def test_both_forms_stand_in_the_sentence() -> None:
    sentence = "[is no span|are no spans] of text and [has|have] been left out"
    assert agreed(1, sentence) == "is no span of text and has been left out"
    assert agreed(0, sentence) == agreed(2, sentence) == "are no spans of text and have been left out"
