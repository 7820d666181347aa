"""What is printed: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handloom.tasks.scores import Scores


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


def scores_dict(scores: Scores) -> dict[str, Any]:
    """Scores as an object for JSON: how many examples a label has is a whole number."""
    return _counted(scores.to_dict())


def _counted(found: dict[str, Any]) -> dict[str, Any]:
    labels = {
        label: {name: int(value) if name == "support" else value for name, value in row.items()}
        for label, row in found["labels"].items()
    }
    before = {"before": _counted(found["before"])} if "before" in found else {}
    return {**found, "labels": labels, **before}


def note(message: str) -> None:
    """Something to know that is not the result."""
    print(message, file=sys.stderr)
