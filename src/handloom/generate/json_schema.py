"""JSON Schemas as users give them, checked before they become grammars: nothing in one is passed over in silence."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError, UsageError

LARGEST = 1 << 20
"""Bytes of a schema."""
DEEPEST = 64
EXACT = 2**53
"""Whole numbers up to here are what they are said to be."""
MULTIPLE = 1000
"""The largest `multipleOf`, its decimal point left out: a grammar has a state for every remainder."""
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
_YEAR, _LEAP = r"(000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})", r"(0[48]|[2468][048]|[13579][26])"
_DATE = rf"({_YEAR}-((0[13-9]|1[0-2])-\d\d|02-([01]\d|2[0-8]))|(\d\d{_LEAP}|{_LEAP}00)-02-29)"
_TIME = r"\d\d:\d\d:[0-5]"
CLOSER: Mapping[str, str] = {"date": f"^{_DATE}$", "time": f"^{_TIME}", "date-time": f"^{_DATE}[Tt ]{_TIME}"}
"""What llguidance's formats let through and a calendar does not: a 29th of February in other years than leap years, the
year 0, and a second 60 wherever it stands (a leap second belongs to a few minutes of history)."""

# What the schema under a keyword is: one, a list of them, or some by name.
ONE, LIST, NAMED = ("items", "additionalProperties", "additionalItems"), ("anyOf", "oneOf", "allOf", "prefixItems"), (
    "properties", "patternProperties", "$defs", "definitions",
)  # fmt: skip
PLAIN = (
    "$ref", "const", "enum", "type", "minItems", "maxItems", "required", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf",
)  # fmt: skip
NOTES = (
    "$schema", "$id", "$comment", "$anchor", "id", "title", "description", "default", "examples", "readOnly",
    "writeOnly", "deprecated", "discriminator",
)  # fmt: skip
KNOWN = frozenset((*ONE, *LIST, *NAMED, *PLAIN, *NOTES))


def read(schema: Any) -> dict[str, Any]:
    """The schema in a dict, in a JSON file (a path), or of a pydantic model (its class).

    Raises UsageError for anything else and for a file that is none; HandloomError for a schema that is no JSON, larger
    or deeper than the bounds above, with a keyword or a format that is not supported, or a $ref that leads nowhere.
    """
    name = "the schema"
    if isinstance(schema, (str, os.PathLike)):
        path = Path(schema)
        name = str(path)
        if not path.is_file():
            raise UsageError(f"{name} is no file with a JSON Schema")
        if path.stat().st_size > LARGEST:
            raise HandloomError(f"{name} has {path.stat().st_size:,} bytes; a schema may have {LARGEST:,}")
        schema = _parsed(path.read_bytes(), name)
    elif hasattr(schema, "model_json_schema"):
        name = f"the schema of {getattr(schema, '__name__', schema)}"
        schema = schema.model_json_schema()
    if not isinstance(schema, Mapping):
        raise UsageError(f"{name} must be a JSON object: a dict, a path to a file, or a pydantic model's class")
    pieces, size = [], 0
    try:
        for piece in json.JSONEncoder(allow_nan=False).iterencode(schema):  # shared parts are written each time
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                break
    except (TypeError, ValueError, RecursionError) as error:
        raise HandloomError(f"{name} is no JSON: {error}") from None
    if size > LARGEST:
        raise HandloomError(f"{name} has more than the {LARGEST:,} characters that a schema may have")
    found: dict[str, Any] = json.loads("".join(pieces))
    for place, part in _parts(found, name):
        _check(part, place, found, name)
        if isinstance(part, dict) and (pattern := CLOSER.get(part.get("format", ""))):
            asked = part.setdefault("pattern", pattern)
            if asked != pattern:
                part["allOf"] = [*part.get("allOf", ()), {"pattern": pattern}]
    return found


def strings(schema: Any) -> str:
    """All that patterns in a schema spell."""
    parts = [part for _, part in _parts(schema, "") if isinstance(part, dict)]
    patterns = [str(part["pattern"]) for part in parts if "pattern" in part]
    patterns += [pattern for part in parts for pattern in part.get("patternProperties", ())]
    return "".join(patterns) + ("@.-:/+TZP" if any("format" in part for part in parts) else "")


def _parsed(content: bytes, name: str) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise HandloomError(f"{name} is nested too deeply") from None
    except ValueError as error:  # Unicode's errors are among them
        raise HandloomError(f"{name} is no JSON: {error}") from None


def _parts(schema: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every schema within a schema, with its place as a path: "$.properties.age"."""
    waiting: list[tuple[str, Any, int]] = [("$", schema, 0)]
    while waiting:
        place, part, depth = waiting.pop()
        if depth > DEEPEST:
            raise HandloomError(f"{name} is nested more than {DEEPEST} deep at {place[:60]}…")
        yield place, part
        if not isinstance(part, dict):
            continue
        for key, value in part.items():
            if key in ONE and not isinstance(value, list):
                waiting.append((f"{place}.{key}", value, depth + 1))
            elif key in LIST and isinstance(value, list):
                waiting += [(f"{place}.{key}[{i}]", one, depth + 1) for i, one in enumerate(value)]
            elif key in NAMED and isinstance(value, dict):
                waiting += [(f"{place}.{key}.{own}", one, depth + 1) for own, one in value.items()]


def _check(part: Any, place: str, root: dict[str, Any], name: str) -> None:
    if isinstance(part, bool):
        return
    if not isinstance(part, dict):
        raise HandloomError(f"{name}: {place} must be a schema (an object, true or false), and is {part!r:.60}")
    for key, value in part.items():
        if key not in KNOWN:
            raise HandloomError(f"{name}: {key!r} at {place} is not supported, and would be passed over; there are "
                                f"{', '.join(sorted(KNOWN.difference(NOTES)))}")  # fmt: skip
        shape = list if key in LIST else dict if key in NAMED else object
        if not isinstance(value, shape) or (key == "items" and isinstance(value, list)):
            hint = " (say prefixItems for a list)" if key == "items" else ""
            raise HandloomError(f"{name}: {key!r} at {place} has the wrong type{hint}")
    if "format" in part and part["format"] not in FORMATS:
        raise HandloomError(f"{name}: the format {part['format']!r:.60} at {place} is not supported; there are "
                            f"{', '.join(FORMATS)}")  # fmt: skip
    _check_numbers(part, place, name)
    _check_count(part, place, name)
    if "$ref" in part:
        _check_reference(part["$ref"], place, root, name)


def _check_numbers(part: dict[str, Any], place: str, name: str) -> None:
    bounds = ("const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    enum = part.get("enum", [])
    for value in [*(part.get(key) for key in bounds), *(enum if isinstance(enum, list) else [])]:
        if isinstance(value, int) and abs(value) > EXACT:
            raise HandloomError(f"{name}: {value} at {place} is beyond ±2⁵³, where whole numbers are not told apart")
    step = part.get("multipleOf")
    if isinstance(step, (int, float)) and not isinstance(step, bool):
        digits = f"{step:.12f}".rstrip("0").rstrip(".").replace(".", "").lstrip("0")
        if not math.isfinite(step) or step <= 0 or not digits or int(digits) > MULTIPLE:
            raise HandloomError(f"{name}: multipleOf {step} at {place} is not supported: it may have the digits of "
                                f"numbers up to {MULTIPLE:,}")  # fmt: skip


def _check_count(part: dict[str, Any], place: str, name: str) -> None:
    """Names that the schema does not list may come twice, and count once."""
    least, required = part.get("minProperties", 0), part.get("required", [])
    if isinstance(least, int) and isinstance(required, list) and least > len(required) + 1:
        raise HandloomError(f"{name}: minProperties {least} at {place} is not supported: it may be one more than there "
                            f"are required properties ({len(required)})")  # fmt: skip


def _check_reference(reference: Any, place: str, root: dict[str, Any], name: str) -> None:
    found: Any = root
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise HandloomError(f"{name}: $ref {reference!r:.60} at {place} must lead into the schema itself (#/…)")
    for step in reference.split("/")[1:]:
        if isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            raise HandloomError(f"{name}: $ref {reference!r:.60} at {place} leads nowhere (no {step!r:.40})")
