"""`handloom chat MODEL`: talk with a language model."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.nearest import did_you_mean
from handloom.cli.options import DATA, opt
from handloom.cli.output import note, write_out

if TYPE_CHECKING:
    from handloom.generate.conversation import Conversation

COMMANDS = {
    "/new": "begins anew",
    "/help": "lists these",
    "/bye": "ends the conversation, as Ctrl-D does",
}
"""What a line may say that is not for the model, and what it does."""
COMMAND = re.compile(r"/\w*")


def add_to(app: typer.Typer) -> None:
    app.command("chat", no_args_is_help=True)(chat)


def chat(
    model: options.LanguageModel,
    system: Annotated[str | None, opt("TEXT", "What the model is told beforehand.", DATA)] = None,
    max_new_tokens: options.MaxNewTokens = None,
    stop: options.Stop = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    no_repeat_ngram: options.NoRepeatNgram = None,
    seed: options.TextSeed = None,
    weights: options.Weights = None,
    threads: options.Threads = None,
    precision: options.TextPrecision = None,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Talk with a language model.

    \b
    handloom chat smollm2-135m-instruct
    handloom chat smollm2-135m-instruct --system "You answer in one sentence." --weights int8
    handloom chat runs/helper --temperature 0.7 --top-p 0.9

    \b
    A line is what you say; standard input may be a file of them. /new begins
    anew, /help lists such commands, Ctrl-C ends a reply, Ctrl-D (or /bye) the
    conversation. What no longer fits the model's context is forgotten, the
    oldest first, and it is said.
    """
    from handloom.cli.download import model_folder
    from handloom.generate.conversation import Conversation
    from handloom.generate.generator import Writer

    how = options.given(
        max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        repetition_penalty=repetition_penalty, no_repeat_ngram=no_repeat_ngram, seed=seed, stop=stop,
    )  # fmt: skip
    folder = model_folder(model, offline, yes)
    generator = Writer.from_pretrained(
        folder, threads=threads, precision=precision or "f32", weights=weights or "f32"
    )
    talk(Conversation(generator, system), how)


def talk(conversation: Conversation, how: dict[str, Any]) -> None:
    """Until there is nothing more to read."""
    person = sys.stdin.isatty()
    while True:
        if person:
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        said = line.strip()
        if not line or said == "/bye":
            break
        if COMMAND.fullmatch(said):
            if said == "/new":
                conversation.begin_anew()
            else:
                note(helped(said))
            continue
        if not said:
            continue
        forgotten = conversation.forgotten
        reply = conversation.say(said, **how)
        try:
            write_out(reply)
        except KeyboardInterrupt:
            if not person:
                raise
            reply.close()
            sys.stdout.write("\n")
        if conversation.forgotten > forgotten:
            note(f"(the context is full: the oldest {conversation.forgotten} messages are forgotten)")
    if person:
        sys.stdout.write("\n")


def helped(said: str) -> str:
    """What there is to say of a command that is not for the conversation: which commands there are."""
    unknown = "" if said in COMMANDS else f"there is no command {said}{did_you_mean(said, COMMANDS)}\n"
    return unknown + "\n".join(f"{name:6} {what}" for name, what in COMMANDS.items())
