"""`handloom train TASK`: fine-tune on the user's own files."""

from __future__ import annotations

from json import loads as json_of
from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.nearest import did_you_mean
from handloom.cli.options import DATA, MODEL, TASK, TRAINING, opt
from handloom.errors import UsageError

USUAL = "minilm-l6"
USUAL_OF = {
    "text-generation": "smollm2-135m-instruct", "summarization": "smollm2-135m-instruct", "translation": None
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("train", no_args_is_help=True)(train)


def train(
    command: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="text-classification, token-classification, relation-extraction, question-answering, "
            "sentence-similarity, multiple-choice, translation, summarization or text-generation.",
        ),
    ],
    *,
    train: Annotated[Path, opt("FILE", "Labelled examples to learn from.", DATA)],
    valid: Annotated[
        Path | None,
        opt("FILE", "Examples to choose the best weights by; else a tenth of --train.", DATA),
    ] = None,
    test: Annotated[
        Path | None,
        opt("FILE", "Examples to measure on, before and after.", DATA),
    ] = None,
    targets: options.Targets = None,
    valid_targets: Annotated[Path | None, opt("FILE", "The same for --valid.", DATA)] = None,
    test_targets: Annotated[Path | None, opt("FILE", "The same for --test.", DATA)] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    model: Annotated[
        str | None,
        opt("NAME", "A folder, a name of the catalogue, or owner/name on the hub.", MODEL, default=USUAL),
    ] = None,
    model_type: options.ModelType = None,
    layers: options.Layers = None,
    hidden: options.Hidden = None,
    heads: options.Heads = None,
    key_value_heads: options.KeyValueHeads = None,
    intermediate: options.Intermediate = None,
    context: Annotated[int | None, opt("N", "Tokens that it can see at once.", MODEL, min=2, default="256")] = None,
    config: options.ConfigFile = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What its config.json says besides; may be given again.",
                     rich_help_panel=MODEL, show_default=False),
    ] = None,
    tokenizer: Annotated[
        str | None,
        opt("bpe|wordpiece|unigram|character|FOLDER", "A vocabulary to learn from --train, or to take; else the "
            "family's usual one.", MODEL),
    ] = None,
    vocab_size: options.VocabSize = None,
    freeze: Annotated[
        str | None,
        opt("PART", "Leave a part as it is: embeddings, a number of first layers, or all-but-head.", MODEL),
    ] = None,
    max_length: Annotated[
        int | None,
        opt("N", "Tokens a text may have at once.", MODEL, min=4),
    ] = None,
    long: Annotated[
        str | None,
        opt("windows|head|head-tail", "What is done with a longer text.", MODEL, default="windows"),
    ] = None,
    epochs: Annotated[float | None, opt("N", "Times through the training examples.", TRAINING, default="3")] = None,
    batch_size: Annotated[int | None, opt("N", "Examples in a batch.", TRAINING, min=1, default="16")] = None,
    batch_tokens: options.BatchTokens = None,
    lr: Annotated[float | None, options.training("lr", "0.0001")] = None,
    optimizer: options.Optimizer = None,
    schedule: Annotated[str | None, options.training("schedule", "linear")] = None,
    final_lr: options.FinalLr = None,
    warmup: Annotated[float | None, options.training("warmup", "0.1")] = None,
    weight_decay: Annotated[float | None, options.training("weight_decay", "0.01")] = None,
    beta2: Annotated[float | None, options.training("beta2", "0.999")] = None,
    dropout: Annotated[float | None, opt("X", "Instead of the model's own rate.", TRAINING)] = None,
    clip: options.Clip = None,
    label_smoothing: Annotated[float | None, opt("X", "0 to 1; softens the targets.", TRAINING, default="0.0")] = None,
    class_weights: Annotated[
        str | None,
        opt("balanced|LABEL=X,…", "Makes rare labels count more.", TRAINING),
    ] = None,
    metric: Annotated[str | None, opt("NAME", "What the best weights are best at.", TRAINING)] = None,
    patience: options.Patience = None,
    keep: options.Keep = None,
    seed: options.Seed = None,
    augment: Annotated[
        str | None,
        opt("mention,typo", "Learn from changed copies of the training examples, too; see handloom augment.", TRAINING),
    ] = None,
    augment_times: Annotated[int | None, opt("N", "Copies of each example by each way.", TRAINING, min=1, default="1")]
    = None,
    problem: options.Problem = None,
    label_separator: options.LabelSeparator = None,
    label_order: options.LabelOrder = None,
    refuse: Annotated[
        float | None,
        opt("X", "text-classification: say none of these, of at most this share of the texts with a label.", TASK),
    ] = None,
    none_label: Annotated[
        str | None,
        opt("NAME", "text-classification: the label of texts that have none of the labels, beside a blank.", TASK),
    ] = None,
    longest_answer: Annotated[
        int | None,
        opt("N", "question-answering: tokens of an answer, at most; 30 if not given.", TASK, min=1),
    ] = None,
    subwords: Annotated[
        str | None,
        opt("first|all|mean", "token-classification: sub-words that speak for a word; first if not given.", TASK),
    ] = None,
    crf: Annotated[
        bool | None,
        typer.Option(
            "--crf/--no-crf",
            help="token-classification: decide on all tags of a text together, by a conditional random field; "
            "what a tagging scheme does not allow is then never predicted.",
            rich_help_panel=TASK,
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        opt("mean|cls", "sentence-similarity: the mean of all tokens, or the first; else as the folder says.", TASK),
    ] = None,
    symmetric: Annotated[
        bool | None,
        typer.Option(
            "--symmetric/--no-symmetric",
            help="sentence-similarity: the second texts of pairs are to find the first ones, too.",
            rich_help_panel=TASK,
            show_default="False",
        ),
    ] = None,
    score_range: Annotated[
        str | None,
        opt("LOW,HIGH", "sentence-similarity: the least and the greatest score; else a usual range that fits.", TASK),
    ] = None,
    prompt: Annotated[
        str | None,
        opt("TEXT", "translation, summarization by a decoder: what it is asked, {text} being the text.", TASK),
    ] = None,
    validate_every: Annotated[
        int | None,
        opt("N", "Validate every N steps, too.", TRAINING, min=1),
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
    """Fine-tune a model on a labelled file.

    \b
    handloom train text-classification --train reviews.csv --out runs/reviews
    handloom train text-classification --train a.csv --valid b.csv \\
        --test c.csv --text-column body --label-column folder \\
        --epochs 5 --class-weights balanced --out runs/mail
    handloom train text-classification --train topics.csv --label-separator , --out runs/topics
    handloom train text-classification --train stars.csv --problem ordered --out runs/stars
    handloom train token-classification --train train.conll \\
        --valid valid.conll --test test.conll --out runs/ner
    handloom train translation --model-type marian --layers 4 \\
        --hidden 128 --heads 4 --vocab-size 6000 --epochs 15 \\
        --batch-tokens 2048 --lr 0.003 \\
        --train train.en --targets train.de --out runs/en-de
    handloom train token-classification --model runs/ner \\
        --train more.conll --out runs/ner2
    handloom train question-answering --train squad.json --out runs/qa
    handloom train sentence-similarity --train faq.csv --batch-size 64 --out runs/faq
    handloom train text-generation --train chats.jsonl --out runs/helper
    handloom train text-generation --train src/ --valid held-out/ --out runs/code
    handloom train summarization --train articles.jsonl --out runs/brief \\
        --prompt "Summarize in one sentence: {text}"

    \b
    A file for classification is CSV, TSV or JSONL, or a folder with a folder
    of text files for each label; a file for tokens is CoNLL: a word and its
    tag on a line, an empty line after each sentence. text-generation reads
    conversations (JSONL: messages, ShareGPT, Alpaca), of which the assistant's
    words are learnt, prompts with completions, texts, and folders of texts or
    programs. Without --valid a tenth of the examples is set aside, the same
    ones for the same --seed. Ctrl-C stops at a checkpoint, from which
    `handloom resume` goes on.
    """
    from handloom.cli.download import model_folder
    from handloom.cli.training import report, watched
    from handloom.train import estimators
    from handloom.train.settings import Settings

    if task not in estimators.ESTIMATORS:
        raise UsageError(f"there is no task {task}{did_you_mean(task, estimators.ESTIMATORS)}")
    options.check_meant(task, command)
    settings = options.settings(
        command, Settings, class_weights=weights(class_weights), score_range=numbers(score_range)
    )
    sets = (
        options.beside(train, targets, "--train"), options.beside(valid, valid_targets, "--valid"),
        options.beside(test, test_targets, "--test"),
    )  # fmt: skip
    labels = {"problem": problem, "label_separator": label_separator, "label_order": label_order}
    labels["none_label"] = none_label
    reading = options.reading(text_column, label_column, pair_column, delimiter, encoding, **labels)
    kind = estimators.ESTIMATORS[task]
    described = options.given(
        layers=layers, hidden=hidden, heads=heads, key_value_heads=key_value_heads, intermediate=intermediate,
        context=context, tokenizer=tokenizer, vocab_size=vocab_size, values=config_values(values),
    )  # fmt: skip
    if model_type is None and config is None:
        if described:
            name = {"values": "set"}.get(first := next(iter(described)), first).replace("_", "-")
            raise UsageError(f"--{name} describes a model from scratch: it goes with --model-type or --config")
        usual = model or USUAL_OF.get(task, USUAL)
        if usual is None:
            raise UsageError(f"{task} has no usual model: name one that writes with --model, or train one from nothing "
                             "with --model-type marian")  # fmt: skip
        estimator = kind.from_pretrained(model_folder(usual, offline, yes))
    elif model is not None:
        raise UsageError("give either --model, or --model-type or --config for a model from scratch")
    else:
        drawn = options.given(dropout=dropout, seed=seed)
        estimator = kind.new(sets[0], model_type=model_type, config=config, **described, **drawn, **reading)
    with watched(out) as listener:
        estimator.fit(*sets, out=out, overwrite=overwrite, listener=listener, **reading, **settings)
    report(estimator, out, json)


def config_values(written: list[str] | None) -> dict[str, Any] | None:
    """Each --set as a user writes it: the value is JSON where it can be, else a text.

    >>> config_values(["bidirectional=true", "cell=gru"])
    {'bidirectional': True, 'cell': 'gru'}
    """
    found: dict[str, Any] = {}
    for one in written or ():
        key, equals, value = one.partition("=")
        if not (equals and key.strip()):
            raise UsageError(f"--set {one}: write KEY=VALUE, such as bidirectional=true")
        try:
            found[key.strip()] = json_of(value)
        except ValueError:
            found[key.strip()] = value.strip()
    return found or None


def numbers(written: str | None) -> tuple[float, ...] | None:
    """--score-range as a user writes it.

    >>> numbers("0,5")
    (0.0, 5.0)
    """
    if written is None:
        return None
    try:
        return tuple(float(part) for part in written.split(","))
    except ValueError:
        raise UsageError(f"--score-range {written}: write two numbers, such as 0,5") from None


def weights(written: str | None) -> str | dict[str, float] | None:
    """--class-weights as a user writes them.

    >>> weights("spam=2,ham=0.5")
    {'spam': 2.0, 'ham': 0.5}
    >>> weights("balanced")
    'balanced'
    """
    if written is None or "=" not in written:
        return written
    pairs = [pair.rpartition("=") for pair in written.split(",")]
    try:
        return {label.strip(): float(value) for label, _, value in pairs}
    except ValueError:
        right = "write balanced, or a number for each label, such as spam=2,ham=0.5"
        raise UsageError(f"--class-weights {written}: {right}") from None
