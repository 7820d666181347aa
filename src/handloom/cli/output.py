"""What is printed: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any


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


def note(message: str) -> None:
    """Something to know that is not the result."""
    print(message, file=sys.stderr, flush=True)
