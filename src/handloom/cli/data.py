"""`handloom data check FILE`: what is in a labelled file, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look at labelled files before training.")
    group.command("check", no_args_is_help=True)(check)
    app.add_typer(group, name="data")


def check(
    train: Annotated[Path, typer.Argument(metavar="FILE", help="The training examples.", show_default=False)],
    valid: Annotated[Path | None, typer.Option(metavar="FILE", help="Examples to validate on.", rich_help_panel=DATA)] = None,
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="Examples to test on.", rich_help_panel=DATA)] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    json: options.Json = False,
) -> None:
    """Show what is in labelled files, and what is wrong with them.

    \b
    handloom data check train.csv
    handloom data check train.conll --valid valid.conll --test test.conll

    \b
    Balance, lengths, duplicates, texts with two labels, and texts that are
    in more than one of the files.
    """
