"""MultipleChooser: the right one of several answers, learnt from examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handloom.data.examples import CHOICE
from handloom.errors import UsageError
from handloom.tasks.multiple_choice import Choice, MultipleChoice
from handloom.tasks.task import Task
from handloom.train.datasets import Sets
from handloom.train.estimator import Estimator
from handloom.train.settings import Settings


class MultipleChooser(Estimator):
    """Which of several answers to a question is right. (Without training: `LikelihoodChooser`.)"""

    task_name = CHOICE

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        return MultipleChoice()

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        return MultipleChoice()

    def predict(self, data: Any, **reading: Any) -> Choice | list[Choice]:
        """(question, choices) or (context, question, choices), one row as a dict, a list of such, a path or a data
        set."""
        if isinstance(data, str):
            raise UsageError("a question has choices: predict((question, [choice, …]))")
        found: Choice | list[Choice] = super().predict(data, **reading)
        return found

    def command(self, run: str) -> str:
        return f'handloom choose {run} "…" --choice "…" --choice "…"'
