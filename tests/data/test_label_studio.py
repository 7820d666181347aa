"""Exports of Label Studio and doccano: whose annotation counts, what offsets count, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handloom.data.label_studio import doccano_row, prediction
from handloom.data.readers import read
from handloom.data.recognition import task_of
from handloom.errors import HandloomError

TEXT = "Marie Curie worked in Paris."


def mark(start: int, end: int, *labels: str, name: str = "label", **value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "labels", "id": "x", "origin": "manual",
            "value": {"start": start, "end": end, "labels": list(labels), **value}}  # fmt: skip


def task(*annotations: Any, text: str = TEXT, number: int = 7, **more: Any) -> dict[str, Any]:
    full = [one if isinstance(one, dict) else {"id": 1, "result": one} for one in annotations]
    return {"id": number, "data": {"text": text, "source": "a.txt"}, "annotations": full, "predictions": [], **more}


def spans(tasks: Any, folder: Path, **how: Any) -> list[list[tuple[str, str]]]:
    data = read(written(tasks, folder), "token-classification", **how)
    return [[(span.text, span.label) for span in example.spans or ()] for example in data]


def written(tasks: Any, folder: Path, name: str = "export.json") -> Path:
    file = folder / name
    file.write_text(tasks if isinstance(tasks, str) else json.dumps(tasks), "utf-8")
    return file


def test_an_export(tmp_path: Path) -> None:
    marks = [mark(22, 27, "LOC", text="Paris"), mark(0, 11, "PER", text="Marie Curie")]
    tasks = [task(marks), task([], text="none", number=8)]
    file = written(tasks, tmp_path)
    data = read(file, "token-classification")
    assert [(s.start, s.end, s.label) for s in data[0].spans] == [(0, 11, "PER"), (22, 27, "LOC")]
    assert data[1].spans == ()
    assert data[0].extra == {"source": "a.txt", "task": 7} and "(task 7)" in data[0].where
    assert data.notes[0] == "Label Studio: text from 'text', spans from 'label'"
    assert task_of(file) == "token-classification"
    assert [e.spans for e in read(file, "token-classification", labelled=False)] == [None, None]
    old = [{"id": 1, "data": {"text": TEXT}, "completions": [{"id": 3, "result": [mark(0, 5, "PER")]}]}]
    assert spans(old, tmp_path) == [[("Marie", "PER")]]
    small = [{"id": 1, "text": TEXT, "label": [{"start": 0, "end": 5, "text": "Marie", "labels": ["PER"]}]}]  # JSON-MIN
    assert spans(small, tmp_path) == [[("Marie", "PER")]]


def test_one_annotation_counts(tmp_path: Path) -> None:
    first = {"result": [mark(0, 5, "PER")], "updated_at": "2024-01-01T00:00:00Z"}
    later = {"result": [mark(0, 11, "PER")], "updated_at": "2024-01-02T00:00:00Z"}
    cancelled = {"result": [mark(22, 27, "LOC")], "updated_at": "2024-01-03T00:00:00Z", "was_cancelled": True}
    true = {"result": [mark(6, 11, "PER")], "updated_at": "2023-01-01T00:00:00Z", "ground_truth": True}
    assert spans([task(later, first, cancelled)], tmp_path) == [[("Marie Curie", "PER")]]
    assert spans([task(later, true, first)], tmp_path) == [[("Curie", "PER")]]
    assert spans([task([mark(0, 5, "PER")], [mark(6, 11, "PER")])], tmp_path) == [[("Curie", "PER")]]  # the last
    data = read(written([task(first), task(cancelled), task()], tmp_path), "token-classification")
    assert len(data) == 1 and "2 of 3 tasks have no annotation, or cancelled ones only" in data.notes[1]
    with pytest.raises(HandloomError, match="none of 1 task has an annotation"):
        spans([task(cancelled)], tmp_path)


def test_offsets_count_characters_or_utf_16_units(tmp_path: Path) -> None:
    text = "😀 Anna in 𝒳 Rome"  # 1 and 1 character that are two units each
    points, units = (12, 16), (14, 18)
    assert text[slice(*points)] == "Rome"
    new = task([mark(2, 6, "PER", text="Anna"), mark(*points, "LOC", text="Rome")], text=text)
    old = task([mark(3, 7, "PER", text="Anna"), mark(*units, "LOC", text="Rome")], text=text)
    right = [("Anna", "PER"), ("Rome", "LOC")]
    assert spans([new], tmp_path) == spans([old], tmp_path) == [right]
    silent = task([mark(*units, "LOC")], text=text)  # the file's other tasks tell
    assert spans([silent, old], tmp_path) == [right[1:], right]
    assert spans([task([mark(*points, "LOC")], text=text)], tmp_path) == [right[1:]]
    with pytest.raises(HandloomError, match=r"task 7\): the span 1–7 \(PER\), in UTF-16 units, has an edge inside"):
        spans([old, task([mark(1, 7, "PER")], text=text)], tmp_path)
    with pytest.raises(HandloomError, match="should read 'Roma', but there stands"):
        spans([task([mark(*points, "LOC", text="Roma")], text=text)], tmp_path)
    assert spans([task([mark(4, 6, "P", text="cd")], text="a\r\nbcd")], tmp_path) == [[("cd", "P")]]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([task([mark(0, 11, "PER"), mark(6, 11, "NAME")])],
         r"\(task 7\): the spans 0–11 \(PER\) and 6–11 \(NAME\) overlap"),
        ([task([mark(0, 8, "PER"), mark(6, 11, "PER")])], r"0–8 \(PER\) and 6–11 \(PER\) overlap"),
        ([task([mark(0, 5, "PER", "NAME")])], "has 2 labels, PER, NAME"),
        ([task([mark(0, 5)])], "should be a list of one"),
        ([task([mark(0, 99, "PER")])], "does not fit a text of 28 characters"),
        ([task([mark(5, 5, "PER")])], "does not fit"),
        ([task([mark("0", 5, "PER")])], "start of a span should be a whole number, not '0'"),  # type: ignore[arg-type]
        ([task([{**mark(0, 5, "PER"), "value": 3}])], "value of a result should be an object"),
        ([task([mark(0, 5, "A", name="x"), mark(6, 8, "B", name="y")])], "spans come from 2 tags, x, y; .*--label-col"),
        ([task([{**mark(0, 5, "A"), "type": "hypertextlabels"}])], "HyperText"),
        ([task({"result": 5})], "the result of an annotation should be a list"),
        ([{"id": 1, "data": {"text": 5}, "annotations": []}], "which field of data holds the text"),
        ([{"id": 1, "data": {"text": "a"}, "annotations": 5}], "annotations should be a list"),
        ([task([mark(0, 5, "PER")]), {"id": 9, "annotations": []}], r"\(task 9\): .* has an object called data.* None"),
        ([task([mark(0, 5, "PER")], data="Marie")], r"\(task 7\): .* has an object called data.* 'Marie'"),
        (json.dumps([task([mark(0, 5, "PER")])])[:-30], "malformed JSON"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(tasks: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match=said) as caught:
        spans(tasks, tmp_path)
    assert "export.json" in str(caught.value)


def test_other_results_and_other_columns(tmp_path: Path) -> None:
    choice = {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}}
    tasks = [task([choice, mark(0, 5, "A", name="x"), mark(0, 11, "B", name="y")])]
    assert spans(tasks, tmp_path, label_column="y") == [[("Marie Curie", "B")]]
    data = read(written([task([choice, mark(0, 5, "A")])], tmp_path), "token-classification")
    assert data.notes[-1].startswith("1 result that is no span of text is left out")
    with pytest.raises(HandloomError, match="no spans come from 'z'"):
        spans(tasks, tmp_path, label_column="z")
    assert spans(tasks, tmp_path, label_column="x", text_column="source") == [[("a.txt", "A")]]


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "text": TEXT, "label": [[0, 11, "PER"], [22, 27, "LOC"]]},
        {"id": 1, "text": TEXT, "labels": [[22, 27, "LOC"], [0, 11, "PER"]], "Comments": []},
        {"id": 1, "text": TEXT, "relations": [], "entities": [
            {"id": 5, "label": "PER", "start_offset": 0, "end_offset": 11},
            {"id": 6, "label": "LOC", "start_offset": 22, "end_offset": 27}]},
    ],
)  # fmt: skip
def test_doccano(row: dict[str, Any], tmp_path: Path) -> None:
    lines = json.dumps(row) + "\n" + json.dumps({**row, "text": TEXT + " 😀"}) + "\n"
    data = read(written(lines, tmp_path, "all.jsonl"), "token-classification")
    assert [[(s.text, s.label) for s in e.spans] for e in data] == [[("Marie Curie", "PER"), ("Paris", "LOC")]] * 2
    nested = json.dumps({"text": TEXT, "label": [[0, 11, "PER"], [6, 11, "NAME"]]})
    with pytest.raises(HandloomError, match=r"b\.jsonl:2: the spans 0–11 \(PER\) and 6–11 \(NAME\) overlap"):
        read(written('{"text": "a", "label": []}\n' + nested, tmp_path, "b.jsonl"), "token-classification")
    with pytest.raises(HandloomError, match=r"c\.jsonl:1:\d+: malformed JSON"):
        read(written(nested[:-4] + "\n" + nested, tmp_path, "c.jsonl"), "token-classification")


def test_predictions_are_written_as_they_are_read(tmp_path: Path) -> None:
    found = [{"start": 0, "end": 11, "label": "PER", "text": "Marie Curie", "score": 0.75},
             {"start": 22, "end": 27, "label": "LOC", "text": "Paris", "score": 0.25}]  # fmt: skip
    row = {"text": TEXT, "spans": found, "source": "a.txt", "task": 7}
    made = prediction(row, "runs/ner")
    assert made["data"] == {"text": TEXT, "source": "a.txt"} and made["predictions"][0]["score"] == 0.5
    corrected = {"id": 7, "data": made["data"], "annotations": made["predictions"]}
    right = [[("Marie Curie", "PER"), ("Paris", "LOC")]]
    assert spans([corrected], tmp_path) == right
    assert spans([doccano_row({"text": TEXT, "spans": found})], tmp_path) == right
    nothing = prediction({"text": "x", "spans": []}, "m")
    assert nothing["predictions"] == [{"model_version": "m", "score": 0.0, "result": []}]
