"""`handloom ngram train | sample`: n-gram language models. `handloom score` and `perplexity` ask them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, OUTPUT, opt
from handloom.errors import UsageError

if TYPE_CHECKING:
    from handloom.ngram.model import NgramModel

Arpa = Annotated[Path, typer.Argument(metavar="MODEL", help="An ARPA file, plain or gzip.", show_default=False)]
Unit = Annotated[
    str | None, opt("words|characters", "What a token is: what stands between blanks, or a character.", MODEL)
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Train n-gram language models (ARPA files), and sample from them.")
    for command in (train, sample):
        group.command(command.__name__, no_args_is_help=True)(command)
    app.add_typer(group, name="ngram")


def train(
    corpus: Annotated[
        Path, typer.Argument(metavar="FILE", help="Text, a sentence on each line; gzip, too.", show_default=False)
    ],
    out: Annotated[Path | None, opt("FILE", "The ARPA file that is made; .gz packs it.", OUTPUT)] = None,
    test: Annotated[Path | None, opt("FILE", "Text to measure the perplexity on.", DATA)] = None,
    order: Annotated[int, opt("N", "Words of the longest n-gram.", MODEL, min=1, default="5")] = 5,
    unit: Annotated[
        str, opt("words|characters", "What a token is: what stands between blanks, or a character.", MODEL)
    ] = "words",
    method: Annotated[
        str, opt("kneser-ney|add-k|stupid-backoff", "How counts are smoothed; the last two to compare with.", MODEL)
    ] = "kneser-ney",
    constant: Annotated[
        float | None, opt("X", "The k of add-k (0.1), or the factor of stupid-backoff (0.4).", MODEL)
    ] = None,
    prune: Annotated[
        str, opt("N,N,…", "Leave out n-grams seen N times or less, for each order: 0,0,1.", MODEL, default="0")
    ] = "0",
    encoding: options.Encoding = None,
    overwrite: options.OverwriteFile = False,
    json: options.Json = False,
) -> None:
    """Train an n-gram model: count, smooth, write an ARPA file.

    \b
    handloom ngram train corpus.txt --out lm.arpa.gz
    handloom ngram train corpus.txt --order 3 --prune 0,0,1 --out small.arpa
    handloom ngram train chinese.txt --unit characters --out zh.arpa.gz
    handloom ngram train corpus.txt --method add-k --test heldout.txt

    Interpolated modified Kneser–Ney smoothing, with discounts estimated from
    the corpus. KenLM, SRILM and what builds on them read the file.
    """
    from handloom.cli.output import note, print_json
    from handloom.cli.score import measured, show_perplexity
    from handloom.ngram.model import NgramModel

    if out is None and test is None:
        raise UsageError("give --out FILE to keep the model, --test FILE to measure it, or both")
    if out is not None:
        options.check_free(out, overwrite)
        if method == "add-k":
            raise UsageError("an add-k model cannot be written as an ARPA file; measure it by --test instead of --out")
    begin = time.perf_counter()
    model = NgramModel.train(
        corpus, order, unit=unit, method=method, constant=constant, prune=thresholds(prune), encoding=encoding, say=note
    )
    if model.order < order:
        note(f"no sentence holds an n-gram of order {order} that is kept: the model's order is {model.order}")
    guessed = [str(length) for length, one in enumerate(model.discounts, 1) if not one.estimated]
    if guessed:
        note(f"the corpus is too small to estimate discounts of order {', '.join(guessed)}: 0.5, 1 and 1.5 are taken")
    if out is not None:
        note(f"writing {out}")
        model.save(out)
    seconds = time.perf_counter() - begin
    found: dict[str, Any] = {
        "order": model.order,
        "ngrams": [len(level) for level in model.levels],
        "discounts": [one.amounts for one in model.discounts],
        "seconds": seconds,
        "model": None if out is None else str(out),
        "test": None if test is None else measured(model, test, encoding),
    }
    if json:
        print_json(found)
        return
    print(f"{'order':>5} {'n-grams':>12}  discounts of 1, 2, 3+")
    for length, number in enumerate(found["ngrams"], 1):
        amounts = model.discounts[length - 1].amounts if model.discounts else ()
        print(f"{length:>5} {number:>12,}  {'  '.join(f'{amount:.3f}' for amount in amounts) or '–'}")
    if out is not None:
        print(f"{out}, {out.stat().st_size / 1e6:.1f} MB, in {seconds:.1f} s")
    if found["test"]:
        show_perplexity(found["test"])


def loaded_from(path: Path, unit: str | None) -> NgramModel:
    """A model; it is said if that takes a while."""
    from handloom.cli.output import note
    from handloom.ngram.model import NgramModel

    if path.is_file() and (size := path.stat().st_size) > 10e6:
        note(f"reading {path}, {size / 1e6:.0f} MB")
    return NgramModel.load(path, unit)


def thresholds(written: str) -> list[int]:
    """
    >>> thresholds("0,0,1")
    [0, 0, 1]
    """
    try:
        return [int(one) for one in written.replace(" ", ",").split(",")]
    except ValueError as error:
        raise UsageError(f"--prune {written}: write a number for each order, such as 0,0,1") from error


def sample(
    model: Arpa,
    prompt: Annotated[str, typer.Argument(metavar="TEXT", help="How each text begins.", show_default=False)] = "",
    count: Annotated[int, opt("N", "Texts to make.", MODEL, min=1, default="1")] = 1,
    length: Annotated[int, opt("N", "Tokens that a text may get at most.", MODEL, min=1, default="100")] = 100,
    temperature: Annotated[
        float, opt("X", "Below 1 keeps to what is likely, above 1 ventures more.", MODEL, default="1.0")
    ] = 1.0,
    seed: Annotated[int, opt("N", "The same seed gives the same texts.", MODEL, min=0, default="0")] = 0,
    unit: Unit = None,
    json: options.Json = False,
) -> None:
    """Let a model make up texts.

    \b
    handloom ngram sample lm.arpa.gz --count 3
    handloom ngram sample lm.arpa.gz "my fellow" --length 20 --temperature 0.7 --seed 1
    """
    from handloom.cli.output import print_json

    loaded = loaded_from(model, unit)
    for text in loaded.sample(prompt, count=count, length=length, temperature=temperature, seed=seed):
        if json:
            print_json({"text": text})
        else:
            print(text)
