"""What a file is for, where nobody says: told by the names of its columns and by what stands in them, where these are
clearly a task's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from handloom.data import (
    choices,
    columns,
    conll,
    conversations,
    jsons,
    label_studio,
    questions,
    relations,
    tables,
    trees,
)
from handloom.data.examples import (
    CHOICE,
    GENERATION,
    QUESTION,
    RELATION,
    SIMILARITY,
    SUMMARIZATION,
    TEXT,
    TOKEN,
    TRANSLATION,
)
from handloom.data.files import TextFile, read_text
from handloom.data.labels import blank
from handloom.data.options import Options
from handloom.data.readers import FORMS, form_of
from handloom.errors import Unread

FIRST = 50
"""Rows that are looked at."""

Rows = Sequence[Mapping[str, Any]]
Find = Callable[[Sequence[str]], str | None]
Shape = Callable[[Sequence[Any]], bool]


@dataclass(frozen=True)
class Rule:
    """task: what rows are for that have all columns. columns: how the name of each is found, and what all that is known
    of its values has to be like. unless: names of which none may be there."""

    task: str
    columns: tuple[tuple[Find, Shape], ...]
    unless: tuple[str, ...] = ()

    def holds(self, rows: Rows) -> bool:
        names = list(dict.fromkeys(name for row in rows for name in row))
        if columns.guess(names, self.unless) is not None:
            return False
        return all(
            (name := find(names)) is not None and shape([row[name] for row in rows if not blank(row.get(name))])
            for find, shape in self.columns
        )


# -- what values are like


def anything(values: Sequence[Any]) -> bool:
    return True


def objects(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


def lists(values: Sequence[Any]) -> bool:
    """Of choices, or of annotations: lists, or lists by name."""
    return bool(values) and all(isinstance(value, (list, dict)) for value in values)


def texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values) and not numbers(values)


def various(values: Sequence[Any]) -> bool:
    """Texts that differ, as names of classes do not."""
    return texts(values) and 2 * len(set(values)) > len(values)


def marked(values: Sequence[Any]) -> bool:
    return texts(values) and all(mark in values[0] for mark in relations.MARKS)


def numbers(values: Sequence[Any]) -> bool:
    return bool(values) and all(_number(value) is not None for value in values)


def fractions(values: Sequence[Any]) -> bool:
    """Numbers of which one is no whole one, as no class is called."""
    return numbers(values) and any((_number(value) or 0) % 1 for value in values)


def spans(values: Sequence[Any]) -> bool:
    found = [one for value in values if isinstance(value, list) for one in value]
    return bool(found) and all(isinstance(value, list) for value in values) and all(map(_span, found))


def with_choices(values: Sequence[Any]) -> bool:
    return objects(values) and all("choices" in value for value in values)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _span(value: Any) -> bool:
    if isinstance(value, dict):
        return {"start", "end"} <= value.keys() or {"start_offset", "end_offset"} <= value.keys()
    return isinstance(value, list) and len(value) == 3 and type(value[0]) is int and type(value[1]) is int


# -- the rules


def called(*usual: str) -> Find:
    return partial(columns.guess, usual=usual)


def partner(names: Sequence[str]) -> str | None:
    """The second of two texts whose names belong together."""
    pair = columns.text_pair(names)
    return pair and pair[1]


def numbered(names: Sequence[str]) -> str | None:
    return next(iter(choices.numbered_columns(names)), None)


CLASSES = tuple(name for name in columns.LABEL_NAMES if name not in ("target", "output"))
_TEXT, _QUESTION = called(*columns.TEXT_NAMES), called("question", "query", "问题", "問題")
_ASKED = called(*choices.USUAL["question"], *choices.USUAL["context"])
RULES = (
    Rule(TOKEN, ((called("tokens"), anything),)),
    Rule(TOKEN, ((_TEXT, texts), (called("spans", "entities"), anything))),
    Rule(TOKEN, ((_TEXT, texts), (called(*columns.SPAN_NAMES), spans))),
    Rule(TOKEN, ((called("data"), objects), (called(*label_studio.ANNOTATIONS, "predictions"), lists))),
    Rule(RELATION, ((called("text"), anything), (called("head"), anything), (called("tail"), anything))),
    Rule(RELATION, ((_TEXT, marked),)),
    Rule(CHOICE, ((_ASKED, texts), (called(*choices.USUAL["choices"]), lists))),
    Rule(CHOICE, ((_ASKED, texts), (numbered, texts), (called(*choices.USUAL["answer"]), anything))),
    Rule(CHOICE, ((called("question"), with_choices),)),
    Rule(QUESTION, ((_QUESTION, texts), (called("context", "context_text", "上下文"), texts),
                    (called(*questions.USUAL["answers"]), anything))),
    Rule(SIMILARITY, ((called("positive", "pos"), texts), (called("negative", "neg", "hard_negative"), texts))),
    Rule(SIMILARITY, ((called("anchor"), texts), (called("positive"), texts))),
    Rule(SIMILARITY, ((partner, texts),
                      (called("score", "similarity", "similarity_score", "relatedness_score"), numbers))),
    Rule(SIMILARITY, ((partner, texts), (called("label"), fractions))),
    Rule(SIMILARITY, ((_QUESTION, texts), (called("answer", "答案", "回答"), various)), unless=CLASSES),
    Rule(SUMMARIZATION, ((called("document", "article", "dialogue", "text", "原文", "文章"), texts),
                         (called("summary", "highlights", "摘要"), various)), unless=CLASSES),
    Rule(TRANSLATION, ((called("source", "src"), texts), (called("target", "tgt"), various)),
         unless=(*CLASSES, *columns.TEXT_NAMES)),
    Rule(GENERATION, ((called("prompt"), anything), (called("completion", "response"), anything)), unless=CLASSES),
)  # fmt: skip
"""The first that holds counts."""

LOOKS: Mapping[str | None, Sequence[tuple[Callable[[str], bool], str]]] = {
    "json": (
        (label_studio.looks_like_export, TOKEN), (questions.looks_like_squad, QUESTION),
        (conversations.looks_like_chat, GENERATION),
    ),
    None: ((relations.looks_like_semeval, RELATION), (conll.looks_like_conll, TOKEN)),
}  # fmt: skip
"""Of what the end of a name says, what tells that the text is for a task."""


def task_of(
    path: Path, *, encoding: str | None = None, delimiter: str | None = None, problem: str | None = None,
    label_separator: str | None = None, label_order: Any = None, **others: Any,
) -> str:  # fmt: skip
    """The task that a file, or a folder, is clearly for; TEXT where that is left open, or follows from what is said of
    its labels. The rest is as for `read`."""
    if not path.exists():
        return TEXT
    if path.is_dir():
        return GENERATION if _is_tree(path) else TEXT
    form = FORMS.get(path.suffix.lower())
    if form == "conll":
        return TOKEN
    if problem or label_separator or label_order:
        return TEXT
    if form == "parquet":
        rows: Rows = [record.values for record in tables.read_parquet(path)[:FIRST]]
    elif form == "excel":
        rows = [record.values for record in tables.read_excel(path)[:FIRST]]
    else:
        file = read_text(path, encoding)
        if task := next((task for looks_like, task in LOOKS.get(form, ()) if looks_like(file.text)), None):
            return task
        rows = _first_rows(file, form, Options(encoding=encoding, delimiter=delimiter))
    return next((rule.task for rule in RULES if rule.holds(rows)), TEXT)


READ_AS = "read as data for {} (--task says otherwise)"


@contextmanager
def taken(said: str | None, known: str) -> Iterator[None]:
    """Where nobody said the task and nothing told it, an error in what the task reads names the one that was taken."""
    try:
        yield
    except Unread as error:
        if said is not None or known != TEXT:
            raise
        raise Unread(f"{error} (read as data for {known}; --task says otherwise)") from error


def _first_rows(file: TextFile, form: str | None, options: Options) -> Rows:
    if form_of(file, form, options) == "json":
        return list(islice(jsons.first_objects(file.text), FIRST))
    return list(islice(tables.first_rows(file, options), FIRST))


def _is_tree(path: Path) -> bool:
    """Whether a folder holds texts or programs itself, and no folder for each label."""
    there = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    endings = {entry.suffix.lower() for entry in there if entry.is_file()}
    if any(entry.is_dir() for entry in there):
        return bool(endings & set(trees.PROGRAMS))
    return bool(endings & set(trees.ENDINGS))
