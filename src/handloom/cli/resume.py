"""`handloom resume RUN`: go on with a training that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options


def add_to(app: typer.Typer) -> None:
    app.command("resume", no_args_is_help=True)(resume)


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder given as --out.", show_default=False)],
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Go on with a training that was stopped.

    \b
    handloom resume runs/reviews

    \b
    By Ctrl-C, by a power cut, by anything: it goes on from the last
    checkpoint, with the settings it was started with, and ends with the very
    bits of a training that was never stopped.
    """
    from handloom.cli.training import report, watched
    from handloom.train import estimators

    with watched(run) as listener:
        estimator = estimators.resume(run, threads=threads, listener=listener)
    report(estimator, run, json)
