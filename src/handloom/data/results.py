"""Predictions beside what they were made of, as `predict --json` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handloom.data.examples import ChoiceExample, GenerationExample, QuestionExample

GIVEN = "_given"  #: stands behind the name of an input's column that a prediction has, too


def result_rows(examples: Sequence[Any], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One dict an example: its text (and pair; or its question and context), the prediction, and the input's other
    columns.

    An input's own column called as one of these (`label`, say) is kept as `label_given`.
    """
    rows = []
    for example, prediction in zip(examples, found, strict=True):
        row = {**_given(example), **prediction}
        taken = set(row) | set(example.extra)
        for name, value in example.extra.items():
            row[_free(name, taken) if name in row else name] = value
        rows.append(row)
    return rows


def _given(example: Any) -> dict[str, Any]:
    if isinstance(example, QuestionExample):
        return {"question": example.question, "context": example.context}
    if isinstance(example, ChoiceExample):
        context = {"context": example.context} if example.context else {}
        return {**context, "question": example.question, "choices": list(example.choices)}
    if isinstance(example, GenerationExample):
        if example.turns:
            return {"messages": [{"role": turn.role, "content": turn.content} for turn in example.asked]}
        return {"text": example.prompt}
    return {"text": example.text, **({} if example.pair is None else {"pair": example.pair})}


def _free(name: str, taken: set[str]) -> str:
    """`name` with the ending, as often as it takes to be free."""
    while name in taken:
        name += GIVEN
    taken.add(name)
    return name
