"""`handloom evaluate MODEL --data FILE`: how good a model is on labelled examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA, opt


def add_to(app: typer.Typer) -> None:
    app.command("evaluate", no_args_is_help=True)(evaluate)


def evaluate(
    command: typer.Context,
    model: options.ModelFolder,
    data: Annotated[Path, opt("FILE", "Labelled examples.", DATA)],
    targets: options.Targets = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    label_separator: options.LabelSeparator = None,
    beams: options.Beams = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
) -> None:
    """Measure a model on labelled examples.

    \b
    handloom evaluate runs/reviews --data test.csv
    handloom evaluate runs/ner --data test.conll --json > scores.json

    Values come with 95 % intervals: what would change if other examples had been drawn.
    """
    from handloom.cli.output import note, print_json
    from handloom.train import estimators

    estimator = estimators.load(model, threads, precision or "auto")
    options.check_meant(estimator.task_name, command)
    how = options.reading(
        text_column, label_column, pair_column, delimiter, encoding, label_separator=label_separator
    )
    scores = estimator.evaluate(options.beside(data, targets, "--data"), **how, **options.given(beams=beams))
    for line in estimator.notes:
        note(line)
    if json:
        print_json(scores.to_dict())
        return
    from rich.console import Console

    from handloom.cli.tables import show_scores

    show_scores(Console(), scores)
