"""What is printed: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handloom.generate.search import Finish


def print_json(value: Any) -> None:
    """One JSON value on one line; text stays readable, and NaN, which JSON does not have, is null."""
    sys.stdout.write(json.dumps(finite(value), ensure_ascii=False) + "\n")


def finite(value: Any) -> Any:
    """`value` with None for numbers that JSON cannot hold.

    >>> finite({"loss": [float("nan"), 1.0]})
    {'loss': [None, 1.0]}
    """
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and value - value != 0 else value


ENDINGS = {
    "length": "(broken off: there was no room for more; --max-new-tokens gives it)",
    "closed": "(closed by the shortest way: there was no room for the rest; --max-new-tokens gives it)",
}
"""What there is to say of how a text ended."""


def write_out(pieces: Generator[str, None, Finish]) -> None:
    """A text as it comes, and a note where it did not end by itself."""
    try:
        while True:
            sys.stdout.write(next(pieces))
            sys.stdout.flush()
    except StopIteration as ended:
        sys.stdout.write("\n")
        tell_ending(ended.value)


def tell_ending(finish: Finish) -> None:
    if finish in ENDINGS:
        note(ENDINGS[finish])


def note(message: str) -> None:
    """Something to know that is not the result."""
    print(message, file=sys.stderr, flush=True)
