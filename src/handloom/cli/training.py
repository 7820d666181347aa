"""What `train`, `resume` and `demo` share: how a training is watched, and what is shown at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from handloom.cli.output import note, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from handloom.tasks.scores import Scores
    from handloom.train.estimator import Estimator
    from handloom.train.pretraining import Pretrained
    from handloom.train.progress import Listener


@contextmanager
def watched(run: Path) -> Iterator[Listener]:
    """A listener for the training in the block. The terminal is given back whatever happens, and after an interruption
    it is said how to go on."""
    from handloom.cli.progress import Bar
    from handloom.train import progress

    bar = Bar() if sys.stderr.isatty() else None
    try:
        yield bar or progress.Console()
    except KeyboardInterrupt:
        note(f"\nhandloom: stopped. What is there of it lies in {run}; to go on: handloom resume {run}")
        raise
    finally:
        if bar is not None:
            bar.close()


def report(estimator: Estimator, run: Path, json: bool) -> None:
    """The result of a training: one JSON object, or tables, where the model is, and what to do next."""
    scores = estimator.scores
    if json:
        print_json(
            {
                **(scores.to_dict() if scores else {"metrics": {}, "labels": {}}),
                "baselines": {name: found.metrics for name, found in estimator.baselines.items()},
                "run": str(run),
            }
        )
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if scores:
        show(console, scores, estimator.baselines)
    where(console, run)
    console.print(Text(f"  {estimator.command(quote(str(run)))}", "bold"), soft_wrap=True)


def pretrained(found: Pretrained, run: Path, json: bool) -> None:
    """The result of a pre-training: one JSON object, or a few lines."""
    if json:
        print_json({**(found.scores.to_dict() if found.scores else {"metrics": {}}), "run": str(run)})
        return
    from rich.console import Console

    console = Console()
    if found.scores is not None:
        console.print(f"\n{found.scores}", highlight=False)
    console.print(f"\nThe model is in [bold]{run}[/]{_opened(run)}.", highlight=False, soft_wrap=True)
    console.print(f"Curves and more: {run / 'report.html'}", highlight=False, soft_wrap=True)
    command = "fill-mask" if found.task == "fill-mask" else "generate"
    console.print(f'To use it:\n  [bold]handloom {command} {run} "…"[/]', highlight=False)


def _opened(run: Path) -> str:
    """Who else opens a model: nobody, where the family is our own."""
    from handloom.models.registry import load_config
    from handloom.models.rnn import MODEL_TYPE

    return "" if load_config(run).model_type == MODEL_TYPE else "; transformers opens it as it is"


def show(console: Console, scores: Scores, baselines: Mapping[str, Scores]) -> None:
    """Baselines beside the model, then all the tables of its scores."""
    from rich.padding import Padding

    from handloom.cli.tables import comparison_table, show_scores

    if baselines:
        console.print(Padding(comparison_table(scores, baselines), (1, 0, 0, 0)))
    show_scores(console, scores)


def where(console: Console, run: Path) -> None:
    """Where the model lies. The command to go on with is printed by the caller."""
    console.print(f"\nThe model is in [bold]{run}[/]{_opened(run)}.", highlight=False, soft_wrap=True)
    console.print(f"Curves and more: {run / 'report.html'}\nTo use it:", highlight=False, soft_wrap=True)
