"""`handloom pretrain TEXT`: a language model from plain text, or a checkpoint that reads on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, TRAINING, opt
from handloom.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command("pretrain", no_args_is_help=True)(pretrain)


def pretrain(
    command: typer.Context,
    text: Annotated[
        list[Path],
        typer.Argument(metavar="TEXT…", help="Files (.txt, .jsonl, also .gz) or folders of them.", show_default=False),
    ],
    *,
    valid: Annotated[
        list[Path] | None,
        opt("FILE", "Text to validate on; else a tenth of TEXT, at most 10 MB.", DATA),
    ] = None,
    documents: Annotated[
        str | None,
        opt("file|paragraphs|lines", "What a document of a text file is.", DATA, default="file"),
    ] = None,
    text_column: Annotated[str | None, opt("NAME", "Column of JSON lines that holds the text.", DATA)] = None,
    encoding: Annotated[str | None, opt("NAME", "Of text files.", DATA, default="utf-8")] = None,
    valid_share: Annotated[
        float | None, opt("X", "Share of TEXT that is set aside where there is no --valid.", DATA)
    ] = None,
    valid_tokens: Annotated[
        int | None, opt("N", "Tokens that a validation looks at, about.", DATA, min=1, default="200000")
    ] = None,
    model: Annotated[
        str | None,
        opt("NAME", "A checkpoint to go on with: a folder, a name of the catalogue, or owner/name.", MODEL),
    ] = None,
    model_type: options.ModelType = None,
    layers: options.Layers = None,
    hidden: options.Hidden = None,
    heads: options.Heads = None,
    key_value_heads: options.KeyValueHeads = None,
    intermediate: options.Intermediate = None,
    config: options.ConfigFile = None,
    context: Annotated[
        int | None,
        opt("N", "Tokens that it sees at once; 256 from scratch, 512 for a checkpoint.", MODEL, min=2),
    ] = None,
    tokenizer: Annotated[
        str | None,
        opt("bpe|wordpiece|unigram|character|FOLDER", "A vocabulary to learn, or to take.", MODEL, default="bpe"),
    ] = None,
    vocab_size: options.VocabSize = None,
    objective: Annotated[
        str | None,
        opt("causal|masked|span-corruption|denoising", "What it is asked; else the family's usual one.", TRAINING),
    ] = None,
    mask_rate: Annotated[float | None, opt("X", "Share of tokens that is hidden.", TRAINING)] = None,
    mean_span: Annotated[float | None, opt("X", "Mean length of hidden spans.", TRAINING)] = None,
    whole_words: Annotated[
        bool, typer.Option("--whole-words", help="Masks hide words as a whole.", rich_help_panel=TRAINING)
    ] = False,
    epochs: Annotated[float | None, opt("N", "Times through the text.", TRAINING, default="1")] = None,
    steps: Annotated[int | None, opt("N", "Steps, instead of --epochs.", TRAINING, min=1)] = None,
    batch_size: Annotated[int | None, opt("N", "Windows of text in a batch.", TRAINING, min=1, default="16")] = None,
    batch_tokens: options.BatchTokens = None,
    lr: Annotated[float | None, options.training("lr", "0.0005")] = None,
    final_lr: options.FinalLr = None,
    optimizer: options.Optimizer = None,
    beta2: Annotated[float | None, options.training("beta2", "0.95")] = None,
    schedule: Annotated[str | None, options.training("schedule", "cosine")] = None,
    warmup: Annotated[float | None, options.training("warmup", "0.02")] = None,
    weight_decay: Annotated[float | None, options.training("weight_decay", "0.1")] = None,
    dropout: Annotated[float | None, opt("X", "Instead of the model's own rate; 0 from scratch.", TRAINING)] = None,
    clip: options.Clip = None,
    patience: options.Patience = None,
    keep: options.Keep = None,
    seed: options.Seed = None,
    validate_every: Annotated[
        int | None,
        opt("N", "Validate every N steps; else at the end only.", TRAINING, min=1),
    ] = None,
    micro_batch_tokens: options.MicroBatchTokens = None,
    out: options.Out,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    precision: options.Precision = None,
    max_memory: options.MaxMemory = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Train a language model on plain text, from scratch or from a checkpoint.

    \b
    handloom pretrain book.txt --model-type gpt2 --tokenizer character \\
        --layers 4 --hidden 128 --heads 4 --context 64 --out runs/book
    handloom pretrain corpus.jsonl --model-type bert --tokenizer wordpiece \\
        --vocab-size 8000 --epochs 3 --out runs/bert
    handloom pretrain notes/ --model runs/bert --steps 2000 --out runs/bert2

    \b
    Text is read as a stream, however large, and kept as tokens in the cache
    folder. A line of JSONL is a document, a text file is one, too, unless
    --documents says otherwise; documents never see each other. Without
    --valid a tenth of the text is set aside. Ctrl-C stops at a checkpoint,
    from which `handloom resume` goes on. The folder that is made is a model
    like any other: transformers opens it, `handloom train` fine-tunes it.
    """
    from handloom.cli.download import model_folder
    from handloom.cli.training import pretrained, watched
    from handloom.train.pretraining import pretrain as run
    from handloom.train.recipe import Asked

    if sum(given is not None for given in (model, model_type, config)) != 1:
        raise UsageError("give one of --model (a checkpoint), --model-type and --config (a model from scratch)")
    settings = options.settings(command, Asked)
    folder = None if model is None else model_folder(model, offline, yes)
    with watched(out) as listener:
        found = run(list(text), valid, model=folder, out=out, overwrite=overwrite, listener=listener, **settings)
    pretrained(found, out, json)
