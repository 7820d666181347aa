"""What the spelling of tokens says about the text: where words begin, where sentences end.

A training file holds nothing but ids, so whatever an objective must know of words is a table over the vocabulary.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.text.tokenizer import Tokenizer

Flags = NDArray[np.bool_]
Array = NDArray[Any]

SENTENCE_ENDS = ".!?。！？…\n"
_QUOTES = "\"'”’»)]）」』"


@dataclass(frozen=True)
class Marks:
    """bool[vocabulary] each. begins: starts a word; closes: the next token starts one whatever it is (Chinese and
    Japanese characters and punctuation stand alone); ends: ends a sentence; special: stands for no text."""

    begins: Flags
    closes: Flags
    ends: Flags
    special: Flags

    def words(self, ids: Array) -> Flags:
        """bool[n]: where words begin in a sequence; its first token begins one."""
        found = self.begins[ids]
        if len(found):
            found[1:] |= self.closes[ids[:-1]]
            found[0] = True
        return found


def marks(tokenizer: Tokenizer) -> Marks:
    """The tables of a tokenizer's vocabulary, of `size` entries each.

    Three spellings are told apart: `##` before what continues a word (WordPiece); `▁` or `Ġ` before what begins one
    (Unigram, byte-level BPE); and none, where letters and digits follow each other in a word.
    """
    size = tokenizer.size
    spelled = [tokenizer.spelling(index) or "" for index in range(size)]
    special = np.zeros(size, bool)
    special[[index for index in tokenizer.special_ids if index < size]] = True
    continued = any(token.startswith("##") and len(token) > 2 for token in spelled)
    bytewise = tokenizer.by_bytes
    begins, closes, ends = np.zeros(size, bool), np.zeros(size, bool), np.zeros(size, bool)
    for index, token in enumerate(spelled):
        if special[index] or not token:
            begins[index] = closes[index] = True
            continue
        text = _text_of(token) if bytewise else token.replace("▁", " ")
        if continued:
            begins[index] = not token.startswith("##")
            text = text.removeprefix("##") or text
        else:
            begins[index] = text[0].isspace() or _alone(text[0])
        closes[index] = _alone(text[-1]) or text[-1].isspace()
        ends[index] = text.strip(" ").rstrip(_QUOTES)[-1:] in tuple(SENTENCE_ENDS)
    return Marks(begins, closes, ends, special)


def _alone(character: str) -> bool:
    """Whether a character is a word of its own: ideographs, kana, and punctuation but not what stands within words."""
    if character in "'’-_\ufffd":
        return False
    return "\u3040" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000" or (
        unicodedata.category(character)[0] in "PS"
    )


@lru_cache(1)
def byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in plain}
    letters |= {chr(256 + n): byte for n, byte in enumerate(b for b in range(256) if b not in set(plain))}
    return letters


def _text_of(token: str) -> str:
    """The text of a byte-level token. Parts of a character at its ends count as the character they could be."""
    letters = byte_letters()
    if not all(letter in letters for letter in token):
        return token
    content = bytes(letters[letter] for letter in token)
    text = content.decode("utf-8", "replace")
    if 0xE3 <= content[0] <= 0xE9 and text[0] == "\ufffd":  # the beginning of an ideograph (or of Hangul's neighbours)
        text = "一" + text[1:]
    return text
