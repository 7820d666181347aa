"""`handloom compare OLD NEW --test FILE`: whether a new model is worse than the old one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA, OUTPUT, opt

if TYPE_CHECKING:
    from handloom.train.comparing import Comparison, Difference

WORSE = 3  #: exit code, which no error has
SHOWN = 10  #: labels, and examples that only one of the models gets right


def add_to(app: typer.Typer) -> None:
    app.command("compare", no_args_is_help=True)(compare)


def compare(
    command: typer.Context,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The folder of the model in use.", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="That of its successor.", show_default=False)],
    test: Annotated[Path, opt("FILE", "Labelled examples that neither has seen.", DATA)],
    targets: options.Targets = None,
    metric: Annotated[str | None, opt("NAME", "What decides; else what the task is judged by.", OUTPUT)] = None,
    seed: options.Seed = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    label_separator: options.LabelSeparator = None,
    beams: options.Beams = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
) -> None:
    """Tell whether a new model is worse than the old one.

    \b
    handloom compare runs/may runs/june --test test.csv
    handloom compare runs/may runs/june --test test.csv --json > changed.json
    handloom compare runs/may runs/june --test test.csv && mv runs/june live

    The examples are drawn anew 2,000 times, the same for both (paired bootstrap).
    The exit code is 3 where the new model is worse: where the whole 95 % interval
    of the difference lies below 0. It is 0 where it is better or not told apart.
    """
    from handloom.cli.output import print_json
    from handloom.train import comparing, estimators

    sides = [estimators.load(folder, threads, precision or "auto") for folder in (old, new)]
    options.check_meant(sides[0].task_name, command)
    how = options.reading(
        text_column, label_column, pair_column, delimiter, encoding, label_separator=label_separator
    )
    data = options.beside(test, targets, "--test")
    how |= options.given(beams=beams)
    found = comparing.compare(sides[0], sides[1], data, metric=metric, seed=seed or 0, **how)
    if json:
        print_json(found.to_dict())
    else:
        show(found)
    if found.verdict == "worse":
        raise typer.Exit(WORSE)


def show(found: Comparison) -> None:
    from rich.console import Console
    from rich.text import Text

    from handloom.cli.output import note
    from handloom.cli.tables import change, plain
    from handloom.text.counting import counted
    from handloom.text.width import shown

    console = Console()
    for line in found.notes:
        note(line)

    def table(title: str, rows: dict[str, Difference]) -> None:
        made = plain(title)
        made.add_column(title.split(",")[0].lower())
        made.add_column("old → new", justify="right")
        made.add_column("difference, 95 %", justify="right", style="dim")
        made.add_column("")
        for name, one in rows.items():
            told = "" if one.verdict == "no difference" else one.verdict
            apart = f"{one.low:+.3f} … {one.high:+.3f}"
            made.add_row(Text(shown(name)), change(one.old, one.new, -1 if one.error else 1), apart, told)
        console.print(made)

    def more(count: int) -> None:
        if count > SHOWN:
            console.print(f"  … and {count - SHOWN:,} more (--json lists all)", highlight=False)

    metrics = {name.replace("_", " "): one for name, one in found.metrics.items()}
    table(f"Metric, on {counted(found.examples, 'example')}", metrics)
    labels = sorted(found.labels.items(), key=lambda item: (-abs(item[1].new - item[1].old), item[0]))
    if labels:
        table("Label, those that changed most first", dict(labels[:SHOWN]))
        more(len(labels))
    sides = (("only the old model", found.broken), ("only the new model", found.fixed))
    for name, examples in sides if found.broken or found.fixed else ():
        console.print(f"{counted(len(examples), 'example')} that {name} gets right")
        for example in examples[:SHOWN]:
            console.print(f"  {shown(example.text, console.width - 2)}", markup=False, highlight=False, soft_wrap=True)
        more(len(examples))
    one = found.metrics[found.metric]
    verdict = {"better": "The new model is better", "worse": "The new model is worse"}.get(
        found.verdict, "The two are not told apart"
    )
    console.print(f"\n{verdict}: {found.metric.replace('_', ' ')} {one.new - one.old:+.3f} "
                  f"(95 %: {one.low:+.3f} … {one.high:+.3f}).")  # fmt: skip
