"""`handloom generate MODEL "PROMPT"`: what a language model goes on with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, opt
from handloom.errors import UsageError

BEAMS = "Beam search"
WANTED = "What the text must be like"


def add_to(app: typer.Typer) -> None:
    app.command("generate", no_args_is_help=True)(generate)


def generate(
    model: options.LanguageModel,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The text to go on with; - reads it from standard input.",
                                   show_default=False)
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="PROMPT is what a user says; the model's chat template frames it.",
                           rich_help_panel=DATA)
    ] = False,
    system: Annotated[str | None, opt("TEXT", "With --chat: what the model is told beforehand.", DATA)] = None,
    max_new_tokens: options.MaxNewTokens = None,
    stop: options.Stop = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    no_repeat_ngram: options.NoRepeatNgram = None,
    seed: options.TextSeed = None,
    beams: Annotated[
        int | None, opt("N", "Look for the likeliest text with N beams.", BEAMS, min=1, default="the model's")
    ] = None,
    length_penalty: Annotated[
        float | None,
        opt("X", "Above 0: longer texts; scores are divided by length^X.", BEAMS, default="the model's, else 1"),
    ] = None,
    schema: Annotated[
        Path | None, opt("FILE", "JSON that this JSON Schema holds of (extra `constrained`).", WANTED)
    ] = None,
    pattern: Annotated[
        str | None, opt("REGEX", "A text of which the regular expression matches the whole.", WANTED)
    ] = None,
    choice: Annotated[list[str] | None, opt("TEXT", "One of these texts; give it again for each.", WANTED)] = None,
    require: Annotated[
        list[str] | None, opt("WORDS", "These words must come; may be given again. Best with --beams.", WANTED)
    ] = None,
    forbid: Annotated[
        list[str] | None, opt("WORDS", "No word may begin so, in any casing; may be given again.", WANTED)
    ] = None,
    steer: Annotated[
        str | None, opt("FOLDER", "A text classifier that reads several ways to go on and keeps one.", WANTED)
    ] = None,
    toward: Annotated[str | None, opt("LABEL", "With --steer: the label that it is to find likely.", WANTED)] = None,
    candidates: Annotated[
        int | None, opt("N", "With --steer: so many ways to go on.", WANTED, min=2, default="8")
    ] = None,
    block: Annotated[int | None, opt("N", "With --steer: every so many tokens.", WANTED, min=1, default="16")] = None,
    close: Annotated[
        bool, typer.Option(help="Bring what has no room left to its end by the shortest way.", rich_help_panel=WANTED)
    ] = True,
    weights: options.Weights = None,
    threads: options.Threads = None,
    precision: options.TextPrecision = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Let a language model go on with a text.

    \b
    handloom generate smollm2-135m-instruct "The capital of France is"
    handloom generate smollm2-135m-instruct --chat "Name three rivers." --temperature 0.7 --top-p 0.9
    handloom generate runs/novel "Once upon a time" --stop "THE END" --seed 7
    handloom generate smollm2-135m-instruct --chat "Describe a cat." --schema cat.json
    handloom generate smollm2-135m-instruct "The film was" --choice good --choice bad
    handloom generate runs/novel "In the wood" --require "old wolf" --forbid hunt --beams 8
    handloom generate smollm2-135m-instruct "The film" --steer runs/reviews --toward positive

    \b
    The text appears as it is made. With --json one line is printed at the end:
    {"text", "finish", "tokens"}; finish is "end", "stop", "length", or "closed":
    there was no room, and what --schema, --pattern or --choice still lacked was
    added the shortest way. With --steer there is a "score", too: how likely the
    classifier finds the label.
    """
    if prompt is None:
        raise UsageError('there is nothing to go on with: give a PROMPT, such as "Once upon a time"')
    if system is not None and not chat:
        raise UsageError("--system is a part of a conversation: give --chat, too")
    if beams is None and length_penalty is not None:
        raise UsageError("--length-penalty belongs to --beams")
    if beams is not None and stop:
        raise UsageError("--stop cannot be told to a beam search: leave one of them out")
    wanted = options.given(
        schema=schema, pattern=pattern, choices=choice, required=require, forbidden=forbid
    )
    if sum(x is not None for x in (schema, pattern, choice)) > 1:
        raise UsageError("--schema, --pattern and --choice each say what the whole text looks like: give one of them")
    if not close and not options.given(schema=schema, pattern=pattern, choices=choice, required=require):
        raise UsageError("--no-close belongs to what has an end to be brought to: --schema, --pattern, --choice or "
                         "--require")  # fmt: skip
    if steer is None and (alone := options.given(toward=toward, candidates=candidates, block=block)):
        raise UsageError(f"--{next(iter(alone))} belongs to --steer")
    if steer is not None:
        if toward is None:
            raise UsageError("--steer needs --toward, the label that the classifier is to find likely")
        whole = options.given(beams=beams, stop=stop, schema=schema, pattern=pattern, choice=choice, require=require,
                              forbid=forbid)  # fmt: skip
        if whole:
            raise UsageError(f"--steer draws block by block, and --{next(iter(whole))} is about the whole text: leave "
                             "one out")  # fmt: skip
    from handloom.cli.download import model_folder
    from handloom.cli.output import print_json, tell_ending, write_out
    from handloom.generate import steering
    from handloom.generate.generator import Writer
    from handloom.train.text_classifier import TextClassifier

    text = sys.stdin.read() if prompt == "-" else prompt
    given: Any = text
    if chat:
        told = [] if system is None else [{"role": "system", "content": system}]
        given = [*told, {"role": "user", "content": text}]
    how: dict[str, Any] = options.given(
        max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        repetition_penalty=repetition_penalty, no_repeat_ngram=no_repeat_ngram, seed=seed,
    )  # fmt: skip
    folder = model_folder(model, offline, yes)
    generator = Writer.from_pretrained(
        folder, threads=threads, precision=precision or "f32", weights=weights or "f32"
    )
    score: dict[str, float] = {}
    kept = {**wanted, "close": close}
    if steer is not None:
        judge = steering.likes(TextClassifier.load(model_folder(steer, offline, yes), threads=threads), toward or "")
        chosen = steering.steer(generator, given, judge, **options.given(candidates=candidates, block=block), **how)
        found, score = chosen.generation, {"score": chosen.score}
    elif beams is not None:
        found = generator.beams(given, beams=beams, **options.given(length_penalty=length_penalty), **how, **kept)[0]
    elif json:
        found = generator.generate(given, stop=stop or (), **how, **kept)
    else:
        write_out(generator.stream(given, stop=stop or (), **how, **kept))
        return
    if json:
        print_json({"text": found.text, "finish": found.finish, "tokens": len(found.ids), **score})
    else:
        sys.stdout.write(found.text + "\n")
        tell_ending(found.finish)
