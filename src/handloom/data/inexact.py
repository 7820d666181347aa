"""Places of texts that begin or end inside of a word: of answers, and of what is related."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from handloom.data.examples import QuestionExample, RelationExample
from handloom.text.spans import Word
from handloom.text.words import within_word

Place = tuple[str, str]
"""What stands there, and where in the data."""

MEANT: Mapping[type, tuple[str, str]] = {
    QuestionExample: ("answers", "the tokens that they touch are learnt"),
    RelationExample: ("places", "they are read apart from the rest of their words"),
}
"""How the places of an example are called, and what becomes of those that are inexact."""


def noted(what: str, found: Sequence[Place], total: int, so: str) -> tuple[str, ...]:
    """A note of how many there are of a kind, with the first; () for none."""
    if not found:
        return ()
    text, where = found[0]
    return (f"{what}: {len(found):,} of {total:,}, such as {text!r:.40} ({where or 'the data'}); {so}",)


def inexact_places(examples: Iterable[QuestionExample | RelationExample]) -> tuple[str, ...]:
    """A note of the answers, or of the two places of relations, that do not begin and end where words do."""
    found: dict[type, list[Place]] = {kind: [] for kind in MEANT}
    totals = dict.fromkeys(MEANT, 0)
    for example in examples:
        text, places = _places(example)
        totals[type(example)] += len(places)
        inexact = [text[start:end] for start, end in places if within_word(text, start) or within_word(text, end)]
        found[type(example)] += [(own, example.where) for own in inexact]
    return tuple(
        note
        for kind, (what, so) in MEANT.items()
        for note in noted(f"{what} that do not begin and end where words do", found[kind], totals[kind], so)
    )


def _places(example: QuestionExample | RelationExample) -> tuple[str, Sequence[Word]]:
    if isinstance(example, QuestionExample):
        return example.context, example.answers or ()
    return example.text, (example.first, example.second)
