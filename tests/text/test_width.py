from __future__ import annotations

import io
import re

import numpy as np
from rich.console import Console

from handloom.cli.tables import confused_pairs, confusion_table, labels_table
from handloom.data.check import check
from handloom.data.readers import read
from handloom.tasks.scores import Scores
from handloom.text.width import filled, shown, widest
from handloom.train.report import Report, render


def test_a_chinese_character_takes_two_columns() -> None:
    assert widest([]) == 0 and widest(["loan", "银行卡"]) == 6
    assert filled("银行卡", 8) == "银行卡  " and filled("loan", 8) == "loan    " and filled("too long", 3) == "too long"


def test_odd_labels_do_not_break_tables() -> None:
    assert shown("x\ny\t\x1b[1m\u2028") == r"x\ny\t\x1b[1m\u2028" and shown("👩‍👩‍👧 e\u0301") == "👩‍👩‍👧 e\u0301"
    assert shown("x" * 41) == "x" * 39 + "…" and shown("x" * 40) == "x" * 40
    assert shown("银行卡", 6) == "银行卡" and shown("银行卡x", 6) == "银行…" and shown("a银行卡", 6) == "a银行…"
    odd = {"x\ny": "x\\ny", "银" * 300: "银" * 19 + "…"}
    row = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4.0}
    labels, matrix = dict.fromkeys(odd, row), np.array([[1, 2], [3, 4]])
    scores = Scores({}, labels=labels, confusion=matrix, confusion_labels=tuple(odd))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(labels_table(scores), confusion_table(scores), confused_pairs(scores))
    report = re.sub("<title>.*?</title>", "", render(Report("", "", "", after=scores)), flags=re.DOTALL)
    checked = str(check(read([("a b", "x\ny"), ("c d", "银" * 300), ("e f", "银" * 300)])))
    for said in (str(scores), console.export_text(), report, checked):
        assert all(cut in said for cut in odd.values()) and "x\ny" not in said
    assert max(widest([line]) for line in (checked + str(scores)).split("\n")) < 100


def test_tables_of_chinese_labels_stand_in_columns() -> None:
    row = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4.0}
    lines = str(Scores({}, labels={"银行卡": row, "loan": row})).split("\n")
    ends = [widest([line[: line.index(part)]]) for line, part in zip(lines[-2:], ("1.0000", "1.0000"), strict=True)]
    assert ends[0] == ends[1]
    said = str(check(read([("a b", "银行卡"), ("c d", "银行卡"), ("e f", "x")])))
    rows = [line for line in said.split("\n") if line.strip().startswith(("银行卡", "x "))]
    assert len({widest([line]) for line in rows}) == 1 and len(rows) == 2
