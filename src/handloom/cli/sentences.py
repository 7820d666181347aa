"""`handloom feature-extraction` and `handloom sentence-similarity`: texts as vectors, and how alike they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handloom.cli import options
from handloom.cli.options import DATA, MODEL, OUTPUT, opt
from handloom.errors import UsageError

if TYPE_CHECKING:
    from handloom.pipelines.sentence_encoder import SentenceEncoder

Pooling = Annotated[
    str | None, opt("mean|cls", "The mean of all tokens, or the first one; else as the folder says.", MODEL)
]
DataFile = Annotated[Path | None, opt("FILE", "A file of texts instead; labels are not needed.", DATA)]


def add_to(app: typer.Typer) -> None:
    app.command("feature-extraction", no_args_is_help=True)(feature_extraction)
    app.command("sentence-similarity", no_args_is_help=True)(sentence_similarity)


def feature_extraction(
    model: options.ModelName,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="Texts to encode.", show_default=False)
    ] = None,
    data: DataFile = None,
    text_column: options.TextColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    pooling: Pooling = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="A vector for each token instead.", rich_help_panel=OUTPUT)
    ] = False,
    out: Annotated[Path | None, opt("FILE", "Write all vectors into a .npy file.", OUTPUT)] = None,
    overwrite: options.OverwriteFile = False,
    threads: options.Threads = None,
    precision: options.Precision = None,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Turn texts into vectors.

    \b
    handloom feature-extraction minilm-l6 "A sentence." "Another one."
    handloom feature-extraction minilm-l6 --data texts.csv --out vectors.npy

    \b
    One line of JSON is printed for each text: {"text", "vector"}, or
    {"text", "vectors"} with --tokens. A folder of sentence-transformers says
    how its texts are pooled; others get the mean of their tokens, of unit length.
    """
    from handloom.cli.output import note, print_json

    if tokens and out is not None:
        raise UsageError("--out holds a vector a text; texts of unequal length have no table of --tokens")
    if out is not None:
        options.check_free(out, overwrite)
    given = _texts(texts, data, options.reading(text_column, None, None, delimiter, encoding))
    encoder = _encoder(model, pooling, threads, precision, offline, yes)
    vectors = encoder.features(given) if tokens else encoder.encode(given)
    for line in encoder.notes:
        note(line)
    if out is not None:
        _write(out, vectors)
        note(f"{len(given)} vectors written to {out}")
        return
    for text, vector in zip(given, vectors, strict=True):
        print_json({"text": text, "vectors" if tokens else "vector": vector.tolist()})


def sentence_similarity(
    model: options.ModelName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text to compare with.", show_default=False)],
    others: Annotated[
        list[str] | None, typer.Argument(metavar="OTHER…", help="Texts to compare.", show_default=False)
    ] = None,
    data: DataFile = None,
    text_column: options.TextColumn = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    top: Annotated[int | None, opt("N", "Show only the most alike.", OUTPUT, min=1)] = None,
    pooling: Pooling = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    json: options.Json = False,
    offline: options.Offline = False,
    yes: options.Yes = False,
) -> None:
    """Tell how alike texts are to a text, the most alike first: cosines, 1 for the same.

    \b
    handloom sentence-similarity minilm-l6 "How do I pay?" "Ways to pay" "The weather"
    handloom sentence-similarity minilm-l6 "How do I pay?" --data faq.csv --top 3
    """
    from handloom.cli.output import note, print_json

    given = _texts(others, data, options.reading(text_column, None, None, delimiter, encoding))
    encoder = _encoder(model, pooling, threads, precision, offline, yes)
    scores = encoder.similarity(text, given)[0].tolist()
    for line in encoder.notes:
        note(line)
    for index in sorted(range(len(given)), key=lambda i: -scores[i])[:top]:
        if json:
            print_json({"text": given[index], "score": scores[index]})
        else:
            print(f"{scores[index]:6.3f}  {given[index]}")


def _texts(texts: list[str] | None, data: Path | None, reading: dict[str, Any]) -> list[str]:
    """Those of the command line, or of a file."""
    if bool(texts) == (data is not None):
        raise UsageError("give either texts or --data FILE" + (", not both" if texts else "; there are no texts"))
    if data is None:
        options.check_file(reading)
        return list(texts or ())
    from handloom.data.readers import read

    return list(read(data, "text-classification", labelled=False, pairs=False, **reading).texts)


def _write(path: Path, vectors: Any) -> None:
    """As NumPy's own format, beside the place first and then in it."""
    import io

    import numpy as np

    from handloom.train.storage import publish_file

    content = io.BytesIO()
    np.save(content, vectors, allow_pickle=False)
    publish_file(path, [content.getvalue()])


def _encoder(
    model: str, pooling: str | None, threads: int | None, precision: str | None, offline: bool, yes: bool
) -> SentenceEncoder:
    from handloom.cli.download import model_folder
    from handloom.pipelines.sentence_encoder import SentenceEncoder

    return SentenceEncoder(model_folder(model, offline, yes), pooling, None, threads, precision or "auto")
