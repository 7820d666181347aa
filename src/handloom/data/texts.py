"""When two texts are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable

from handloom.data.examples import QuestionExample, RelationExample, RewritingExample, TextExample, TokenExample

AnyExample = TextExample | TokenExample | RelationExample | QuestionExample | RewritingExample


def text_key(example: AnyExample) -> Hashable:
    """Equal for texts (and pairs, and places in them) that differ in case, blanks or the way in which accents are
    composed only."""
    return tuple(map(_folded, example.parts))


ORIGIN = "augmented_from"
"""The column in which a copy made for training says what text it was made of."""


def side_key(example: AnyExample) -> Hashable:
    """Equal for what has to fall on one side of a split: the same text, and copies made of it; questions about the same
    context."""
    if isinstance(origin := example.extra.get(ORIGIN), str):
        return tuple(map(_folded, (origin, *example.parts[1:])))
    return _folded(example.context) if isinstance(example, QuestionExample) else text_key(example)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
