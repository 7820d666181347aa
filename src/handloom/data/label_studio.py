"""Label Studio's JSON: tasks with the spans that people marked, and predictions in the form that it imports.

Of several annotations of a task one counts: the one that is marked as ground truth, else the one that was changed last.
Cancelled (skipped) ones count nothing, and predictions are no labels.

Offsets count characters (code points) in today's Label Studio and UTF-16 units in older ones, as browsers do; an export
does not say which. They differ only behind characters such as emoji, and there the text that an export repeats for each
span tells: of a task, else of the file. `\\r\\n` counts two in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handloom.data import columns
from handloom.data.examples import Dataset, Source, TokenExample
from handloom.data.labels import blank
from handloom.data.options import Options, Record, refuse
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted
from handloom.text.schemes import Scheme
from handloom.text.spans import Span, check_spans

ANNOTATIONS = ("annotations", "completions")
"""What a task calls its annotations; the second name is that of versions before 1.0."""
CODE_POINTS, UTF_16 = "characters", "UTF-16 units"


@dataclass(frozen=True, slots=True)
class _Task:
    """marks: (start, end, label, text or "") as the file has them; None where nobody has annotated the task."""

    where: str
    text: str
    marks: list[tuple[int, int, str, str]] | None
    extra: dict[str, Any]


def looks_like_export(text: str) -> bool:
    return '"from_name"' in text


def is_export(records: Sequence[Record]) -> bool:
    """Whether rows are tasks of Label Studio, or some of them, or would be."""
    with_data = [record.values for record in records if "data" in record.values]
    return any(isinstance(one["data"], dict) or any(name in one for name in ANNOTATIONS) for one in with_data)


def read_tasks(records: Sequence[Record], source: Source, options: Options) -> Dataset[TokenExample]:
    """--text-column names the field of `data` that holds the text, --label-column the tag (from_name) that marks spans,
    where there are several. Raises HandloomError, naming file and task, for what does not hold together."""
    where = source.path or "the data"
    wheres = [_where(record) for record in records]
    for record, at in zip(records, wheres, strict=True):
        if not isinstance(record.values.get("data"), dict):
            raise HandloomError(f"{at}: a task of Label Studio has an object called data, with the text; here it is "
                                f"{record.values.get('data')!r:.60}")  # fmt: skip
    column = _column([record.values["data"] for record in records], options, where)
    chosen = [_annotation(r.values, at) if options.labelled else None for r, at in zip(records, wheres, strict=True)]
    name, others = _tag([found for found in chosen if found is not None], options, where)
    tasks = []
    for record, at, results in zip(records, wheres, chosen, strict=True):
        text = record.values["data"].get(column)
        if not isinstance(text, str):
            raise HandloomError(f"{at}: the field {column!r} of data should hold text, not {text!r:.60}")
        extra = {key: value for key, value in record.values["data"].items() if key != column}
        marks = None if results is None else [_mark(one, at) for one in results if _is_of(one, name)]
        tasks.append(_Task(at, text, marks, extra | {"task": record.values.get("id")}))
    if options.labelled:
        kept = [task for task in tasks if task.marks is not None]
        if not kept:
            there = counted(len(tasks), "task")
            raise HandloomError(f"{where}: none of {there} has an annotation that is not cancelled")
    else:
        kept = tasks
    if options.blanks == "error":
        refuse([task.where for task in kept if not task.text.strip()], "an empty text", "Fill or remove them.")
    unit = _counted(kept)
    examples = tuple(
        TokenExample(t.text, None, None, None if t.marks is None else _spans(t, unit), t.extra, t.where) for t in kept
    )
    notes = [f"Label Studio: text from {column!r}" + (f", spans from {name!r}" if name else "")]
    if skipped := len(tasks) - len(kept):
        have = agreed(skipped, "[has|have] no annotation, or cancelled ones only, and [is|are] left out")
        notes.append(f"{skipped:,} of {counted(len(tasks), 'task')} {have}")
    if others:
        left = agreed(others, "that [is no span|are no spans] of text [is|are]")
        notes.append(f"{counted(others, 'result')} {left} left out (choices, relations and the like)")
    if unit == UTF_16:
        notes.append("offsets count UTF-16 units in this export")
    return Dataset(examples, source, tuple(notes), Scheme() if options.labelled else None, "words", {"text": column})


def _where(record: Record) -> str:
    number = record.values.get("id")
    return record.where if number is None else f"{record.where} (task {number})"


def _column(data: Sequence[Mapping[str, Any]], options: Options, where: str) -> str:
    names = list(dict.fromkeys(str(name) for fields in data for name in fields))
    if options.text_column is not None:
        return columns.choose(names, options.text_column, "--text-column", where)
    texts = [name for name in names if all(isinstance(fields.get(name), str) for fields in data)]
    found = columns.guess(texts, columns.TEXT_NAMES) or (texts[0] if len(texts) == 1 else None)
    if found is None:
        raise HandloomError(f"{where}: which field of data holds the text? There are {columns.listed(names)}; name it "
                            "with --text-column.")  # fmt: skip
    return found


def _annotation(task: Mapping[str, Any], where: str) -> list[Any] | None:
    """The results of the annotation that counts."""
    found: Any = next((task[name] for name in ANNOTATIONS if name in task), [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise HandloomError(f"{where}: annotations should be a list of objects, not {found!r:.60}")
    valid = [one for one in found if not (one.get("was_cancelled") or one.get("skipped"))]
    if not valid:
        return None
    true = [one for one in valid if one.get("ground_truth")]
    best = max(true or valid, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
    dated = any(one.get("updated_at") or one.get("created_at") for one in true or valid)
    results = (best if dated else (true or valid)[-1]).get("result")
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise HandloomError(f"{where}: the result of an annotation should be a list of objects, not {results!r:.60}")
    return results


def _tag(annotations: Sequence[Sequence[Mapping[str, Any]]], options: Options, where: str) -> tuple[str | None, int]:
    """The tag that marks spans, and how many results are none."""
    names: Counter[str] = Counter()
    others = 0
    for results in annotations:
        for one in results:
            if one.get("type") == "labels":
                names[str(one.get("from_name", ""))] += 1
            else:
                others += 1
            if one.get("type") == "hypertextlabels":
                raise HandloomError(f"{where}: spans of HyperText stand in HTML; only those of plain Text can be read")
    if options.label_column is not None:
        wanted = str(options.label_column)
        if options.labelled and wanted not in names:
            raise HandloomError(f"{where}: no spans come from {wanted!r} (--label-column); there are "
                                f"{columns.listed(list(names))}")  # fmt: skip
        return wanted, others
    if len(names) > 1:
        raise HandloomError(f"{where}: spans come from {len(names)} tags, {', '.join(sorted(names))}; say which is to "
                            "be learnt with --label-column")  # fmt: skip
    return next(iter(names), None), others


def _is_of(result: Mapping[str, Any], name: str | None) -> bool:
    return result.get("type") == "labels" and str(result.get("from_name", "")) == name


def _mark(result: Mapping[str, Any], where: str) -> tuple[int, int, str, str]:
    value = result.get("value")
    if not isinstance(value, dict):
        raise HandloomError(f"{where}: the value of a result should be an object, not {value!r:.60}")
    start, end, labels = value.get("start"), value.get("end"), value.get("labels")
    for name, offset in (("start", start), ("end", end)):
        if isinstance(offset, bool) or not isinstance(offset, int):
            raise HandloomError(f"{where}: the {name} of a span should be a whole number, not {offset!r:.60}")
    assert isinstance(start, int) and isinstance(end, int)
    if not isinstance(labels, list) or any(blank(label) for label in labels) or not labels:
        raise HandloomError(f"{where}: labels of the span {start}–{end} should be a list of one, not {labels!r:.60}")
    if len(labels) > 1:
        raise HandloomError(f"{where}: the span {start}–{end} has {len(labels)} labels, {', '.join(map(str, labels))}; "
                            "a word can carry one only. Keep one of them.")  # fmt: skip
    text = value.get("text")
    return start, end, str(labels[0]).strip(), text if isinstance(text, str) else ""


# -- what offsets count


def _counted(tasks: Sequence[_Task]) -> str:
    """What the offsets of a file count, as its spans with text tell; characters where nothing tells."""
    said = Counter(unit for task in tasks if (unit := _said(task)) is not None)
    return UTF_16 if said[UTF_16] > said[CODE_POINTS] else CODE_POINTS


def _said(task: _Task) -> str | None:
    """What a task's offsets count; None where that makes no difference, or no text tells."""
    if task.marks is None or all(ord(character) < 0x10000 for character in task.text):
        return None
    told = [mark for mark in task.marks if mark[3]]
    units = _utf_16(task.text)
    points = all(task.text[start:end] == text for start, end, _, text in told)
    halves = all(units[2 * start : 2 * end] == _utf_16(text) for start, end, _, text in told)
    return None if points == halves else CODE_POINTS if points else UTF_16


def _utf_16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _spans(task: _Task, unit: str) -> tuple[Span, ...]:
    assert task.marks is not None
    wide = (_said(task) or unit) == UTF_16 and not task.text.isascii()
    place = _places(task.text) if wide else None
    found = []
    for start, end, label, text in task.marks:
        if place is not None:
            inside = [at for at in (start, end) if at not in place]
            if inside:
                raise HandloomError(f"{task.where}: the span {start}–{end} ({label}), in UTF-16 units, has an edge "
                                    f"inside of a character, or outside of the text: {inside[0]}")  # fmt: skip
            start, end = place[start], place[end]
        found.append(Span(start, end, label, text))
    return check_spans(task.text, found, task.where)


def _places(text: str) -> dict[int, int]:
    """For each place in UTF-16 units that lies between characters the same in characters."""
    found, at = {0: 0}, 0
    for index, character in enumerate(text, 1):
        at += 1 + (ord(character) > 0xFFFF)
        found[at] = index
    return found


# -- predictions


def prediction(row: Mapping[str, Any], version: str, from_name: str = "label", to_name: str = "text") -> dict[str, Any]:
    """A task with a prediction, as Label Studio imports it, from a text with spans as `predict --json` gives them; the
    names are those of <Labels> and <Text> in the project's configuration."""
    results = [
        {
            "id": f"span-{number}", "from_name": from_name, "to_name": to_name, "type": "labels",
            "score": span["score"],
            "value": {"start": span["start"], "end": span["end"], "text": span["text"], "labels": [span["label"]]},
        }
        for number, span in enumerate(row["spans"])
    ]  # fmt: skip
    score = sum(span["score"] for span in row["spans"]) / max(len(row["spans"]), 1)
    data = {name: value for name, value in row.items() if name not in ("spans", "task")}
    return {"data": data, "predictions": [{"model_version": version, "score": score, "result": results}]}


def doccano_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A text with spans as doccano imports it."""
    spans = [[span["start"], span["end"], span["label"]] for span in row["spans"]]
    return {**{name: value for name, value in row.items() if name != "spans"}, "label": spans}
