"""`handloom train TASK`: fine-tune on the user's own files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.nearest import did_you_mean
from handloom.cli.options import DATA, MODEL, OUTPUT, TRAINING, opt
from handloom.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command("train", no_args_is_help=True)(train)


def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="text-classification or token-classification.")],
    *,
    train: Annotated[Path, opt("FILE", "Labelled examples to learn from.", DATA)],
    valid: Annotated[
        Path | None,
        opt("FILE", "Examples to choose the best weights by; else a tenth of --train.", DATA),
    ] = None,
    test: Annotated[
        Path | None,
        opt("FILE", "Examples to measure on, before and after.", DATA),
    ] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    model: Annotated[
        str,
        opt("NAME", "A folder, a name of the catalogue, or owner/name on the hub.", MODEL),
    ] = "minilm-l6",
    freeze: Annotated[
        str | None,
        opt("PART", "Leave a part as it is: embeddings, a number of first layers, or all-but-head.", MODEL),
    ] = None,
    max_length: Annotated[
        int | None,
        opt("N", "Tokens a text may have at once.", MODEL, min=4),
    ] = None,
    long: Annotated[
        str | None,
        opt("windows|head|head-tail", "What is done with a longer text.", MODEL, default="windows"),
    ] = None,
    epochs: Annotated[float | None, opt("N", "Times through the training examples.", TRAINING, default="3")] = None,
    batch_size: Annotated[int | None, opt("N", "Examples in a batch.", TRAINING, min=1, default="16")] = None,
    batch_tokens: options.BatchTokens = None,
    lr: Annotated[float | None, opt("X", "Learning rate.", TRAINING, default="0.0001")] = None,
    optimizer: Annotated[str | None, opt("adamw|adam|sgd", "The update rule.", TRAINING, default="adamw")] = None,
    schedule: Annotated[
        str | None,
        opt("linear|cosine|constant", "How the learning rate goes down.", TRAINING, default="linear"),
    ] = None,
    final_lr: Annotated[float | None, opt("X", "What it goes down to.", TRAINING, default="0.0")] = None,
    warmup: Annotated[
        float | None,
        opt("X", "Steps of warm-up, or their share if below 1.", TRAINING, default="0.1"),
    ] = None,
    weight_decay: Annotated[float | None, opt("X", "Not on biases and norms.", TRAINING, default="0.01")] = None,
    beta2: Annotated[float | None, opt("X", "AdamW's memory of squares.", TRAINING, default="0.999")] = None,
    dropout: Annotated[float | None, opt("X", "Instead of the model's own rate.", TRAINING)] = None,
    clip: Annotated[
        float | None, opt("X", "Greatest norm of the gradient; 0 for none.", TRAINING, default="1.0")
    ] = None,
    label_smoothing: Annotated[float | None, opt("X", "0 to 1; softens the targets.", TRAINING, default="0.0")] = None,
    class_weights: Annotated[
        str | None,
        opt("balanced|LABEL=X,…", "Makes rare labels count more.", TRAINING),
    ] = None,
    metric: Annotated[str | None, opt("NAME", "What the best weights are best at.", TRAINING)] = None,
    patience: Annotated[
        int | None,
        opt("N", "Stop after so many validations without gain.", TRAINING, min=0),
    ] = None,
    keep: Annotated[str | None, opt("best|last", "Which weights are saved.", TRAINING, default="best")] = None,
    seed: Annotated[int | None, opt("N", "The same seed gives the same bits.", TRAINING, min=0, default="0")] = None,
    validate_every: Annotated[
        int | None,
        opt("N", "Validate every N steps, too.", TRAINING, min=1),
    ] = None,
    micro_batch_tokens: Annotated[
        int | None,
        opt("N", "Run a larger batch in parts, for less memory.", TRAINING, min=1),
    ] = None,
    out: Annotated[Path, opt("FOLDER", "The run folder that is made.", OUTPUT)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run folder that is there.", rich_help_panel=OUTPUT)
    ] = False,
    threads: options.Threads = None,
    precision: options.Precision = None,
    max_memory: options.MaxMemory = None,
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
    from handloom.cli.download import model_folder
    from handloom.cli.training import report, watched
    from handloom.train import estimators
    from handloom.train.settings import Settings

    if task not in estimators.ESTIMATORS:
        raise UsageError(f"there is no task {task}{did_you_mean(task, estimators.ESTIMATORS)}")
    settings = options.given(
        freeze=freeze,
        max_length=max_length,
        long=long,
        epochs=epochs,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        final_lr=final_lr,
        warmup=warmup,
        weight_decay=weight_decay,
        beta2=beta2,
        dropout=dropout,
        clip=clip,
        label_smoothing=label_smoothing,
        class_weights=weights(class_weights),
        metric=metric,
        patience=patience,
        keep=keep,
        seed=seed,
        validate_every=validate_every,
        micro_batch_tokens=micro_batch_tokens,
        threads=threads,
        precision=precision,
        max_memory=max_memory,
    )
    if clip == 0:
        settings["clip"] = None
    try:  # what makes no sense is refused before anything is read or downloaded
        Settings.of(**settings)
    except UsageError as error:
        raise UsageError(as_options(str(error), settings)) from None
    estimator = estimators.ESTIMATORS[task].from_pretrained(model_folder(model, offline, yes))
    reading = options.reading(text_column, label_column, pair_column, delimiter, encoding)
    with watched(out) as listener:
        estimator.fit(train, valid, test, out=out, overwrite=overwrite, listener=listener, **reading, **settings)
    report(estimator, out, json)


def as_options(message: str, settings: Iterable[str]) -> str:
    """A message about settings as the command line calls them.

    >>> as_options("batch_size is 0; it must be 1 or more", ["batch_size"])
    '--batch-size is 0; it must be 1 or more'
    """
    for name in settings:
        message = re.sub(rf"(?<![\w'-]){name}(?= is |$| or )", "--" + name.replace("_", "-"), message)
    return message


def weights(written: str | None) -> str | dict[str, float] | None:
    """--class-weights as a user writes them.

    >>> weights("spam=2,ham=0.5")
    {'spam': 2.0, 'ham': 0.5}
    >>> weights("balanced")
    'balanced'
    """
    if written is None or "=" not in written:
        return written
    pairs = [pair.rpartition("=") for pair in written.split(",")]
    try:
        return {label.strip(): float(value) for label, _, value in pairs}
    except ValueError:
        right = "write balanced, or a number for each label, such as spam=2,ham=0.5"
        raise UsageError(f"--class-weights {written}: {right}") from None
