"""`handloom predict MODEL TEXT…` or `--data FILE`: what a model says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, opt
from handloom.errors import HandloomError, UsageError


def add_to(app: typer.Typer) -> None:
    app.command("predict", no_args_is_help=True)(predict)


def predict(
    model: options.ModelFolder,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="Texts to judge.", show_default=False)
    ] = None,
    data: Annotated[Path | None, opt("FILE", "A file of texts instead; labels are not needed.", DATA)] = None,
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
) -> None:
    """Let a model judge texts.

    \b
    handloom predict runs/reviews "I would buy it again."
    handloom predict runs/reviews --data new.csv --json > judged.jsonl
    handloom predict runs/ner "Marie Curie worked in Paris."
    handloom predict runs/rel "A <e1>pump</e1> feeds the <e2>boiler</e2>."

    \b
    With --json one line is printed for each text, in the order of the input
    and with its other columns: {"text", "label", "scores"} or
    {"text", "spans": [{"start", "end", "label", "text", "score"}]} or
    {"text", "first", "second", "label", "scores"}. A column of the input that
    has one of these names comes back as "label_given" and so on.
    """
    if bool(texts) == (data is not None):
        raise UsageError(
            "give either texts or --data FILE" + (", not both" if texts else "; there is nothing to judge")
        )
    for number, text in enumerate(texts or (), start=1):
        if not text.strip():
            raise HandloomError(f"text {number} is empty: there is nothing to judge")
    from handloom.cli.output import print_json
    from handloom.train import estimators

    how = options.reading(text_column, None, pair_column, delimiter, encoding)
    estimator = estimators.load(model, threads, precision or "auto")
    found = estimator.predict_dicts(data or texts, **how)
    if json:
        for row in found:
            print_json(row)
        return
    from rich.console import Console

    console = Console()
    for row in found:
        console.print(*shown(row), sep="\n", soft_wrap=True)


def shown(row: dict[str, Any]) -> Iterator[Any]:
    """A prediction as lines for a person."""
    from rich.text import Text

    if "first" in row:
        text, ends = Text(row["text"]), [(row[role]["start"], row[role]["end"]) for role in ("first", "second")]
        for (start, end), style in zip(ends, ("bold green", "bold cyan"), strict=True):
            text.stylize(style, start, end)
        yield Text.assemble((row["label"], "bold"), f" {row['scores'][row['label']]:.3f}  ", text)
        return
    if "spans" not in row:
        yield Text.assemble((f"{row['label']}", "bold green"), f" {row['scores'][row['label']]:.3f}  ", row["text"])
        return
    text = Text(row["text"])
    for span in row["spans"]:
        text.stylize("bold green", span["start"], span["end"])
    yield text
    for span in row["spans"]:
        yield Text(f"  {span['label']:<12} {span['score']:.3f}  {span['start']}–{span['end']}  {span['text']}")
