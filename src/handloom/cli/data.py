"""`handloom data check FILE`: what is in a labelled file, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, opt


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look at labelled files before training.")
    group.command("check", no_args_is_help=True)(check)
    app.add_typer(group, name="data")


def check(
    train: Annotated[Path, typer.Argument(metavar="FILE", help="The training examples.", show_default=False)],
    valid: Annotated[Path | None, opt("FILE", "Examples to validate on.", DATA)] = None,
    test: Annotated[Path | None, opt("FILE", "Examples to test on.", DATA)] = None,
    task: Annotated[
        str | None,
        opt("TASK", "As for `train`; found out by the file if not given.", DATA),
    ] = None,
    model: Annotated[
        str | None,
        opt("NAME", "Count tokens, and those unknown, as this model would.", DATA),
    ] = None,
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
    from handloom.cli.download import model_folder
    from handloom.cli.output import print_json
    from handloom.data import check as checking
    from handloom.data import readers
    from handloom.text.tokenizer import Tokenizer

    if task is None:
        task = readers.task_of(train)
    how = options.reading(text_column, label_column, pair_column, delimiter, encoding)

    def read(path: Path | None) -> Any:
        return None if path is None else readers.read(path, task, blanks="keep", **how)

    tokenizer = Tokenizer.load(model_folder(model)) if model else None
    found = checking.check(read(train), read(valid), read(test), tokenizer)
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    if not found.ok:
        raise typer.Exit(1)
