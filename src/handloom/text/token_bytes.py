"""What every token of a vocabulary adds to a text, in bytes: how grammars over texts become masks over tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable

from handloom.text.marks import byte_letters
from handloom.text.tokenizer import Tokenizer

_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")


def token_bytes(tokenizer: Tokenizer, ends: Iterable[int] = ()) -> list[bytes | None]:
    """By id; None for what stands for no text: special tokens, the unknown one, ids that spell nothing, and `ends`.

    Bytes of a character (byte-level vocabularies, SentencePiece's `<0x0A>`) are themselves. All else is what decoding
    makes of the token behind another one: with the space before a word, where a vocabulary has one.
    """
    added, silent = tokenizer.added_tokens, {*tokenizer.special_ids, *ends, tokenizer.unk}
    letters = byte_letters() if tokenizer.by_bytes else {}
    anchor, before = _anchor(tokenizer, silent) if not letters else (0, "")
    found: list[bytes | None] = []
    for index in range(tokenizer.size):
        spelt = tokenizer.spelling(index)
        if not spelt or index in silent:
            found.append(None)
        elif letters:
            bytewise = index not in added and all(letter in letters for letter in spelt)
            found.append(bytes(letters[letter] for letter in spelt) if bytewise else added.get(index, spelt).encode())
        elif tokenizer.falls_back_to_bytes and (byte := _BYTE.fullmatch(spelt)):
            found.append(bytes([int(byte[1], 16)]))
        else:
            found.append(tokenizer.decode([anchor, index], special=True).removeprefix(before).encode() or None)
    return found


def _anchor(tokenizer: Tokenizer, silent: set[int | None]) -> tuple[int, str]:
    """A token of letters that any other may follow, and its text."""
    for index in range(tokenizer.size):
        spelt = tokenizer.spelling(index) or ""
        text = tokenizer.decode([index]) if index not in silent and not _BYTE.fullmatch(spelt) else ""
        if text.strip().isalnum() and tokenizer.decode([index, index]).startswith(text):
            return index, text
    return 0, ""
