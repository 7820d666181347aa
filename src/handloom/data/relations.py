"""Texts with two marked places and how these are related: SemEval's files, and rows with marks or offsets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from handloom.data import columns
from handloom.data.examples import Dataset, RelationExample, Source
from handloom.data.files import TextFile
from handloom.data.labels import blank, label_string, text_string
from handloom.data.options import Options, Record, refuse
from handloom.data.records import names_of
from handloom.errors import HandloomError
from handloom.text.counting import counted
from handloom.text.spans import Word
from handloom.text.width import shown

MARKS = ("<e1>", "</e1>", "<e2>", "</e2>")
_MARK = re.compile("|".join(map(re.escape, MARKS)))
_SENTENCE = re.compile(r"(\d+)\s+(.*?)\s*")

FORWARD, BACKWARD = "(e1,e2)", "(e2,e1)"
"""How a label ends that has a direction."""
_DIRECTION = re.compile(r"\(\s*e\d+\s*,\s*e\d+\s*\)\Z", re.IGNORECASE)

FIRST_NAMES = ("first", "e1", "head", "subject", "subj", "h", "entity1", "arg1", "主语", "头实体", "实体1")
SECOND_NAMES = ("second", "e2", "tail", "object", "obj", "t", "entity2", "arg2", "宾语", "尾实体", "实体2")
RELATION_NAMES = ("relation", "predicate", "关系", "谓语", *columns.LABEL_NAMES)


def unmarked(marked: str, where: str) -> tuple[str, Word, Word]:
    """The text without its marks, and the two places. HandloomError where a mark is missing, comes twice, or where
    places are empty or overlap."""
    text, places, end = "", dict.fromkeys(MARKS, -1), 0
    for mark in _MARK.finditer(marked):
        text += marked[end : mark.start()]
        if places[mark[0]] >= 0:
            raise HandloomError(f"{where}: {mark[0]} stands twice in '{shown(marked, 90)}'")
        places[mark[0]], end = len(text), mark.end()
    text += marked[end:]
    for mark_, place in places.items():
        if place < 0:
            raise HandloomError(
                f"{where}: {mark_} is missing in '{shown(marked, 90)}'; write <e1>…</e1> and <e2>…</e2> around the two "
                "places"
            )
    first, second = (places["<e1>"], places["</e1>"]), (places["<e2>"], places["</e2>"])
    for name, (start, end), (open_, close) in (("first", first, MARKS[:2]), ("second", second, MARKS[2:])):
        if end < start:
            raise HandloomError(f"{where}: the {name} place, {start} to {end}, ends before it begins: {close} comes "
                                f"before {open_} in '{shown(marked, 90)}'")  # fmt: skip
    _check(text, first, second, where)
    return text, first, second


def _check(text: str, first: Word, second: Word, where: str) -> None:
    for name, (start, end) in (("first", first), ("second", second)):
        if not 0 <= start <= end <= len(text):
            size = f"a text of {counted(len(text), 'character')}"
            raise HandloomError(f"{where}: the {name} place, {start} to {end}, is not in {size}")
        if not text[start:end].strip():
            raise HandloomError(f"{where}: the {name} place, {start} to {end}, holds no text")
    if max(first[0], second[0]) < min(first[1], second[1]):
        raise HandloomError(
            f"{where}: the two places overlap: {text[slice(*first)]!r:.40} and {text[slice(*second)]!r:.40}"
        )


def looks_like_semeval(text: str) -> bool:
    """Whether the first line is a number and a sentence with marks."""
    return _begins(text.lstrip().split("\n", 1)[0])


def _begins(line: str) -> bool:
    return bool(_SENTENCE.fullmatch(line)) and "<e1>" in line


def read_semeval(file: TextFile, options: Options) -> Dataset[RelationExample]:
    """SemEval-2010 task 8: a number and a sentence in quotes, the relation, perhaps `Comment:`, an empty line. The
    next sentence may follow at once, as it does where there are no relations."""
    blocks: list[list[tuple[int, str]]] = []
    open_ = False
    for number, line in enumerate(map(str.strip, file.text.split("\n")), 1):
        if line and (not open_ or _begins(line)):
            blocks.append([])
        if line:
            blocks[-1].append((number, line))
        open_ = bool(line)
    if not blocks:
        raise HandloomError(f"{file.path} holds no sentences.")
    examples = [_sentence(block, file, options) for block in blocks]
    return Dataset(tuple(examples), Source(str(file.path), file.sha256, "SemEval"), ("SemEval's form",))


def _sentence(block: list[tuple[int, str]], file: TextFile, options: Options) -> RelationExample:
    (number, line), *rest = block
    where = f"{file.path}:{number}"
    found = _SENTENCE.fullmatch(line)
    if not found:
        right = '1\t"The <e1>…</e1> … <e2>…</e2>."'
        raise HandloomError(f"{where}: '{shown(line, 60)}' should be a number and a sentence: {right}")
    sentence = found[2]
    if len(sentence) > 1 and sentence[0] == sentence[-1] == '"':
        sentence = sentence[1:-1]
    comments = [text for _, text in rest if text.startswith("Comment:")]
    labels = [(at, text) for at, text in rest if not text.startswith("Comment:")]
    if len(labels) > 1 or (options.labelled and not labels):
        at = labels[1][0] if len(labels) > 1 else number
        what = f"'{shown(labels[1][1], 60)}' is one line too many" if len(labels) > 1 else "there is no relation"
        raise HandloomError(f"{file.path}:{at}: {what}; after a sentence come its relation, perhaps a comment, and an "
                            "empty line")  # fmt: skip
    label = _directed(labels[0][1], f"{file.path}:{labels[0][0]}") if labels and options.labelled else None
    extra = {"id": found[1], **({"comment": comments[0].removeprefix("Comment:").strip()} if comments else {})}
    return RelationExample(*unmarked(sentence, where), label, extra, where)


def read_relations(records: Sequence[Record], source: Source, options: Options) -> Dataset[RelationExample]:
    """From rows: a text with <e1>…</e1> and <e2>…</e2> in it, or a text and two places, each [start, end],
    {"start", "end"}, or a name that stands in the text once."""
    where = source.path or "the data"
    names = names_of(records)
    used = _columns(names, options, where)
    examples = [_example(record, used) for record in records]
    if options.labelled and options.blanks == "error":
        refuse([e.where for e in examples if e.label is None], f"an empty relation (column {used['label']!r})",
               "Fill or remove them.")  # fmt: skip
    notes = tuple(options.told(used))
    return Dataset(tuple(examples), source, notes, columns=used)


def _columns(names: Sequence[str], options: Options, where: str) -> dict[str, str]:
    used = {}
    usual = {"text": columns.TEXT_NAMES, "label": RELATION_NAMES, "first": FIRST_NAMES, "second": SECOND_NAMES}
    for role in ("text", "label") if options.labelled else ("text",):
        wanted = options.text_column if role == "text" else options.label_column
        if wanted is not None:
            used[role] = columns.choose(names, wanted, f"--{role}-column", where)
    for role in usual:
        free = [name for name in names if name not in used.values()]
        if role not in used and (role != "label" or options.labelled) and (name := columns.guess(free, usual[role])):
            used[role] = name
    for role in ("text", "label") if options.labelled else ("text",):
        if role not in used:
            raise HandloomError(f"{where}: which column is the {'relation' if role == 'label' else role}? There are "
                                f"{columns.listed(names)}; name it with --{role}-column.")  # fmt: skip
    if ("first" in used) != ("second" in used):
        there, missing = ("first", "second") if "first" in used else ("second", "first")
        raise HandloomError(
            f"{where}: column {used[there]!r} holds the {there} place, and no column the {missing} one; "
            f"there are {columns.listed(names)}."
        )
    return used


def _example(record: Record, used: Mapping[str, str]) -> RelationExample:
    values, where = record.values, record.where
    text = text_string(values.get(used["text"]), used["text"], where)
    if not text.strip():
        raise HandloomError(f"{where}: column {used['text']!r} holds no text")
    label = label_string(values.get(used["label"]), used["label"], where) if "label" in used else None
    label = label and _directed(label, where)
    extra = {name: value for name, value in values.items() if name not in used.values()}
    if "first" not in used:
        return RelationExample(*unmarked(text, where), label, extra, where)
    first, second = (_place(values.get(used[role]), text, used[role], where) for role in ("first", "second"))
    _check(text, first, second, where)
    return RelationExample(text, first, second, label, extra, where)


def _directed(label: str, where: str) -> str:
    """The label; HandloomError if it ends in what looks like a direction and is none."""
    found = _DIRECTION.search(label)
    if found and not label.endswith((FORWARD, BACKWARD)):
        there = f"there are {FORWARD} and {BACKWARD}"
        raise HandloomError(f"{where}: the relation {label!r:.60} has the direction {found[0]!r}; {there}")
    return label


def _place(value: Any, text: str, column: str, where: str) -> Word:
    if hasattr(value, "tolist"):
        value = value.tolist()
    own = None
    if isinstance(value, Mapping):
        own, value = value.get("text"), [value.get("start"), value.get("end")]
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(x) is int for x in value):
        start, end = value
        if isinstance(own, str) and own and own != text[start:end]:
            raise HandloomError(f"{where}: column {column!r}: the place {start} to {end} should read {own!r:.60}, but "
                                f"there stands {text[start:end]!r:.60}. Offsets count characters, without the end.")
        return start, end
    if isinstance(value, str) and not blank(value):
        count = text.count(value)
        if count == 1:
            return text.index(value), text.index(value) + len(value)
        there = "is not in the text" if not count else f"stands {count} times in the text"
        raise HandloomError(f"{where}: column {column!r}: {value!r:.60} {there}; give its place as [start, end]")
    raise HandloomError(f"{where}: column {column!r} should be a place in the text, [start, end], not {value!r:.60}")
