"""When two texts are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable

from handloom.data.examples import TextExample, TokenExample


def text_key(example: TextExample | TokenExample) -> Hashable:
    """Equal for texts (and pairs) that differ in case, blanks or the way in which accents are composed only."""
    return _folded(example.text), _folded(example.pair or "")


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
