"""`handloom train TASK`: fine-tune on the user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, OUTPUT, TRAINING


def add_to(app: typer.Typer) -> None:
    app.command("train", no_args_is_help=True)(train)


def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="text-classification or token-classification.")],
    train: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labelled examples to learn from.", rich_help_panel=DATA)
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Examples to choose the best weights by; else a tenth of --train.", rich_help_panel=DATA
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Examples to measure on, before and after.", rich_help_panel=DATA),
    ] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A folder, a name of the catalogue, or owner/name on the hub.", rich_help_panel=MODEL
        ),
    ] = "minilm-l6",
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="Leave a part as it is: embeddings, a number of first layers, or all-but-head.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=4, metavar="N", help="Tokens a text may have at once.", rich_help_panel=MODEL),
    ] = None,
    long: Annotated[
        str | None,
        typer.Option(
            metavar="windows|head|head-tail", help="What is done with a longer text.", rich_help_panel=MODEL
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Times through the training examples.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Examples in a batch.", rich_help_panel=TRAINING)
    ] = None,
    batch_tokens: options.BatchTokens = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate.", rich_help_panel=TRAINING)] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="adamw|adam|sgd", help="The update rule.", rich_help_panel=TRAINING)
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="linear|cosine|constant", help="How the learning rate goes down.", rich_help_panel=TRAINING
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(metavar="X", help="Steps of warm-up, or their share if below 1.", rich_help_panel=TRAINING),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(metavar="X", help="Not on biases and norms.", rich_help_panel=TRAINING)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(metavar="X", help="Instead of the model's own rate.", rich_help_panel=TRAINING)
    ] = None,
    clip: Annotated[
        float | None, typer.Option(metavar="X", help="Greatest norm of the gradient.", rich_help_panel=TRAINING)
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(metavar="X", help="0 to 1; softens the targets.", rich_help_panel=TRAINING)
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(
            metavar="balanced|LABEL=X,…", help="Makes rare labels count more.", rich_help_panel=TRAINING
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the best weights are best at.", rich_help_panel=TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Stop after so many validations without gain.", rich_help_panel=TRAINING),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="best|last", help="Which weights are saved.", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The same seed gives the same bits.", rich_help_panel=TRAINING)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The run folder that is made.", rich_help_panel=OUTPUT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run folder that is there.", rich_help_panel=OUTPUT)
    ] = False,
    threads: options.Threads = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Fine-tune a model on a labelled file.

    \b
    handloom train text-classification --train reviews.csv --out runs/reviews
    handloom train text-classification --train a.csv --valid b.csv \\
        --test c.csv --text-column body --label-column folder \\
        --epochs 5 --class-weights balanced --out runs/mail
    handloom train token-classification --train train.conll \\
        --valid valid.conll --test test.conll --out runs/ner
    handloom train token-classification --model runs/ner \\
        --train more.conll --out runs/ner2

    \b
    A file for classification is CSV, TSV or JSONL, or a folder with a folder
    of text files for each label; a file for tokens is CoNLL: a word and its
    tag on a line, an empty line after each sentence. Without --valid a tenth
    of the examples is set aside, the same ones for the same --seed. Ctrl-C
    stops at a checkpoint, from which `handloom resume` goes on.
    """
