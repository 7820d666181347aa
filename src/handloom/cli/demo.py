"""`handloom demo`: the whole job on real text, from the download to a model that can be used."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import OUTPUT, opt
from handloom.errors import HandloomError

if TYPE_CHECKING:
    from rich.console import Console

    from handloom.data.examples import Dataset

AT_HAND = "Instead of a download"
#: What fits three minutes on two cores; a training of your own would take three epochs or more.
SETTINGS: dict[str, Any] = {"epochs": 1, "batch_size": 32, "lr": 2e-4, "seed": 0}
SHARES = (0.8, 0.1, 0.1)  #: of a file of the user's own
NEW_TEXTS = (
    "The battery died after two days and nobody answered my emails.",
    "The committee will meet again on Thursday at ten.",
    "What a wonderful film, I laughed until I cried!",
)


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    model: Annotated[str | None, opt("DIR", "A model folder that is at hand.", AT_HAND)] = None,
    data: Annotated[Path | None, opt("FILE", "A labelled file that is at hand.", AT_HAND)] = None,
    out: Annotated[Path, opt("FOLDER", "Where the model is saved; an older demo is replaced.", OUTPUT)] = Path(
        "handloom-demo"
    ),
    threads: options.Threads = None,
    precision: options.Precision = None,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """See the whole job in a few minutes: sentiment of tweets, reviews and editorials.

    \b
    handloom demo
    handloom demo --model path/to/model --data mine.csv    (no download)

    \b
    Shows the data, two baselines, the training, scores before and after, the
    worst mistakes, three predictions, and how to do the same with a file of
    your own. Size, source and licence are shown before a download.
    """
    from rich.console import Console

    from handloom.cli.training import show, watched, where
    from handloom.train.text_classifier import TextClassifier

    began = time.monotonic()
    folder, sentences = at_hand(model, data, offline, yes)
    console = Console()
    console.rule("[bold]1 · The data")
    sets = own_file(data) if data else rated(sentences)
    describe(console, sets)
    console.rule("[bold]2 · The model")
    console.print(
        f"{folder}\nA new layer on top of it has to learn the labels; all the rest is adapted.", highlight=False
    )
    classifier = TextClassifier.from_pretrained(folder, threads=threads, precision=precision or "auto")
    console.rule("[bold]3 · The training")
    with watched(out) as listener:
        classifier.fit(**sets, out=out, overwrite=True, baselines=True, listener=listener, **SETTINGS)
    console.rule("[bold]4 · The result, on sentences that it never saw")
    if classifier.scores:
        show(console, classifier.scores, classifier.baselines)
    console.rule("[bold]5 · Three predictions")
    for text, found in zip(NEW_TEXTS, classifier.predict(list(NEW_TEXTS)), strict=True):
        console.print(f"[bold green]{found.label:>9}[/] {found.score:.2f}  {text}", highlight=False)
    where(console, out)
    console.print(f'  [bold]handloom predict {out} "{NEW_TEXTS[0]}"[/]', highlight=False, soft_wrap=True)
    console.print("And with a file of your own, a text and a label in each row:", highlight=False)
    console.print("  [bold]handloom train text-classification --train mine.csv --out runs/mine[/]", highlight=False)
    console.print(f"\nAll of it took {time.monotonic() - began:.0f} seconds.", highlight=False)


def at_hand(model: str | None, data: Path | None, offline: bool, yes: bool) -> tuple[Path, Path]:
    """The folders of the model and of the sentences, fetched if need be; one error for all that is missing."""
    from handloom.cli.download import Declined, entry_folder, model_folder
    from handloom.models.catalogue import RATED_SENTENCES

    ways: tuple[Callable[[], Path], ...] = (
        lambda: model_folder(model or "minilm-l6", offline, yes),
        lambda: data or entry_folder(RATED_SENTENCES, offline, yes),
    )
    found, missing = [], []
    for get in ways:
        try:
            found.append(get())
        except Declined:
            raise  # no second question
        except HandloomError as error:
            missing.append(str(error))
    if missing:
        raise HandloomError("\n".join([*missing, "The demo runs without them, too: --model DIR and --data FILE."]))
    return found[0], found[1]


def rated(folder: Path) -> dict[str, Dataset[Any]]:
    """The rated sentences of a folder, in three parts."""
    from handloom.cli import demo_data

    splits = demo_data.splits(demo_data.read(folder))
    return {name: demo_data.dataset(sentences) for name, sentences in splits.items()}


def own_file(path: Path) -> dict[str, Dataset[Any]]:
    """A labelled file of the user's, in three parts."""
    from handloom.data.readers import read
    from handloom.data.split import split

    return dict(zip(("train", "valid", "test"), split(read(path), SHARES), strict=True))


def describe(console: Console, sets: dict[str, Dataset[Any]]) -> None:
    """How many examples of which label there are, and three of them."""
    from rich.text import Text

    from handloom.cli.tables import plain

    table = plain()
    table.add_column("")
    for name in sets:
        table.add_column(name, justify="right")
    counts = {name: Counter(example.label for example in dataset) for name, dataset in sets.items()}
    for label in sets["train"].labels:
        table.add_row(Text(label), *(f"{found[label]:,}" for found in counts.values()))
    table.add_row("all", *(f"{found.total():,}" for found in counts.values()), style="bold")
    console.print(table)
    for label in sets["train"].labels[:3]:
        example = next(example for example in sets["train"] if example.label == label)
        console.print(Text.assemble((f"{label:>9}", "bold"), f"  {example.text[:200]}"))
