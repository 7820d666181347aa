"""JSON lines, and JSON files that hold a list."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from handloom.data.files import TextFile
from handloom.data.options import Record
from handloom.errors import HandloomError

_LISTS = ("data", "examples", "rows", "items", "annotations")
"""Under which name an object may keep its list of rows."""
_LIST, _LISTED = re.compile(r"\s*\["), re.compile(r"\s*\[.*\]\s*\n\s*\[")
"""How a text begins that is a list, and one that has a list on each line."""
DIGITS = 400
"""Of the longest number: no float has more."""


def read_json(file: TextFile) -> list[Record]:
    """Rows of a JSON-lines file, or of a JSON file that is one list (or keeps one under `data`)."""
    if (_LIST.match(file.text) and not _LISTED.match(file.text)) or _is_one_object(file.text):
        return _whole(file)
    records = []
    for number, line in enumerate(file.text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file.path}:{number}"
        try:
            value = _DECODER.decode(line)
        except RecursionError as error:
            raise HandloomError(f"{where}: malformed JSON: lists and objects lie too deep in each other") from error
        except ValueError as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            column = error.colno if isinstance(error, json.JSONDecodeError) else 1
            raise HandloomError(f"{where}:{column}: malformed JSON: {said}: {line.strip()!r:.80}") from error
        records.append(_record(where, value))
    return records


def _named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. ValueError for a name that stands in it twice, of which one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {twice!r} stands twice in an object")
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_named, parse_int=_whole_number)


def first_objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON text that hold its rows, one after the other, as far as they can be read."""
    if _is_one_object(text):
        value = next(_objects(text), {})
        listed = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), [value])
        yield from (row for row in listed if isinstance(row, dict))
    else:
        yield from _objects(text)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value
        at = text.find("{", end)


def _is_one_object(text: str) -> bool:
    """Whether the text is one object over several lines; a line of JSON lines is complete in itself."""
    first = text.lstrip().split("\n", 1)[0].strip()
    return first.startswith("{") and not first.endswith("}")


def _whole(file: TextFile) -> list[Record]:
    try:
        value = _DECODER.decode(file.text.rstrip())
    except json.JSONDecodeError as error:
        raise HandloomError(f"{file.path}:{error.lineno}:{error.colno}: malformed JSON: {error.msg}") from error
    except RecursionError as error:
        raise HandloomError(f"{file.path}: malformed JSON: lists and objects lie too deep in each other") from error
    except ValueError as error:  # a number of thousands of digits, a name that stands twice
        raise HandloomError(f"{file.path}: malformed JSON: {error}") from error
    if isinstance(value, dict):
        value = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), value)
    if not isinstance(value, list):
        raise HandloomError(
            f"{file.path} should hold a list of rows, or one JSON object a line; it holds one object with "
            f"{', '.join(list(value)[:8])}."
        )
    if not value:
        raise HandloomError(f"{file.path} holds an empty list.")
    return [_record(f"{file.path} row {number}", row) for number, row in enumerate(value)]


def _record(where: str, value: Any) -> Record:
    if isinstance(value, str):
        return Record(where, {"text": value})
    if not isinstance(value, dict):
        raise HandloomError(f'{where}: a row should be an object such as {{"text": …, "label": …}}, not {value!r:.60}')
    return Record(where, value)
