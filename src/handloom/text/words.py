"""Where the words of an untouched text begin and end, in any script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_JOINER = "\u200d"
_SEEN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Of the format characters those that have a shape."""

# Scripts written without spaces: each character is a word of its own.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
)  # fmt: skip


NEAR = 16
"""Characters on each side that tell what a place is like: a long text is not split for each answer in it."""


def split_words(text: str, unit: str = "words") -> list[tuple[int, int]]:
    """(start, end) of each word, in characters of `text`, in order and without overlap; spaces belong to no word.

    A run of letters, digits and their marks is a word; every other visible character, and each character of a script
    without spaces, stands alone. Combining marks, variation selectors and joined emoji stay with what they modify.
    Characters without a shape (zero-width space, joiners, direction marks …) stay inside of words, not at their ends.
    `unit="characters"` makes a word of every visible character, as data tagged character by character needs.
    """
    words: list[tuple[int, int]] = []
    open_run = False
    for index, character in enumerate(text):
        kind = _kind(character)
        if kind == "space":
            open_run = False
            continue
        touching = bool(words) and words[-1][1] == index
        joined = touching and (kind == "mark" or text[index - 1] == _JOINER)
        if joined or (touching and kind == "letter" and open_run and unit == "words"):
            words[-1] = (words[-1][0], index + 1)
            continue
        words.append((index, index + 1))
        open_run = kind == "letter"
    return words if text.isascii() else [word for word in (_trimmed(text, *one) for one in words) if word]


def within_word(text: str, place: int) -> bool:
    """Whether one of the words that `split_words` finds goes on over this place, between two characters."""
    if not 0 < place < len(text):
        return False
    begin = max(0, place - NEAR)
    near, inside = text[begin : place + NEAR], place - begin
    if near.isascii():
        return near[inside - 1 : inside + 1].isalnum()
    before, after = _kind(text[place - 1]), _kind(text[place])
    apart = after in ("space", "single") or (after == "letter" and before in ("space", "single"))
    if apart and _JOINER not in near:  # as most places are, and quickly told
        return False
    return any(start < inside < end for start, end in split_words(near))


def unit_of(texts: Sequence[str]) -> str:
    """ "characters" where every word of tagged data is a single character (Chinese data often is), else "words"."""
    return "characters" if texts and all(len(text) == 1 for text in texts) else "words"


def join_words(words: Sequence[str], unit: str = "words") -> tuple[str, list[tuple[int, int]]]:
    """A text made of tagged words, and where each of them stands in it.

    Words are joined by a space, except between two characters of a script that is written without spaces; data
    tagged character by character (`unit="characters"`) is joined by nothing.
    """
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    at = 0
    for index, word in enumerate(words):
        if index and unit == "words" and not (_unspaced(words[index - 1][-1:]) and _unspaced(word[:1])):
            pieces.append(" ")
            at += 1
        pieces.append(word)
        places.append((at, at + len(word)))
        at += len(word)
    return "".join(pieces), places


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    while start < end and _shapeless(text[end - 1]):
        end -= 1
    while start < end and _shapeless(text[start]):
        start += 1
    return (start, end) if start < end else None


def _shapeless(character: str) -> bool:
    """Format characters, but for the tags that make flags and the Arabic signs that are seen."""
    if unicodedata.category(character) != "Cf":
        return False
    return not ("\U000e0020" <= character <= "\U000e007f" or character in _SEEN)


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if character.isspace() or category in ("Cc", "Zs", "Zl", "Zp"):
        return "space"
    # Cf: joiners and direction marks; Sk holds the skin tones of emoji
    if category[0] == "M" or category == "Cf" or "\U0001f3fb" <= character <= "\U0001f3ff":
        return "mark"
    if category[0] in "LN" and not _unspaced(character):
        return "letter"
    return "single"


def _unspaced(character: str) -> bool:
    """Written without spaces; wide punctuation counts, for it stands between such characters."""
    if not character:
        return False
    code = ord(character)
    if code < _UNSPACED[0][0]:
        return False
    if any(first <= code <= last for first, last in _UNSPACED):
        return True
    return 0x3001 <= code <= 0x303F or 0xFF01 <= code <= 0xFF0F or 0xFF1A <= code <= 0xFF20
