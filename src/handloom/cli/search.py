"""`handloom index FILE` and `handloom search INDEX QUESTION`: texts that are found by what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import MODEL, OUTPUT, opt
from handloom.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command("index", no_args_is_help=True)(index)
    app.command("search", no_args_is_help=True)(search)


def index(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file of texts.", show_default=False)],
    out: Annotated[Path, opt("FOLDER", "The index that is made.", OUTPUT)],
    text_column: options.TextColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    model: Annotated[
        str, opt("NAME", "A folder, a name of the catalogue, or owner/name on the hub.", MODEL)
    ] = "minilm-l6",
    overwrite: options.OverwriteIndex = False,
    threads: options.Threads = None,
    precision: options.Precision = None,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Make an index of texts, to search them by what they say.

    \b
    handloom index answers.csv --model runs/faq --out answers.index
    handloom search answers.index "My card has not come"

    A model that `handloom train sentence-similarity` made, or any encoder. The index remembers which one it was.
    """
    from handloom.cli.download import model_folder
    from handloom.cli.output import note
    from handloom.text.counting import counted
    from handloom.train.matchers import SentenceMatcher

    if out.exists() and not (out / "index.json").is_file():
        raise UsageError(f"{out} exists already and is no index; choose another --out")
    options.check_free(out, overwrite, folder=True)
    folder = model_folder(model, offline, yes)
    matcher = SentenceMatcher.from_pretrained(folder, threads=threads, precision=precision or "auto")
    made = matcher.index(data, **options.reading(text_column, None, None, delimiter, encoding))
    for line in matcher.notes:
        note(line)
    made.save(out)
    note(f"{counted(len(made), 'text')} in {out}; to search them: handloom search {out} \"…\"")


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="What `handloom index` made.", show_default=False)],
    queries: Annotated[list[str], typer.Argument(metavar="TEXT…", help="What is looked for.", show_default=False)],
    top: Annotated[int, opt("N", "Show so many texts.", OUTPUT, min=1)] = 5,
    model: Annotated[Path | None, opt("FOLDER", "Where the index's model lies now, if it was moved.", MODEL)] = None,
    rerank: Annotated[
        Path | None, opt("FOLDER", "A model of pairs that reads the best ones together with the text.", MODEL)
    ] = None,
    candidates: Annotated[int, opt("N", "So many texts are read by --rerank.", MODEL, min=1)] = 50,
    relevant: Annotated[
        str | None, opt("LABEL", "Label of --rerank for texts that belong together; 1 if not given.", MODEL)
    ] = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
) -> None:
    """Find the texts of an index that are most like a text, the most alike first.

    \b
    handloom search answers.index "My card has not come" --top 3
    handloom search answers.index "My card has not come" --rerank runs/judge

    \b
    All texts are compared, so nothing better is missed. With --json one line is
    printed for each: {"query", "text", "number", "score"} and what else the file had.
    """
    from handloom.cli.output import note, print_json
    from handloom.train.matchers import SentenceMatcher
    from handloom.train.search_index import SearchIndex
    from handloom.train.text_classifier import TextClassifier

    how: dict[str, Any] = {"threads": threads, "precision": precision or "auto"}
    matcher = None if model is None else SentenceMatcher.from_pretrained(model, **how)
    judge = None if rerank is None else TextClassifier.load(rerank, **how)
    index = SearchIndex.load(folder, matcher)
    found = index.search_all(queries, top, rerank=judge, candidates=max(candidates, top), relevant=relevant)
    for line in (*index.matcher.notes, *(judge.notes if judge else ())):
        note(line)
    for query, hits in zip(queries, found, strict=True):
        if not json and len(queries) > 1:
            print(query)
        for hit in hits:
            if json:
                print_json({"query": query, **hit.to_dict()})
            else:
                print(f"{hit.score:6.3f}  {hit.text}")
