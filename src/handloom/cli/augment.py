"""`handloom augment FILE`: more training examples out of those that there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, OUTPUT, opt


def add_to(app: typer.Typer) -> None:
    app.command("augment", no_args_is_help=True)(augment)


def augment(
    command: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The training examples.", show_default=False)],
    how: Annotated[str, opt("WAY,…", "mention, typo, synonym, infill, back-translation.", DATA)],
    out: Annotated[Path, opt("FILE", "Where the examples and their copies are written, as JSONL.", OUTPUT)],
    times: Annotated[int, opt("N", "Copies of each example by each way.", DATA, min=1)] = 1,
    task: Annotated[
        str | None,
        opt("TASK", "As for `train`; found out by the file if not given.", DATA),
    ] = None,
    targets: options.Targets = None,
    synonyms: Annotated[
        Path | None,
        opt("FILE", "synonym: on each line words that may stand for each other, separated by commas or tabs.", DATA),
    ] = None,
    model: Annotated[str | None, opt("NAME", "infill: a masked language model.", MODEL)] = None,
    forth: Annotated[str | None, opt("NAME", "back-translation: a translator from the data's language.", MODEL)] = None,
    back: Annotated[str | None, opt("NAME", "back-translation: a translator back into it.", MODEL)] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    label_separator: options.LabelSeparator = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    seed: options.Seed = None,
    overwrite: options.OverwriteFile = False,
    threads: options.Threads = None,
) -> None:
    """Make more training examples out of those that there are.

    \b
    handloom augment train.conll --how mention,typo --times 2 \\
        --out more.jsonl
    handloom augment train.csv --how synonym --synonyms words.txt \\
        --out more.jsonl
    handloom augment train.csv --how infill --model roberta-base \\
        --out more.jsonl

    \b
    mention puts other names of the same kind in the place of names; typo
    mistypes words of Latin letters; synonym takes words from a list (homophones
    are listed alike); infill asks a masked language model for other words;
    back-translation writes texts anew by way of another language, where nothing
    is labelled inside of them. What is read is changed (a question and its
    text, both texts of a pair, what the user says), and never what is to be
    written or chosen; labels, spans and answers follow. Only training data is
    for this: each copy says in the column augmented_from what it was made of,
    and falls on its side wherever data is split.
    """
    from handloom.cli.output import note
    from handloom.data.edits import rows_of
    from handloom.data.examples import TRANSLATION
    from handloom.data.recognition import READ_AS, taken, task_of
    from handloom.errors import UsageError
    from handloom.pipelines.augmenter import augment as augmented
    from handloom.text.counting import counted
    from handloom.train.storage import publish_text

    if out.suffix.lower() not in (".jsonl", ".ndjson"):
        raise UsageError(f"the examples are written as JSON lines: --out should end in .jsonl, not be {out.name}")
    options.check_free(out, overwrite)
    reading = options.reading(
        text_column, label_column, pair_column, delimiter, encoding, label_separator=label_separator
    )
    known = task or (task_of(file, **reading) if targets is None else TRANSLATION)
    options.check_meant(known, command)
    with taken(task, known):
        found = augmented(
            options.beside(file, targets, "FILE"), known, how, times=times, seed=seed or 0, synonyms=synonyms,
            model=model, forth=forth, back=back, threads=threads, must=True, **reading,
        )  # fmt: skip
    publish_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(found)))
    if task is None:
        note(READ_AS.format(known))
    for line in found.notes:
        note(line)
    note(f"{counted(len(found), 'example')} written to {out}")
