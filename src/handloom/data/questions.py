"""Questions about a text and where in it the answers stand: rows, and SQuAD's JSON, as CMRC 2018 and DRCD have it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from handloom.data import columns
from handloom.data.examples import Dataset, QuestionExample, Source
from handloom.data.labels import blank, text_string
from handloom.data.options import Options, Record, refuse
from handloom.data.records import names_of
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted
from handloom.text.spans import Word

USUAL = {
    "question": ("question", "query", "query_text", "问题", "問題", "质问"),
    "context": (
        "context", "context_text", "passage", "paragraph", "document", "text", "上下文", "段落", "文章", "原文", "文本",
    ),
    "answers": ("answers", "answer", "答案", "回答"),
    "start": ("answer_start", "start", "答案位置", "起始位置"),
    "impossible": ("is_impossible",),
}  # fmt: skip
"""Names of columns, by what they hold."""
LEVELS = (("data", "article"), ("paragraphs", "paragraph"), ("qas", "question"))
"""SQuAD's nested lists, from the outermost, and what stands in each."""
IDS = ("id", "query_id")
LOOK = 200_000  # characters


def looks_like_squad(text: str) -> bool:
    return '"qas"' in text[:LOOK] and '"question' in text[:LOOK]


def read_questions(records: Sequence[Record], source: Source, options: Options) -> Dataset[QuestionExample]:
    """From SQuAD's nested lists, or from rows: a question, a context, and answers.

    Answers are {"text": […], "answer_start": […]} as in Hugging Face's data sets, a list of {"text", "answer_start"},
    or a text whose place is in a column of its own; without a place it is looked for. [] says that there is no
    answer, and so does is_impossible.
    """
    records = unfolded(records)
    where = source.path or "the data"
    if not records:
        raise HandloomError(f"{where} holds no questions.")
    used = _columns(names_of(records), options, where)
    taken: Counter[str] = Counter()
    examples = tuple(_example(record, used, options, taken) for record in records)
    if options.blanks == "error":
        for role in ("question", "context"):
            empty = [e.where for e in examples if not getattr(e, role).strip()]
            refuse(empty, f"an empty {role} (column {used[role]!r})", "Fill or remove them.")
    notes = options.told(used)
    notes.append(f"{counted(len(examples), 'question')} about {counted(len({e.context for e in examples}), 'text')}")
    without = sum(example.answers == () for example in examples)
    have = agreed(without, "[has|have] no answer in [its|their]")
    notes += [f"{without:,} of {counted(len(examples), 'question')} {have} text"] * bool(without)
    placed = agreed(taken["first"], "[is|are] taken where [it stands|they stand]")
    notes += [f"{counted(taken['first'], 'answer')} without a place {placed} first"] * bool(taken["first"])
    notes += _repeated(examples)
    return Dataset(examples, source, tuple(notes), columns=used)


def _repeated(examples: Sequence[QuestionExample]) -> Iterator[str]:
    """A note of the ids that several questions have, by which other programs tell their answers apart."""
    places: dict[str, list[str]] = {}
    for example in examples:
        known = next((example.extra[key] for key in IDS if not blank(example.extra.get(key))), None)
        if isinstance(known, (str, int)):
            places.setdefault(str(known), []).append(example.where)
    twice = [(name, found) for name, found in places.items() if len(found) > 1]
    for name, (first, second, *_) in twice[:1]:
        stand = agreed(len(twice), "[stands|stand] more than once")
        yield f"{counted(len(twice), 'id')} {stand}, such as {name!r:.60} ({first} and {second})"


def unfolded(records: Sequence[Record]) -> list[Record]:
    """One record a question, with the context and whatever else stands above it."""
    opened = [(record, False) for record in records]
    for name, inner in LEVELS:
        opened = [one for record, nested in opened for one in _opened(record, name, inner, nested)]
    return [record for record, _ in opened]


def _opened(record: Record, name: str, inner: str, nested: bool) -> Iterator[tuple[Record, bool]]:
    """nested: this record was in another's list, so that it has to have the next one."""
    values = record.values.get(name)
    own = columns.guess(list(record.values), USUAL["question"]) is not None or not isinstance(values, dict)
    if not nested and (name not in record.values or (name == "data" and not isinstance(values, list) and own)):
        yield record, False
        return
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        what = "is missing" if name not in record.values else "should be a list of objects"
        raise HandloomError(f"{record.where}: {name!r} {what}, unlike in SQuAD's files")
    above = {k: v for k, v in record.values.items() if isinstance(v, str) and k not in (*IDS, "version")}
    known = [next((repr(value[key]) for key in IDS if name == "qas" and key in value), "") for value in values]
    often = Counter(known)
    for number, (value, one) in enumerate(zip(values, known, strict=True)):
        said = one if one and often[one] == 1 else number
        yield Record(f"{record.where} {inner} {said}", {**above, **value}), True


def _columns(names: Sequence[str], options: Options, where: str) -> dict[str, str]:
    asked = {"question": ("text", options.text_column), "context": ("pair", options.pair_column)}
    if options.labelled:
        asked["answers"] = ("label", options.label_column)
    used = {
        role: columns.choose(names, wanted, f"--{option}-column", where)
        for role, (option, wanted) in asked.items() if wanted is not None
    }  # fmt: skip
    for role in USUAL if options.labelled else asked:
        free = [name for name in names if name not in used.values()]
        if role not in used and (name := columns.guess(free, USUAL[role])):
            used[role] = name
    for role, (option, _) in asked.items():
        if role not in used:
            there = columns.listed(names)
            raise HandloomError(
                f"{where}: which column holds the {role}? There are {there}; name it with --{option}-column."
            )
    return used


def _example(record: Record, used: Mapping[str, str], options: Options, taken: Counter[str]) -> QuestionExample:
    values, where = record.values, record.where
    texts = {}
    for role in ("question", "context"):
        texts[role] = text_string(values.get(used[role]), used[role], where)
    extra = {name: value for name, value in values.items() if name not in used.values() and name != "plausible_answers"}
    answers = _answers(values, used, texts["context"], where, taken) if options.labelled else None
    return QuestionExample(texts["question"], texts["context"], answers, extra, where)


def _answers(
    values: Mapping[str, Any], used: Mapping[str, str], context: str, where: str, taken: Counter[str]
) -> tuple[Word, ...]:
    column = used["answers"]
    given = _plain(values.get(column))
    impossible = _flag(values.get(used.get("impossible", "")), where)
    if impossible and blank(given):
        return ()
    if blank(given):
        remedy = "a question that the text does not answer has the answers [], or is_impossible true"
        raise HandloomError(f"{where}: an empty answer (column {column!r}); {remedy}")
    pairs = list(_pairs(given, values.get(used.get("start", "")), column, where))
    if impossible is False and not pairs:
        raise HandloomError(f"{where}: is_impossible is false, and yet there is no answer (column {column!r})")
    if impossible and pairs:
        raise HandloomError(f"{where}: is_impossible, and yet an answer is given: {pairs[0][0]!r:.60}")
    return tuple(dict.fromkeys(_place(text, start, context, where, taken) for text, start in pairs))


def _plain(value: Any) -> Any:
    """Without the wrappings of data frames and of JSON in a cell of a table."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if isinstance(found, dict) or found == [] or (isinstance(found, list) and isinstance(found[0], dict)):
            return found
    return value


def _flag(value: Any, where: str) -> bool | None:
    """None where nothing is said."""
    if blank(value):
        return None
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower(), value)
    if value in (True, False):
        return bool(value)
    raise HandloomError(f"{where}: is_impossible should be true or false, not {value!r:.40}")


def _pairs(given: Any, start: Any, column: str, where: str) -> Iterator[tuple[Any, Any]]:
    """(text, start or None) of each answer."""
    if isinstance(given, Mapping):
        texts, starts = (_plain(given.get(name)) for name in ("text", "answer_start"))
        starts = _plain(given.get("start")) if starts is None else starts
        if not isinstance(texts, (list, tuple)):
            yield texts, starts
            return
        starts = [None] * len(texts) if starts is None else starts
        if not isinstance(starts, (list, tuple)) or len(starts) != len(texts):
            count = len(starts) if isinstance(starts, (list, tuple)) else 1
            has = f"{counted(len(texts), 'text')} and {counted(count, 'place')}"
            raise HandloomError(f"{where}: column {column!r} has {has}")
        yield from zip(texts, starts, strict=True)
    elif isinstance(given, (list, tuple)):
        for one in given:
            yield from _pairs(one, None, column, where)
    else:
        yield given, start


def _place(text: Any, start: Any, context: str, where: str, taken: Counter[str]) -> Word:
    """Where the answer stands, blanks at its ends left out."""
    if not isinstance(text, str) or not text.strip():
        raise HandloomError(f"{where}: an answer should be a text, not {text!r:.60}")
    if isinstance(start, str) and start.strip().isdecimal():
        start = int(start)
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if blank(start):
        start = context.find(text)
        if start < 0:
            raise HandloomError(f"{where}: the answer {text!r:.80} does not stand in the text")
        taken["first"] += context.count(text) > 1
    if type(start) is not int:
        what = f"the place of the answer {text!r:.60}"
        raise HandloomError(f"{where}: {what} should be a whole number, not {start!r:.40}")
    if start < 0 or context[start : start + len(text)] != text:
        there = repr(context[start : start + len(text)])[:80] if 0 <= start < len(context) else "nothing"
        count = context.count(text)
        elsewhere = {0: "nowhere in the text", 1: f"at {context.find(text)}"}.get(count, f"in {count} other places")
        raise HandloomError(f"{where}: at character {start} of the text stands {there}, and not the answer "
                            f"{text!r:.80}, which stands {elsewhere}")  # fmt: skip
    begin = start + len(text) - len(text.lstrip())
    return begin, begin + len(text.strip())
