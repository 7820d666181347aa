"""More training examples out of those that there are: copies in which a few words are others, their labels in place.

A way of making copies replaces stretches of a text (`data/edits.py`) that lie wholly inside or wholly outside of what
is labelled. Each copy says in the column `augmented_from` which text it was made of, and falls on that text's side
wherever data is split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from handloom.data.edits import KINDS, Edit, edited, free, lines_anew, text_of, uncut
from handloom.data.examples import Dataset, TextExample, TokenExample
from handloom.data.texts import ORIGIN, AnyExample, side_text, text_key
from handloom.errors import HandloomError, UsageError
from handloom.text.counting import counted
from handloom.text.schemes import Scheme
from handloom.text.words import split_words

Random = np.random.Generator
Way = Callable[[Sequence[AnyExample], Sequence[Random]], list[AnyExample | None]]
"""One copy of each example, or None where there is nothing that could be changed; all chance comes from its generator.
"""

HOW = "augmentation"  #: the column that names the way
MENTIONS, TYPOS, SYNONYMS, INFILL = 0.5, 0.1, 0.3, 0.15
"""The shares of spans and of words that are replaced; one is, whatever the share."""


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
        notes.append(f"augmentation by {name}: {counted(len(copies) - before, 'copy', 'copies')} of "
                     f"{counted(len(dataset), 'example')}{skipped}")  # fmt: skip
    return replace(dataset, examples=(*dataset.examples, *copies), notes=(*dataset.notes, *notes))


def by_edits(choose: Callable[[AnyExample, Random], list[Edit]], scheme: Scheme | None, unit: str) -> Way:
    """The way that makes these replacements."""

    def way(examples: Sequence[AnyExample], chance: Sequence[Random]) -> list[AnyExample | None]:
        found = [choose(example, rng) for example, rng in zip(examples, chance, strict=True)]
        return [edited(one, edits, scheme, unit) if edits else None for one, edits in zip(examples, found, strict=True)]

    return way


def some(count: int, share: float, rng: Random) -> list[int]:
    """A share of `count` places, one at least if there is one, in order."""
    wanted = min(count, max(1, round(count * share)))
    return sorted(rng.permutation(count)[:wanted].tolist())


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
        places = [lines_anew(example) for example in examples]
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


PLAIN: Mapping[str, Callable[[Dataset[Any]], Way]] = {"mention": mentions, "typo": typos}


def plain_ways(dataset: Dataset[Any], names: Sequence[str]) -> dict[str, Way]:
    """Ways that need nothing but the data, by their names."""
    for name in names:
        if name not in PLAIN:
            raise UsageError(f"there is no augmentation {name!r} in a training; there are {' and '.join(PLAIN)} "
                             "(handloom augment also knows synonym, infill and back-translation)")  # fmt: skip
    return {name: PLAIN[name](dataset) for name in names}
