"""Examples of every kind with stretches of their texts replaced: offsets, words, tags and answers follow.

What is read can be changed, and never what is to be written or chosen: translations, summaries, replies, choices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handloom.data.examples import (
    ChoiceExample,
    Dataset,
    GenerationExample,
    MatchExample,
    QuestionExample,
    RelationExample,
    RewritingExample,
    TextExample,
    TokenExample,
)
from handloom.data.texts import AnyExample
from handloom.text.schemes import Scheme
from handloom.text.spans import Span, Word, tags_of_spans
from handloom.text.words import split_words


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """text[start:end] gives way to other text."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Change:
    """Texts below each other with some stretches replaced. lines: the texts. scheme, unit: of tagged words."""

    edits: tuple[Edit, ...]
    text: str
    lines: tuple[str, ...] = ()
    scheme: Scheme | None = None
    unit: str = "words"

    def moved(self, place: Word) -> Word:
        return place[0] + self._shift(place[0]), place[1] + self._shift(place[1])

    def _shift(self, at: int) -> int:
        return sum(len(edit.text) - (edit.end - edit.start) for edit in self.edits if edit.end <= at)


@dataclass(frozen=True)
class Kind:
    """What can be changed of an example. texts: of which words may be replaced. places: what is labelled in these
    texts, as they stand below each other. made: the example with other texts. row: as `read` takes it. anew: how many
    of the texts, the first ones, may be written anew as a whole."""

    texts: Callable[[Any], Sequence[str]]
    made: Callable[[Any, Change], Any]
    row: Callable[[Any], dict[str, Any]]
    places: Callable[[Any], list[Word]] = lambda example: []
    anew: int = 1


def text_of(example: AnyExample) -> str:
    """All that may be changed, a line a text."""
    return "\n".join(KINDS[type(example)].texts(example))


def _lines(example: AnyExample) -> list[Word]:
    """Where each of its texts stands in `text_of` it."""
    found, at = [], 0
    for line in KINDS[type(example)].texts(example):
        found.append((at, at + len(line)))
        at += len(line) + 1
    return found


def lines_anew(example: AnyExample) -> list[Word]:
    """Where the texts stand that may be written anew."""
    return [(start, end) for start, end in _lines(example)[: KINDS[type(example)].anew] if end > start]


def tokens(example: AnyExample, unit: str = "words") -> list[Word]:
    """The words that may be replaced."""
    own = example.words if isinstance(example, TokenExample) else None
    return split_words(text_of(example), unit) if own is None else list(own)


def uncut(example: AnyExample, unit: str = "words") -> list[Word]:
    """The words inside or outside of what is labelled, not those that an edge of it cuts."""
    held = KINDS[type(example)].places(example)
    return [(a, b) for a, b in tokens(example, unit)
            if all(b <= start or end <= a or (start <= a and b <= end) for start, end in held)]  # fmt: skip


def free(example: AnyExample, unit: str = "words") -> list[Word]:
    """The words outside of all that is labelled."""
    held = KINDS[type(example)].places(example)
    return [(a, b) for a, b in tokens(example, unit) if all(b <= start or end <= a for start, end in held)]


def edited(example: Any, edits: Sequence[Edit], scheme: Scheme | None = None, unit: str = "words") -> Any:
    """The example with stretches of `text_of` it replaced; they do not overlap, and none crosses the edge of a place or
    of a text."""
    kind, edits = KINDS[type(example)], sorted(edits)
    old = text_of(example)
    pieces, at = [], 0
    for edit in edits:
        pieces += [old[at : edit.start], edit.text]
        at = edit.end
    text = "".join([*pieces, old[at:]])
    change = Change(tuple(edits), text, (), scheme, unit)
    lines = tuple(text[slice(*change.moved(place))] for place in _lines(example))
    return kind.made(example, replace(change, lines=lines))


def _retagged(example: TokenExample, change: Change) -> TokenExample:
    text, edits, spans = change.text, change.edits, None
    if example.spans is not None:
        found = [(change.moved((span.start, span.end)), span.label) for span in example.spans]
        spans = tuple(Span(start, end, label, text[start:end]) for (start, end), label in found)
    if example.words is None:
        return replace(example, text=text, spans=spans)
    words = [change.moved(w) for w in example.words if all(w[1] <= e.start or e.end <= w[0] for e in edits)]
    for edit in edits:
        start, _ = change.moved((edit.start, edit.start))
        words += [(start + a, start + b) for a, b in _words(edit.text, change.unit)]
    words.sort()
    tags = None
    if example.tags is not None:
        assert change.scheme is not None
        tags = tuple(tags_of_spans(words, spans or (), change.scheme)[0])
    return replace(example, text=text, words=tuple(words), tags=tags, spans=spans)


def _words(text: str, unit: str) -> list[Word]:
    return [found.span() for found in re.finditer(r"\S+" if unit == "words" else r"\S", text)]


def _token_row(example: TokenExample) -> dict[str, Any]:
    if example.words is not None and example.tags is not None:
        return {"tokens": [example.text[start:end] for start, end in example.words], "tags": list(example.tags)}
    spans = [{"start": span.start, "end": span.end, "label": span.label} for span in example.spans or ()]
    return {"text": example.text, "spans": spans}


def _answers(example: QuestionExample) -> list[Word]:
    """Below the question and a line break stands the context."""
    before = len(example.question) + 1
    return [(before + start, before + end) for start, end in example.answers or ()]


def _asked_again(example: QuestionExample, change: Change) -> QuestionExample:
    question, context = change.lines
    before = len(question) + 1
    moved = [change.moved(place) for place in _answers(example)]
    answers = None if example.answers is None else tuple((start - before, end - before) for start, end in moved)
    return replace(example, question=question, context=context, answers=answers)


def _match_row(example: MatchExample) -> dict[str, Any]:
    if example.negative is not None:
        return {"anchor": example.text, "positive": example.other, "negative": example.negative}
    return {"text": example.text, "pair": example.other} | ({} if example.score is None else {"score": example.score})


def _choice_row(example: ChoiceExample) -> dict[str, Any]:
    names = [str(number) for number in range(len(example.choices))]
    answer = None if example.answer is None else names[example.answer]
    return {"context": example.context, "question": example.question, "answer": answer,
            "choices": {"text": list(example.choices), "label": names}}  # fmt: skip


def _said(example: GenerationExample) -> list[str]:
    return [one.content for one in example.turns if one.role == "user"] if example.turns else [example.prompt]


def _said_again(example: GenerationExample, change: Change) -> GenerationExample:
    if not example.turns:
        return replace(example, prompt=change.text)
    said = iter(change.lines)
    turns = [replace(one, content=next(said)) if one.role == "user" else one for one in example.turns]
    return replace(example, turns=tuple(turns))


def _generation_row(example: GenerationExample) -> dict[str, Any]:
    if example.turns:
        return {"messages": [{"role": one.role, "content": one.content} for one in example.turns]}
    return {"prompt": example.prompt, "completion": example.target} if example.prompt else {"text": example.target}


KINDS: Mapping[type, Kind] = {
    TextExample: Kind(
        lambda e: [e.text], lambda e, change: replace(e, text=change.text),
        lambda e: {"text": e.text, **({} if e.pair is None else {"pair": e.pair}), "label": e.label},
    ),
    TokenExample: Kind(
        lambda e: [e.text], _retagged, _token_row, lambda e: [(span.start, span.end) for span in e.spans or ()], anew=0,
    ),
    RelationExample: Kind(
        lambda e: [e.text],
        lambda e, change: replace(e, text=change.text, first=change.moved(e.first), second=change.moved(e.second)),
        lambda e: {"text": e.marked("<e1>", "</e1>", "<e2>", "</e2>"), "relation": e.label},
        lambda e: [e.first, e.second], anew=0,
    ),
    QuestionExample: Kind(
        lambda e: [e.question, e.context], _asked_again,
        lambda e: {"question": e.question, "context": e.context,
                   "answers": {"text": e.answer_texts, "answer_start": [start for start, _ in e.answers or ()]}},
        _answers,
    ),
    RewritingExample: Kind(
        lambda e: [e.text], lambda e, change: replace(e, text=change.text),
        lambda e: {"source": e.text, "target": list(e.targets)},
    ),
    MatchExample: Kind(
        lambda e: [e.text, e.other, *([] if e.negative is None else [e.negative])],
        lambda e, change: replace(e, text=change.lines[0], other=change.lines[1],
                                  negative=change.lines[2] if change.lines[2:] else None),
        _match_row, anew=3,
    ),
    ChoiceExample: Kind(
        lambda e: [e.context, e.question],
        lambda e, change: replace(e, context=change.lines[0], question=change.lines[1]), _choice_row, anew=2,
    ),
    GenerationExample: Kind(_said, _said_again, _generation_row, anew=1 << 20),
}  # fmt: skip


def rows_of(dataset: Dataset[Any]) -> list[dict[str, Any]]:
    """The examples as objects that `read` takes, one for each line of a JSONL file."""
    return [{**KINDS[type(example)].row(example), **example.extra} for example in dataset]
