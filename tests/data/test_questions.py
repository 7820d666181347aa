from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handloom.data.check import check
from handloom.data.documents import cut_into_paragraphs, read_paragraphs
from handloom.data.examples import QUESTION, QuestionExample
from handloom.data.readers import read
from handloom.data.recognition import task_of
from handloom.data.split import split
from handloom.errors import HandloomError

CONTEXT = "Zoë 🚲 rode from 北京 to Rome, and from Rome home."
CITY, FIRST_ROME, LAST_ROME = (16, 18), (22, 26), (37, 41)
assert [CONTEXT[slice(*place)] for place in (CITY, FIRST_ROME, LAST_ROME)] == ["北京", "Rome", "Rome"]


def squad(*questions: dict[str, Any], **more: Any) -> dict[str, Any]:
    paragraph = {"context": CONTEXT, "qas": list(questions)}
    return {"version": "1.1", "data": [{"title": "T", "paragraphs": [paragraph]}], **more}


def asked(**more: Any) -> dict[str, Any]:
    return {"id": "q7", "question": "Whence?", "answers": [{"text": "北京", "answer_start": 16}], **more}


def one(found: Any) -> tuple[Any, ...]:
    assert len(found) == 1
    return found[0].question, found[0].context, found[0].answers


@pytest.mark.parametrize("indent", [None, 1])
def test_squads_form(indent: int | None, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    several = asked(id="q8", answers=[{"text": " Rome", "answer_start": 21}, {"text": "Rome", "answer_start": 37}])
    none = asked(id="q9", answers=[], is_impossible=True, plausible_answers=[{"text": "Zoë", "answer_start": 0}])
    path.write_text(json.dumps(squad(asked(), several, none), indent=indent), "utf-8")
    found = read(path, QUESTION)
    assert [e.answers for e in found] == [(CITY,), (FIRST_ROME, LAST_ROME), ()]
    assert found[1].answer_texts == ["Rome", "Rome"] and found[0].extra == {"title": "T", "id": "q7"}
    assert found[0].where.startswith(str(path)) and found[0].where.endswith("paragraph 0 question 'q7'")
    assert "3 questions about 1 text" in found.notes
    assert "1 of 3 questions has no answer in its text" in found.notes
    assert task_of(path) == QUESTION
    assert [e.answers for e in read(path, QUESTION, labelled=False)] == [None] * 3
    assert check(found).ok


def test_an_id_that_several_questions_have(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(squad(asked(), asked(id="q8"), asked(question="Where?"))), "utf-8")
    places = (f"{path}:1 article 0 paragraph 0 question {number}" for number in (0, 2))
    assert f"1 id stands more than once, such as 'q7' ({' and '.join(places)})" in read(path, QUESTION).notes
    rows = [asked(context=CONTEXT, id=number // 2) for number in range(5)]
    assert "2 ids stand more than once, such as '0' (row 0 and row 1)" in read(rows, QUESTION).notes
    assert not any("more than once" in note for note in read(rows[1:3], QUESTION).notes)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Whence?", "context": CONTEXT, "answers": {"text": ["北京"], "answer_start": [16]}},
        {"question": "Whence?", "context": CONTEXT, "answers": [{"text": "北京", "answer_start": 16}]},
        {"query": "Whence?", "passage": CONTEXT, "answer": "北京", "start": 16},
        {"问题": "Whence?", "原文": CONTEXT, "答案": "北京"},
        {"context_text": CONTEXT, "qas": [{"query_id": "2", "query_text": "Whence?", "answers": ["北京"]}]},
        ("Whence?", CONTEXT, "北京"),
        ("Whence?", CONTEXT, {"text": "北京", "start": 16}),
        ("Whence?", CONTEXT, "北京", 16),
        QuestionExample("Whence?", CONTEXT, (CITY,)),
        squad(asked()),
    ],
)
def test_forms_of_the_same_row(row: Any, tmp_path: Path) -> None:
    wanted = ("Whence?", CONTEXT, (CITY,))
    assert one(read([row], QUESTION)) == wanted
    if isinstance(row, dict):
        path = tmp_path / "x.jsonl"
        path.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
        assert one(read(path, QUESTION)) == wanted
        assert one(read(path, QUESTION, labelled=False)) == (*wanted[:2], None)


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('question,context,answer,answer_start,is_impossible\nwhat,"a b b",b,4,\nwhy,a b,,,true\n', "utf-8")
    assert [e.answers for e in read(path, QUESTION)] == [((4, 5),), ()]
    cell = '"{""text"": [""b""], ""answer_start"": [2]}"'
    path.write_text(f'q,c,given\nwhat,"a b b",{cell}\nwhy,a b,[]\n', "utf-8")
    found = read(path, QUESTION, text_column="q", pair_column="c", label_column="given")
    assert [e.answers for e in found] == [((2, 3),), ()]


def test_an_answer_without_a_place_that_stands_twice() -> None:
    found = read([("Where?", CONTEXT, "Rome"), ("Whence?", CONTEXT, "北京")], QUESTION)
    assert found[0].answers == (FIRST_ROME,)
    assert "1 answer without a place is taken where it stands first" in found.notes
    assert one(read([("Where?", CONTEXT)], QUESTION, labelled=False)) == ("Where?", CONTEXT, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (squad(asked(answers=[{"text": "北京", "answer_start": 17}])),
         "question 'q7': at character 17 of the text stands '京 ', and not the answer '北京', which stands at 16"),
        (squad(asked(answers=[{"text": "Rome", "answer_start": 16}])), "which stands in 2 other places"),
        (squad(asked(answers=[{"text": "Paris", "answer_start": 16}])), "which stands nowhere in the text"),
        (squad(asked(answers=[{"text": "Rome", "answer_start": -4}])), "at character -4 of the text stands nothing"),
        (squad(asked(answers=[{"text": "Rome", "answer_start": 10**9}])), "stands nothing"),
        (squad(asked(answers=[{"text": "Rome", "answer_start": 1.5}])), "should be a whole number, not 1.5"),
        (squad(asked(answers=[{"text": "", "answer_start": 1}])), "an answer should be a text, not ''"),
        (squad(asked(is_impossible=True)), "is_impossible, and yet an answer is given: '北京'"),
        (squad(asked(is_impossible="maybe")), "is_impossible should be true or false, not 'maybe'"),
        (squad(asked(answers=None)), "an empty answer"),
        (squad(asked(question=" ")), "an empty question (column 'question')"),
        (squad(asked(question=7)), "should hold a text, not 7"),
        ({"data": [{"paragraphs": "none"}]}, "'paragraphs' should be a list of objects"),
        ({"data": [{"paragraphs": [{"context": "a", "qas": [7]}]}]}, "'qas' should be a list of objects"),
        ({"data": [{"title": "t"}, *squad(asked())["data"]]}, "article 0: 'paragraphs' is missing"),
        ({"data": [{"paragraphs": [{"context": "a"}]}]}, "article 0 paragraph 0: 'qas' is missing"),
        ({"data": []}, "holds no questions"),
        (("q", "", "a"), "the answer 'a' does not stand in the text"),
        (("q", "", []), "an empty context (column 'context')"),
        (("q", "a b", "c"), "'c' does not stand in the text"),
        (("q", "a b", {"text": ["a", "b"], "answer_start": [0]}), "has 2 texts and 1 place"),
        ({"question": "q", "context": "c"}, "which column holds the answers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row(row: Any, said: str) -> None:
    with pytest.raises(HandloomError) as caught:
        read([row], QUESTION)
    assert said in str(caught.value)


def test_a_truncated_file_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(squad(asked()))[:-20], "utf-8")
    with pytest.raises(HandloomError, match=r"x\.json:1:\d+: malformed JSON"):
        read(path, QUESTION)


def test_questions_about_one_text_fall_on_one_side() -> None:
    rows = [(f"question {i}", f"text {i % 5}", "text") for i in range(40)]
    sides = split(read(rows, QUESTION), (0.6, 0.4))
    assert not {e.context for e in sides[0]} & {e.context for e in sides[1]} and sum(map(len, sides)) == 40


def test_paragraphs_and_their_places(tmp_path: Path) -> None:
    long = "x" * 70
    text = f"\n  Heading\n\n{long} 北京\n \n{long}é\n\n\nend"
    found = cut_into_paragraphs(text)
    assert [p.text for p in found] == [f"Heading\n\n{long} 北京", f"{long}é", "end"]
    assert all(text[p.start : p.start + len(p.text)] == p.text for p in found)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.md").write_text(text, "utf-8")
    (tmp_path / "a.txt").write_text("one", "utf-8")
    (tmp_path / "empty.txt").write_text("", "utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "c.txt").write_text("hidden", "utf-8")
    there = read_paragraphs(tmp_path)
    assert [(Path(p.document).name, p.text[:3]) for p in there.paragraphs] == [
        ("a.txt", "one"), ("b.md", "Hea"), ("b.md", "xxx"), ("b.md", "end")
    ]  # fmt: skip
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\x00")
    assert read_paragraphs(tmp_path).notes[2] == "not read, as they are no text: 1 (broken.txt)"
    with pytest.raises(HandloomError, match=r"broken\.txt"):
        read_paragraphs(tmp_path / "broken.txt")
    (tmp_path / "broken.txt").unlink()
    assert there.notes == (
        f"paragraphs: 4, files with text: 2, of {tmp_path}",
        "not read, as they are not .txt, .md, .rst, .text, or hidden: 2 (.git/c.txt, picture.png)",
        "without text: 1 (empty.txt)",
    )
    listed = read_paragraphs(["a", " ", "b"])
    assert [p.text for p in listed.paragraphs] == ["a", "b"]
    assert listed.notes == ("blank, and passed over: 1 of 3 paragraphs",)
    assert read_paragraphs(tmp_path / "a.txt").notes == (f"paragraphs: 1, files with text: 1, of {tmp_path / 'a.txt'}",)
    with pytest.raises(HandloomError, match="there are no paragraphs"):
        read_paragraphs([" "])
    (tmp_path / "in" / "b.md").rename(tmp_path / "in" / "b.doc")
    with pytest.raises(HandloomError, match="holds no text files"):
        read_paragraphs(tmp_path / "in")


def test_what_should_have_an_answer_has_one() -> None:
    row = {"question": "q", "context": "c", "answers": [], "is_impossible": False}
    with pytest.raises(HandloomError, match="is_impossible is false, and yet there is no answer"):
        read([row], QUESTION)
    assert read([{**row, "is_impossible": True}, {**row, "is_impossible": None}], QUESTION)[1].answers == ()
