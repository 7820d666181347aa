"""The suite: a table of checks, and a function that runs it over a task."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handloom.errors import UsageError
from handloom.tasks.task import Task
from handloom.testing import encoding, judging, keeping, learning, returning
from handloom.testing.subject import CheckFailed, DoesNotApply, Subject

Check = Callable[[Subject], None]

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        returning.methods_return_what_is_asked,
        encoding.features_cover_the_examples,
        encoding.long_texts_are_cut_as_asked,
        encoding.labels_are_not_needed_and_not_looked_at,
        encoding.packs_what_it_declares,
        encoding.logits_have_the_rows_that_are_counted,
        encoding.nothing_in_nothing_out,
        encoding.odd_texts_are_judged,
        encoding.unknown_labels_say_where,
        learning.loss_is_a_sum_and_a_weight,
        learning.parts_add_up_to_the_batch,
        learning.examples_without_labels_weigh_nothing,
        learning.gradients_reach_everything,
        learning.training_lowers_the_loss,
        learning.alone_or_packed_the_same_bits,
        learning.the_same_seed_the_same_bits,
        judging.predictions_are_in_the_order_of_the_examples,
        judging.predictions_are_json,
        judging.metrics_are_those_that_are_named,
        judging.scores_are_kept_as_they_are,
        judging.perfect_predictions_have_the_best_scores,
        judging.counts_agree_with_scores,
        keeping.settings_are_json,
        keeping.what_is_saved_is_what_was_trained,
        keeping.a_training_that_was_stopped_ends_with_the_same_bits,
    )
}
"""By name. Each raises CheckFailed, or DoesNotApply where a task has nothing that it could look at."""


def check_task(
    task: Task, examples: Sequence[Any], model: str | os.PathLike[str], **about: Any
) -> dict[str, str]:
    """Run every check over a task, as `Subject` takes it; {name of a check: "", or why it does not apply}.

    task: an instance. examples: some six to twenty labelled ones, as objects or as `fit` takes them, two or more of
    every label, one of twenty tokens or more. model: a tiny model that knows their words, a folder or a name. Raises
    CheckFailed, which names all checks that failed and says in what; where the first fails, the others are not run, for
    they would trip over the same. It takes some seconds with a tiny model and half a minute with MiniLM-L6; in pytest,
    parametrise over CHECKS and share a Subject to see them one by one.
    """
    if isinstance(task, type):
        raise UsageError(f"the checks take an instance: {task.__name__}(…), not the class")
    if len(examples) < 2:
        raise UsageError(f"there are {len(examples)} examples: the checks compare some, two of every label")
    subject = Subject(task, examples, model, **about)
    found, failed = {}, []
    for name, check in CHECKS.items():
        try:
            check(subject)
            found[name] = ""
        except DoesNotApply as reason:
            found[name] = str(reason)
        except CheckFailed as problem:
            failed.append(f"{name}: {problem}")
        except Exception as problem:
            failed.append(f"{name}: {type(problem).__name__}: {problem}{_place(task, problem)}")
        if failed and check is returning.methods_return_what_is_asked:
            left = f"fails {name}, and the other {len(CHECKS) - 1} checks were not run"
            raise CheckFailed(f"{type(task).__name__} {left}:\n{failed[0]}")
    if failed:
        raise CheckFailed(f"{type(task).__name__} fails {len(failed)} of {len(CHECKS)} checks:\n" + "\n".join(failed))
    return found


def _place(task: Task, problem: Exception) -> str:
    """Where in the file of the task's class an error came up."""
    own = inspect.getsourcefile(type(task))
    lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == own]
    return f" ({own}:{lines[-1]})" if lines else ""
