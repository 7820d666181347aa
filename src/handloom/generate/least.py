"""A short text that a regular expression matches: every part as seldom as it may come, of its ways the shortest.

Python's own parser reads the expression (re._parser, which is not public: `re` has no other way to its parts), though
it is written for another engine: what the two understand otherwise, and what Python does not read, gives a text that
does not match, or none; whoever asks tries the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

TRIED = [*map(chr, (*b"a0 A-_.,b1", *range(33, 127))), "é", "天", "\n", "\t"]
"""What is taken of a class of characters: the first of these that belongs to it."""
CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdigit, "SPACE": str.isspace, "WORD": lambda c: c.isalnum() or c == "_",
}  # fmt: skip


class _Unreadable(Exception):
    pass


def least(pattern: str, longest: int) -> str | None:
    """None where the expression cannot be read, or the text has more than `longest` characters.

    >>> least("(the|a) .*[0-9]{2}-x+", 100)
    'a 00-x'
    """
    try:
        return _sequence(re._parser.parse(pattern), longest)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError, AttributeError, _Unreadable):
        return None


def _sequence(parts: Sequence[Any], longest: int) -> str:
    text = ""
    for operation, argument in parts:
        text += _part(str(operation), argument, longest)
        if len(text) > longest:
            raise _Unreadable
    return text


def _part(operation: str, argument: Any, longest: int) -> str:
    match operation:
        case "LITERAL":
            return chr(argument)
        case "NOT_LITERAL":
            return next(c for c in TRIED if c != chr(argument))
        case "ANY":
            return TRIED[0]
        case "AT":
            return ""
        case "IN":
            found = next((c for c in TRIED if _holds(argument, c)), None)
            return _first(argument) if found is None else found
        case "BRANCH":
            return min((_sequence(way, longest) for way in argument[1]), key=len)
        case "SUBPATTERN":
            return _sequence(argument[3], longest)
        case "ATOMIC_GROUP":
            return _sequence(argument, longest)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            often, _, part = argument
            once = _sequence(part, longest) if often else ""
            if len(once) * often > longest:
                raise _Unreadable
            return str(once * int(often))
    raise _Unreadable


def _holds(items: Sequence[Any], character: str) -> bool:
    """Whether a class of characters has this one."""
    negated, found = False, False
    for operation, argument in items:
        match str(operation):
            case "NEGATE":
                negated = True
            case "LITERAL":
                found |= ord(character) == argument
            case "RANGE":
                found |= argument[0] <= ord(character) <= argument[1]
            case "CATEGORY":
                name = str(argument).removeprefix("CATEGORY_")
                found |= CATEGORIES[name.removeprefix("NOT_")](character) != name.startswith("NOT_")
    return found != negated


def _first(items: Sequence[Any]) -> str:
    for operation, argument in items:
        if str(operation) in ("LITERAL", "RANGE"):
            return chr(argument if str(operation) == "LITERAL" else argument[0])
    raise _Unreadable
