from __future__ import annotations

from handloom.data.check import check
from handloom.data.readers import read
from handloom.tasks.scores import Scores
from handloom.text.width import filled, widest


def test_a_chinese_character_takes_two_columns() -> None:
    assert widest([]) == 0 and widest(["loan", "银行卡"]) == 6
    assert filled("银行卡", 8) == "银行卡  " and filled("loan", 8) == "loan    " and filled("too long", 3) == "too long"


def test_tables_of_chinese_labels_stand_in_columns() -> None:
    row = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4.0}
    lines = str(Scores({}, labels={"银行卡": row, "loan": row})).split("\n")
    ends = [widest([line[: line.index(part)]]) for line, part in zip(lines[-2:], ("1.0000", "1.0000"), strict=True)]
    assert ends[0] == ends[1]
    said = str(check(read([("a b", "银行卡"), ("c d", "银行卡"), ("e f", "x")])))
    rows = [line for line in said.split("\n") if line.strip().startswith(("银行卡", "x "))]
    assert len({widest([line]) for line in rows}) == 1 and len(rows) == 2
