"""Words that must come, and words that must not: an automaton over the bytes of a text, whatever tokens spell them.

What must come is found as whole words, what must not at the beginning of a word, where the script has spaces between
words: "art" is not in "part", and 坏人 is found anywhere. A space in a phrase stands for any white space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.generate.constraints import Flags
from handloom.generate.grammar import Vocabulary

MOST_CHARACTERS = 20_000
WORD = frozenset((*b"0123456789_", *range(65, 91), *range(97, 123), *range(0xC3, 0xE2)))
"""Bytes with which a character begins that belongs to a word: Latin, Greek, Cyrillic, … but no ideographs."""
INNER = range(0x80, 0xC0)

Place = tuple[int, int, bytes]
"""(phrase, its next character, bytes of that character that have come)"""


@dataclass(frozen=True)
class State:
    """What has come of phrases, and whether the text stands within a word."""

    places: frozenset[Place] = frozenset()
    within: bool = False


class Phrases:
    """The automaton of some phrases; its state after each byte, with the phrases that end there."""

    def __init__(self, phrases: Sequence[str], forbidden: bool = False) -> None:
        """forbidden: in upper or lower case, and whatever letters follow."""
        if isinstance(phrases, str) or not all(isinstance(phrase, str) and phrase.strip() for phrase in phrases):
            raise UsageError("words are given as a list of texts, none of them empty")
        self.phrases = tuple(phrase.strip() for phrase in phrases)
        if sum(map(len, self.phrases)) > MOST_CHARACTERS:
            raise HandloomError(f"words of more than {MOST_CHARACTERS:,} characters together are too many")
        self.any_case = forbidden
        self._letters = [[_forms(letter, forbidden) for letter in phrase] for phrase in self.phrases]
        self._begins_word = [letters[0][0][0] in WORD for letters in self._letters]
        self._ends_word = [not forbidden and letters[-1][0][0] in WORD for letters in self._letters]
        self._steps: dict[tuple[State, int], tuple[State, frozenset[int]]] = {}

    def step(self, state: State, byte: int) -> tuple[State, frozenset[int]]:
        known = self._steps.get((state, byte))
        if known is None:
            known = self._steps[state, byte] = self._step(state, byte)
        return known

    def _step(self, state: State, byte: int) -> tuple[State, frozenset[int]]:
        inner = byte in INNER
        begun = state.places
        if not inner:
            begun |= {(i, 0, b"") for i, word in enumerate(self._begins_word) if not (word and state.within)}
        places, ended = set(), set()
        for phrase, at, before in begun:
            letters = self._letters[phrase]
            if at == len(letters):  # only a word's end was waited for
                if byte not in WORD:
                    ended.add(phrase)
                continue
            now = before + bytes([byte])
            if now in letters[at]:
                if at + 1 == len(letters) and not self._ends_word[phrase]:
                    ended.add(phrase)
                else:
                    places.add((phrase, at + 1, b""))
            elif any(form.startswith(now) for form in letters[at]):
                places.add((phrase, at, now))
        within = state.within if inner else byte in WORD
        return State(frozenset(places), within), frozenset(ended)

    def waiting(self, state: State) -> frozenset[int]:
        """The phrases that the text ends with, if it ends here."""
        return frozenset(phrase for phrase, at, _ in state.places if at == len(self._letters[phrase]))

    def found(self, text: str | bytes) -> frozenset[int]:
        """The numbers of the phrases in a text."""
        state, found = State(), frozenset[int]()
        for byte in text.encode("utf-8", "replace") if isinstance(text, str) else text:
            state, ended = self.step(state, byte)
            found |= ended
        return found | self.waiting(state)

    def expressions(self) -> list[str]:
        """For each phrase, a regular expression of all texts with it, in llguidance's Lark."""
        flags = "is" if self.any_case else "s"
        before, after = (".*", r"(.*[^\w])?"), (".*", r"([^\w].*)?")
        return [
            f"/(?{flags}:{before[begins]}{_escaped(phrase)}{after[ends]})/"
            for phrase, begins, ends in zip(self.phrases, self._begins_word, self._ends_word, strict=True)
        ]


class Forbidden:
    """A Constraint: none of some phrases comes, in upper or lower case, nor a word that begins with one: a model kept
    from "Paris" alone would write "Parisis"."""

    def __init__(self, vocabulary: Vocabulary, phrases: Sequence[str]) -> None:
        self.vocabulary, self.phrases = vocabulary, Phrases(phrases, forbidden=True)
        texts = [text or b"" for text in vocabulary.spelt]
        self._lengths = np.array([len(text) for text in texts])
        width = int(self._lengths.max(initial=0))
        self._bytes = np.frombuffer(b"".join(text.ljust(width, b"\0") for text in texts), np.uint8).reshape(-1, width)
        self._flags: dict[State, Flags] = {}
        self._numbers: dict[State, int] = {}
        self._rows: list[np.ndarray] = []  # by state: the number of the next one for each byte, −1 where a phrase ends
        self._states: list[State] = []

    def start(self) -> ForbiddenFollower:
        return ForbiddenFollower(self, State())

    @property
    def trims(self) -> bool:
        return False

    def text(self, tokens: Sequence[int]) -> None:
        return None

    def value(self, text: str) -> None:
        return None

    def allowed(self, state: State) -> Flags:
        """bool[vocabulary]: the tokens that complete no phrase; kept for every state that has come."""
        if state not in self._flags:
            self._flags[state] = self._walk(state)
        return self._flags[state]

    def _walk(self, state: State) -> Flags:
        """All tokens at once, byte by byte."""
        at = np.full(len(self._lengths), self._number(state))
        going = np.arange(len(at))
        for place in range(self._bytes.shape[1]):
            going = going[(self._lengths[going] > place) & (at[going] >= 0)]
            if not len(going):
                break
            table = np.stack([self._row(number) for number in range(len(self._states))])
            at[going] = table[at[going], self._bytes[going, place]]
        found: Flags = at >= 0
        return found

    def _number(self, state: State) -> int:
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
        return self._numbers[state]

    def _row(self, number: int) -> np.ndarray:
        while len(self._rows) <= number:
            steps = [self.phrases.step(self._states[len(self._rows)], byte) for byte in range(256)]
            self._rows.append(np.array([-1 if ended else self._number(state) for state, ended in steps]))
        return self._rows[number]


class ForbiddenFollower:
    over, progress, closes = False, 0, False

    def __init__(self, constraint: Forbidden, state: State) -> None:
        self.constraint, self.state = constraint, state

    def allowed(self, left: int) -> Flags:
        return self.constraint.allowed(self.state)

    def wanted(self) -> Sequence[int]:
        return ()

    def advance(self, token: int) -> None:
        for byte in self.constraint.vocabulary.bytes_of([token]):
            self.state, _ = self.constraint.phrases.step(self.state, byte)

    def copy(self) -> ForbiddenFollower:
        return ForbiddenFollower(self.constraint, self.state)

    def completion(self) -> list[int] | None:
        return []


class Required:
    """A Constraint: all of some phrases come, written as they are.

    Until then the text does not end. Where the model would end it, and where there is only just room for them, the
    likeliest of those that are missing comes; a beam search tries them at every place (search.py).
    """

    def __init__(self, vocabulary: Vocabulary, phrases: Sequence[str]) -> None:
        self.vocabulary, self.phrases = vocabulary, Phrases(list(dict.fromkeys(phrases)))
        texts = [phrase.encode() for phrase in self.phrases.phrases]
        self.bare = [vocabulary.cut(text) for text in texts]
        self.spaced = [vocabulary.cut(b" " + text if text[0] in WORD else text) for text in texts]
        first = [text[:1] for text in (spelt or b"" for spelt in vocabulary.spelt)]
        self.boundaries = np.array([bool(byte) and byte[0] not in WORD and byte[0] not in INNER for byte in first])
        self.boundaries[vocabulary.ends] = True
        self.unended = np.ones(vocabulary.size, np.bool_)
        self.unended[vocabulary.ends] = False
        self.lengths = [max(map(len, ways)) for ways in zip(self.bare, self.spaced, strict=True)]
        for phrase, tokens in zip(self.phrases.phrases, self.spaced, strict=True):
            if not tokens:
                raise HandloomError(f"the model's vocabulary cannot spell {phrase!r}")

    def start(self) -> RequiredFollower:
        return RequiredFollower(self, State(), frozenset(), None, True)

    @property
    def trims(self) -> bool:
        return False

    def text(self, tokens: Sequence[int]) -> None:
        return None

    def value(self, text: str) -> None:
        return None


class RequiredFollower:
    over, closes = False, False

    def __init__(
        self, constraint: Required, state: State, found: frozenset[int], plan: tuple[int, list[int]] | None, free: bool
    ) -> None:
        """plan: a phrase that is being written, and the tokens of it that are still to come. free: whether a word may
        begin here without a space."""
        self.constraint, self.state, self.found, self.plan, self.free = constraint, state, found, plan, free

    def _missing(self) -> list[int]:
        there = self.found | self.constraint.phrases.waiting(self.state)
        return [i for i in range(len(self.constraint.spaced)) if i not in there]

    @property
    def progress(self) -> int:
        missing = self._missing()
        there = sum(len(tokens) for i, tokens in enumerate(self.constraint.spaced) if i not in missing)
        begun = len(self.constraint.spaced[self.plan[0]]) - len(self.plan[1]) if self.plan else 0
        return there + max(0, begun)

    def allowed(self, left: int) -> Flags | None:
        constraint, missing = self.constraint, self._missing()
        # what ends the text now may still go on, and not have been the word
        open_ = {*missing, *constraint.phrases.waiting(self.state)} - self.found
        lengths = constraint.lengths
        if left > sum(lengths[i] for i in open_) + 1:
            return constraint.unended if missing else None
        if not missing:
            return constraint.boundaries if open_ else None
        begun = (self.plan[0], len(self.plan[1])) if self.plan else (-1, 0)
        needed = begun[1] + sum(lengths[i] for i in missing if i != begun[0])
        if left < needed:
            names = ", ".join(repr(constraint.phrases.phrases[i]) for i in missing)
            raise HandloomError(f"there is room for {left} tokens, and the words that must come need {needed}: {names}")
        flags = np.zeros(constraint.vocabulary.size, np.bool_)
        flags[list(self.wanted())] = True
        return flags

    def wanted(self) -> Sequence[int]:
        if self.plan:
            return self.plan[1][:1]
        ways = self.constraint.bare if self.free else self.constraint.spaced
        return [ways[i][0] for i in self._missing() if ways[i]]

    def advance(self, token: int) -> None:
        constraint, plan = self.constraint, None
        if self.plan and self.plan[1][0] == token:
            plan = (self.plan[0], self.plan[1][1:])
        else:
            ways = (constraint.bare, constraint.spaced) if self.free else (constraint.spaced,)
            begun = ((i, way[i]) for i in self._missing() for way in ways)
            plan = next(((i, tokens[1:]) for i, tokens in begun if tokens and tokens[0] == token), None)
        self.plan = plan if plan and plan[1] else None
        text = constraint.vocabulary.bytes_of([token])
        for byte in text:
            self.state, ended = constraint.phrases.step(self.state, byte)
            self.found |= ended
        if text:
            self.free = not self.state.within and (text[-1:].isspace() or text[-1:] in b"\"'([{-/")

    def copy(self) -> RequiredFollower:
        return RequiredFollower(self.constraint, self.state, self.found, self.plan, self.free)

    def completion(self) -> list[int] | None:
        return None if self._missing() else []


def _forms(letter: str, any_case: bool) -> list[bytes]:
    """How a character may be written, in UTF-8."""
    if letter.isspace():
        return [b" ", b"\n", b"\t", b"\r", "\u00a0".encode(), "\u3000".encode()]
    cases = [letter, letter.lower(), letter.upper()] if any_case else [letter]
    return [form.encode("utf-8", "replace") for form in dict.fromkeys(cases) if len(form) == 1]


def _escaped(phrase: str) -> str:
    """The phrase in a regular expression of llguidance's Lark."""
    return re.sub(r"(?:\\\s|\s)", r"[\\s]", re.escape(phrase)).replace("/", r"\/")
