"""When two texts are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable

from handloom.data.examples import (
    ChoiceExample,
    GenerationExample,
    MatchExample,
    QuestionExample,
    RelationExample,
    RewritingExample,
    TextExample,
    TokenExample,
)

AnyExample = (
    TextExample | TokenExample | RelationExample | QuestionExample | RewritingExample | MatchExample | ChoiceExample
    | GenerationExample
)


def text_key(example: AnyExample) -> Hashable:
    """Equal for texts (and pairs, and places in them) that differ in case, blanks or the way in which accents are
    composed only."""
    return tuple(map(folded, example.parts))


ORIGIN = "augmented_from"
"""The column in which a copy made for training says what text it was made of."""


def side_text(example: AnyExample) -> str:
    """The text that decides on which side of a split an example falls: of what was copied the first one's."""
    if isinstance(origin := example.extra.get(ORIGIN), str):
        return origin
    if isinstance(example, MatchExample):
        return example.text
    if isinstance(example, ChoiceExample):
        return example.context or example.question
    return example.context if isinstance(example, QuestionExample) else example.parts[0]


def side_key(example: AnyExample) -> Hashable:
    """Equal for what has to fall on one side of a split: the same text, and copies made of it; questions about the same
    context; all that a text is compared with, or that is to be chosen for it."""
    if isinstance(example, (MatchExample, ChoiceExample, QuestionExample)):
        return folded(side_text(example))
    return tuple(map(folded, (side_text(example), *example.parts[1:])))


def folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
