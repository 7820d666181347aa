"""Options that are for some tasks alone: of reading, of a training, and of what a trained model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from handloom.data.examples import (
    CHOICE,
    GENERATION,
    QUESTION,
    RELATION,
    SIMILARITY,
    SUMMARIZATION,
    TEXT,
    TOKEN,
    TRANSLATION,
)
from handloom.errors import UsageError

LABELLED = (TEXT, TOKEN, RELATION)
REWRITING = (TRANSLATION, SUMMARIZATION)

MEANT_FOR: Mapping[str, tuple[str, ...]] = {
    "targets": REWRITING,
    "valid_targets": REWRITING,
    "test_targets": REWRITING,
    "pair_column": (TEXT, QUESTION, SIMILARITY, CHOICE),
    "problem": (TEXT,),
    "label_separator": (TEXT,),
    "label_order": (TEXT,),
    "none_label": (TEXT,),
    "class_weights": LABELLED,
    "label_smoothing": (*LABELLED, *REWRITING, GENERATION),
    "long": (TEXT, TOKEN, QUESTION, CHOICE, GENERATION),
    "refuse": (TEXT,),
    "longest_answer": (QUESTION,),
    "subwords": (TOKEN,),
    "crf": (TOKEN,),
    "pooling": (SIMILARITY,),
    "symmetric": (SIMILARITY,),
    "score_range": (SIMILARITY,),
    "prompt": REWRITING,
    "top": (TEXT, QUESTION),
    "beams": REWRITING,
    "max_new_tokens": (GENERATION,),
}
"""The tasks of an option; one that is not here is for all of them."""


def check(task: str, given: Iterable[str]) -> None:
    """UsageError for the first of the options that is for other tasks than this one."""
    for name in given:
        tasks = MEANT_FOR.get(name, (task,))
        if task not in tasks:
            *others, last = tasks
            raise UsageError(f"{name} is for {' and '.join(filter(None, (', '.join(others), last)))}, not {task}")
