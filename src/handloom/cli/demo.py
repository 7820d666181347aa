"""`handloom demo`: the whole job on real text, from the download to a model that can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import OUTPUT, opt


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    model: Annotated[str | None, opt("DIR", "A model folder that is at hand.", "Instead of a download")] = None,
    data: Annotated[Path | None, opt("FILE", "A labelled file that is at hand.", "Instead of a download")] = None,
    out: Annotated[Path, opt("FOLDER", "Where the model is saved; an older demo there is replaced.", OUTPUT)] = Path(
        "handloom-demo"
    ),
    threads: options.Threads = None,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """See the whole job in a few minutes: sentiment of tweets, reviews and editorials.

    \b
    handloom demo
    handloom demo --model path/to/model --data mine.csv    (no download)

    \b
    Shows the data, two baselines, the training, scores before and after, the
    worst mistakes, three predictions, and how to do the same with a file of
    your own. Size, source and licence are shown before a download.
    """
