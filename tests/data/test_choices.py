"""Questions with choices: the columns of well-known data sets, what an answer may be, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handloom.data.check import check
from handloom.data.examples import CHOICE, ChoiceExample
from handloom.data.readers import read
from handloom.data.results import result_rows
from handloom.data.split import split
from handloom.errors import HandloomError

FORMS: dict[str, tuple[dict[str, Any], ChoiceExample]] = {
    "plain": ({"question": "q", "choices": ["a", "b"], "answer": 1}, ChoiceExample("q", ("a", "b"), 1)),
    "swag": (
        {"sent1": "s1", "sent2": "He", "ending0": "a", "ending1": "b", "ending2": "c", "ending3": "d", "label": 2},
        ChoiceExample("He", ("a", "b", "c", "d"), 2, "s1"),
    ),
    "hellaswag": (
        {"ctx": "s", "endings": ["a", "b", "c", "d"], "label": "3"},
        ChoiceExample("", ("a", "b", "c", "d"), 3, "s"),
    ),
    "race": (
        {"article": "s", "question": "q", "options": ["a", "b", "c", "d"], "answer": "C"},
        ChoiceExample("q", ("a", "b", "c", "d"), 2, "s"),
    ),
    "copa": (
        {"premise": "s", "choice1": "a", "choice2": "b", "question": "effect", "label": 0},
        ChoiceExample("What happened as a result?", ("a", "b"), 0, "s"),
    ),
    "commonsense_qa": (
        {"question": "q", "choices": {"label": ["A", "B", "C"], "text": ["x", "y", "z"]}, "answerKey": "B"},
        ChoiceExample("q", ("x", "y", "z"), 1),
    ),
    "arc": (
        {"question": {"stem": "q", "choices": [{"text": "x", "label": "1"}, {"text": "y", "label": "2"}]},
         "answerKey": "2"},
        ChoiceExample("q", ("x", "y"), 1),
    ),
    "letters": ({"question": "q", "A": "a", "B": "b", "C": "c", "answer": "c"}, ChoiceExample("q", ("a", "b", "c"), 2)),
    "texts": ({"question": "q", "choices": ["3", "4", "1"], "answer": "1"}, ChoiceExample("q", ("3", "4", "1"), 2)),
    "chinese": ({"问题": "问", "选项": ["甲", "乙"], "答案": "乙"}, ChoiceExample("问", ("甲", "乙"), 1)),
    "fewer": (
        {"question": "q", "choice1": "a", "choice2": "b", "choice3": None, "answer": "b"},
        ChoiceExample("q", ("a", "b"), 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_well_known_data(name: str, tmp_path: Path) -> None:
    row, wanted = FORMS[name]
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    [found] = read(file, CHOICE)
    assert (found.question, found.choices, found.answer, found.context) == (
        wanted.question, wanted.choices, wanted.answer, wanted.context)  # fmt: skip
    [asked] = read(file, CHOICE, labelled=False)
    assert asked.answer is None and asked.choices == wanted.choices


def test_lists_tables_and_results(tmp_path: Path) -> None:
    [one, other] = read([("q", ["a", "b"], "a"), ("q2", ["a", "b", "c"], 2)], CHOICE)
    assert (one.answer, other.answer) == (0, 2)
    [found] = read([("s", "q", ["a", "b"], "B")], CHOICE)
    assert (found.context, found.question, found.answer) == ("s", "q", 1)
    table = tmp_path / "data.csv"
    table.write_text("question,option_a,option_b,answer,id\nq,x,y,B,7\n", encoding="utf-8")
    dataset = read(table, CHOICE)
    assert dataset[0].choices == ("x", "y") and dataset[0].answer == 1 and "1 question with 2 choices" in dataset.notes
    [row] = result_rows(dataset.examples, [{"answer": "y"}])
    assert row == {"question": "q", "choices": ["x", "y"], "answer": "y", "id": "7"}


@pytest.mark.parametrize(("row", "message"), [
    ({"question": "q", "choices": ["a"], "answer": 0}, r":1: at least 2 choices are needed"),
    ({"question": "q", "choices": "a", "answer": 0}, r":1: at least 2 choices are needed, as a list, not 'a'"),
    ({"question": "q", "choices": ["a", " "], "answer": 0}, r":1: choice 1 should be a text, not ' '"),
    ({"question": "q", "choices": ["a", 3], "answer": 0}, r":1: choice 1 should be a text, not 3"),
    ({"question": "q", "choices": ["a", "b"], "answer": 2}, r"2 is none of the 2 choices: .*A to B, or a number"),
    ({"question": "q", "choices": ["a", "b"], "answer": -1}, r"answer -1 is none of the 2 choices"),
    ({"question": "q", "choices": ["a", "b"], "answer": "x"}, r"answer 'x' is none of the 2 choices"),
    ({"question": "q", "choices": ["a", "b"], "answer": True}, r"answer True is none of the 2 choices"),
    ({"question": "q", "choices": ["a b", "a b"], "answer": "a b"}, r"'a b' stands among the choices more than once"),
    ({"question": "q", "choices": ["a", "b"], "answer": None}, r"1 row with no answer \(column 'answer'\)"),
    ({"question": " ", "choices": ["a", "b"], "answer": 0}, r"1 row with neither a question nor a context"),
    ({"question": 3, "choices": ["a", "b"], "answer": 0}, r"column 'question' should hold a text, not 3"),
    ({"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answer": "A"}, r"not as many labels"),
    ({"question": "q", "answer": 0}, r"where are the choices\?"),
    ({"choices": ["a", "b"], "answer": 0}, r"which column is the question\?"),
    ({"question": "q", "choices": ["a", "b"]}, r"which column is the answer\?"),
])  # fmt: skip
def test_what_is_wrong_is_said(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(HandloomError, match=message):
        read(file, CHOICE)


def test_questions_of_one_text_stay_together() -> None:
    data = read([(f"text {i // 4}", f"q{i}", ["a", "b"], i % 2) for i in range(80)], CHOICE)
    kept, held = split(data, (0.9, 0.1), seed=0)
    assert held and not {e.context for e in kept} & {e.context for e in held}
    assert check(data).ok


def notes_of(rows: list[dict[str, Any]]) -> tuple[list[int | None], str]:
    found = read(rows, CHOICE)
    return [one.answer for one in found], "; ".join(note for note in found.notes if "answer" in note.split(":")[0])


def test_numbers_are_counted_as_the_columns_are() -> None:
    row = {"sentence": "q", "option1": "a", "option2": "b"}
    for answers in (("1", "2"), (2, 1), ("1", "1")):
        places, note = notes_of([{**row, "answer": answer} for answer in answers])
        assert places == [int(answer) - 1 for answer in answers]
        assert "answers: numbers, counted from 1, as the columns' names are" in note
    places, note = notes_of([{**row, "answer": answer} for answer in (0, 1)])  # as in COPA
    assert places == [0, 1] and "answers: numbers, counted from 0" in note
    named = {"question": "q", "choices": {"text": ["x", "y"], "label": [1, 2]}}
    assert notes_of([{**named, "answer": answer} for answer in (2, "1")])[0] == [1, 0]
    listed = {"question": "q", "choices": ["a", "b"]}
    hint = r"from 0 to 1 is needed\. Are they counted from 1\? Then subtract 1 from all"
    for wrong, message in (({**row, "answer": 3}, "a number from 1 to 2 is needed$"), ({**listed, "answer": "2"}, hint),
                           ({**listed, "answer": 3}, "from 0 to 1 is needed$")):  # fmt: skip
        with pytest.raises(HandloomError, match=message):
            read([wrong], CHOICE)


@pytest.mark.parametrize(("choices", "answer", "place"), [(["B", "A"], "A", 1), (["2", "1", "0"], "0", 2)])
def test_a_text_counts_before_a_letter_or_a_number(choices: list[str], answer: str, place: int) -> None:
    places, note = notes_of([{"question": "q", "choices": choices, "answer": answer},
                             {"question": "q", "choices": ["a", "b", "c"], "answer": "c"}])  # fmt: skip
    assert places == [place, 2]
    assert "1 answer could be taken in two ways: a choice's name or text counts before a letter or number" in note
    assert f"(the first: {answer!r} (row 0))" in note
