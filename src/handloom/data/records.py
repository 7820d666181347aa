"""Rows with named columns into texts with a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handloom.data import columns
from handloom.data.examples import TextExample
from handloom.data.labels import ONE, SAID, SEPARATOR, SEVERAL, LabelForm, blank
from handloom.data.options import Options, Record, refuse
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted


@dataclass(frozen=True, slots=True)
class Read:
    """Examples, what was decided, which columns were used (role → name), and how the labels are to be understood."""

    examples: tuple[TextExample, ...]
    notes: tuple[str, ...]
    columns: dict[str, str]
    labels: LabelForm


def read_texts(records: Sequence[Record], options: Options, where: str, table: bool = False) -> Read:
    """Texts with their labels. `where` names the source in errors; table: in it numbers can only be texts."""
    names = names_of(records)
    used, notes = _columns(records, names, options, where)
    text, label, pair = used["text"], used.get("label"), used.get("pair")
    form = options.labels.decided((record.values.get(label) for record in records if label is not None), table)
    if form.problem != ONE and label is not None:
        notes.append(f"labels: {SAID[form.problem or ONE]}" + ("" if options.labels.problem else " (guessed)"))
    elif label is not None and options.labels.problem is None:
        written = {mark for record in records if isinstance(mark := record.values.get(label), str)}
        joined = sorted(mark for mark in written if {one.strip() for one in mark.split(SEPARATOR)} <= written - {mark})
        if joined:
            notes.append(f"labels such as {joined[0]!r} are taken as they are; --problem several reads several a text")
    examples, no_text, no_label = [], [], []
    numbers: dict[str, list[str]] = {}
    for record in records:
        values = record.values
        words = _string(values.get(text), text, record.where, numbers)
        mark = None if label is None else form.read(values.get(label), label, record.where)
        if not words.strip():
            no_text.append(record.where)
        if options.labelled and mark is None:
            no_label.append(record.where)
        other = None if pair is None else _string(values.get(pair), pair, record.where, numbers)
        extra = {name: value for name, value in values.items() if name not in (text, label, pair)}
        examples.append(TextExample(words, other, mark, extra, record.where))
    if options.blanks == "error":
        refuse(no_text, f"an empty text (column {text!r})", "Fill or remove them.")
        if form.none is None:
            more = " [] says that a text has none of the labels." if form.problem == SEVERAL else ""
            marks = {example.label for example in examples}
            if form.problem == ONE and any(isinstance(mark, str) and SEPARATOR in mark for mark in marks):
                more = " Or may a text have several labels, and none? --problem several reads them so."
            refuse(no_label, f"an empty label (column {label!r})", f"Fill or remove them.{more}")
    for name, found in numbers.items():
        are = agreed(len(found), "[is a number|are numbers] or the like, and [is read as a text|are read as texts]")
        notes.append(f"{len(found):,} of {counted(len(records), 'value')} of column {name!r} {are}, such as "
                     f"{found[0]}")  # fmt: skip
    return Read(tuple(examples), tuple(notes), used, form)


def names_of(records: Sequence[Record]) -> list[str]:
    """All columns, in the order in which they first appear."""
    return list(dict.fromkeys(name for record in records for name in record.values))


def lacking(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """A sentence on the first of the rows that lacks one of these columns; a row of JSON need not have what others do.
    Nothing where none does."""
    for record in records:
        if missing := [name for name in names if name not in record.values]:
            there = columns.listed(sorted(record.values))
            return [f"{record.where}: the row has no {columns.listed(missing)}; it has {there}."]
    return []


def _string(value: Any, column: str, where: str, numbers: dict[str, list[str]]) -> str:
    """A text; "" for a blank. Numbers, and what else a table's cells hold, are read as texts and noted by column."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, set, dict, bytes)):
        raise HandloomError(
            f"{where}: column {column!r} should hold text, but holds a {type(value).__name__}: {value!r:.80}"
        )
    if blank(value):
        return ""
    numbers.setdefault(column, []).append(f"{str(value)!r:.40} ({where})")
    return str(value)


def _columns(
    records: Sequence[Record], names: list[str], options: Options, where: str
) -> tuple[dict[str, str], list[str]]:
    used: dict[str, str] = {}
    for role in ("text", "label", "pair"):
        wanted = getattr(options, f"{role}_column")
        if wanted is not None and (role != "label" or options.labelled):
            used[role] = columns.choose(names, wanted, f"--{role}-column", where)
    given = dict(used)
    if options.pairs and "text" not in used and "pair" not in used and (found := columns.text_pair(names)):
        used["text"], used["pair"] = found
    free = [name for name in names if name not in used.values()]
    if "text" not in used and (name := columns.guess(free, columns.TEXT_NAMES)):
        used["text"] = name
    free = [name for name in names if name not in used.values()]
    if options.labelled and "label" not in used:
        name = columns.guess(free, columns.LABEL_NAMES) or (free[0] if "text" in used and len(free) == 1 else None)
        if name:
            used["label"] = name
    free = [name for name in names if name not in used.values()]
    if "text" not in used and len(free) == 1:
        used["text"] = free[0]
    missing = [role for role in ("text", "label") if role not in used and (role == "text" or options.labelled)]
    if missing:
        raise HandloomError(
            f"{where}: which column is the {missing[0]}? There are {columns.listed(names)}; "
            f"name it with --{missing[0]}-column."
        )
    notes = options.told(used, given)
    return used, notes
