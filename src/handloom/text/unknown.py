"""How much of a text the vocabulary does not know, in which script, and which model would know it."""

from __future__ import annotations

import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

LIMIT = 0.05
"""The share of unknown tokens above which a warning is due."""

# The first word of a character's Unicode name: (script, a model of a family that Handloom trains)
_MULTILINGUAL = "google-bert/bert-base-multilingual-cased"
_BYTES = "FacebookAI/roberta-base"
SCRIPTS = {
    "CJK": ("Chinese characters", "google-bert/bert-base-chinese"),
    "IDEOGRAPHIC": ("Chinese characters", "google-bert/bert-base-chinese"),
    "FULLWIDTH": ("full-width forms", "google-bert/bert-base-chinese"),
    "HIRAGANA": ("Japanese", _MULTILINGUAL),
    "KATAKANA": ("Japanese", _MULTILINGUAL),
    "HANGUL": ("Korean", _MULTILINGUAL),
    "LATIN": ("Latin", _MULTILINGUAL),
    "CYRILLIC": ("Cyrillic", _MULTILINGUAL),
    "GREEK": ("Greek", _MULTILINGUAL),
    "ARABIC": ("Arabic", _MULTILINGUAL),
    "HEBREW": ("Hebrew", _MULTILINGUAL),
    "DEVANAGARI": ("Devanagari", _MULTILINGUAL),
    "BENGALI": ("Bengali", _MULTILINGUAL),
    "TAMIL": ("Tamil", _MULTILINGUAL),
    "THAI": ("Thai", _MULTILINGUAL),
    "GEORGIAN": ("Georgian", _MULTILINGUAL),
    "ARMENIAN": ("Armenian", _MULTILINGUAL),
}
_SYMBOLS = ("symbols and emoji", _BYTES)


@dataclass(frozen=True, slots=True)
class UnknownReport:
    """tokens, unknown: counts, special tokens left out; characters: the commonest offending ones with their counts."""

    tokens: int
    unknown: int
    characters: tuple[tuple[str, int], ...] = ()
    script: str = ""
    suggestion: str = ""

    @property
    def share(self) -> float:
        return self.unknown / self.tokens if self.tokens else 0.0

    @property
    def message(self) -> str:
        """The warning, or "" where no more than 5 % is unknown."""
        if self.share <= LIMIT:
            return ""
        named = ", ".join(
            f"{_visible(character)} ({count}×)"
            for character, count in [one for one in self.characters if script_of(one[0])[0] == self.script][:8]
        )
        return (
            f"{self.share:.1%} of the tokens are unknown to this model's vocabulary ({self.unknown} of {self.tokens}), "
            f"mostly {self.script}: {named}. What is unknown cannot be learned from; "
            f"a model that knows {self.script}: {self.suggestion}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "share": self.share, "message": self.message}


def report(tokens: int, pieces: Iterable[str], known: Callable[[str], bool]) -> UnknownReport:
    """`pieces`: the stretches of text behind unknown tokens; `known(character)`: whether the vocabulary has it."""
    unknown = 0
    counts: Counter[str] = Counter()
    verdicts: dict[str, bool] = {}
    for piece in pieces:
        unknown += 1
        # One unknown character makes its whole word unknown: only the characters at fault are named.
        visible = [character for character in piece if not character.isspace()]
        for character in visible:
            if character not in verdicts:
                verdicts[character] = known(character)
        counts.update([character for character in visible if not verdicts[character]] or visible)
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    scripts: Counter[tuple[str, str]] = Counter()
    for character, count in common:
        scripts[script_of(character)] += count
    most = max(scripts.items(), key=lambda item: (item[1], item[0] != _SYMBOLS, item[0]), default=(("", ""), 0))
    script, suggestion = most[0]
    return UnknownReport(tokens, unknown, tuple(common[:20]), script, suggestion)


def warn(message: str) -> None:
    """A Python warning that points at the user's line: the first one up the stack that is not Handloom's."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "handloom":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def script_of(character: str) -> tuple[str, str]:
    """The script's name, and a model that knows it."""
    first = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    if first in SCRIPTS:
        return SCRIPTS[first]
    letter = unicodedata.category(character)[0] in "LM"
    return (first.capitalize(), _MULTILINGUAL) if letter and first else _SYMBOLS


def _visible(character: str) -> str:
    return character if character.isprintable() else f"U+{ord(character):04X}"
