"""`handloom score | perplexity MODEL`: how likely a language model of any kind finds texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, OUTPUT, opt
from handloom.errors import UsageError

if TYPE_CHECKING:
    from handloom.ngram.model import NgramModel
    from handloom.scoring import Scorer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A folder, an ARPA or GGUF file, a catalogue name, or owner/name.", show_default=False
    ),
]
Unit = Annotated[
    str | None, opt("words|characters", "What a token of an ARPA file is, where it does not say it.", MODEL)
]
Sources = Annotated[
    Path | None, opt("FILE", "What an encoder–decoder reads before each line of --data: a line each.", DATA)
]


def add_to(app: typer.Typer) -> None:
    app.command("score", no_args_is_help=True)(score)
    app.command("perplexity", no_args_is_help=True)(perplexity)


def score(
    model: Model,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="Texts to score.", show_default=False)
    ] = None,
    data: Annotated[Path | None, opt("FILE", "A file of texts instead, one on each line; gzip, too.", DATA)] = None,
    source: Annotated[str | None, opt("TEXT", "What an encoder–decoder reads before each TEXT.", DATA)] = None,
    sources: Sources = None,
    encoding: options.Encoding = None,
    unit: Unit = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token's score.", rich_help_panel=OUTPUT)] = False,
    threads: options.Threads = None,
    precision: Annotated[
        str | None, opt("auto|f32|bf16", "Matrix products in f32 or bf16.", OUTPUT, default="f32")
    ] = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Score texts: the log-probability (natural) that a language model gives them.

    \b
    handloom score smollm2-135m-instruct "Paris is in France." "Paris is in Spain."
    handloom score lm.arpa.gz "the state of the union is strong" --tokens
    handloom score ./bert --data candidates.txt --json > scored.jsonl
    handloom score ./t5 "Das Haus ist klein." --source "translate English to German: The house is small."

    \b
    Every kind of model is asked the same way. A decoder, a recurrent and an
    n-gram model tell each token from those before it (an n-gram model the end
    of a sentence, too), an encoder–decoder from what it has read as well, and
    a masked model from all others. With --json one line is printed for each
    text: {"text", "log_probability", "tokens": [{"token", "id",
    "log_probability", "start", "end"}]}; start and end are its characters. A
    text without a token that could be scored has –, and null in JSON.
    """
    if bool(texts) == (data is not None):
        raise UsageError(
            "give either texts or --data FILE" + (", not both" if texts else "; there is nothing to score")
        )
    if data is None:
        options.check_file(options.given(encoding=encoding))
    if source is not None and data is not None:
        raise UsageError("--source is for texts given as arguments; to --data belongs --sources FILE")
    if sources is not None and data is None:
        raise UsageError("--sources belongs to --data; to texts given as arguments belongs --source TEXT")
    from itertools import tee

    from handloom.cli.output import print_json
    from handloom.scoring import log_probability

    asked = opened(model, unit, threads, precision, offline, yes)
    given, shown = tee(iter(texts or ()) if data is None else lines(data, encoding))
    read = None if sources is None else lines(sources, encoding)
    if source is not None:
        read = iter([source] * len(texts or ()))
    for text, found in zip(shown, asked.score_all(given, sources=read), strict=True):
        total = log_probability(found) if any(one.log_probability is not None for one in found) else None
        if json:
            parts = [one.to_dict() for one in found]
            print_json({"text": text, "log_probability": total, "tokens": parts})
            continue
        print(f"{'–' if total is None else f'{total:.4f}'}\t{text}")
        for one in found if tokens else ():
            value = "" if one.log_probability is None else f"{one.log_probability:.4f}"
            part = text[one.start : one.end].strip()
            print(f"  {value:>9}  {one.token}" + (f"  {part}" if part not in ("", one.token) else ""))


def perplexity(
    model: Model,
    data: Annotated[Path, opt("FILE", "Text: .txt or .jsonl, also .gz, or a folder of them.", DATA)],
    sources: Sources = None,
    documents: Annotated[
        str | None,
        opt("file|paragraphs|lines", "What a text of a file is; lines with n-gram models and --sources.", DATA,
            default="file"),
    ] = None,
    text_column: Annotated[str | None, opt("NAME", "Column of JSON lines that holds the text.", DATA)] = None,
    encoding: options.Encoding = None,
    unit: Unit = None,
    threads: options.Threads = None,
    precision: Annotated[
        str | None, opt("auto|f32|bf16", "Matrix products in f32 or bf16.", OUTPUT, default="f32")
    ] = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:  # fmt: skip
    """Measure how well a language model foretells a text.

    \b
    handloom perplexity smollm2-135m-instruct --data heldout.txt
    handloom perplexity lm.arpa.gz --data heldout.txt
    handloom perplexity ./t5 --data german.txt --sources english.txt

    \b
    Perplexity is per token of the model's own; bits a byte can be compared
    between models. A text that is longer than a model's context is read in
    windows that overlap by half. A masked model's is the pseudo-perplexity: it
    reads a text as often as this has tokens. An n-gram model foretells the ends
    of lines, too; its unknown tokens count as <unk>, empty lines are passed
    over.
    """
    from handloom.cli.output import print_json
    from handloom.ngram.model import NgramModel

    if sources is not None and documents not in (None, "lines"):
        raise UsageError("with --sources a text is a line: leave --documents out")
    asked = opened(model, unit, threads, precision, offline, yes)
    if isinstance(asked, NgramModel):
        if sources is not None or text_column is not None or documents not in (None, "lines"):
            raise UsageError("an n-gram model reads a sentence on each line of a text file: leave out --sources, "
                             "--documents and --text-column")  # fmt: skip
        found = measured(asked, data, encoding)
    elif sources is not None:
        found = asked.perplexity(lines(data, encoding), sources=lines(sources, encoding)).to_dict()
    else:
        found = asked.perplexity(texts_of(data, documents, text_column, encoding)).to_dict()
    if json:
        print_json(found)
    else:
        show_perplexity(found)


def opened(
    name: str, unit: str | None, threads: int | None, precision: str | None, offline: bool, yes: bool
) -> Scorer:
    """A model; it is said if reading it takes a while."""
    from handloom.cli.download import model_folder
    from handloom.cli.output import note
    from handloom.pipelines.scorer import is_ngram, scorer

    if is_ngram(name):
        if (size := Path(name).stat().st_size) > 10e6:
            note(f"reading {name}, {size / 1e6:.0f} MB")
        return scorer(name, unit=unit)
    return scorer(model_folder(name, offline, yes), unit=unit, threads=threads, precision=precision or "f32")


def lines(file: Path, encoding: str | None) -> Iterator[str]:
    from handloom.ngram.corpus import blocks

    for block in blocks(file, encoding):
        yield from (line.rstrip("\r") for line in block.split("\n"))


def texts_of(data: Path, documents: str | None, text_column: str | None, encoding: str | None) -> Iterator[str]:
    """Texts as pre-training reads them; a very long one comes in pieces."""
    from handloom.cli.output import note
    from handloom.data.corpus import Corpus
    from handloom.train.corpora import progress

    watch = progress("reading", note)
    corpus = Corpus([data], documents or "file", text_column, encoding or "utf-8")
    return (piece.text for piece in corpus.pieces(watch))


def measured(model: NgramModel, data: Path, encoding: str | None) -> dict[str, Any]:
    """An n-gram model's perplexity, with a warning where it means little."""
    from handloom.cli.output import note

    found = model.perplexity(data, encoding=encoding)
    if model.method == "stupid-backoff":
        note("stupid back-off's scores are no probabilities: this perplexity can be compared with nothing else")
    if found.unknown * 2 > found.tokens - found.texts:
        hint = " Was --unit characters meant?" if model.unit == "words" else ""
        note(f"{found.unknown:,} of {found.tokens:,} tokens are unknown to the model.{hint}")
    return found.to_dict()


def show_perplexity(found: dict[str, Any]) -> None:
    """As lines for a person."""
    print(f"perplexity             {found['perplexity']:>12,.2f}   (loss {found['loss']:.4f} nats a token)")
    if "perplexity_known" in found:
        print(f"without unknown tokens {found['perplexity_known']:>12,.2f}   ({found['unknown']:,} unknown)")
    print(f"bits a byte            {found['bits_per_byte']:>12.4f}   ({found['size']:,} bytes)")
    print(f"tokens                 {found['tokens']:>12,}   in {found['texts']:,} texts")
