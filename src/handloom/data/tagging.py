"""Words with tags, and texts with spans, into examples for token classification."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from handloom.data import columns, label_studio
from handloom.data.examples import Dataset, Source, TokenExample
from handloom.data.inexact import noted
from handloom.data.labels import blank, text_string
from handloom.data.options import Options, Record, Tagged, refuse
from handloom.data.records import names_of
from handloom.errors import HandloomError
from handloom.text.counting import counted
from handloom.text.schemes import Scheme, recognise
from handloom.text.spans import Span, Word, check_spans, runs_of_spans, spans_of_tags
from handloom.text.words import join_words, split_words, unit_of


def tagged_dataset(
    rows: Sequence[Tagged],
    source: Source,
    options: Options,
    notes: Sequence[str] = (),
    used: dict[str, str] | None = None,
) -> Dataset[TokenExample]:
    """A data set of words with tags; its texts are the words put together again."""
    for row in rows:
        if row.tags is not None and len(row.tags) != len(row.words):
            raise HandloomError(f"{row.where}: {counted(len(row.words), 'word')} and {counted(len(row.tags), 'tag')}; "
                                "one each is needed.")  # fmt: skip
    if options.blanks == "error":
        refuse([row.where for row in rows if not any(word.strip() for word in row.words)],
               "no words", "Fill or remove them.")  # fmt: skip
        tagged = [(row, row.tags) for row in rows if row.tags is not None]
        refuse([row.place(list(map(blank, tags)).index(True)) for row, tags in tagged if any(map(blank, tags))],
               "an empty tag", "A word outside of every span has the tag O.")  # fmt: skip
    refuse([row.place(index) for row in rows if (index := _empty(row)) is not None], "an empty word",
           "Remove it, and its tag.")  # fmt: skip
    unit = unit_of([word for row in rows for word in row.words])
    scheme = _scheme(rows, source)
    examples = []
    for row in rows:
        text, words = join_words(row.words, unit)
        tags = None if row.tags is None else tuple(row.tags)
        spans = None if tags is None or scheme is None else tuple(spans_of_tags(text, words, tags, scheme))
        examples.append(TokenExample(text, tuple(words), tags, spans, row.extra, row.where))
    said = list(notes)
    if scheme is not None:
        said.append(f"tags: {scheme}")
        if all(tag.isdigit() for row in rows for tag in row.tags or ()):
            said.append("tags are numbers, and so every word counts as a span: names such as B-PER and O would do")
    if unit == "characters":
        said.append("tagged character by character; texts are put together without spaces")
    return Dataset(tuple(examples), source, tuple(said), scheme, unit, used or {})


def _empty(row: Tagged) -> int | None:
    """The first word with a tag and nothing to read; blanks of other scripts than ASCII are something."""
    words = row.words if row.tags is not None else ()
    return next((index for index, word in enumerate(words) if not word.strip(" \t\r\n\v\f")), None)


def _scheme(rows: Sequence[Tagged], source: Source) -> Scheme | None:
    tags = {tag for row in rows for tag in row.tags or ()}
    try:
        return recognise(tags) if any(row.tags is not None for row in rows) else None
    except HandloomError as error:
        raise HandloomError(f"{_unlike(rows) or source.path or 'the data'}: {error}") from error


def _unlike(rows: Sequence[Tagged]) -> str:
    """The first word whose tag does not go together with those before it."""
    seen: set[str] = set()
    for row in rows:
        for index, tag in enumerate(row.tags or ()):
            if tag in seen:
                continue
            seen.add(tag)
            try:
                recognise(seen)
            except HandloomError:
                return row.place(index)
    return ""


def read_tagged(records: Sequence[Record], source: Source, options: Options) -> Dataset[TokenExample]:
    """From rows: `tokens` with `tags`, or `text` with `spans` ({start, end, label} or [start, end, label]; doccano's
    and Label Studio's names are known, too); tasks of Label Studio."""
    if label_studio.is_export(records):
        return label_studio.read_tasks(records, source, options)
    where = source.path or "the data"
    names = names_of(records)
    if options.text_column is not None:
        text = columns.choose(names, options.text_column, "--text-column", where)
    else:
        found = columns.guess(names, columns.TOKEN_NAMES) or columns.guess(names, columns.TEXT_NAMES)
        if found is None:
            raise HandloomError(
                f"{where}: which column holds the tokens or the text? There are {columns.listed(names)}; "
                "name it with --text-column."
            )
        text = found
    first = next((_value(r.values.get(text)) for r in records if not blank(r.values.get(text))), "")
    split = isinstance(first, (list, tuple))
    label = None
    if options.labelled and options.label_column is not None:
        label = columns.choose(names, options.label_column, "--label-column", where)
    elif options.labelled:
        usual = columns.TAG_NAMES if split else columns.SPAN_NAMES
        label = columns.guess([name for name in names if name != text], usual)
        if label is None:
            wanted = "tags (one for each token)" if split else "spans ({start, end, label})"
            raise HandloomError(
                f"{where}: which column holds the {wanted}? There are {columns.listed(names)}; "
                "name it with --label-column."
            )
    used = {"text": text, **({"label": label} if label else {})}
    notes = options.told(used)
    if split:
        return tagged_dataset([_words(r, text, label) for r in records], source, options, notes, used)
    if label is not None:
        refuse([record.where for record in records if blank(record.values.get(label))], f"no {label!r}",
               "[] says that a text has no spans.")  # fmt: skip
    examples = [_spans(record, text, label) for record in records]
    if options.blanks == "error":
        refuse([e.where for e in examples if not e.text.strip()], "an empty text", "Fill or remove them.")
    scheme = Scheme() if label else None
    return Dataset(tuple(examples), source, tuple(notes), scheme, "words", used)


def _value(value: Any) -> Any:
    """A list that a table keeps as JSON, as a list; arrays of data frames, too."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _words(record: Record, text: str, label: str | None) -> Tagged:
    words = _value(record.values.get(text))
    tags = None if label is None else _value(record.values.get(label))
    for name, value in ((text, words), (label, tags)):
        if value is not None and not isinstance(value, (list, tuple)):
            raise HandloomError(
                f"{record.where}: column {name!r} should be a list, one entry for each word, not {value!r:.60}"
            )
    if words is not None and not all(isinstance(word, (str, int, float)) and word == word for word in words):
        raise HandloomError(f"{record.where}: column {text!r} should hold words, not {list(words)!r:.60}")
    if words is None or (label is not None and tags is None):
        raise HandloomError(f"{record.where}: column {text if words is None else label!r} is missing or empty.")
    extra = {name: value for name, value in record.values.items() if name not in (text, label)}
    written = None if tags is None else ["" if blank(tag) else str(tag).strip() for tag in tags]
    return Tagged(record.where, [str(word) for word in words], written, extra)


def _spans(record: Record, text: str, label: str | None) -> TokenExample:
    string = text_string(record.values.get(text), text, record.where)
    extra = {name: value for name, value in record.values.items() if name not in (text, label)}
    if label is None:
        return TokenExample(string, None, None, None, extra, record.where)
    found = _value(record.values.get(label))
    if not isinstance(found, (list, tuple)):
        raise HandloomError(
            f"{record.where}: column {label!r} should be a list of spans such as "
            f'{{"start": 0, "end": 5, "label": "PER"}}, not {found!r:.60}'
        )
    spans = check_spans(string, [_span(one, record.where) for one in found], record.where)
    return TokenExample(string, None, None, spans, extra, record.where)


def _span(value: Any, where: str) -> Span:
    """{start, end, label} (label also as type, entity, tag, or the one name in labels; end also as stop) or
    [start, end, label]."""
    text = ""
    start: Any
    end: Any
    if isinstance(value, dict):
        start = value.get("start", value.get("start_offset"))
        end = value.get("end", value.get("end_offset", value.get("stop")))
        label = next((value[key] for key in ("label", "type", "entity", "tag") if not blank(value.get(key))), None)
        if label is None and isinstance(several := value.get("labels"), list) and several:
            if len(several) > 1:
                raise HandloomError(f"{where}: the span {start}–{end} has {len(several)} labels, "
                                    f"{', '.join(map(str, several))}; a word can carry one only.")  # fmt: skip
            label = several[0]
        text = value["text"] if isinstance(value.get("text"), str) else ""
    elif isinstance(value, (list, tuple)) and len(value) == 3:
        start, end, label = value
    else:
        raise HandloomError(f"{where}: {value!r:.80} is no span; one is {{start, end, label}} or [start, end, label].")
    for name, offset in (("start", start), ("end", end)):
        if isinstance(offset, bool) or not isinstance(offset, int):
            raise HandloomError(f"{where}: the {name} of the span {value!r:.80} should be a whole number.")
    if blank(label):
        raise HandloomError(f"{where}: the span {value!r:.80} has no label.")
    if not isinstance(label, (str, int)):
        raise HandloomError(f"{where}: the label of the span {value!r:.80} should be a name.")
    return Span(start, end, str(label).strip(), text)


def words_of(example: TokenExample, unit: str) -> tuple[Word, ...]:
    """The words that are tagged: those that the data has, else those of the text."""
    return tuple(split_words(example.text, unit)) if example.words is None else example.words


def inexact_spans(examples: Iterable[TokenExample], unit: str) -> tuple[str, ...]:
    """A note of the spans that do not begin and end where words do."""
    raw = [one for one in examples if one.spans and one.tags is None]
    found = [
        (span.text, one.where) for one in raw for span in runs_of_spans(words_of(one, unit), one.spans or ())[1]
    ]
    so = "the words that they touch are learnt, and none of them counts as found"
    return noted("spans that do not begin and end where words do", found, sum(len(one.spans or ()) for one in raw), so)
