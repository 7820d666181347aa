"""Relations: SemEval's form, rows with marks or offsets, and what is said when they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.data.examples import RELATION, RelationExample
from handloom.data.readers import read
from handloom.data.recognition import task_of
from handloom.data.relations import unmarked
from handloom.data.texts import text_key
from handloom.errors import HandloomError

TEXT = "The cat ate a fish."
CAT, FISH = (4, 7), (14, 18)
MARKED = "The <e1>cat</e1> ate a <e2>fish</e2>."
SEMEVAL = f"""1\t"{MARKED}"
Eats(e1,e2)
Comment: plain

2\t"A <e2>鱼</e2> was eaten by the "old" <e1>猫</e1>."
Other
"""


def one(found: Any) -> tuple[Any, ...]:
    assert len(found) == 1
    example = found[0]
    return example.text, example.first, example.second, example.label


def test_semevals_form(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(SEMEVAL.replace("\n", "\r\n"), "utf-8")
    found = read(path, RELATION)
    assert [one([example]) for example in found] == [
        (TEXT, CAT, FISH, "Eats(e1,e2)"),
        ('A 鱼 was eaten by the "old" 猫.', (27, 28), (2, 3), "Other"),
    ]
    assert found[0].extra == {"id": "1", "comment": "plain"} and found[1].where == f"{path}:5"
    assert found.source.form == "SemEval" and found.labels == ["Eats(e1,e2)", "Other"]
    assert task_of(path) == RELATION
    unlabelled = read(path, RELATION, labelled=False)
    assert [example.label for example in unlabelled] == [None, None]
    path.write_text(f'1\t"{MARKED}"\n', "utf-8")
    assert one(read(path, RELATION, labelled=False)) == (TEXT, CAT, FISH, None)


@pytest.mark.parametrize("between", ["\n", "\n\n", "\r\n"])
def test_semevals_form_without_relations(between: str, tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("".join(f'{number}\t"{MARKED}"{between}' for number in (8001, 8002, 8003)), "utf-8", newline="")
    found = read(path, RELATION, labelled=False)
    assert [one([example]) for example in found] == [(TEXT, CAT, FISH, None)] * 3
    assert [example.extra["id"] for example in found] == ["8001", "8002", "8003"]
    assert found[2].where == f"{path}:{1 + 2 * between.count(chr(10))}"


@pytest.mark.parametrize(
    "row",
    [
        {"text": MARKED, "relation": "eats"},
        {"text": TEXT, "head": list(CAT), "tail": list(FISH), "label": "eats"},
        {"sentence": TEXT, "subject": {"start": 4, "end": 7}, "object": {"start": 14, "end": 18}, "predicate": "eats"},
        {"text": TEXT, "e1": "cat", "e2": "fish", "关系": "eats"},
        (MARKED, "eats"),
        (TEXT, CAT, FISH, "eats"),
        RelationExample(TEXT, CAT, FISH, "eats"),
    ],
)
def test_forms_of_the_same_row(row: Any, tmp_path: Path) -> None:
    wanted = (TEXT, CAT, FISH, "eats")
    assert one(read([row], RELATION)) == wanted
    if isinstance(row, dict):
        path = tmp_path / "x.jsonl"
        path.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
        assert one(read(path, RELATION)) == wanted
        assert one(read(path, RELATION, labelled=False)) == (TEXT, CAT, FISH, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": TEXT, "relation": "r"}, "row 0: <e1> is missing"),
        ({"text": "<e1>a</e1> <e1>b</e1>", "relation": "r"}, "<e1> stands twice"),
        ({"text": "<e1></e1> <e2>b</e2>", "relation": "r"}, "the first place, 0 to 0, holds no text"),
        ({"text": "<e1>a <e2>b</e1> c</e2>", "relation": "r"}, "the two places overlap: 'a b' and 'b c'"),
        ({"text": "</e1>a<e1> <e2>b</e2>", "relation": "r"}, "the first place, 1 to 0"),
        ({"text": "</e1>a<e1> <e2>b</e2>", "relation": "r"}, "</e1> comes before <e1> in '</e1>a<e1> <e2>b</e2>'"),
        ({"text": "</e2>a<e2> <e1>b</e1>", "relation": "r"}, "</e2> comes before <e2>"),
        ({"text": "a", "head": [0, 1], "tail": [2, 3], "label": "r"}, "is not in a text of 1 character"),
        ({"text": TEXT, "head": [4, 7], "tail": [14, 40], "label": "r"}, "second place, 14 to 40, is not in a text"),
        ({"text": TEXT, "head": [4, 7], "tail": [-3, 4], "label": "r"}, "is not in a text"),
        ({"text": TEXT, "head": "dog", "tail": "fish", "label": "r"}, "'dog' is not in the text"),
        ({"text": TEXT, "head": "a", "tail": "fish", "label": "r"}, "'a' stands 3 times"),
        ({"text": TEXT, "head": 4, "tail": "fish", "label": "r"}, "should be a place in the text"),
        ({"text": TEXT, "head": "cat", "label": "r"}, "no column the second one"),
        ({"text": MARKED, "relation": None}, "an empty relation"),
        ({"text": MARKED}, "which column is the relation"),
        ({"text": " ", "relation": "r"}, "holds no text"),
    ],
)
def test_what_is_wrong_with_a_row(row: dict[str, Any], said: str) -> None:
    with pytest.raises(HandloomError) as caught:
        read([row], RELATION)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('1\t"<e1>a</e1> <e2>b</e2>"\n', "x.txt:1: there is no relation"),
        ('1\t"<e1>a</e1> <e2>b</e2>"\nr\ns\n', "x.txt:3: 's' is one line too many"),
        ('1\t"<e1>a</e1> <e2>b</e2>"\nr\n' + "s" * 90, f"x.txt:3: '{'s' * 59}…' is one line too many"),
        ('1\t"<e1>a</e1> <e2>b</e2>"\n2\t"<e1>a</e1> <e2>b</e2>"\n', "x.txt:1: there is no relation; after"),
        ('1\t"<e1>a</e1> <e2>b</e2>"\nr\n\nhello there\nr\n', "x.txt:4: 'hello there' should be a number"),
    ],
)
def test_what_is_wrong_with_a_file(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(content, "utf-8")
    with pytest.raises(HandloomError) as caught:
        read(path, RELATION)
    assert said in str(caught.value)


def test_a_folder_is_no_relations(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="is a folder; relation-extraction is read from a file"):
        read(tmp_path, RELATION)


words = st.text(st.characters(exclude_characters="<>", exclude_categories=("Cs",)), min_size=1).filter(str.strip)


@given(st.lists(words, min_size=5, max_size=5), st.booleans())
def test_marks_go_in_and_out(parts: list[str], swapped: bool) -> None:
    ends = [len("".join(parts[: i + 1])) for i in range(5)]
    places = [(ends[0], ends[1]), (ends[2], ends[3])]
    first, second = reversed(places) if swapped else places
    example = RelationExample("".join(parts), first, second)
    assert unmarked(example.marked("<e1>", "</e1>", "<e2>", "</e2>"), "") == (example.text, first, second)


def test_one_text_with_other_places_is_another_example() -> None:
    one, other = RelationExample(TEXT, CAT, FISH), RelationExample(TEXT, FISH, CAT)
    assert text_key(one) != text_key(other)
    assert text_key(one) == text_key(RelationExample(TEXT.upper(), CAT, FISH))


def test_a_text_alone_is_called_so() -> None:
    with pytest.raises(HandloomError, match=r"^the text: <e1> is missing"):
        read(["no marks"], RELATION, labelled=False)
    with pytest.raises(HandloomError, match=r"^text 2: <e1> is missing"):
        read([MARKED, "no marks"], RELATION, labelled=False)
