"""The options that more than one command has, and the groups in which `--help` shows them.

An option that was not given is None and is not passed on: the defaults live in one place, beside the code they steer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handloom.errors import UsageError

if TYPE_CHECKING:
    from handloom.train.recipe import Asked
    from handloom.train.settings import Settings

DATA, MODEL, TRAINING, OUTPUT = "Data", "Model", "Training", "Running and output"
TASK = "For one task"
CHOICE = "Choice of words"


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
Targets = Annotated[
    Path | None,
    opt("FILE", "What is to be written, line by line, for a file of plain lines (translation, summarization).", DATA),
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
LabelSeparator = Annotated[
    str | None,
    opt("CHAR", "text-classification: what stands between several labels of a text, usually a bar.", TASK),
]
Problem = Annotated[
    str | None,
    opt(
        "one|several|ordered|number",
        "text-classification: what its labels are; else lists mean several, all others one.", TASK,
    ),
]
LabelOrder = Annotated[
    str | None,
    opt("A,B,…", "text-classification: labels with an order, the lowest first; numbers need none.", TASK),
]
TOP_HELP = (
    "text-classification, question-answering: only the N best labels, or answers, with their scores; labels that are "
    "given come before likelier ones."
)
Top = Annotated[int | None, opt("N", TOP_HELP, TASK, min=1)]
BEAMS_HELP = "translation, summarization: look for the likeliest text with N beams."
Beams = Annotated[int | None, opt("N", BEAMS_HELP, TASK, min=1, default="1")]
BatchTokens = Annotated[
    int | None,
    opt("N", "Tokens in a batch (instead of --batch-size).", TRAINING, min=1),
]
LABELS = {
    "lr": ("X", "Learning rate; a fine-tuned model from scratch begins with 0.001."),
    "schedule": ("linear|cosine|constant", "How the learning rate goes down."),
    "warmup": ("X", "Steps of warm-up, or their share if below 1."),
    "weight_decay": ("X", "Not on biases and norms."),
    "beta2": ("X", "AdamW's memory of squares."),
}
"""Options of every training whose defaults differ."""


def training(name: str, default: str) -> Any:
    metavar, help = LABELS[name]
    return opt(metavar, help, TRAINING, default=default)


FinalLr = Annotated[float | None, opt("X", "What it goes down to.", TRAINING, default="0.0")]
Optimizer = Annotated[str | None, opt("adamw|adam|sgd", "The update rule.", TRAINING, default="adamw")]
Clip = Annotated[float | None, opt("X", "Greatest norm of the gradient; 0 for none.", TRAINING, default="1.0")]
Patience = Annotated[int | None, opt("N", "Stop after so many validations without gain.", TRAINING, min=0)]
Keep = Annotated[str | None, opt("best|last", "Which weights are saved.", TRAINING, default="best")]
Seed = Annotated[int | None, opt("N", "The same seed gives the same bits.", TRAINING, min=0, default="0")]
LanguageModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a catalogue name, or owner/name.", show_default=False)
]
MaxNewTokens = Annotated[
    int | None, opt("N", "Tokens at most.", DATA, min=1, default="the model's, else 256")
]
Stop = Annotated[list[str] | None, opt("TEXT", "End before this text comes; may be given again.", DATA)]
Temperature = Annotated[
    float | None, opt("T", "Draw words, the bolder the larger; 0 takes the likeliest.", CHOICE, min=0, default="0")
]
TopK = Annotated[int | None, opt("N", "Among the N likeliest.", CHOICE, min=1)]
TopP = Annotated[float | None, opt("P", "Among the likeliest that together have probability P.", CHOICE)]
MinP = Annotated[float | None, opt("P", "Among those P times as likely as the likeliest.", CHOICE)]
RepetitionPenalty = Annotated[
    float | None,
    opt("X", "Above 1: words that were there become less likely.", CHOICE, default="the model's, else 1"),
]
NoRepeatNgram = Annotated[
    int | None, opt("N", "No N words in a row come twice.", CHOICE, min=0, default="the model's, else 0")
]
TextSeed = Annotated[int | None, opt("N", "The same seed gives the same text.", CHOICE, min=0, default="0")]
Weights = Annotated[
    str | None, opt("f32|bf16|int8", "Store matrices in less: faster words, a little worse.", OUTPUT, default="f32")
]
TextPrecision = Annotated[
    str | None, opt("auto|f32|bf16", "Matrix products in f32 or bf16.", OUTPUT, default="f32")
]
MicroBatchTokens = Annotated[int | None, opt("N", "Run a larger batch in parts, for less memory.", TRAINING, min=1)]
ModelType = Annotated[
    str | None, opt("FAMILY", "A model from scratch: gpt2, llama, bert, marian, … with the shape below.", MODEL)
]
Layers = Annotated[int | None, opt("N", "Its layers.", MODEL, min=1, default="6")]
Hidden = Annotated[int | None, opt("N", "Its width.", MODEL, min=1, default="384")]
Heads = Annotated[int | None, opt("N", "Its attention heads.", MODEL, min=1, default="6")]
KeyValueHeads = Annotated[int | None, opt("N", "Heads that keys and values have, if fewer.", MODEL, min=1)]
Intermediate = Annotated[int | None, opt("N", "Width of its inner layers.", MODEL, min=1)]
ConfigFile = Annotated[str | None, opt("FILE", "A config.json in place of --model-type and the shape.", MODEL)]
VocabSize = Annotated[int | None, opt("N", "Tokens of a vocabulary that is learnt.", MODEL, min=2)]
Out = Annotated[Path, opt("FOLDER", "The run folder that is made.", OUTPUT)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a run folder that is there.", rich_help_panel=OUTPUT)
]
OverwriteFile = Annotated[
    bool, typer.Option("--overwrite", help="Replace a file that is there.", rich_help_panel=OUTPUT)
]
OverwriteIndex = Annotated[
    bool, typer.Option("--overwrite", help="Replace an index that is there.", rich_help_panel=OUTPUT)
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


def check_meant(task: str, command: typer.Context) -> None:
    """UsageError for an option of a command that is for other tasks than this one."""
    from handloom.data import meant_for

    names = given(**command.params)
    try:
        meant_for.check(task, names)
    except UsageError as error:
        raise UsageError(as_options(str(error), names)) from None


def settings(command: typer.Context, kind: type[Settings | Asked], **read: Any) -> dict[str, Any]:
    """Those options of a command that are settings of a training, as the user gave them; `read` in place of what is
    written there. What makes no sense is refused, before anything is read or downloaded."""
    names = kind.names()
    found = given(**{name: value for name, value in {**command.params, **read}.items() if name in names})
    if found.get("clip") == 0:
        found["clip"] = None
    try:
        kind.of(**found)
    except UsageError as error:
        raise UsageError(as_options(str(error), found)) from None
    return found


def as_options(message: str, settings: Iterable[str]) -> str:
    """A message about settings as the command line calls them.

    >>> as_options("batch_size is 0; it must be 1 or more", ["batch_size"])
    '--batch-size is 0; it must be 1 or more'
    """
    for name in settings:
        message = re.sub(rf"(?<![\w'-]){name}(?= is |$| or )", "--" + name.replace("_", "-"), message)
    return message


def separator(written: str | None) -> str | None:
    r"""The delimiter as a user can write it in a shell.

    >>> separator(r"\t"), separator("tab"), separator(";")
    ('\t', '\t', ';')
    """
    return {r"\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}.get(written, written) if written else None


def check_free(out: Path, overwrite: bool, folder: bool = False) -> None:
    """Before any work is done: UsageError where --out is there already, unless it may be replaced, and HandloomError
    where a file cannot be written for want of its folder. folder: it is one itself, which is made with those above."""
    from handloom.ngram.files import writable

    if not folder:
        writable(out)
    if out.exists() and not overwrite:
        raise UsageError(f"{out} is there already; choose another --out, or replace it with --overwrite")


def check_file(given: Mapping[str, Any], file: str = "--data FILE") -> None:
    """UsageError for an option of reading files where there is none, but texts on the command line."""
    if given:
        name = "--" + next(iter(given)).replace("_", "-")
        raise UsageError(f"{name} says how a file is read: it goes with {file}, not with texts on the command line")


def beside(data: Path | None, targets: Path | None, option: str) -> Path | tuple[Path, Path] | None:
    """A file of data, or two parallel ones. UsageError for targets without what they are of."""
    if targets is None:
        return data
    if data is None:
        raise UsageError(f"{option}-targets needs {option}: the lines that they are written for")
    return data, targets


def reading(
    text_column: str | None,
    label_column: str | None,
    pair_column: str | None,
    delimiter: str | None,
    encoding: str | None,
    **labels: Any,
) -> dict[str, Any]:
    """What the user said about how files are to be read. labels: problem, label_separator, label_order, none_label."""
    return given(
        **labels,
        text_column=text_column,
        label_column=label_column,
        pair_column=pair_column,
        delimiter=separator(delimiter),
        encoding=encoding,
    )
