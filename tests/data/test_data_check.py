"""The look at data before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handloom.data.check import Report, check
from handloom.data.examples import TOKEN
from handloom.data.readers import read
from handloom.errors import HandloomError
from handloom.tasks.question_answering import QuestionAnswering
from handloom.tasks.relation_extraction import RelationExtraction
from handloom.text.tokenizer import Tokenizer

TRAIN = [("a cat", "x"), ("a dog", "y"), ("a  Cat", "y"), ("a fish", "x"), ("a dog", "y")]


def kinds(report: Report) -> dict[str, tuple[str, int]]:
    return {finding.kind: (finding.severity, finding.count) for finding in report.findings}


def test_nothing_stands_out() -> None:
    report = check(read([("a", "x"), ("b", "y")]), None, read([("c", "x")]))
    assert report.ok and not report.findings
    assert str(report).endswith("Nothing stands out.") and "train: 2 examples, 2 labels\n" in str(report)
    pairs = check(read([("ein Hund", "a dog"), ("eine Katze", "a cat")], "translation"))
    assert "train: 2 examples\n" in str(pairs)


def test_duplicates_conflicts_and_leaks() -> None:
    report = check(read(TRAIN), read([("A DOG", "y")]), read([("a fish", "y"), ("new", "z")]))
    assert kinds(report) == {
        "unseen-labels": ("error", 1),
        "duplicates": ("warning", 2),
        "conflicts": ("warning", 1),
        "leak": ("warning", 1),
    }
    assert not report.ok
    text = str(report)
    assert "error: test: 1 label that train never shows (z), once; it cannot be predicted" in text
    assert "1 of the 2 texts in test is in train, too (50.0%)" in text


def test_blanks_and_one_class() -> None:
    report = check(read([("", "x"), ("a", "x"), ("b", None)], blanks="keep"))
    assert kinds(report) == {"empty": ("error", 1), "unlabelled": ("error", 1), "one-class": ("error", 1)}
    tagged = check(read([(["a", "b"], ["B-X", "O"])], TOKEN))
    assert tagged.ok


@pytest.mark.parametrize(
    ("task", "rows", "said"),
    [
        ("sentence-similarity", [{"text": "a", "pair": "b", "score": 2.0}, {"text": "c", "pair": "d", "score": None}],
         "1 text without a score (row 1)"),
        ("sentence-similarity", [{"anchor": "a", "positive": "b", "negative": "c"},
                                 {"anchor": "d", "positive": "e", "negative": ""}],
         "1 text without a text that does not belong to it (row 1)"),
        ("text-generation", [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": ""}],
         "1 text without a label (row 1)"),
    ],
)  # fmt: skip
def test_what_a_training_would_refuse_is_found(task: str, rows: list[Any], said: str) -> None:
    found = check(read(rows, task, blanks="keep"))
    assert not found.ok and any(said in finding.message for finding in found.findings)
    assert check(read(rows[:1], task, blanks="keep")).ok


def test_texts_to_write_are_called_so(tmp_path: Path) -> None:
    sides = tmp_path / "a.en", tmp_path / "b.de"
    for side, lines in zip(sides, ("one\ntwo\none\n", "eins\n\nein\n"), strict=True):
        side.write_text(lines, "utf-8")
    report = check(read(sides, "translation", blanks="keep"))
    assert [finding.message for finding in report.findings] == [
        f"train: 1 text with nothing to write ({sides[1]}:2)",
        f"train: 1 repetition of 1 text, such as '{sides[0]}:1: one'",
        f"train: 1 text with different texts to write in different places, such as '{sides[0]}:1: one'",
    ]
    other = check(read([("one", "eins")], "summarization"), read([("one", "zwei")], "summarization"))
    assert "train and valid: 1 text with different texts to write, such as" in str(other)
    asked = [{"question": "q", "context": "a b", "answers": answer} for answer in ("a", "b")]
    assert "train: 1 text with different answers in different places" in str(check(read(asked, "question-answering")))


def test_conversations_need_no_last_reply() -> None:
    turns = [("user", "Hi."), ("assistant", "Hello."), ("user", "And now?")]
    talk = {"messages": [{"role": role, "content": text} for role, text in turns]}
    assert check(read([talk], "text-generation", blanks="keep")).ok


def test_spans_inside_of_words_are_told() -> None:
    report = check(read([("été Rome", [(0, 1, "A"), (4, 8, "B")])], TOKEN))
    assert report.ok and [finding.kind for finding in report.findings] == ["spans"]
    said = "train: spans that do not begin and end where words do: 1 of 2, such as 'é' (row 0); the words"
    assert report.findings[0].message.startswith(said)


@pytest.mark.parametrize(
    ("context", "answer", "inexact"),
    [
        ("abcdef ghi", "cd", True), ("abcdef ghi", "abc", True), ("abcdef ghi", "abcdef", False),
        ("abcdef ghi", "f ghi", True), ("(abc) d", "abc", False), ("a cafe\u0301 b", "cafe", True),
        ("a cafe\u0301 b", "cafe\u0301", False), ("👩\u200d👧 b", "👩", True), ("👩👧 b", "👩", False),
        ("北京市长江大桥", "市长", False), ("我用NBA看球", "NBA", False), ("我用NBA看球", "NB", True),
        ("東京タワーへ", "タワー", False), ("ภาษาไทย", "ไทย", False), ("ที่นี่", "ท", True), ("été là", "ét", True),
        ("x" * 90 + "y", "y", True), ("xé " + "é" * 90 + " y", "é" * 90, False),
    ],
)  # fmt: skip
def test_answers_inside_of_words_are_told(context: str, answer: str, inexact: bool) -> None:
    start = context.index(answer)
    row = {"question": "q", "context": context, "answers": answer, "answer_start": start}
    report = check(read([row], "question-answering"))
    assert report.ok and [finding.kind for finding in report.findings] == ["spans"] * inexact
    if inexact:
        said = f"train: answers that do not begin and end where words do: 1 of 1, such as {answer!r:.40} (row 0); the"
        assert report.findings[0].message.startswith(said)


def test_places_inside_of_words_are_told() -> None:
    rows = [("abcdef ghi", (0, 2), (7, 10), "r"), ("abc de", (0, 3), (4, 6), "s")]
    said = "train: places that do not begin and end where words do: 1 of 4, such as 'ab' (row 0); they are read apart"
    assert [one.message.startswith(said) for one in check(read(rows, "relation-extraction")).findings] == [True]


def test_a_training_tells_places_inside_of_words(bert: Tokenizer) -> None:
    asked = read([("the cat", "the dogs", "dog")], "question-answering")
    related = read([("the cats dog", (4, 7), (9, 12), "r")], "relation-extraction")
    for task, data in ((QuestionAnswering(), asked), (RelationExtraction(("r", "s")), related)):
        (note,) = task.encode(data.examples, bert, 64, "windows").notes
        assert "that do not begin and end where words do: 1 of" in note


def test_an_empty_word_is_refused_by_a_check_too() -> None:
    with pytest.raises(HandloomError, match=r"an empty word: row 0 word 1\."):
        read([(["", "Rome"], ["O", "B-A"])], TOKEN, blanks="keep")


def test_imbalance_and_lengths() -> None:
    rows = [("t" * (n + 1), "common") for n in range(100)] + [("rare one", "rare"), ("rare two", "rare")]
    report = check(read(rows))
    assert kinds(report) == {"imbalance": ("warning", 1)}
    assert report.splits[0].characters[0] == 1 and report.splits[0].characters[-1] == 100
    content = json.loads(json.dumps(report.to_dict()))
    assert content["splits"]["train"]["labels"] == {"common": 100, "rare": 2}
    assert content["splits"]["train"]["lengths"]["characters"]["1"] == 100


def test_tokens_and_unknown_ones(bert: Tokenizer) -> None:
    report = check(read([("the cat жж", "x"), ("the dog", "y")]), tokenizer=bert)
    summary = report.splits[0]
    assert summary.tokens is not None and (summary.tokens[0], summary.tokens[-1]) == (4, 5)
    assert summary.unknown == pytest.approx(0.2)
    assert kinds(report) == {"unknown": ("warning", 1)}
    assert "Cyrillic" in str(report)
    tagged = check(read([(["the", "cat"], ["B-X", "O"])], TOKEN), tokenizer=bert)
    assert tagged.splits[0].tokens == (4,) * 7


def test_the_same_file_twice(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text,label\none,x\ntwo,y\n")
    assert kinds(check(read(tmp_path / "a.csv"), test=read(tmp_path / "b.csv"))) == {"same-file": ("error", 2)}


def test_real_data(data_folder: Path) -> None:
    folder = data_folder / "classification" / "banking77"
    report = check(read(folder / "train.csv"), test=read(folder / "test.csv"))
    assert report.ok
    leak = next(finding for finding in report.findings if finding.kind == "leak")
    assert leak.count == 7
