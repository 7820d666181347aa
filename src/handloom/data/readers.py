"""`read`: labelled data in whatever form people keep it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handloom.data import (
    choices,
    columns,
    conll,
    conversations,
    folders,
    jsons,
    matches,
    meant_for,
    questions,
    relations,
    rewritings,
    tables,
    trees,
)
from handloom.data.examples import (
    CHOICE,
    GENERATION,
    QUESTION,
    RELATION,
    SIMILARITY,
    TEXT,
    TOKEN,
    ChoiceExample,
    Dataset,
    GenerationExample,
    MatchExample,
    QuestionExample,
    RelationExample,
    RewritingExample,
    Source,
    TextExample,
    TokenExample,
    fingerprint,
)
from handloom.data.files import TextFile, existing, read_bytes, read_text
from handloom.data.labels import ONE, LabelForm
from handloom.data.options import Options, Record, Tagged, refuse
from handloom.data.records import lacking, read_texts
from handloom.data.tagging import read_tagged, tagged_dataset
from handloom.errors import HandloomError, Unread, UsageError

AnyDataset = Dataset[Any]

# How a file is read, by the end of its name.
FORMS = {
    **dict.fromkeys((".csv", ".tsv", ".tab"), "table"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm"), "excel"),
    **dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".bmes", ".ner"), "conll"),
}


@dataclass(frozen=True)
class Kind:
    """How the examples of a task are read.

    example: their class. rows: from records. tuples: by their lengths what tuples in a list hold, labelled and not.
    files: readers of forms that the task has for itself; its_form: which of them a file's content is, if one.
    folder: from a folder.
    """

    example: type
    rows: Callable[[list[Record], Source, Options, list[str]], AnyDataset]
    tuples: tuple[Mapping[int, tuple[str, ...]], Mapping[int, tuple[str, ...]]]
    files: Mapping[str, Callable[[TextFile, Options], AnyDataset]]
    its_form: Callable[[TextFile, Options], str | None]
    folder: Callable[[Path, Options], AnyDataset]


def is_parallel(data: Any) -> bool:
    """Whether data is two paths: that of the sources, and that of the targets."""
    return isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(one, os.PathLike) for one in data)


def is_row(data: Any) -> bool:
    """Whether data is one text, or one row (a tuple or a dict), and not several. UsageError for a dict of columns."""
    if isinstance(data, Mapping):
        name = columns.guess(list(map(str, data)), columns.TEXT_NAMES)
        held = None if name is None else data.get(name)
        if isinstance(held, Iterable) and not isinstance(held, (str, Mapping)) and not conversations.is_talk(held):
            raise UsageError(f"column {name!r} holds several texts, and a dict is one row: {_ROWS}")
    return isinstance(data, (str, tuple, Mapping)) and not is_parallel(data)


_ROWS = "several are a list of dicts, [{…}, …], and columns are a data frame's"


def read(
    data: Any,
    task: str = TEXT,
    *,
    text_column: str | int | None = None,
    label_column: str | int | None = None,
    pair_column: str | int | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    labelled: bool = True,
    blanks: str = "error",
    pairs: bool = True,
    problem: str | None = None,
    label_separator: str | None = None,
    label_order: Sequence[str] | str | None = None,
    none_label: str | None = None,
) -> AnyDataset:
    """Examples for `task`, one of KINDS.

    `data`: a file (CSV, TSV, JSON lines, JSON, SQuAD, CoNLL, SemEval's relations, Parquet, Excel; plain lines of text
    where `labelled` is False), a folder with a folder for each label, a data frame, or a list: of (text, label) or
    (text, pair, label), of (words, tags) or (text, spans), of (text, relation) or (text, first, second, relation), of
    (question, context, answers) or (question, context, answer, start), of (source, target), of (text, pair), (text,
    pair, score) or (anchor, positive, negative), of (question, choices, answer), of conversations (lists of {"role",
    "content"}), of (prompt, completion), of dicts, of texts where `labelled` is False or texts are what is learnt. A
    tuple of two pathlib.Path is two parallel files of translations or summaries. A Dataset is returned as it is.

    Columns are named, or numbered from 1; left out, they are found by their usual names, and the data set's notes say
    which. `labelled=False` reads texts alone. `blanks="keep"` lets empty texts and labels pass, for `data check`.
    `pairs=False` takes no column for a second text because of its name; tuples and `pair_column` still say so.

    What the labels of texts are `problem` says: "one", "several" (lists, or strings with `label_separator` between the
    names, "|"), "ordered" (`label_order` names them, the lowest first, unless they are numbers) or "number". Left out,
    lists mean several, fractions that are no text numbers. `none_label` is a name that means none of the labels; with
    it, even if it is "", a text may be without a label.

    Raises HandloomError, naming file and line, for whatever is wrong with the data.
    """
    if isinstance(data, Dataset):
        return data
    if task not in KINDS:
        raise UsageError(f"There is no reader for the task {task!r}; there are {', '.join(KINDS)}.")
    said = {"problem": problem, "label_separator": label_separator, "label_order": label_order,
            "none_label": none_label, "pair_column": pair_column, "targets": data if is_parallel(data) else None}
    meant_for.check(task, (name for name, value in said.items() if value is not None))
    form = LabelForm.of(problem, label_separator, label_order, none_label)
    options = Options(task, text_column, label_column, pair_column, delimiter, encoding, labelled, blanks, pairs, form)
    found = _read(data, options)
    refuse([one.where for one in found if not all(map(_encodable, _all_of(one)))],
           "half of a character (a lone surrogate, \\ud800 to \\udfff)", "Remove it, or write the whole character.")
    return found


def _read(data: Any, options: Options) -> AnyDataset:
    if isinstance(data, (str, os.PathLike)):
        return _read_path(existing(Path(data)), options)
    if is_parallel(data):
        sources, targets = (existing(Path(path)) for path in data)
        return rewritings.read_parallel(sources, targets, options)
    if hasattr(data, "columns") and hasattr(data, "to_dict"):
        return _from_records(tables.read_frame(data), Source(None, "", "data frame"), options, [])
    if isinstance(data, Mapping):
        raise UsageError(f"A dict is one row, and no list of rows: {_ROWS}.")
    if isinstance(data, (set, frozenset)):
        raise UsageError("A set has no order, by which rows are told apart: give a list.")
    if isinstance(data, Iterable) and not isinstance(data, (bytes, bytearray)):
        return _from_list(list(data), options)
    raise UsageError(f"Data is a path, a list or a data frame, and a text is a str, not {type(data).__name__}.")


def _all_of(example: Any) -> tuple[str, ...]:
    return (*example.parts, *example.labels, *getattr(example, "targets", ()))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_path(path: Path, options: Options) -> AnyDataset:
    if path.is_dir():
        return KINDS[options.task].folder(path, options)
    form = FORMS.get(path.suffix.lower())
    if form in ("parquet", "excel"):
        digest = hashlib.sha256(read_bytes(path)).hexdigest()
        records = tables.read_parquet(path) if form == "parquet" else tables.read_excel(path)
        return _from_records(records, Source(str(path), digest, form), options, [])
    file = read_text(path, options.encoding)
    form = form_of(file, form, options)
    if form in (own := KINDS[options.task].files):
        return own[form](file, options)
    if form == "conll":
        raise HandloomError(f"{path} holds words with tags; that is data for {TOKEN}, not {options.task}.")
    if form == "lines":
        lines = [(n, line.strip("\r")) for n, line in enumerate(file.text.rstrip().split("\n"), 1)]
        records = [Record(f"{path}:{number}", {"text": line}) for number, line in lines]
        return _from_records(records, Source(str(path), file.sha256, "lines"), options, ["one text a line"])
    if form == "json":
        return _from_records(jsons.read_json(file), Source(str(path), file.sha256, "JSON"), options, [])
    try:
        records, notes = tables.read_csv(file, options)
    except HandloomError as error:
        if path.suffix.lower() in FORMS or isinstance(error, UsageError):
            raise
        targets = f" {rewritings.LINES} (--valid-targets, --test-targets)"
        raise Unread(f"{error}{targets if options.task in meant_for.REWRITING else ''}") from error
    return _from_records(records, Source(str(path), file.sha256, "table"), options, notes)


def form_of(file: TextFile, form: str | None, options: Options) -> str:
    """What the name leaves open, the content decides."""
    if form in ("conll", "json"):
        return form
    start = file.text.lstrip()[:2]
    if form is None and _leaves_open(file, options) and (start[:1] == "{" or start in ("[{", '["', "[[")):
        return "json"
    if own := KINDS[options.task].its_form(file, options):
        return own
    if form is None:
        return "lines" if not options.labelled and options.text_column is None else "table"
    return form


def _leaves_open(file: TextFile, options: Options) -> bool:
    """Whether the name leaves it open what the content is; a text or a program may begin with any bracket."""
    return options.task != GENERATION or file.path.suffix.lower() not in trees.ENDINGS


def _tagged_form(file: TextFile, options: Options) -> str | None:
    if file.path.suffix.lower() == ".csv":
        return None
    named = columns.guess(file.text.split("\n", 1)[0].split("\t"), (*columns.TOKEN_NAMES, *columns.TEXT_NAMES))
    return "conll" if conll.looks_like_conll(file.text) or (options.labelled and not named) else None


def _from_records(records: list[Record], source: Source, options: Options, notes: list[str]) -> AnyDataset:
    if not records:
        raise HandloomError(f"{source.path or 'The data'} holds no rows.")
    if not source.sha256:
        source = Source(source.path, fingerprint([record.values for record in records]), source.form)
    try:
        found = KINDS[options.task].rows(records, source, options, notes)
    except UsageError:
        raise
    except HandloomError as error:
        asked = [name for name in records[0].values if repr(name) in str(error)]
        named = [one for one in records if one.where in str(error)]
        named = [one for one in named if re.search(re.escape(one.where) + r"(?!\d)", str(error))]  # not that of :12
        raise Unread(" ".join([str(error), *lacking(named, asked)])) from error
    short = lacking(records, [name for name in found.columns.values() if name in records[0].values])
    return replace(found, notes=(*found.notes, *short)) if options.blanks == "keep" else found


def _texts(records: list[Record], source: Source, options: Options, notes: list[str]) -> Dataset[TextExample]:
    read = read_texts(records, options, source.path or "the data", source.form == "table")
    form = read.labels
    return Dataset(read.examples, source, (*notes, *read.notes), columns=read.columns, problem=form.problem or ONE,
                   order=form.order)  # fmt: skip


def _untagged(path: Path, options: Options) -> Dataset[TokenExample]:
    """The texts of a folder, for prediction."""
    if options.labelled:
        raise HandloomError(f"{path} is a folder; tagged data is read from a CoNLL or JSON-lines file.")
    dataset = folders.read_folder(path, options)
    examples = tuple(TokenExample(one.text, extra=one.extra, where=one.where) for one in dataset)
    return Dataset(examples, dataset.source, dataset.notes)


def _no_folder(path: Path, options: Options) -> AnyDataset:
    raise HandloomError(f"{path} is a folder; {options.task} is read from a file.")


def _from_list(rows: list[Any], options: Options) -> AnyDataset:
    if not rows:
        raise HandloomError("The data is an empty list.")
    source = Source(None, "", "list")
    wanted = KINDS[options.task].example
    if isinstance(rows[0], tuple(kind.example for kind in KINDS.values())):
        for number, row in enumerate(rows):
            if not isinstance(row, wanted):
                raise HandloomError(f"row {number}: a {wanted.__name__} is needed for {options.task}, not {row!r:.80}")
        made = Dataset(tuple(rows), Source(None, fingerprint([str(row) for row in rows]), "list"))
        return _as_told(made, options) if options.task == TEXT else made
    if options.task == TOKEN and isinstance(rows[0], (list, tuple)) and _holds_words(rows[0], options):
        tagged = [_tagged(number, row, options) for number, row in enumerate(rows)]
        source = Source(None, fingerprint([[t.words, t.tags] for t in tagged]), "list")
        return tagged_dataset(tagged, source, options)
    records = [_record(_place(number, rows, options), row, options) for number, row in enumerate(rows)]
    if isinstance(rows[0], (list, tuple)):  # (text, pair) is no guess
        options = replace(options, pairs=True, tuples=True)
    return _from_records(records, source, options, [])


def _as_told(made: Dataset[TextExample], options: Options) -> Dataset[TextExample]:
    """Examples made in Python, with labels of one kind."""
    form = options.labels.decided(example.label for example in made)
    examples = [
        replace(example, label=form.read(example.label, "label", example.where or f"row {number}"))
        for number, example in enumerate(made)
    ]
    used = {"text": "text", **({"pair": "pair"} if any(example.pair is not None for example in made) else {})}
    return replace(made, examples=tuple(examples), columns=used, problem=form.problem or ONE, order=form.order)


def _holds_words(row: Sequence[Any], options: Options) -> bool:
    """(words, tags), or words alone where there are no labels; not (text, spans)."""
    return not row or not isinstance(row[0], str) or (not options.labelled and all(isinstance(w, str) for w in row))


def _place(number: int, rows: list[Any], options: Options) -> str:
    """Where a row of a list stands, for errors. Texts that are to be judged count from 1."""
    if options.labelled or not isinstance(rows[number], str):
        return f"row {number}"
    return "the text" if len(rows) == 1 else f"text {number + 1}"


def _record(where: str, row: Any, options: Options) -> Record:
    if options.task == GENERATION and (record := conversations.from_list(where, row)):
        return record
    if isinstance(row, Mapping):
        return Record(where, {str(name): value for name, value in row.items()})
    if isinstance(row, str) and not options.labelled:
        return Record(where, {"text": row})
    names = KINDS[options.task].tuples[0 if options.labelled else 1]
    if not isinstance(row, (list, tuple)) or len(row) not in names:
        wanted = " or ".join(f"({', '.join(fields)})" if len(fields) > 1 else "a str" for fields in names.values())
        raise HandloomError(f"{where}: {row!r:.80} should be {wanted}, or a dict with such keys.")
    return Record(where, dict(zip(names[len(row)], row, strict=True)))


def _tagged(number: int, row: Any, options: Options) -> Tagged:
    where = f"row {number}"
    if not options.labelled:
        words = row[0] if len(row) == 2 and not isinstance(row[0], str) else row
        return Tagged(where, [str(word) for word in words], None, {})
    if not isinstance(row, (list, tuple)) or len(row) != 2 or any(isinstance(part, str) for part in row):
        raise HandloomError(f"{where}: {row!r:.80} should be (words, tags), both lists.")
    return Tagged(where, [str(word) for word in row[0]], [str(tag) for tag in row[1]], {})


KINDS: dict[str, Kind] = {
    TEXT: Kind(
        TextExample, _texts,
        ({2: ("text", "label"), 3: ("text", "pair", "label")}, {1: ("text",), 2: ("text", "pair")}),
        {}, lambda file, options: None, folders.read_folder,
    ),
    TOKEN: Kind(
        TokenExample, lambda records, source, options, notes: read_tagged(records, source, options),
        ({2: ("text", "spans")}, {2: ("text", "spans")}), {"conll": conll.read_conll}, _tagged_form, _untagged,
    ),
    RELATION: Kind(
        RelationExample, lambda records, source, options, notes: relations.read_relations(records, source, options),
        ({2: ("text", "relation"), 4: ("text", "first", "second", "relation")},
         {1: ("text",), 3: ("text", "first", "second")}),
        {"semeval": relations.read_semeval},
        lambda file, options: "semeval" if relations.looks_like_semeval(file.text) else None, _no_folder,
    ),
    QUESTION: Kind(
        QuestionExample, lambda records, source, options, notes: questions.read_questions(records, source, options),
        ({3: ("question", "context", "answers"), 4: ("question", "context", "answers", "answer_start")},
         {2: ("question", "context")}),
        {}, lambda file, options: None, _no_folder,
    ),
    SIMILARITY: Kind(
        MatchExample, lambda records, source, options, notes: matches.read_matches(records, source, options),
        ({2: ("text", "pair"), 3: ("text", "pair", matches.THIRD)}, {2: ("text", "pair")}),
        {}, lambda file, options: None, _no_folder,
    ),
    CHOICE: Kind(
        ChoiceExample, lambda records, source, options, notes: choices.read_choices(records, source, options),
        ({3: ("question", "choices", "answer"), 4: ("context", "question", "choices", "answer")},
         {2: ("question", "choices"), 3: ("context", "question", "choices")}),
        {}, lambda file, options: None, _no_folder,
    ),
    **dict.fromkeys(meant_for.REWRITING, Kind(
        RewritingExample, lambda records, source, options, notes: rewritings.read_rewritings(records, source, options),
        ({2: ("source", "target")}, {1: ("source",)}), {}, lambda file, options: None, _no_folder,
    )),
    GENERATION: Kind(
        GenerationExample, conversations.read_generations,
        ({2: ("prompt", "completion")}, {1: ("text",), 2: ("prompt", "completion")}), {"document": trees.read_document},
        lambda file, options: None if file.path.suffix.lower() in FORMS else "document", trees.read_tree,
    ),
}  # fmt: skip
"""By the name of the task."""
