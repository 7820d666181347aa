"""What a file is for, told by its columns and by what stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_readers import write

from handloom.data.examples import TEXT, TOKEN
from handloom.data.readers import read
from handloom.data.recognition import taken, task_of
from handloom.errors import HandloomError


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ('{"text": "ab", "spans": []}', TOKEN),
        ('{"text": "ab", "entities": []}', TOKEN),
        ('[{"tokens": ["a"], "tags": ["O"]}]', TOKEN),
        ('{"question": "q", "choices": ["a", "b"], "answer": 0}', "multiple-choice"),
        ('{"question": "q", "context": "c", "answers": []}', "question-answering"),
        ('{"text": "ab", "head": [0, 1], "tail": [1, 2], "relation": "r"}', "relation-extraction"),
        ('{"text": "Anna lives", "label": [[0, 4, "PER"]]}', TOKEN),
        ('{"text": "a", "label": []}\n{"text": "Anna", "label": [{"start": 0, "end": 4, "labels": ["PER"]}]}', TOKEN),
        ('[{"id": 1, "data": {"text": "Anna"}, "annotations": []}]', TOKEN),
        ('{"question": {"stem": "q", "choices": [{"label": "A", "text": "a"}]}, "answerKey": "A"}', "multiple-choice"),
        ('[{"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 1}]', "multiple-choice"),
        ('{"document": "a b c", "summary": "a"}', "summarization"),
        ('{"article": "a b c", "summary": "a"}', "summarization"),
        ('{"source": "a", "target": "b"}', "translation"),
        ('{"anchor": "a", "positive": "b", "negative": "c"}', "sentence-similarity"),
        ('{"sentence1": "a", "sentence2": "b", "score": 5.0}', "sentence-similarity"),
        ('{"sentence1": "a", "sentence2": "b", "label": 3.8}', "sentence-similarity"),
        ('{"prompt": "a", "completion": "b"}', "text-generation"),
        ('{\n"data": [{"question": "q", "answer": "a"}]}', "sentence-similarity"),
        ('{"text": "ab", "label": "x"}', TEXT),
        ('{"text": "ab", "labels": ["x", "y"]}', TEXT),
        ('{"premise": "a", "hypothesis": "b", "label": 1}', TEXT),
        ('{"document": "a b c", "summary": "a", "label": "news"}', TEXT),
        ("{", TEXT),
        ('{"data": {}}', TEXT),
    ],
)
def test_rows_tell_the_task(row: str, task: str, tmp_path: Path) -> None:
    assert task_of(write(tmp_path, "x.jsonl", row + "\n")) == task


@pytest.mark.parametrize(
    ("rows", "task"),
    [
        ("question,context,answer\nWho?,Anna lives.,Anna\n", "question-answering"),
        ("question,choice1,choice2,answer\nOpp of hot,cold,blue,A\n", "multiple-choice"),
        ("source,target\na b,c d\ne f,g h\n", "translation"),
        ("anchor,positive,negative\na,b,c\n", "sentence-similarity"),
        ("question,answer\nWhere?,Here.\nWhen?,Now.\n", "sentence-similarity"),
        ("question,answer\nIs it?,yes\nWas it?,no\nWill it?,yes\nCan it?,yes\n", TEXT),
        ("text,positive,negative\ngood,1,0\nbad,0,1\n", TEXT),
        ("text1,text2,label\na,b,1\nc,d,0\n", TEXT),
        ('text,label\n"not, closed', TEXT),
    ],
)
def test_the_rows_of_a_table_tell_the_task(rows: str, task: str, tmp_path: Path) -> None:
    assert task_of(write(tmp_path, "x.csv", rows)) == task
    assert task_of(write(tmp_path, "gb.csv", rows.replace(",", ";").encode("utf-16")), encoding="utf-16") == task
    assert task_of(write(tmp_path, "x.csv", rows), problem="one") == TEXT


def test_words_with_tags_and_folders_tell_the_task(tmp_path: Path) -> None:
    assert task_of(write(tmp_path, "x.txt", "高 B-NAME\n勇 E-NAME\n： O\n\n男 O\n")) == TOKEN
    for name in ("labels/pos/a.txt", "labels/readme.txt", "texts/a.md", "program/setup.py", "program/src/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path, name, "text")
    folders = ("labels", "texts", "program")
    assert [task_of(tmp_path / name) for name in folders] == [TEXT, "text-generation", "text-generation"]


def test_an_error_says_what_a_file_was_taken_for(tmp_path: Path) -> None:
    path = write(tmp_path, "x.jsonl", '{"a": "x", "b": "y"}\n')
    said = r"which column is the text\?.* \(read as data for text-classification; --task says otherwise\)$"
    with pytest.raises(HandloomError, match=said), taken(None, TEXT):
        read(path)
    with pytest.raises(HandloomError, match=said.rpartition(" ")[0]), taken(None, TEXT):
        read(path)
    deep = write(tmp_path, "deep.jsonl", "[" * 100_000)
    for wrong in (tmp_path / "nosuch.csv", deep):  # whatever the task, they cannot be read
        with pytest.raises(HandloomError, match=r"does not exist|lie too deep") as found, taken(None, TEXT):
            read(wrong)
        assert "--task" not in str(found.value)
    for wrong, words in ((write(tmp_path, "lines.txt", "a b\nc d\n"), "label"), (tmp_path, "a folder for each label")):
        with pytest.raises(HandloomError, match=words + r".*; --task says otherwise\)$"), taken(None, TEXT):
            read(wrong)
    with pytest.raises(HandloomError, match=r"--text-column\.$"), taken(TEXT, TEXT):
        read(path)
