"""What a decoder is taught: conversations in their forms, prompts, texts, source trees; what is said of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handloom.data.check import check
from handloom.data.examples import GENERATION, GenerationExample
from handloom.data.readers import read
from handloom.data.recognition import task_of
from handloom.data.results import result_rows
from handloom.data.trees import PART
from handloom.errors import HandloomError

SAID = [("user", "Hi, 你好"), ("assistant", "Hello 🙂")]


def turns(example: GenerationExample) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in example.turns]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def test_forms_of_the_same_conversation(tmp_path: Path) -> None:
    plain = [{"role": role, "content": content} for role, content in SAID]
    shared = [{"from": role, "value": content} for role, (_, content) in zip(("human", "gpt"), SAID, strict=True)]
    rows = [
        {"messages": plain, "id": 7}, {"conversations": shared}, {"conversations": plain},
        {"instruction": SAID[0][1], "input": "", "output": SAID[1][1]},
        {"prompt": plain[:1], "completion": plain[1:]}, {"prompt": plain[:1], "completion": SAID[1][1]},
    ]  # fmt: skip
    found = read(write(tmp_path / "x.jsonl", *rows), GENERATION)
    assert [turns(example) for example in found] == [SAID] * len(rows)
    assert found.notes == ("5 conversations", "1 conversation (instruction, output)")
    assert task_of(tmp_path / "x.jsonl") == GENERATION
    assert check(found).ok
    assert found[0].extra == {"id": 7} and found[0].where.endswith("x.jsonl:1")
    assert [turns(e) for e in read([plain, {"messages": plain}], GENERATION)] == [SAID, SAID]
    assert found[0].answer == "Hello 🙂" and found[0].asked == found[0].turns[:1]


def test_alpaca_with_all_that_it_may_have() -> None:
    row = {"instruction": "Translate.", "input": "chat", "output": "猫", "system": "Be brief.",
           "history": [["Hi", "Hello"]]}  # fmt: skip
    [example] = read([row], GENERATION)
    assert turns(example) == [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Translate.\n\nchat"),
        ("assistant", "猫"),
    ]  # fmt: skip


def test_prompts_and_texts(tmp_path: Path) -> None:
    rows = [{"prompt": "a: ", "completion": "b", "n": 1}, {"text": "c"}]
    found = read(write(tmp_path / "x.jsonl", *rows), GENERATION)
    assert [(e.prompt, e.target, e.answer) for e in found] == [("a: ", "b", "b"), ("", "c", None)]
    assert found.notes == ("1 prompt with what follows", "1 text")
    assert [(e.prompt, e.target) for e in read([("a", "b"), "c"], GENERATION)] == [("a", "b"), ("", "c")]
    table = tmp_path / "x.csv"
    table.write_text("frage,antwort\na,b\n", "utf-8")
    [named] = read(table, GENERATION, text_column="frage", label_column="antwort")
    assert (named.prompt, named.target) == ("a", "b")
    assert [e.prompt for e in read(["go on"], GENERATION, labelled=False)] == ["go on"]


def test_where_nothing_is_learnt_replies_are_left_out() -> None:
    said = [{"role": role, "content": content} for role, content in SAID]
    found = read([{"messages": said, "id": 1}, {"prompt": "a", "completion": "b"}], GENERATION, labelled=False)
    assert [len(e.turns) for e in found] == [1, 0] and [e.answer for e in found] == [None, None]
    rows = result_rows(found.examples, [{"written": "x"}, {"written": "y"}])
    assert rows[0] == {"messages": said[:1], "written": "x", "id": 1}
    assert rows[1] == {"text": "a", "written": "y", "completion": "b"}


def user(content: Any = "a", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


HELPER = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [user(), HELPER, HELPER]}, "turns 2 and 3 are both the assistant's"),
        ({"messages": [user()]}, "the assistant says nothing"),
        ({"messages": []}, "a conversation without turns"),
        ({"messages": [user(), {"role": "tool", "content": "x"}, HELPER]}, "turn 2 is of the role 'tool'"),
        ({"messages": [user(" "), HELPER]}, "turn 1 (user) is empty"),
        ({"messages": [user(3), HELPER]}, "turn 1 should say a text, not 3"),
        ({"messages": [user(None), HELPER]}, "turn 1 should say a text, not None"),
        ({"messages": "Hi"}, "messages should be a list, not 'Hi'"),
        ({"messages": [user(), "b"]}, "turn 2 should be"),
        ({"messages": [user(), {"role": "system", "content": "s"}, HELPER]}, "turn 2 is the system's"),
        ({"instruction": "a", "output": ""}, "turn 2 should say a text|turn 2 (assistant) is empty"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "history should hold pairs of texts"),
        ({"prompt": "a", "completion": ""}, "nothing to write behind the prompt"),
        ({"prompt": "a", "completion": 4}, "completion should be a text, not 4"),
        ({"text": ""}, "an empty text"),
        ({"x": "a", "y": "b"}, "what is to be learnt of this row? It has 'x', 'y'"),
    ],
)
def test_what_is_wrong_with_a_row(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"text": "fine"}, row)
    with pytest.raises(HandloomError) as caught:
        read(path, GENERATION)
    assert any(one in str(caught.value) for one in said.split("|")) and "x.jsonl:2" in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n{"messa')
    with pytest.raises(HandloomError, match=r"x.jsonl:2:\d+: malformed JSON"):
        read(path, GENERATION)


def test_a_last_turn_without_reply_is_told() -> None:
    found = read([{"messages": [user(), HELPER, user()]}], GENERATION)
    assert found.notes[-1] == ("1 conversation ends without a reply, and nothing is learnt of its last turn "
                               "(the first: row 0)")  # fmt: skip
    assert found[0].answer is None


def test_a_source_tree(tmp_path: Path) -> None:
    for name, content in {
        "a.py": b"x = 1\n", "sub/b.md": "# 你好\n".encode(), "sub/empty.py": b"", "big.txt": b"x" * (1 << 20) + b"y",
        "bad.py": b"caf\xe9\n", "zero.py": b"a\x00b", "lib.so": b"\x7fELF", ".git/config": b"x", ".hidden.py": b"x",
        "__pycache__/a.py": b"x",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    found = read(tmp_path, GENERATION)
    assert [(e.extra["file"], e.target) for e in found] == [("a.py", "x = 1\n"), ("sub/b.md", "# 你好\n")]
    assert found.notes == (
        "2 files (.py 1, .md 1)", "2 files that do not read as text are left out: bad.py, zero.py",
        "1 file of more than 1,048,576 bytes is left out: big.txt",
        "1 file of no bytes is left out: sub/empty.py", "1 file with another ending is left out (.so 1)",
    )  # fmt: skip
    (tmp_path / "a.py").write_text("x = 2\n")
    assert read(tmp_path, GENERATION).source.sha256 != found.source.sha256
    with pytest.raises(HandloomError, match="holds no text that could be learnt"):
        (tmp_path / "none").mkdir()
        read(tmp_path / "none", GENERATION)
    with pytest.raises(HandloomError, match="is a folder; what is to be gone on with"):
        read(tmp_path, GENERATION, labelled=False)


@pytest.mark.parametrize("size", [1, 2 * PART, 2 * PART + 1, 7 * PART])
def test_a_long_file_is_divided_and_nothing_is_lost(size: int, tmp_path: Path) -> None:
    text = "".join(f"line {i}\n" + "\n" * (i % 7 == 0) for i in range(size))[:size]
    (tmp_path / "x.txt").write_text(text or "x", "utf-8")
    found = read(tmp_path / "x.txt", GENERATION)
    assert "".join(str(e.target) for e in found) == text
    assert [e.goes_on for e in found] == [True] * (len(found) - 1) + [False]
    assert (len(found) > 1) == (size > 2 * PART) and all(len(str(e.target)) <= 2 * PART for e in found)
    (tmp_path / "x.py").write_text('{"a": 1}\n')  # a program may begin like JSON
    assert read(tmp_path / "x.py", GENERATION)[0].target == '{"a": 1}\n'
