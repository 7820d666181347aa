"""Tagging schemes: the ways in which people write spans as one tag per word, recognised and said by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handloom.errors import HandloomError

OUTSIDE = "O"
UNTYPED = "SPAN"
"""The label given to spans of a scheme whose tags carry no type (word segmentation: B, M, E, S)."""

# What each prefix letter means. A letter means the same in every scheme, so that one reader serves them all.
BEGIN, INSIDE, END, SINGLE = "begin", "inside", "end", "single"
MEANING = {"B": BEGIN, "I": INSIDE, "M": INSIDE, "E": END, "L": END, "S": SINGLE, "U": SINGLE, "W": SINGLE}

# name: the letters that a writer uses for (begin, inside, end, single)
LETTERS = {
    "BIO": ("B", "I", "I", "B"),
    "IO": ("I", "I", "I", "I"),
    "BIOES": ("B", "I", "E", "S"),
    "BILOU": ("B", "I", "L", "U"),
    "BMES": ("B", "M", "E", "S"),
    "BMEWO": ("B", "M", "E", "W"),
}

_PREFIXED = re.compile(r"([BIMELSUW])([-_])(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scheme:
    """How spans are written as tags.

    `name`: BIO, IO, BIOES, BILOU, BMES, BMEWO, or "plain" (each word has a tag of its own, as parts of speech do).
    `separator`: between prefix and label: "-" or "_"; "" where a tag is the bare label (`PER PER O`).
    `typed`: False where tags are bare letters (`B M E S`).
    """

    name: str = "BIO"
    separator: str = "-"
    typed: bool = True

    def __str__(self) -> str:
        if not self.typed:
            return f"{self.name} without types"
        return f"{self.name} with bare labels" if self.name == "IO" and not self.separator else self.name

    def write(self, label: str, place: str) -> str:
        """The tag of a word that stands at `place` (begin, inside, end, single) of a span called `label`."""
        if self.name == "plain" or (self.name == "IO" and not self.separator):
            return label
        letter = LETTERS[self.name][(BEGIN, INSIDE, END, SINGLE).index(place)]
        return f"{letter}{self.separator}{label}" if self.typed else letter

    def read(self, tag: str) -> tuple[str, str] | None:
        """(place, label) of a tag; None outside of spans."""
        if self.name == "plain":
            return SINGLE, tag
        if tag == OUTSIDE or not tag:
            return None
        if self.name == "IO" and not self.separator:
            return INSIDE, tag
        if not self.typed:
            return MEANING.get(tag, INSIDE), UNTYPED
        found = _PREFIXED.fullmatch(tag)
        # A tag that does not belong to the scheme (`MISC` among `B-PER`) still names its words.
        return (MEANING[found[1]], found[3]) if found else (INSIDE, tag)

    def joins(self, before: str, after: str) -> bool:
        """Whether neighbouring words with these tags are of one span."""
        one, other = self.read(before), self.read(after)
        if self.name == "plain" or one is None or other is None:
            return False
        return one[1] == other[1] and one[0] in (BEGIN, INSIDE) and other[0] in (INSIDE, END)

    def follows(self, before: str | None, after: str | None) -> bool:
        """Whether a word tagged `after` may come behind one tagged `before`; None stands for an end of the text."""
        if self.name in ("plain", "IO") or (before is not None and after is not None and self.joins(before, after)):
            return True
        one, other = self.read(before or OUTSIDE), self.read(after or OUTSIDE)
        begin, inside, end, _ = LETTERS[self.name]
        opened = one is not None and one[0] in (BEGIN, INSIDE) and inside != end  # it must be gone on with
        going_on = other is not None and other[0] in (INSIDE, END) and begin != inside
        return not opened and not going_on

    def tags(self, labels: Iterable[str]) -> list[str]:
        """Every tag that the scheme needs for `labels`, outside first, the rest sorted by label."""
        names = sorted(set(labels))
        if self.name == "plain":
            return names
        places = (BEGIN, INSIDE, END, SINGLE)
        written = [self.write(name, place) for name in names for place in places]
        return list(dict.fromkeys([OUTSIDE, *written]))


def recognise(tags: Iterable[str]) -> Scheme:
    """The scheme that a set of tags is written in.

    I- tags alone are IO; B- with or without I- is BIO (also the old IOB, in which B- only separates: it is read the
    same way); E- and S- tell BIOES, M- BMES, L- and U- BILOU. Tags without a prefix are labels: IO where O is among
    them, plain where it is not.
    """
    seen = {tag for tag in tags if tag}
    inner = seen - {OUTSIDE}
    if not inner:
        return Scheme()
    if "B" in inner and inner <= set(MEANING):
        return Scheme(_name_of(inner), "-", typed=False)
    found = [_PREFIXED.fullmatch(tag) for tag in inner]
    if not all(found):
        if any(found):
            bare = sorted(tag for tag in inner if not _PREFIXED.fullmatch(tag))
            prefixed = sorted(inner - set(bare))
            if len(prefixed) >= len(bare) or all(tag.isdigit() for tag in bare):
                raise HandloomError(
                    f"The tags mix two ways of writing: {_few(prefixed)} with a prefix, {_few(bare)} without. "
                    "Every tag must be O or carry a prefix such as B- or I-; is this the right column?"
                )
        return Scheme("IO", "") if OUTSIDE in seen else Scheme("plain", "")
    letters = {match[1] for match in found if match}
    separators = {match[2] for match in found if match}
    return Scheme(_name_of(letters), "-" if "-" in separators else "_")


def _name_of(letters: set[str]) -> str:
    if letters <= {"I"}:
        return "IO"
    if letters <= {"B", "I"}:
        return "BIO"
    if "M" in letters:
        return "BMEWO" if "W" in letters else "BMES"
    if letters & {"L", "U"}:
        return "BILOU"
    return "BIOES"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
