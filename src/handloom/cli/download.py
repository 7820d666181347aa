"""Downloads as a person sees them: size, source and licence first, a question where somebody can answer, then a bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from handloom.cli.output import note
from handloom.errors import HandloomError
from handloom.models import catalogue, resolve
from handloom.models.catalogue import Entry
from handloom.models.fetch import Progress
from handloom.models.notice import Notice


class Declined(HandloomError):
    """The user does not want a download."""


def model_folder(name: str, offline: bool = False, yes: bool = False) -> Path:
    """The folder of a model by path or name, fetched if need be."""
    with bar() as progress:
        return resolve.model_folder(name, offline=offline, say=asker(yes), progress=progress)


def entry_folder(entry: Entry, offline: bool = False, yes: bool = False) -> Path:
    """The folder of an entry of the catalogue, fetched if need be."""
    with bar() as progress:
        return catalogue.obtain(entry, offline=offline, say=asker(yes), progress=progress)


def asker(yes: bool) -> catalogue.Say:
    """Says what would be downloaded; at a terminal, unless `yes`, asks whether it may. A no ends the command."""

    def say(notice: Notice) -> None:
        for line in notice.lines():
            note(line)
        if not yes and sys.stdin.isatty() and sys.stderr.isatty() and not typer.confirm("Download it?", True, err=True):
            raise Declined("nothing was downloaded; --model and --data name what is at hand")

    return say


@contextmanager
def bar() -> Iterator[Progress]:
    """A progress bar for bytes on standard error; a line at each tenth where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    shown = Bar(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = shown.add_task("", total=None)
    tenths = 0

    def progress(done: int, total: int) -> None:
        nonlocal tenths
        if sys.stderr.isatty():
            shown.start()
            shown.update(task, completed=done, total=total)
        elif total and done * 10 // total > tenths:
            tenths = done * 10 // total
            note(f"  {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    try:
        yield progress
    finally:
        if shown.live.is_started:
            shown.stop()
