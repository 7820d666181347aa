"""When two texts are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable

from handloom.data.examples import RelationExample, TextExample, TokenExample


def text_key(example: TextExample | TokenExample | RelationExample) -> Hashable:
    """Equal for texts (and pairs, and places in them) that differ in case, blanks or the way in which accents are
    composed only."""
    return tuple(map(_folded, example.parts))


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
