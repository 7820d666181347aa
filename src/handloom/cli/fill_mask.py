"""`handloom fill-mask MODEL TEXT…`: the words that may stand behind a mask."""

from __future__ import annotations

from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import OUTPUT, opt


def add_to(app: typer.Typer) -> None:
    app.command("fill-mask", no_args_is_help=True)(fill_mask)


def fill_mask(
    model: options.ModelName,
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT…", help="Texts with a mask each, or several.", show_default=False)
    ],
    top: Annotated[int, opt("N", "Words to show for each mask.", OUTPUT, min=1)] = 5,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Let a masked language model guess the words behind masks.

    \b
    handloom fill-mask google-bert/bert-base-chinese "北京是[MASK]国的首都。"
    handloom fill-mask ./roberta "Paris is the <mask> of France." --top 3

    \b
    A mask is written as the model spells it: [MASK] for BERT and its like,
    <mask> for RoBERTa and its like. With --json one line is printed for each
    text: {"text", "masks": [[{"word", "score", "id", "text"}]]}.
    """
    from handloom.cli.download import model_folder
    from handloom.cli.output import print_json
    from handloom.pipelines.fill_mask import FillMask
    from handloom.text.width import filled

    filler = FillMask(model_folder(model, offline, yes), threads, precision or "auto")
    for text, masks in zip(texts, filler.predict(texts, top), strict=True):
        if json:
            print_json({"text": text, "masks": [[one.to_dict() for one in mask] for mask in masks]})
            continue
        for number, mask in enumerate(masks, start=1):
            print(text if len(masks) == 1 else f"{text}  (mask {number})")
            for one in mask:
                print(f"  {one.score:.3f}  {filled(one.word, 16)} {one.text}")
