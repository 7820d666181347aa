"""What a text must be like, as masks over the next token: one protocol for grammars, words, and both together.

A `Constraint` belongs to a vocabulary and may serve many texts at once; each has a `Follower` of its own, which
sampling, greedy choice and beams ask alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


class Follower(Protocol):
    """One text, as far as it has come."""

    @property
    def closes(self) -> bool:
        """Whether a text that is cut is worth less than one that is ended by `completion`."""

    @property
    def over(self) -> bool:
        """Whether nothing but the end may come."""

    @property
    def progress(self) -> int:
        """How many tokens of the words that must come are there: beams of like progress compete with each other."""

    def allowed(self, left: int, /) -> Flags | None:
        """bool[vocabulary]: what may come next, the tokens that end a text among it where it may end here; None:
        anything. left: how many tokens there is room for. Raises HandloomError where a bound is reached."""

    def wanted(self) -> Sequence[int]:
        """Tokens that go on with words that must come."""

    def advance(self, token: int, /) -> None:
        """One token more, which `allowed` has."""

    def copy(self) -> Follower: ...

    def completion(self) -> list[int] | None:
        """The tokens of a short way to the end, none where the text may end here; None if there is no way known."""


class Constraint(Protocol):
    @property
    def trims(self) -> bool:
        """Whether a space that comes first, which most vocabularies put before a word, is no part of the text."""

    def start(self) -> Follower: ...

    def text(self, tokens: Sequence[int], /) -> str | None:
        """What these tokens say by the constraint's own reading; None: what the tokenizer decodes."""

    def value(self, text: str, /) -> Any:
        """What a whole text means; None if it is only a text."""


class Both:
    """Two constraints at once."""

    def __init__(self, first: Constraint, second: Constraint) -> None:
        self.first, self.second = first, second

    @property
    def trims(self) -> bool:
        return (self.second if self.first.text([]) is None else self.first).trims

    def start(self) -> BothFollower:
        return BothFollower(self.first.start(), self.second.start())

    def text(self, tokens: Sequence[int]) -> str | None:
        found = self.first.text(tokens)
        return self.second.text(tokens) if found is None else found

    def value(self, text: str) -> Any:
        found = self.first.value(text)
        return self.second.value(text) if found is None else found


class BothFollower:
    def __init__(self, first: Follower, second: Follower) -> None:
        self.parts = (first, second)

    @property
    def closes(self) -> bool:
        return any(part.closes for part in self.parts)

    @property
    def over(self) -> bool:
        return any(part.over for part in self.parts)

    @property
    def progress(self) -> int:
        return sum(part.progress for part in self.parts)

    def allowed(self, left: int) -> Flags | None:
        first, second = (part.allowed(left) for part in self.parts)
        return second if first is None else first if second is None else first & second

    def wanted(self) -> Sequence[int]:
        return [token for part in self.parts for token in part.wanted()]

    def advance(self, token: int) -> None:
        for part in self.parts:
            part.advance(token)

    def copy(self) -> BothFollower:
        return BothFollower(*(part.copy() for part in self.parts))

    def completion(self) -> list[int] | None:
        for one, other in (self.parts, self.parts[::-1]):
            found = one.completion()
            if found is not None and _passes(other, found):
                return found
        return None


def _passes(follower: Follower, tokens: Sequence[int]) -> bool:
    """Whether a text may go on with these tokens and end."""
    follower = follower.copy()
    for place, token in enumerate(tokens):
        flags = follower.allowed(len(tokens) - place)
        if flags is not None and not flags[token]:
            return False
        follower.advance(token)
    return follower.completion() == []


def masked(row: Floats, ruled: Floats, follower: Follower, left: int, ends: Collection[int] = ()) -> Floats:
    """A row of logits f32[vocabulary] without what the constraint does not allow. ruled: the row after all other rules,
    which count for less: where they leave nothing of what is allowed, they are left out at this place.

    Raises HandloomError where nothing may come.
    """
    flags = follower.allowed(left)
    if flags is None:
        return ruled
    if wanted := list(follower.wanted()):
        top = int(row.argmax())
        if top in ends and not flags[top] and flags[wanted].any():  # the model would end the text: not without these
            only = np.zeros_like(flags)
            only[wanted] = flags[wanted]
            flags = only
    for given in (ruled, row):
        found: Floats = np.where(flags, given, np.float32(-np.inf))
        if np.isfinite(found.max()):
            return found
    raise HandloomError(
        "no token may come next: what is asked for contradicts itself here, or the vocabulary cannot spell it"
    )
