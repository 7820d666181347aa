"""`handloom resume RUN`: go on with a training that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, opt


def add_to(app: typer.Typer) -> None:
    app.command("resume", no_args_is_help=True)(resume)


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder given as --out.", show_default=False)],
    train: Annotated[Path | None, opt("FILE", "Where the training data lies now, if it was moved.", DATA)] = None,
    valid: Annotated[Path | None, opt("FILE", "The same for the validation data.", DATA)] = None,
    test: Annotated[Path | None, opt("FILE", "The same for the test data.", DATA)] = None,
    model: Annotated[Path | None, opt("FOLDER", "The same for the model it began with.", MODEL)] = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Go on with a training that was stopped.

    \b
    handloom resume runs/reviews
    handloom resume runs/reviews --train moved/reviews.csv

    \b
    By Ctrl-C, by a power cut, by anything: it goes on from the last
    checkpoint, with the settings it was started with, and ends with the very
    bits of a training that was never stopped. Data and model must be what
    they were; a copy somewhere else will do.
    """
    from handloom.cli.training import pretrained, report, watched
    from handloom.train import resuming
    from handloom.train.pretraining import Pretrained

    moved = options.given(train=train, valid=valid, test=test, model=model)
    with watched(run) as listener:
        found = resuming.resume(run, threads=threads, listener=listener, moved=moved)
    if isinstance(found, Pretrained):
        pretrained(found, run, json)
    else:
        report(found, run, json)
