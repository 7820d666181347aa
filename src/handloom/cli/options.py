"""The options that more than one command has, and the groups in which `--help` shows them.

An option that was not given is None and is not passed on: the defaults live in one place, beside the code they steer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA, MODEL, TRAINING, OUTPUT = "Data", "Model", "Training", "Running and output"

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, for programs.", rich_help_panel=OUTPUT)
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never use the network; say what is missing.", rich_help_panel=OUTPUT)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Download without asking.", rich_help_panel=OUTPUT)]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads to compute with; the result is the same for any number.", rich_help_panel=OUTPUT
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column with the text or the words: a name, or a number from 0.", rich_help_panel=DATA),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column with the label: a name, or a number (-1 is the last).", rich_help_panel=DATA),
]
PairColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column with a second text, for pairs.", rich_help_panel=DATA)
]
Delimiter = Annotated[
    str | None,
    typer.Option(metavar="CHAR", help=r"What separates the columns: , ; or \t. Found out if not given.", rich_help_panel=DATA),
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the files; UTF-8 with or without BOM if not given.", rich_help_panel=DATA)
]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Tokens in a batch (instead of --batch-size).", rich_help_panel=TRAINING),
]
ModelFolder = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run folder or a saved model.", show_default=False)
]


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave.

    >>> given(epochs=3, lr=None)
    {'epochs': 3}
    """
    return {name: value for name, value in options.items() if value is not None}


def columns(**options: str | None) -> dict[str, str | int]:
    """The column options that were given; a number is a position.

    >>> columns(text_column="text", label_column="-1", pair_column=None)
    {'text_column': 'text', 'label_column': -1}
    """
    return {
        name: int(value) if value.removeprefix("-").isdigit() else value
        for name, value in options.items()
        if value is not None
    }


def separator(written: str | None) -> str | None:
    r"""The delimiter as a user can write it in a shell.

    >>> separator(r"\t"), separator("tab"), separator(";")
    ('\t', '\t', ';')
    """
    return {r"\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}.get(written, written) if written else None


def reading(
    text_column: str | None,
    label_column: str | None,
    pair_column: str | None,
    delimiter: str | None,
    encoding: str | None,
) -> dict[str, Any]:
    """What the user said about how files are to be read."""
    chosen = columns(text_column=text_column, label_column=label_column, pair_column=pair_column)
    return {**chosen, **given(delimiter=separator(delimiter), encoding=encoding)}
