"""`handloom predict MODEL TEXT…` or `--data FILE`: what a model says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA
from handloom.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command("predict", no_args_is_help=True)(predict)


def predict(
    model: options.ModelFolder,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT…", help="Texts to judge.", show_default=False)] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of texts instead; labels are not needed.", rich_help_panel=DATA)
    ] = None,
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Let a model judge texts.

    \b
    handloom predict runs/reviews "I would buy it again."
    handloom predict runs/reviews --data new.csv --json > judged.jsonl
    handloom predict runs/ner "Marie Curie worked in Paris."

    \b
    With --json one line is printed for each text, in the order of the input
    and with its other columns: {"text", "label", "scores"} or
    {"text", "spans": [{"start", "end", "label", "text", "score"}]}.
    """
