"""`handloom choose MODEL QUESTION --choice A --choice B`: which answer is right, by training or by likelihood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, OUTPUT, opt
from handloom.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command("choose", no_args_is_help=True)(choose)


def choose(
    model: options.ModelName,
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="What is asked.", show_default=False)
    ] = None,
    choice: Annotated[list[str] | None, opt("TEXT", "An answer to choose from; give it several times.", DATA)] = None,
    data: Annotated[Path | None, opt("FILE", "A file of questions with their choices instead.", DATA)] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    by: Annotated[
        str | None,
        opt("sum|token|character", "A language model's log-probability of a choice: of all, or each.", MODEL,
            default="token"),
    ] = None,
    prompt: Annotated[
        str | None,
        opt("TEXT", "What a language model's choice goes on with.", MODEL, default="{context} {question}"),
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="The file has the answers: print how many are found.",
                           rich_help_panel=OUTPUT)
    ] = False,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Choose the right one of several answers.

    \b
    handloom choose smollm2-135m-instruct "The opposite of hot is" --choice cold --choice blue
    handloom choose smollm2-135m-instruct --data questions.jsonl --evaluate --by character
    handloom choose runs/exam --data new.jsonl --json

    \b
    A model that `handloom train multiple-choice` made answers as it has learnt.
    Any language model answers untrained: with the choice that it finds likeliest.
    """
    from rich.console import Console

    from handloom.cli.download import model_folder
    from handloom.cli.output import note, print_json
    from handloom.cli.predict import chosen
    from handloom.data.examples import CHOICE
    from handloom.models.registry import FAMILIES, load_config
    from handloom.pipelines.likelihood_chooser import LikelihoodChooser
    from handloom.train import modeling
    from handloom.train.choosers import MultipleChooser
    from handloom.train.estimators import ESTIMATORS
    from handloom.train.writing import WritingEstimator

    if (question is not None) == (data is not None):
        raise UsageError("give either a question with --choice, or --data FILE" + (", not both" if data else ""))
    if data is None and len(choice or ()) < 2:
        raise UsageError("there is nothing to choose from: give --choice at least twice")
    if data is not None and choice:
        raise UsageError("--choice belongs to a question; a file given by --data holds its own choices")
    how = options.reading(text_column, label_column, pair_column, delimiter, encoding)
    if data is None:
        options.check_file(how)
    if evaluate and data is None:
        raise UsageError("--evaluate needs --data, a file with the answers")
    folder = model_folder(model, offline, yes)
    about = modeling.read_about(folder)
    learnt = None if about is None else str(about.get("task"))
    if learnt is None:
        writes = bool({"text-generation", "text2text-generation"} & {*FAMILIES[load_config(folder).model_type].classes})
    else:
        writes = issubclass(ESTIMATORS.get(learnt, object), WritingEstimator)
    if learnt != CHOICE and not writes:
        raise UsageError(f"{model} neither chooses nor writes" + (f": it was trained for {learnt}" if learnt else "") +
                         ". A model that `handloom train multiple-choice` made chooses, and any language model does")
    given = options.given(by=by, prompt=prompt)
    chooser: Any
    if learnt == CHOICE:
        if given:
            raise UsageError(f"--{next(iter(given))} is for language models; {model} has been trained to choose")
        chooser = MultipleChooser.load(folder, threads=threads, precision=precision or "auto")
    else:
        chooser = LikelihoodChooser.from_pretrained(folder, threads=threads, precision=precision or "auto", **given)
    rows: Any = data if data is not None else [(question, choice)]
    if evaluate:
        scores = chooser.evaluate(rows, **how)
        if json:
            print_json(scores.to_dict())
            return
        from handloom.cli.tables import show_scores

        show_scores(Console(), scores)
        return
    found = chooser.predict_dicts(rows, **how)
    for line in getattr(chooser, "notes", ()):
        note(line)
    console = Console()
    for row in found:
        if json:
            print_json(row)
        else:
            console.print(*chosen(row), sep="\n", soft_wrap=True)
