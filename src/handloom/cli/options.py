"""The options that more than one command has, and the groups in which `--help` shows them.

An option that was not given is None and is not passed on: the defaults live in one place, beside the code they steer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA, MODEL, TRAINING, OUTPUT = "Data", "Model", "Training", "Running and output"


def opt(metavar: str, help: str, group: str, min: float | None = None, default: str | None = None) -> Any:
    """An option with a value: what it is called, what it does, the group it is shown in, and its least value.

    `default` is shown only (a test compares it with the settings that it stands for).
    """
    return typer.Option(
        metavar=metavar, help=help, rich_help_panel=group, min=min, show_default=default or group != DATA
    )


Json = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, for programs.", rich_help_panel=OUTPUT)
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never use the network; say what is missing.", rich_help_panel=OUTPUT)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Download without asking.", rich_help_panel=OUTPUT)]
Threads = Annotated[
    int | None,
    opt("N", "Threads to compute with; the result is the same for any number.", OUTPUT, min=1),
]
Precision = Annotated[
    str | None,
    opt("auto|f32|bf16", "Matrix products in f32 or bf16; auto: what is faster here.", OUTPUT, default="auto"),
]
MaxMemory = Annotated[
    str | None,
    opt("SIZE", "Memory to stay below, such as 4GB: computes twice what it cannot keep.", OUTPUT),
]
TextColumn = Annotated[
    str | None,
    opt("NAME", "Column with the text or the words: a name, or a number from 1.", DATA),
]
LabelColumn = Annotated[
    str | None,
    opt("NAME", "Column with the label: a name, or a number from 1.", DATA),
]
PAIR_HELP = "Column with a second text; where a trained model is used, guessed only if it was trained with pairs."
PairColumn = Annotated[str | None, opt("NAME", PAIR_HELP, DATA)]
Delimiter = Annotated[
    str | None,
    opt("CHAR", r"What separates the columns: , ; or \t. Found out if not given.", DATA),
]
Encoding = Annotated[str | None, opt("NAME", "Of the files; UTF-8 with or without BOM if not given.", DATA)]
BatchTokens = Annotated[
    int | None,
    opt("N", "Tokens in a batch (instead of --batch-size).", TRAINING, min=1),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A folder, a name of the catalogue, or owner/name on the hub.", show_default=False
    ),
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
    return given(
        text_column=text_column,
        label_column=label_column,
        pair_column=pair_column,
        delimiter=separator(delimiter),
        encoding=encoding,
    )
