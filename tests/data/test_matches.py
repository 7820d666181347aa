"""Pairs with scores, labels or neither, and triplets: what columns say, and what is said when they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handloom.data.check import check
from handloom.data.examples import SIMILARITY, MatchExample
from handloom.data.matches import useless_triplets
from handloom.data.readers import read
from handloom.data.split import split
from handloom.errors import HandloomError


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parts(example: MatchExample) -> tuple[Any, ...]:
    return example.text, example.other, example.score, example.negative


@pytest.mark.parametrize(("rows", "wanted"), [
    ([{"sentence1": "a", "sentence2": "b", "score": 4.5}], [("a", "b", 4.5, None)]),
    ([{"question1": "a", "question2": "b", "is_duplicate": "1"}], [("a", "b", 1.0, None)]),
    ([{"text1": "a", "text2": "b", "label": True}], [("a", "b", 1.0, None)]),
    ([{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}],
     [("a", "b", None, None), ("c", "d", None, None)]),
    ([{"anchor": "a", "positive": "b", "negative": "c"}], [("a", "b", None, "c")]),
    ([{"question": "a", "answers": ["b", "c"]}], [("a", "b", None, None), ("a", "c", None, None)]),
    ([{"问题": "甲", "答案": "乙"}, {"问题": "丙", "答案": "丁"}],
     [("甲", "乙", None, None), ("丙", "丁", None, None)]),
])  # fmt: skip
def test_the_format_is_told_from_the_columns(tmp_path: Path, rows: list[dict[str, Any]], wanted: list[Any]) -> None:
    assert [parts(e) for e in read(jsonl(tmp_path / "data.jsonl", rows), SIMILARITY)] == wanted


def test_lists_and_named_columns(tmp_path: Path) -> None:
    assert [parts(e) for e in read([("a", "b", 0.5), ("c", "d", 1)], SIMILARITY)] == [
        ("a", "b", 0.5, None), ("c", "d", 1.0, None)]  # fmt: skip
    assert [parts(e) for e in read([("a", "b", "c")], SIMILARITY)] == [("a", "b", None, "c")]
    assert [parts(e) for e in read([("a", "b")], SIMILARITY, labelled=False)] == [("a", "b", None, None)]
    table = tmp_path / "messages.csv"
    table.write_text("text,category\nhello,greeting\nbye,farewell\n", encoding="utf-8")
    found = read(table, SIMILARITY, pair_column="category")
    assert [parts(e) for e in found] == [("hello", "greeting", None, None), ("bye", "farewell", None, None)]
    assert "2 pairs of 2 and 2 different texts" in found.notes and found.examples[0].where == f"{table}:2"


@pytest.mark.parametrize(("rows", "message"), [
    ([{"text1": "a", "text2": "b", "label": "maybe"}], r":1: column 'label' should hold a score or a label 0 or 1"),
    ([{"text1": "a", "text2": "b", "score": "nan"}], r":1: column 'score' should hold a score"),
    ([{"text1": "a", "text2": "b", "score": 1e400}], r":1: column 'score' should hold a score"),
    ([{"text1": "a", "text2": "b", "score": [1]}], r":1: column 'score' should hold a score"),
    ([{"text1": "a", "text2": "b", "score": 1}, {"text1": "a", "text2": "b"}],
     r"1 row with no number \(column 'score'\): .*:2"),
    ([{"text1": "a", "text2": " ", "score": 1}], r"1 row with an empty text \(column 'text2'\)"),
    ([{"text1": 3, "text2": "b", "score": 1}], r":1: column 'text1' should hold a text, not 3"),
    ([{"anchor": "a", "positive": "b", "negative": ""}], r"1 row with an empty text \(column 'negative'\)"),
    ([{"question": "a", "answer": "x"}, {"question": "b", "answer": "x"}], r"all texts belong to the same one, 'x'"),
    ([{"question": "a", "answer": []}], r":1: column 'answer' holds a list of 0"),
    ([{"question": "a", "answers": ["b"], "score": 1}], r"neither a score nor a wrong text"),
    ([{"one": "a", "two": "b"}], r"which column is the first text\? There are 'one', 'two'"),
    ([{"text": "a", "category": "b"}], r"which column is the second text\?.*--pair-column"),
])  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        read(jsonl(tmp_path / "data.jsonl", rows), SIMILARITY)


def test_a_wrong_text_that_is_the_right_one_is_told() -> None:
    rows = [("a", "b", "c"), ("d", "E f", "e  F"), ("g", "h", "h")]
    report = check(read(rows, SIMILARITY))
    said = "triplets whose wrong text is the right one: 2 of 3, such as 'E f' (row 1); it is none of the"
    assert report.ok and [finding.message.startswith(f"train: {said}") for finding in report.findings] == [True]
    (note,) = useless_triplets(read(rows, SIMILARITY).examples)
    assert note.startswith(said) and not useless_triplets(read(rows[:1], SIMILARITY).examples)


@pytest.mark.parametrize(("scores", "said"), [
    ([1, 2], "note: scores from 1 to 2 are read on a scale of 0 to 5; --score-range names another"),
    ([0.2, 0.5], "note: scores from 0.2 to 0.5 are read on a scale of 0 to 1; --score-range names another"),
    ([-700, 3], "warning: the scores go from -700 to 3, which is no usual range: name it (--score-range)"),
    ([0, 5], "Nothing stands out."),
    ([0, 1], "Nothing stands out."),
])  # fmt: skip
def test_the_scale_of_scores_is_told(scores: list[float], said: str) -> None:
    data = read([(f"a{score}", f"b{score}", score) for score in scores], SIMILARITY)
    assert str(check(data)).splitlines()[-1] == said


def test_splits_and_checks() -> None:
    data = read([(f"q{i // 3}", f"a{i}") for i in range(60)], SIMILARITY)
    kept, held = split(data, (0.9, 0.1), seed=1)
    assert not {e.text for e in kept} & {e.text for e in held} and len(held) == 6
    report = check(data)
    assert report.ok and not report.findings
    blank = read([("a", "b", 1), ("c", "", 0)], SIMILARITY, blanks="keep")
    assert [finding.kind for finding in check(blank).findings] == ["empty"]
