"""`handloom data check FILE`: what is in a labelled file, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, opt
from handloom.cli.output import note
from handloom.errors import UsageError


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look at labelled files before training.")
    group.command("check", no_args_is_help=True)(check)
    app.add_typer(group, name="data")


def check(
    command: typer.Context,
    train: Annotated[Path, typer.Argument(metavar="FILE", help="The training examples.", show_default=False)],
    valid: Annotated[Path | None, opt("FILE", "Examples to validate on.", DATA)] = None,
    test: Annotated[Path | None, opt("FILE", "Examples to test on.", DATA)] = None,
    targets: options.Targets = None,
    task: Annotated[
        str | None,
        opt("TASK", "As for `train`; found out by the file if not given.", DATA),
    ] = None,
    model: Annotated[
        str | None,
        opt("NAME", "Count tokens, and those unknown, as this model would.", DATA),
    ] = None,
    against: Annotated[
        Path | None,
        opt("FILE|RUN", "Tell how far its texts are from those of FILE, or those that RUN learnt from.", DATA),
    ] = None,
    label_errors: Annotated[
        str | None,
        opt("linear|NAME", "Look for wrong labels, by a linear model or by one that is fine-tuned.", DATA),
    ] = None,
    folds: Annotated[int | None, opt("N", "Parts in which labels are judged.", DATA, min=2, default="5")] = None,
    perplexity: Annotated[
        bool, typer.Option("--perplexity", help="With --model: how likely it finds the texts.", rich_help_panel=DATA)
    ] = False,
    seed: options.Seed = None,
    threads: options.Threads = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    problem: options.Problem = None,
    label_separator: options.LabelSeparator = None,
    label_order: options.LabelOrder = None,
    json: options.Json = False,
) -> None:
    """Show what is in labelled files, and what is wrong with them.

    \b
    handloom data check train.csv
    handloom data check train.conll --valid valid.conll --test test.conll
    handloom data check train.csv --label-errors linear
    handloom data check train.csv --against new.csv
    handloom data check new.csv --against runs/reviews
    handloom data check train.csv --model smollm2-135m-instruct --perplexity

    \b
    Balance, lengths, duplicates, texts with two labels, and texts that are
    in more than one of the files. --label-errors trains on all parts of the
    file but one, lets the model judge that one, and lists the labels that it
    contradicts with confidence. --against compares words and lengths, and
    says whether a model can tell the texts of the two files apart.
    """
    from handloom.cli.download import model_folder
    from handloom.cli.output import print_json
    from handloom.data import check as checking
    from handloom.data import readers, recognition
    from handloom.data.examples import TRANSLATION
    from handloom.text.tokenizer import Tokenizer

    labels = {"problem": problem, "label_separator": label_separator, "label_order": label_order}
    how = options.reading(text_column, label_column, pair_column, delimiter, encoding, **labels)
    known = task or (recognition.task_of(train, **how) if targets is None else TRANSLATION)
    options.check_meant(known, command)

    def read(path: Path | tuple[Path, Path] | None) -> Any:
        with recognition.taken(task, known):
            return None if path is None else readers.read(path, known, blanks="keep", **how)

    if perplexity and model is None:
        raise UsageError("--perplexity is a model's: name one with --model")
    folder = model_folder(model) if model else None
    tokenizer = Tokenizer.load(folder) if folder else None
    data = read(options.beside(train, targets, "FILE"))
    if task is None:
        note(recognition.READ_AS.format(known))
    found = checking.check(data, read(valid), read(test), tokenizer)
    if not json:
        print(found)  # before what may take long, or be refused
    more: dict[str, Any] = {}
    if folder is not None and tokenizer is not None:
        more["model"] = familiar(data, tokenizer, folder if perplexity else None, threads, seed or 0)
    if label_errors is not None:
        from handloom.train import label_errors as looking

        judge = label_errors if label_errors == looking.LINEAR else str(model_folder(label_errors))
        parts = folds or looking.FOLDS
        more["label_errors"] = looking.find(data, known, judge, folds=parts, seed=seed or 0, threads=threads, say=note)
    if against is not None:
        from handloom.pipelines import distances
        from handloom.train import estimators

        if (against / "handloom.json").is_file():
            other = estimators.learnt_from(against)
            note(f"{against} learnt from {other.source.path}")
        else:
            other = readers.read(against, known, labelled=False, **{**how, "label_column": None})
        more["distance"] = distances.between(texts_of(data), texts_of(other), seed or 0, threads)
    if json:
        print_json({**found.to_dict(), **{name: one.to_dict() for name, one in more.items()}})
    else:
        print(*more.values(), sep="\n", end="\n" if more else "")
    if not found.ok:
        raise typer.Exit(1)


def texts_of(data: Any) -> list[str]:
    """Each example as one text, its pair with it."""
    return [example.text if example.pair is None else f"{example.text} {example.pair}" for example in data]


def familiar(data: Any, tokenizer: Any, folder: Path | None, threads: int | None, seed: int) -> Any:
    """folder: of the model, where it is asked how likely the texts are."""
    from handloom.pipelines import distances, scorer

    asked = None if folder is None else scorer.scorer(folder, threads=threads)
    return distances.familiar(texts_of(data), tokenizer, asked, seed)
