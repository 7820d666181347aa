"""Streams of text: characters in several tokens, stop strings in several tokens, spaces before words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from handloom.errors import UsageError
from handloom.generate.text import TextStream


class Bytes:
    """A token a byte."""

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


class Words:
    """A token a word; a text does not begin with a space."""

    words = ("▁the", "▁cat", "s", "▁sat", "<|end|>", "▁<|", "end", "|>")

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.words[i] for i in ids).replace("▁", " ").removeprefix(" ")


def pieces(stream: TextStream, ids: Sequence[int]) -> list[str]:
    found = [stream.push(token) for token in ids]
    return [*found, stream.finish()]


def test_a_character_comes_whole() -> None:
    text = "é中🙂a"
    stream = TextStream(Bytes(), b"x")
    got = pieces(stream, text.encode())
    assert [piece for piece in got if piece] == ["é", "中", "🙂", "a"] and stream.text == text


def test_what_never_becomes_a_character_is_shown_at_the_end() -> None:
    stream = TextStream(Bytes(), b"")
    assert pieces(stream, "a🙂".encode()[:-1]) == ["a", "", "", "", "\ufffd"]


def test_a_word_keeps_the_space_before_it() -> None:
    stream = TextStream(Words(), [0])
    assert pieces(stream, [1, 2, 3]) == [" cat", "s", " sat", ""]
    assert TextStream(Words(), []).push(0) == "the"


def test_a_stop_string_across_tokens() -> None:
    stream = TextStream(Bytes(), b"", ["停止。", "STOP"])
    text = "继续STO停止。never"
    got = "".join(stream.push(token) for token in text.encode())
    assert got == stream.text == "继续STO" and stream.stopped and stream.finish() == ""


def test_the_beginning_of_a_stop_string_is_held_back_and_given_out_when_it_was_none() -> None:
    stream = TextStream(Bytes(), b"", ["END"])
    assert pieces(stream, b"aENEN") == ["a", "", "", "EN", "", "EN"]
    assert not stream.stopped


def test_the_first_stop_string_in_the_text_counts() -> None:
    stream = TextStream(Words(), [0], ["sat", "s"])
    assert pieces(stream, [1, 2, 3]) == [" cat", "", "", ""] and stream.stopped


def test_a_stop_string_inside_of_one_token() -> None:
    stream = TextStream(Words(), [0], ["|end"])
    assert pieces(stream, [1, 4]) == [" cat", "<", ""]


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UsageError, match="must not be empty"):
        TextStream(Words(), [], ["a", ""])
