"""Texts that are compared: pairs with a score or a label, pairs that belong together, an anchor with a right and a
wrong text. Which of these a file holds is told from its columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from handloom.data import columns
from handloom.data.examples import Dataset, MatchExample, Source
from handloom.data.inexact import noted
from handloom.data.labels import blank, text_string
from handloom.data.options import Options, Record, refuse
from handloom.data.records import names_of
from handloom.data.texts import folded
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted

USUAL = {
    "text": (
        "anchor", "sentence1", "text1", "text_a", "sentence_a", "question1", "query", "question", "premise", "文本1",
        "句子1", "问题", "問題", *columns.TEXT_NAMES,
    ),
    "pair": (
        "positive", "pos", "sentence2", "text2", "text_b", "sentence_b", "question2", "pair", "answer", "answers",
        "response", "reply", "document", "passage", "context", "hypothesis", "duplicate", "paraphrase", "文本2",
        "句子2", "答案", "回答",
    ),
    "negative": ("negative", "neg", "hard_negative"),
    "label": (
        "score", "similarity", "similarity_score", "relatedness_score", "label", "is_duplicate", "target", "gold",
        "relevance", "相似度", "标签", "分数",
    ),
}  # fmt: skip
"""Names of columns, by what they hold."""
SPANS = ((0.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))  #: ranges that scores usually have
TRUTH = {"true": 1.0, "false": 0.0}
THIRD = "third"  #: of (text, pair, third) in a list: a number is a score, a text one that does not belong there


def read_matches(records: Sequence[Record], source: Source, options: Options) -> Dataset[MatchExample]:
    """From rows with two texts. With a third one, `negative`, they are triplets; with a number they are scored, or
    labelled where all numbers are 0 or 1; with neither the two belong together, and a list of texts as the second is as
    many pairs.

    Raises HandloomError for numbers that are none, for rows with and rows without one, and where nothing can be learnt
    because all texts belong to the same one.
    """
    where = source.path or "the data"
    used, given = _columns(records, options, where)
    examples = [example for record in records for example in _examples(record, used)]
    if not examples:
        raise HandloomError(f"{where} holds no pairs.")
    if options.blanks == "error":
        for role, column in (("text", "text"), ("other", "pair"), ("negative", "negative")):
            empty = [e.where for e in examples if (text := getattr(e, role)) is not None and not text.strip()]
            refuse(empty, f"an empty text (column {used.get(column)!r})", "Fill or remove them.")
        if "label" in used:
            refuse([e.where for e in examples if e.score is None], f"no number (column {used['label']!r})",
                   "Fill or remove them; a file without that column holds pairs that belong together.")  # fmt: skip
    if options.labelled and not {"label", "negative"} & used.keys() and len({e.other for e in examples}) == 1:
        raise HandloomError(
            f"{where}: all texts belong to the same one, {examples[0].other!r:.60}: there is nothing to tell apart. "
            "Pairs need a score or a label (--label-column), or answers that differ."
        )
    notes = options.told(used, given)
    anchors, others = len({e.text for e in examples}), len({e.other for e in examples})
    notes.append(f"{counted(len(examples), 'pair')} of {anchors:,} and {others:,} different texts")
    same = sum(e.text == e.other for e in examples)
    notes += [f"{counted(same, 'pair')} {agreed(same, '[is|are]')} of a text with itself"] * bool(same)
    return Dataset(tuple(examples), source, tuple(notes), columns=used)


def _columns(records: Sequence[Record], options: Options, where: str) -> tuple[dict[str, str], set[str]]:
    names = names_of(records)
    roles = ["text", "pair", "negative", "label"] if options.labelled else ["text", "pair"]
    used: dict[str, str] = {}
    for role in ("text", "pair", "label"):
        wanted = getattr(options, f"{role}_column")
        if wanted is not None and role in roles:
            used[role] = columns.choose(names, wanted, f"--{role}-column", where)
    given = set(used)
    if THIRD in names and options.labelled:
        used |= {"text": "text", "pair": "pair"}
        used["negative" if isinstance(records[0].values.get(THIRD), str) else "label"] = THIRD
        return used, set(used)
    if not given & {"text", "pair"} and (found := columns.text_pair(names)):
        used["text"], used["pair"] = found
    for role in roles:
        free = [name for name in names if name not in used.values()]
        if role not in used and (name := columns.guess(free, USUAL[role])):
            used[role] = name
    for role, what in (("text", "first text"), ("pair", "second text")):
        if role not in used:
            there = columns.listed(names)
            raise HandloomError(
                f"{where}: which column is the {what}? There are {there}; name it with --{role}-column."
            )
    if "negative" in used and "label" in used and "label" not in given:
        del used["label"]
    if "negative" in used and "label" in used:
        raise HandloomError(f"{where}: pairs have a score ({used['label']!r}) or a wrong text ({used['negative']!r}), "
                            "not both.")  # fmt: skip
    return used, given


def _examples(record: Record, used: Mapping[str, str]) -> Iterator[MatchExample]:
    values, where = record.values, record.where
    extra = {name: value for name, value in values.items() if name not in used.values()}
    text = text_string(values.get(used["text"]), used["text"], where)
    negative = text_string(values.get(used["negative"]), used["negative"], where) if "negative" in used else None
    score = _number(values.get(used["label"]), used["label"], where) if "label" in used else None
    others: Any = values.get(used["pair"])
    if hasattr(others, "tolist"):
        others = others.tolist()
    if not isinstance(others, (list, tuple)):
        others = [others]
    elif not others or "label" in used or "negative" in used:
        right = "several texts can only stand where pairs have neither a score nor a wrong text" if others else "a text"
        raise HandloomError(f"{where}: column {used['pair']!r} holds a list of {len(others)}: {right} is needed")
    for other in others:
        yield MatchExample(text, text_string(other, used["pair"], where), score, negative, extra, where)


def useless_triplets(examples: Iterable[MatchExample]) -> tuple[str, ...]:
    """A note of the triplets whose wrong text is the right one."""
    triplets = [one for one in examples if (one.negative or "").strip()]
    found = [(one.other, one.where) for one in triplets if folded(one.other) == folded(one.negative or "")]
    so = "it is none of the wrong texts, and is never found nearer"
    return noted("triplets whose wrong text is the right one", found, len(triplets), so)


def span_of(scores: Sequence[float]) -> tuple[float, float]:
    """The usual range that scores lie in. HandloomError where there is none."""
    low, high = min(scores), max(scores)
    if -1 <= low < 0 and high <= 1:
        return (-1.0, 1.0)
    for span in SPANS:
        if span[0] <= low and high <= span[1]:
            return span
    raise HandloomError(f"the scores go from {low:g} to {high:g}, which is no usual range: name it (--score-range)")


def assumed_span(scores: Sequence[float]) -> tuple[str, ...]:
    """A note of the usual range that scores are read on, where that is not the one that they have."""
    low, high = min(scores), max(scores)
    least, most = span_of(scores)
    if (low, high) == (least, most):
        return ()
    return (f"scores from {low:g} to {high:g} are read on a scale of {least:g} to {most:g}; "
            "--score-range names another",)  # fmt: skip


def _number(value: Any, column: str, where: str) -> float | None:
    """None for a blank, and for a data frame's NaN. HandloomError for what is no finite number."""
    if blank(value):
        return None
    written = value.strip().lower() if isinstance(value, str) else value
    try:
        found = TRUTH[written] if isinstance(written, str) and written in TRUTH else float(written)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise HandloomError(f"{where}: column {column!r} should hold a score or a label 0 or 1, not {value!r:.60}")
    return found
