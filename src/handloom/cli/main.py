"""The command `handloom`: joins the commands, runs one, and returns its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from handloom.cli import (
    augment,
    chat,
    choose,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    fill_mask,
    generate,
    ngram,
    predict,
    pretrain,
    profile,
    resume,
    score,
    search,
    sentences,
    train,
)
from handloom.cli.problems import ClickError, explain, hide_tracebacks, plain_warnings
from handloom.errors import HandloomError

app = typer.Typer(
    name="handloom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    if wanted:
        from handloom import __version__

        print(f"handloom {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors; may stand anywhere.")] = False,
) -> None:
    """Fine-tune language models on the CPU that you already own.

    \b
    handloom demo                        see the whole job on real text
    handloom data check mine.csv         look at a labelled file
    handloom train text-classification --train mine.csv --out runs/mine
    handloom predict runs/mine "A sentence to be judged."
    """


GROUPS = (
    demo, train, pretrain, evaluate, compare, predict, choose, generate, chat, score, fill_mask, sentences, search,
    resume, data, augment, ngram, profile, doctor,
)  # fmt: skip
for group in GROUPS:
    group.add_to(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv[1:]` if none is given) and return its exit code.

    `--debug` may stand anywhere before `--`; with it an error ends in a traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    before = given[: given.index("--")] if "--" in given else given
    if debug := "--debug" in before:
        given = [word for word in before if word != "--debug"] + given[len(before) :]
    else:
        hide_tracebacks()
        plain_warnings()
    try:
        # The command and not the app is called: the app would put its own traceback printer in place of ours.
        code = typer.main.get_command(app)(given, prog_name="handloom", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (`| head`) has left: stop without a word, and let nothing be flushed into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (HandloomError, ClickError, typer.Abort, KeyboardInterrupt, OSError, MemoryError) as error:
        if debug:
            raise
        return explain(error)
    return code if isinstance(code, int) else 0
