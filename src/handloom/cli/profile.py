"""`handloom profile MODEL`: where the time of a step goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handloom.cli import options
from handloom.cli.nearest import did_you_mean
from handloom.cli.options import DATA, OUTPUT, opt
from handloom.errors import UsageError

if TYPE_CHECKING:
    from handloom.train.profiling import Profiled


def add_to(app: typer.Typer) -> None:
    app.command("profile", no_args_is_help=True)(profile)


def profile(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A run folder, or a model as for --model.", show_default=False),
    ],
    task: Annotated[
        str | None,
        opt("TASK", "For a model that has not been trained for one.", DATA, default="text-classification"),
    ] = None,
    sequences: Annotated[int, opt("N", "Texts in the batch.", DATA, min=1)] = 32,
    length: Annotated[int, opt("N", "Tokens in each.", DATA, min=4)] = 32,
    steps: Annotated[int, opt("N", "Steps to measure.", OUTPUT, min=1)] = 5,
    rows: Annotated[int, opt("N", "Kernels to print.", OUTPUT, min=1)] = 20,
    inference: Annotated[
        bool, typer.Option("--inference", help="The forward pass alone.", rich_help_panel=OUTPUT)
    ] = False,
    memory: Annotated[Path | None, opt("FILE", "Draw the plan of memory into an SVG file.", OUTPUT)] = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Show where the time of a step goes, kernel by kernel.

    \b
    handloom profile runs/reviews
    handloom profile minilm-l6 --sequences 8 --length 128 --inference
    handloom profile runs/ner --memory plan.svg --json > profile.json

    Tokens are made up, the model's weights stay as they are. A kernel's GFLOP/s
    stand beside the ceiling of this machine: multiply-adds on registers alone.
    """
    from handloom.cli.download import model_folder
    from handloom.cli.output import print_json
    from handloom.train import estimators
    from handloom.train.profiling import memory_picture, profile_model
    from handloom.train.storage import publish_text

    known = estimators.ESTIMATORS
    if task is not None and task not in known:
        raise UsageError(f"there is no task {task}{did_you_mean(task, known)}")
    folder = model_folder(model, offline, yes)
    found = profile_model(
        folder, task, sequences, length, steps, training=not inference, threads=threads, precision=precision or "auto"
    )
    if memory is not None:
        publish_text(memory, memory_picture(found.program))
    if json:
        print_json(found.to_dict())
    else:
        show(found, rows)


def show(found: Profiled, rows: int) -> None:
    from rich.console import Console

    from handloom.cli.tables import plain

    console = Console()
    top = found.ceilings[found.precision]
    table = plain("Kernels of a step")
    for name in ("ms", "%", "calls", "GFLOP/s", "of the ceiling", "GB/s"):
        table.add_column(name, justify="right")
    table.add_column("kernel", overflow="fold")
    total = sum(kernel.seconds for kernel in found.kernels) or 1.0
    for kernel in found.kernels[:rows]:
        table.add_row(
            f"{kernel.seconds * 1e3:.2f}", f"{kernel.seconds / total:.1%}", str(kernel.calls), f"{kernel.gflops:,.0f}",
            f"{kernel.gflops / top:.2f}", f"{kernel.gbs:.1f}", kernel.label,
        )  # fmt: skip
    rest = found.kernels[rows:]
    if rest:
        seconds = sum(kernel.seconds for kernel in rest)
        table.add_row(
            f"{seconds * 1e3:.2f}", f"{seconds / total:.1%}", str(sum(kernel.calls for kernel in rest)), "", "", "",
            f"{len(rest)} other kernels",
        )  # fmt: skip
    console.print(table)
    kinds = plain("By kind")
    kinds.add_column("ms", justify="right")
    kinds.add_column("%", justify="right")
    kinds.add_column("")
    for kind, seconds in found.by_kind().items():
        kinds.add_row(f"{seconds * 1e3:.2f}", f"{seconds / total:.1%}", kind)
    console.print(kinds)
    console.print(
        f"A step of {found.tokens:,} tokens takes {found.step_seconds * 1e3:.1f} ms, "
        f"{found.tokens / found.step_seconds:,.0f} tokens a second. Its {found.model_gflop:,.1f} GFLOP of products and "
        f"attention use {found.utilisation:.0%} of the ceiling ({top:,.0f} GFLOP/s in {found.precision}). "
        f"Intermediate values take {found.arena / 1e6:,.1f} MB.",
        highlight=False,
    )
