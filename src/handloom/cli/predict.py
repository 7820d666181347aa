"""`handloom predict MODEL TEXT…` or `--data FILE`: what a model says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, OUTPUT, opt
from handloom.errors import HandloomError, UsageError


def add_to(app: typer.Typer) -> None:
    app.command("predict", no_args_is_help=True)(predict)


def predict(
    command: typer.Context,
    model: options.ModelFolder,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="Texts to judge.", show_default=False)
    ] = None,
    data: Annotated[Path | None, opt("FILE", "A file of texts instead; labels are not needed.", DATA)] = None,
    context: Annotated[
        Path | None,
        opt("FILE|FOLDER", "The text that questions are asked of; in a folder's texts they are looked for.", DATA),
    ] = None,
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    top: options.Top = None,
    beams: options.Beams = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="label-studio|doccano", rich_help_panel=OUTPUT,
            help="token-classification: print the spans as one of these imports them, to be corrected there.",
        ),
    ] = None,
) -> None:
    """Let a model judge texts.

    \b
    handloom predict runs/reviews "I would buy it again."
    handloom predict runs/reviews --data new.csv --json > judged.jsonl
    handloom predict runs/topics "The team won." --top 3
    handloom predict runs/ner "Marie Curie worked in Paris."
    handloom predict runs/rel "A <e1>pump</e1> feeds the <e2>boiler</e2>."
    handloom predict runs/qa "Who found radium?" --context curie.txt
    handloom predict runs/qa "How long is the warranty?" --context manuals/
    handloom predict runs/faq --data pairs.csv

    \b
    With --json one line is printed for each text, in the order of the input
    and with its other columns: {"text", "label", "scores"} or
    {"text", "labels", "scores"} or {"text", "value"} or
    {"text", "spans": [{"start", "end", "label", "text", "score"}]} or
    {"text", "first", "second", "label", "scores"}, {"text", "written"} (and
    "cut": true where there was room for no more) or
    {"question", "context", "answer", "start", "end", "score", "others"} or
    {"text", "pair", "score", "same"}, a cosine, or {"question", "choices",
    "choice", "answer", "score", "scores"}. A
    column of the input that has one of these names comes back as "label_given"
    and so on. With a folder there is a line for each answer that was found.
    """
    if bool(texts) == (data is not None):
        raise UsageError(
            "give either texts or --data FILE" + (", not both" if texts else "; there is nothing to judge")
        )
    how = options.reading(text_column, None, pair_column, delimiter, encoding)
    if texts:
        options.check_file({name: value for name, value in how.items() if name != "encoding" or context is None})
    for number, text in enumerate(texts or (), start=1):
        if not text.strip():
            raise HandloomError(f"text {number} is empty: there is nothing to judge")
    from handloom.cli.output import note, print_json
    from handloom.data.examples import CHOICE, SIMILARITY
    from handloom.train import estimators

    estimator = estimators.load(model, threads, precision or "auto")
    options.check_meant(estimator.task_name, command)
    if texts and estimator.task_name == SIMILARITY:
        raise UsageError(f"two texts are compared: --data FILE, or handloom sentence-similarity {model} TEXT OTHER")
    if texts and estimator.task_name == CHOICE:
        raise UsageError(f'a question has choices: --data FILE, or handloom choose {model} "…" --choice A --choice B')
    if texts and context is None and isinstance(estimator, estimators.QuestionAnswerer):
        raise UsageError("a question is asked of a text: add --context FILE, or a folder of texts")
    how |= options.given(top=top, beams=beams)
    found = estimator.predict_dicts(data or texts, **how) if context is None else asked(estimator, texts, context, how)
    for line in estimator.notes:
        note(line)
    if form is not None:
        print_spans(found, form, str(model))
        return
    if json:
        for row in found:
            print_json(row)
        return
    from rich.console import Console

    console = Console()
    for row in found:
        console.print(*shown(row, top), sep="\n", soft_wrap=True)


def print_spans(rows: list[dict[str, Any]], form: str, version: str) -> None:
    """Predictions as another program imports them: a JSON list of tasks, or a JSON object a line."""
    import sys
    from json import dumps

    from handloom.cli.output import finite, print_json
    from handloom.data.label_studio import doccano_row, prediction

    if form not in ("label-studio", "doccano"):
        raise UsageError(f"--format {form}: there are label-studio and doccano")
    if any("spans" not in row for row in rows):
        raise UsageError("--format is for token-classification: this model gives no spans")
    if form == "doccano":
        for row in rows:
            print_json(doccano_row(row))
        return
    tasks = [dumps(finite(prediction(row, version)), ensure_ascii=False) for row in rows]
    sys.stdout.write("[\n" + ",\n".join(tasks) + "\n]\n")


def asked(estimator: Any, questions: list[str] | None, context: Path, how: dict[str, Any]) -> list[dict[str, Any]]:
    """Answers to questions about a file, or from the texts of a folder."""
    from handloom.data.files import read_text
    from handloom.train.estimators import QuestionAnswerer

    if not isinstance(estimator, QuestionAnswerer):
        raise UsageError(f"--context is for question-answering; this model was trained for {estimator.task_name}")
    if not questions:
        raise UsageError("--context needs questions, as texts; a file given by --data holds its own contexts")
    if not context.is_dir():
        text = read_text(context, how.pop("encoding", None)).text
        return estimator.predict_dicts([(question, text) for question in questions], **how)
    book, rows = estimator.search(context, how.get("encoding")), []
    for question in questions:
        found = [one.to_dict() for one in book.ask(question, **options.given(count=how.get("top")))]
        nothing = {"answer": "", "start": 0, "end": 0, "score": 0.0, "document": "", "context": ""}
        rows += [{"question": question, **one} for one in found or [nothing]]
    estimator.tell(book.notes)
    return rows


def shown(row: dict[str, Any], top: int | None = None) -> Iterator[Any]:
    """A prediction as lines for a person."""
    from rich.text import Text

    from handloom.text.width import filled

    if "written" in row:
        yield Text(row["written"])
        return
    if "first" in row:
        text, ends = Text(row["text"]), [(row[role]["start"], row[role]["end"]) for role in ("first", "second")]
        for (start, end), style in zip(ends, ("bold green", "bold cyan"), strict=True):
            text.stylize(style, start, end)
        yield Text.assemble((row["label"], "bold"), f" {row['scores'][row['label']]:.3f}  ", text)
        return
    if "pair" in row and "score" in row:
        same = "" if "same" not in row else "  same" if row["same"] else "  different"
        yield Text.assemble((f"{row['score']:6.3f}{same}", "bold green"), f"  {row['text']} ⏐ {row['pair']}")
        return
    if "choices" in row:
        yield from chosen(row)
        return
    if "answer" in row:
        yield from _answer(row)
        for other in row.get("others", ()) if top else ():
            yield Text(f"  {other['score']:.3f}  {other['text']}")
        return
    if "spans" not in row:
        yield from _labelled(row, top)
        return
    text = Text(row["text"])
    for span in row["spans"]:
        text.stylize("bold green", span["start"], span["end"])
    yield text
    if not row["spans"]:
        yield Text("  no spans", "dim")
    for span in row["spans"]:
        yield Text(f"  {filled(span['label'], 12)} {span['score']:.3f}  {span['start']}–{span['end']}  {span['text']}")


def _labelled(row: dict[str, Any], top: int | None) -> Iterator[Any]:
    """What a text is, and where `top` was asked for, the scores below it."""
    from rich.text import Text

    if "value" in row:
        yield Text.assemble((f"{row['value']:.4g}", "bold green"), f"  {row['text']}")
        return
    scores = row["scores"]
    names = row["labels"] if "labels" in row else [row["label"]] if row["label"] is not None else []
    parts = [(f"{name} {scores[name]:.3f}" if name in scores else name) for name in names]
    yield Text.assemble((", ".join(parts) or "none of these", "bold green" if parts else "bold"), f"  {row['text']}")
    for name, score in scores.items() if top else ():
        yield Text(f"  {score:.3f}  {name}")


def chosen(row: dict[str, Any]) -> Iterator[Any]:
    """A question, and below it its choices, the chosen one marked."""
    from rich.text import Text

    yield Text(row["question"] or row["context"])
    for number, (choice, score) in enumerate(zip(row["choices"], row["scores"], strict=True)):
        style = "bold green" if number == row["choice"] else ""
        yield Text.assemble((f"  {'→' if style else ' '} {score:.3f}  {choice}", style))


AROUND = 80  #: characters of the context that are shown on either side of an answer


def _answer(row: dict[str, Any]) -> Iterator[Any]:
    from rich.text import Text

    if not row["answer"]:
        yield Text.assemble(("no answer", "bold"), f" {row['score']:.3f}  ", (row["question"], "dim"))
        return
    context, document = row["context"], row.get("document")
    start = context.find(row["answer"]) if document else row["start"]
    end = start + len(row["answer"])
    before, after = context[max(start - AROUND, 0) : start], context[end : end + AROUND]
    place = f"  {document}" if document else f"  {start}–{end}"
    yield Text.assemble((row["answer"], "bold green"), f" {row['score']:.3f}", (place, "dim"))
    around = Text.assemble("  …" if start > AROUND else "  ", before, (row["answer"], "green"), after)
    yield Text(" ").join(around.split()) if "\n" in around.plain else around
