"""More training examples out of those that there are: copies in which a few words are others, their labels in place.

A way of making copies replaces stretches of a text (`Edit`) that lie wholly inside or wholly outside of what is
labelled, so that offsets, words and tags follow. What is read is changed, and never what is to be written or chosen:
translations, summaries, replies, choices. Each copy says in the column `augmented_from` which text it
was made of, and falls on that text's side wherever data is split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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
from handloom.data.texts import ORIGIN, AnyExample, side_text, text_key
from handloom.errors import HandloomError, UsageError
from handloom.text.schemes import Scheme
from handloom.text.spans import Span, Word, tags_of_spans
from handloom.text.words import split_words

Random = np.random.Generator
Way = Callable[[Sequence[AnyExample], Sequence[Random]], list[AnyExample | None]]
"""One copy of each example, or None where there is nothing that could be changed; all chance comes from its generator.
"""

HOW = "augmentation"  #: the column that names the way
MENTIONS, TYPOS, SYNONYMS, INFILL = 0.5, 0.1, 0.3, 0.15
"""The shares of spans and of words that are replaced; one is, whatever the share."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """text[start:end] gives way to other text."""

    start: int
    end: int
    text: str


def augmented(dataset: Dataset[Any], ways: Mapping[str, Way], times: int = 1, seed: int = 0) -> Dataset[Any]:
    """The examples, and behind them `times` copies of each by each way, the same for the same seed.

    A copy that equals an example or another copy is left out; notes say how many there are.
    """
    if times < 1:
        raise UsageError(f"times is {times}; it must be 1 or more")
    seen = {text_key(example) for example in dataset}
    copies: list[Any] = []
    notes = []
    for number, (name, way) in enumerate(ways.items()):
        before, nothing, same = len(copies), 0, 0
        for turn in range(times):
            chance = [np.random.default_rng([seed, number, turn, index]) for index in range(len(dataset))]
            for example, copy in zip(dataset, way(dataset.examples, chance), strict=True):
                if copy is None:
                    nothing += 1
                elif (key := text_key(copy)) in seen:
                    same += 1
                else:
                    seen.add(key)
                    extra = {**example.extra, ORIGIN: side_text(example), HOW: name}
                    copies.append(replace(copy, extra=extra))
        skipped = f" ({nothing:,} without anything to replace, {same:,} like another)" if nothing or same else ""
        notes.append(f"augmentation by {name}: {len(copies) - before:,} copies of {len(dataset):,} examples{skipped}")
    return replace(dataset, examples=(*dataset.examples, *copies), notes=(*dataset.notes, *notes))


def by_edits(choose: Callable[[AnyExample, Random], list[Edit]], scheme: Scheme | None, unit: str) -> Way:
    """The way that makes these replacements."""

    def way(examples: Sequence[AnyExample], chance: Sequence[Random]) -> list[AnyExample | None]:
        found = [choose(example, rng) for example, rng in zip(examples, chance, strict=True)]
        return [edited(one, edits, scheme, unit) if edits else None for one, edits in zip(examples, found, strict=True)]

    return way


# -- what is replaced


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


def some(count: int, share: float, rng: Random) -> list[int]:
    """A share of `count` places, one at least if there is one, in order."""
    wanted = min(count, max(1, round(count * share)))
    return sorted(rng.permutation(count)[:wanted].tolist())


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
    lines, begin = [], 0
    for line in kind.texts(example):
        start, end = change.moved((begin, begin + len(line)))
        lines.append(text[start:end])
        begin += len(line) + 1
    return kind.made(example, replace(change, lines=tuple(lines)))


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


# -- ways


def mentions(dataset: Dataset[Any], share: float = MENTIONS) -> Way:
    """Names give way to other names of the same kind that the data has. Raises UsageError where it has no spans."""
    known: dict[str, list[str]] = {}
    for example in dataset:
        for span in example.spans or () if isinstance(example, TokenExample) else ():
            known.setdefault(span.label, []).append(span.text)
    if not known:
        raise UsageError("mention replaces names by other names: it is for token-classification, and wants spans")
    kinds = {label: sorted(set(texts)) for label, texts in known.items()}

    def choose(example: AnyExample, rng: Random) -> list[Edit]:
        assert isinstance(example, TokenExample)
        able = [span for span in example.spans or () if len(kinds[span.label]) > 1]
        edits = []
        for i in some(len(able), share, rng):
            span = able[i]
            others = [text for text in kinds[span.label] if text != span.text]
            edits.append(Edit(span.start, span.end, others[int(rng.integers(len(others)))]))
        return edits

    return by_edits(choose, dataset.scheme, dataset.unit)


_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
BESIDE = {
    key: "".join(_ROWS[y + dy][x + dx] for dy, dx in _NEAR if 0 <= y + dy < 3 and 0 <= x + dx < len(_ROWS[y + dy]))
    for y, row in enumerate(_ROWS)
    for x, key in enumerate(row)
}
"""The keys beside each key."""


def typos(dataset: Dataset[Any], share: float = TYPOS) -> Way:
    """Words of four Latin letters or more are mistyped: two letters change places, one is left out, doubled, or its
    neighbour on the keyboard is hit. The first letter stays."""

    def choose(example: AnyExample, rng: Random) -> list[Edit]:
        text = text_of(example)
        able = [(a, b) for a, b in uncut(example) if b - a >= 4 and re.fullmatch(r"[A-Za-z]+", text[a:b])]
        return [Edit(*able[i], mistyped(text[slice(*able[i])], rng)) for i in some(len(able), share, rng)]

    return by_edits(choose, dataset.scheme, dataset.unit)


def mistyped(word: str, rng: Random) -> str:
    """A word of at least three letters with one slip, and not as it was."""
    at = int(rng.integers(1, len(word) - 1))
    slips = [word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :],
             word[:at] + word[at] * 2 + word[at + 1 :]]  # fmt: skip
    near = BESIDE[word[at].lower()]
    hit = near[int(rng.integers(len(near)))]
    slips.append(word[:at] + (hit.upper() if word[at].isupper() else hit) + word[at + 1 :])
    able = [slip for slip in slips if slip != word]
    return able[int(rng.integers(len(able)))]


def synonyms(dataset: Dataset[Any], text: str, where: str, share: float = SYNONYMS) -> Way:
    """Words outside of what is labelled give way to others of their line in a list: on each line words that may stand
    for each other, separated by tabs or commas. The longest that is found counts; homophones are listed alike."""
    groups: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        words = [word.strip() for word in re.split(r"[\t,，]", line) if word.strip()]
        if len(words) == 1:
            raise HandloomError(f"{where}:{number}: {words[0]!r:.60} stands alone; a line holds two words or more that "
                                "may stand for each other, separated by tabs or commas")  # fmt: skip
        for word in words:
            groups.setdefault(word.casefold(), []).extend(words)
    if not groups:
        raise HandloomError(f"{where}: there are no words that may stand for each other")
    longest = max(len(split_words(word)) for word in groups)

    def choose(example: AnyExample, rng: Random) -> list[Edit]:
        text, words, found = text_of(example), free(example, dataset.unit), []
        at = 0
        while at < len(words):
            ends = range(min(len(words), at + longest), at, -1)
            stretches = [(words[at][0], words[end - 1][1], end) for end in ends]
            match = next((s for s in stretches if text[s[0] : s[1]].casefold() in groups), None)
            if match is not None:
                found.append(match[:2])
            at = at + 1 if match is None else match[2]
        edits = []
        for i in some(len(found), share, rng):
            old = text[slice(*found[i])]
            others = sorted({word for word in groups[old.casefold()] if word.casefold() != old.casefold()})
            if others:
                new = others[int(rng.integers(len(others)))]
                edits.append(Edit(*found[i], new[:1].upper() + new[1:] if old[:1].isupper() else new))
        return edits

    return by_edits(choose, dataset.scheme, dataset.unit)


def infill(
    dataset: Dataset[Any], mask: str, guess: Callable[[list[str]], list[list[list[str]]]], share: float = INFILL
) -> Way:
    """Words outside of what is labelled give way to what a masked language model guesses in their place.

    guess: for texts with masks, for each mask the words that may stand there, the likeliest first (none where a text is
    too long for the model)."""

    def way(examples: Sequence[AnyExample], chance: Sequence[Random]) -> list[AnyExample | None]:
        chosen, texts = [], list(map(text_of, examples))
        for example, text, rng in zip(examples, texts, chance, strict=True):
            able = [(a, b) for a, b in free(example, dataset.unit) if text[a:b].isalpha()]
            chosen.append([able[i] for i in some(len(able), share, rng)])
        asked = [i for i, words in enumerate(chosen) if words]
        masked = [edited(TextExample(texts[i]), [Edit(*word, mask) for word in chosen[i]]).text for i in asked]
        copies: list[AnyExample | None] = [None] * len(examples)
        for i, guesses in zip(asked, guess(masked), strict=True):
            edits = []
            for (start, end), words in zip(chosen[i], guesses, strict=False):
                old = texts[i][start:end]
                others = [word for word in words if word.isalpha() and word.casefold() != old.casefold()]
                if others:
                    edits.append(Edit(start, end, others[int(chance[i].integers(len(others)))]))
            if edits:
                copies[i] = edited(examples[i], edits, dataset.scheme, dataset.unit)
        return copies

    return way


def back_translation(
    dataset: Dataset[Any], forth: Callable[[list[str]], list[str]], back: Callable[[list[str]], list[str]]
) -> Way:
    """Texts are translated and translated back; of questions about a text the question. Raises UsageError for data with
    labels inside of its texts: where they stand in a translation nobody knows."""
    if any(not KINDS[type(example)].anew for example in dataset):
        raise UsageError("back-translation writes texts anew, and where labelled places stand in them is lost; "
                         "mention, synonym, typo and infill keep places")  # fmt: skip

    def way(examples: Sequence[AnyExample], chance: Sequence[Random]) -> list[AnyExample | None]:
        places = [_lines(example) for example in examples]
        whole = [text_of(example) for example in examples]
        abroad = forth([text[a:b] for text, own in zip(whole, places, strict=True) for a, b in own])
        home = iter(back([text for text in abroad if text.strip()]))  # a translator may have nothing to say
        written = iter([next(home) if text.strip() else "" for text in abroad])
        copies: list[AnyExample | None] = []
        for example, own in zip(examples, places, strict=True):
            edits = [Edit(*place, text) for place in own if (text := " ".join(next(written).split()))]
            copies.append(edited(example, edits, dataset.scheme, dataset.unit) if edits else None)
        return copies

    return way


def _lines(example: AnyExample) -> list[Word]:
    """Where the texts stand that may be written anew."""
    kind, found, at = KINDS[type(example)], [], 0
    for line in kind.texts(example):
        found.append((at, at + len(line)))
        at += len(line) + 1
    return [(start, end) for start, end in found[: kind.anew] if end > start]


PLAIN: Mapping[str, Callable[[Dataset[Any]], Way]] = {"mention": mentions, "typo": typos}


def plain_ways(dataset: Dataset[Any], names: Sequence[str]) -> dict[str, Way]:
    """Ways that need nothing but the data, by their names."""
    for name in names:
        if name not in PLAIN:
            raise UsageError(f"there is no augmentation {name!r} in a training; there are {' and '.join(PLAIN)} "
                             "(handloom augment also knows synonym, infill and back-translation)")  # fmt: skip
    return {name: PLAIN[name](dataset) for name in names}


def rows_of(dataset: Dataset[Any]) -> list[dict[str, Any]]:
    """The examples as objects that `read` takes, one for each line of a JSONL file."""
    return [{**KINDS[type(example)].row(example), **example.extra} for example in dataset]
