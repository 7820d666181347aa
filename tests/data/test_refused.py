"""What readers refuse, and in which words: what was wrong, in which file and line, what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_readers import write

from handloom.data.examples import QUESTION, RELATION, TEXT, TOKEN
from handloom.data.readers import read
from handloom.errors import HandloomError


def bad(name: str, content: str | bytes, message: str, task: str = TEXT, **options: Any) -> Any:
    return pytest.param(name, content, message, task, options, id=message[:40])


wrong = [
    bad("x.csv", "", r"x\.csv is empty \(0 bytes\)"),
    bad("x.csv", " \n\n", "holds no text, only blanks"),
    bad("x.csv", "text,label\n", "holds a header and no rows: 'text', 'label'"),
    bad("x.csv", "text,label\na,b\n", r"has no column 'txet' \(--text-column\); there are 'text', 'label'\. Did you "
        "mean 'text'", text_column="txet"),
    bad("x.csv", "foo,bar,baz\na,b,c\n", "which column is the text? There are 'foo', 'bar', 'baz'".replace("?", r"\?")),
    bad("x.csv", "text,id,day\na,b,c\n", "which column is the label"),
    bad("x.csv", "text,label\na,b\nc,d,e\n", r"x\.csv:3: 3 fields where there should be 2 \(text, label\)"),
    bad("x.csv", 'text,label\n"a\nb",c\nd\n', r"x\.csv:4: 1 field where"),
    bad("x.csv", 'text,label\n"a,b\n', r"x\.csv:2: unexpected end of data"),
    bad("x.csv", "text,label\na,\n ,b\nc,d\ne, \n", r"1 row with an empty text \(column 'text'\): .*x\.csv:3\."),
    bad("x.csv", "text,label\na,\nb,\nc,d\n", r"2 rows with an empty label \(column 'label'\): .*x\.csv:2, .*\.csv:3"),
    bad("x.csv", "text,label\na,b\n", "a delimiter is one character", delimiter="::"),
    bad("x.csv", "text,label\na,b\n", "there is no such encoding", encoding="utf-9"),
    bad("x.csv", "text,label\na,b\n", "there is no such encoding", encoding="base64"),
    bad("x.jsonl", '{"text": "a", "label": "b"}\n{"text": "a", "label"}\n', r"x\.jsonl:2:22: malformed JSON"),
    bad("x.jsonl", '{"text": "a", "label": "b"}\n[1]\n', r"x\.jsonl:2: a row should be an object"),
    bad("x.jsonl", '{"text": "a", "label": "b"\n', r"x\.jsonl:1:27: malformed JSON"),
    bad("x.jsonl", '{"text": "a", "label": ["b"]}', r"one label is needed \(--problem several reads lists of labels\)",
        problem="one"),
    bad("x.json", '[{"text": "a"},\n{"text" "b"}]', r"x\.json:2:9: malformed JSON"),
    bad("x.json", "[]", "holds an empty list"),
    bad("x.json", '{\n"a": 1}', "should hold a list of rows.*one object with a"),
    bad("x.jsonl", '{"text": "a", "label": ["x", "y"]}', r"x\.jsonl:1: the label .* is a list.*--problem several",
        problem="one"),
    bad("x.jsonl", '{"text": {"a": 1}, "label": "x"}', r"x\.jsonl:1: column 'text' should hold text, but holds a dict"),
    bad("x.conll", "a\tO\n", "holds words with tags; that is data for token-classification"),
    bad("x.conll", "a\tO\nb\n", r"x\.conll:2: too few fields: 1 where the other lines have 2, separated by a tab: 'b'",
        TOKEN),
    bad("x.conll", "a O\nb c O\nd O\n", r"x\.conll:2: too many fields: 3 where the other lines have 2", TOKEN),
    bad("x.conll", "a\nb\n", r"x\.conll:1: 1 field \('a'\); a line should hold a word and its tag", TOKEN),
    bad("x.conll", "a\tO\nb\t\n", r"1 row with an empty tag: .*x\.conll:2", TOKEN),
    bad("x.jsonl", '{"tokens": ["a", "b"], "tags": ["O", ""]}', r"an empty tag: .*x\.jsonl:1 word 2\.", TOKEN),
    bad("x.conll", "# only\n\n", "holds no words", TOKEN),
    bad("x.conll", "a B-X\nb Y\nc I-X\n", r"x\.conll:2: The tags mix two ways", TOKEN),
    bad("x.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}', r"x\.jsonl:1: 2 words and 1 tag; one each", TOKEN),
    bad("x.jsonl", '{"tokens": ["a", "b"], "x": 1}', r"which column holds the tags \(one for each token\)", TOKEN),
    bad("x.jsonl", '{"foo": 1}', "which column holds the tokens or the text", TOKEN),
    bad("x.jsonl", '{"text": "abc", "spans": [{"start": 0, "end": 9, "label": "A"}]}',
        r"x\.jsonl:1: the span 0–9 \(A\) does not fit a text of 3 characters", TOKEN),
    bad("x.jsonl", '{"text": "abc", "spans": [[0, 2, "A"], [1, 3, "B"]]}', r"x\.jsonl:1: .* overlap", TOKEN),
    bad("x.jsonl", '{"text": "abc", "spans": [[0, 2.5, "A"]]}', "end of the span .* should be a whole number", TOKEN),
    bad("x.jsonl", '{"text": "abc", "spans": [[0, 2, " "]]}', "has no label", TOKEN),
    bad("x.jsonl", '{"text": "ab", "entities": []}\n{"text": "ab", "label": [[0, 1, "A"]]}',
        r"1 row with no 'entities': .*x\.jsonl:2\. \[\] says that a text has no spans", TOKEN),
    bad("x.jsonl", '{"text": ' + "[" * 100_000, r"x\.jsonl: malformed JSON: lists and objects lie too deep"),
    bad("x.json", "[" * 100_000, r"x\.json: malformed JSON: lists and objects lie too deep"),
    bad("x.jsonl", '{"text": "a", "label": "x", "text": "b"}', r"x\.jsonl:1:1: .*the name 'text' stands twice"),
    bad("x.json", '[{"text": "a", "label": "x", "label": "y"}]', r"x\.json: .*the name 'label' stands twice"),
    bad("x.jsonl", '{"text": "abc", "spans": [[0, 2, ["A"]]]}', r"x\.jsonl:1: the label of the span", TOKEN),
    bad("x.jsonl", '{"text": "a  b", "spans": [[1, 3, "A"]]}', r"x\.jsonl:1: the span 1–3 .* but blanks", TOKEN),
    bad("x.jsonl", '{"tokens": ["a", null], "tags": ["O", "O"]}', "column 'tokens' should hold words", TOKEN),
    bad("x.jsonl", '{"text": "a b", "head": [true, 1], "tail": [2, 3], "relation": "x"}', "should be a place",
        RELATION),
    bad("x.conll", "a B-X\nb O\n\nc 3\nd O\n", r"x\.conll:4: The tags mix two ways", TOKEN),
    bad("x.jsonl", '{"text": "a b", "head": {"start": 0, "end": 1, "text": "b"}, "tail": [2, 3], "relation": "x"}',
        r"x\.jsonl:1: column 'head': the place 0 to 1 should read 'b', but there stands 'a'", RELATION),
    bad("x.jsonl", '{"text": "a b", "head": [0, 1], "tail": [2, 3], "relation": ["x"]}',
        r"x\.jsonl:1: the label \(column 'relation'\) is a list: \['x'\]; one label is needed$", RELATION),
    bad("x.json", '{"version": "1.1", "data": {}}', "'data' should be a list of objects, unlike in SQuAD", QUESTION),
    bad("x.txt", '1\t"<e1>a</e1> <e2>b</e2>"\nEats(e3,e2)\n',
        r"x\.txt:2: the relation 'Eats\(e3,e2\)' has the direction '\(e3,e2\)'; there are \(e1,e2\) and",
        RELATION),
    bad("x.jsonl", '{"text": "<e1>a</e1> <e2>b</e2>", "relation": "Eats(e1, e2)"}',
        r"x\.jsonl:1: .*'\(e1, e2\)'", RELATION),
    bad("x.jsonl", '{"tokens": ["Anna", "", "lives"], "tags": ["B-P", "O", "O"]}',
        r"1 row with an empty word: .*x\.jsonl:1 word 2\. Remove it", TOKEN),
    bad("x.jsonl", '["a", "x"]\n["b", "y"]\n', r"x\.jsonl:1: a row should be an object"),
    bad("x.json", "[" + "1" * 5000 + "]", r"x\.json: malformed JSON: a number of 5,000 digits"),
    bad("x.jsonl", '{"text": "a\\ud83d", "label": "x"}', r"1 row with half of a character .*x\.jsonl:1\."),
    bad("x.jsonl", '{"text": "abc", "spans": null}', r"1 row with no 'spans': .*x\.jsonl:1\. \[\] says", TOKEN),
    bad("x.jsonl", '{"text": "abc", "spans": [3]}', "3 is no span", TOKEN),
    bad("x.jsonl", '{"text": "abc", "spans": "PER"}', "should be a list of spans", TOKEN),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message", "task", "options"), wrong)
def test_errors_say_what_and_where(
    name: str, content: str | bytes, message: str, task: str, options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(HandloomError, match=message):
        read(write(tmp_path, name, content), task, **options)
