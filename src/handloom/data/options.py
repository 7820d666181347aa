"""What a reader is told."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handloom.data.examples import TEXT
from handloom.data.labels import PLAIN, LabelForm
from handloom.errors import HandloomError
from handloom.text.counting import counted


@dataclass(frozen=True, slots=True)
class Options:
    """See `readers.read`. tuples: the rows are tuples, so that nobody has named their columns."""

    task: str = TEXT
    text_column: str | int | None = None
    label_column: str | int | None = None
    pair_column: str | int | None = None
    delimiter: str | None = None
    encoding: str | None = None
    labelled: bool = True
    blanks: str = "error"
    pairs: bool = True
    labels: LabelForm = PLAIN
    tuples: bool = False

    def told(self, used: Mapping[str, str], given: Container[str] | None = None) -> list[str]:
        """Notes on which column holds what. given: the roles that the user named, where the others are guesses."""
        if self.tuples:
            return []
        said = used if given is None else given
        return [f"{role}: column {name!r}{'' if role in said else ' (guessed)'}" for role, name in used.items()]


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its columns, and where it stands, for errors ("train.csv:17")."""

    where: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tagged:
    """One text of words, with a tag for each where there are labels. places: of the words, where each has its own."""

    where: str
    words: Sequence[str]
    tags: Sequence[str] | None
    extra: dict[str, Any]
    places: Sequence[str] = ()

    def place(self, index: int) -> str:
        """Where a word stands, for errors."""
        return self.places[index] if self.places else f"{self.where} word {index + 1}"


def refuse(wheres: Sequence[str], what: str, remedy: str) -> None:
    """One error for all rows of a kind, with the first places."""
    if wheres:
        places = ", ".join(wheres[:5]) + (" …" if len(wheres) > 5 else "")
        raise HandloomError(f"{counted(len(wheres), 'row')} with {what}: {places}. {remedy}")
