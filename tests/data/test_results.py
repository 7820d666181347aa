"""Rows that are printed: the prediction and what came with the text."""

from __future__ import annotations

from handloom.data.examples import TextExample
from handloom.data.results import result_rows


def test_own_columns_stay_and_give_way() -> None:
    examples = [TextExample("a", extra={"id": 7, "label": "x", "label_given": "y"}), TextExample("b", pair="c")]
    assert result_rows(examples, [{"label": "pos", "scores": {}}, {"label": "neg", "scores": {}}]) == [
        {"text": "a", "label": "pos", "scores": {}, "id": 7, "label_given_given": "x", "label_given": "y"},
        {"text": "b", "pair": "c", "label": "neg", "scores": {}},
    ]
