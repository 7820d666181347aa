"""CoNLL files: a word and its tags on each line, a blank line between texts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from handloom.data.examples import Dataset, Source, TokenExample
from handloom.data.files import TextFile
from handloom.data.options import Options, Tagged
from handloom.data.tagging import tagged_dataset
from handloom.errors import HandloomError, UsageError

_BLANKS = " \t\r\v\f"
_TAG = re.compile(r"O|[BIMELSUW][-_].+")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    fields: list[str]


def read_conll(file: TextFile, options: Options) -> Dataset[TokenExample]:
    """Words from the first column and tags from the last, or as the options say (columns count from 1, -1 is the last).

    Fields are separated by tabs where most lines hold one, else by blanks. `-DOCSTART-` lines and `# …` comments
    before a text are left out, and so are CoNLL-U's word ranges (`1-2`) and empty words (`1.1`).
    """
    lines = file.text.split("\n")
    delimiter = options.delimiter or _delimiter(lines)
    groups, skipped = _groups(lines, delimiter)
    counts = Counter(len(line.fields) for group in groups for line in group)
    if not counts:
        raise HandloomError(f"{file.path} holds no words: every line is blank, a comment or -DOCSTART-.")
    width = max(counts, key=lambda count: (counts[count], count))
    conllu = width == 10 and all(re.fullmatch(r"[\d.-]+", group[0].fields[0]) for group in groups)
    if conllu:
        groups = [[line for line in group if line.fields[0].isdigit()] for group in groups]
    word = _column(options.text_column, 2 if conllu else 1, "--text-column", width, file)
    tag = _column(options.label_column, 4 if conllu else -1, "--label-column", width, file)
    if options.labelled and width == 1:
        first = groups[0][0]
        raise HandloomError(
            f"{file.path}:{first.number}: 1 field ({first.fields[0]!r:.40}); a line should hold a word and its tag, "
            "separated by a tab or a blank."
        )
    exact = options.text_column is None and options.label_column is None
    rows = []
    for group in groups:
        for line in group:
            if len(line.fields) != width:
                _check(line, width, (word, tag) if options.labelled else (word,), exact, file, delimiter)
        words = [line.fields[word] for line in group]
        tags = [line.fields[tag].strip() for line in group] if options.labelled else None
        if group:
            places = [f"{file.path}:{line.number}" for line in group]
            rows.append(Tagged(places[0], words, tags, {}, places))
    separated = {"\t": "tabs", None: "blanks"}.get(delimiter, repr(delimiter))
    used = {"text": str(word % width + 1), **({"label": str(tag % width + 1)} if options.labelled else {})}
    notes = [f"words: column {word % width + 1} of {width}, separated by {separated}"]
    if options.labelled:
        notes.append(f"labels: column {tag % width + 1}")
    if skipped:
        notes.append(f"lines that are comments or -DOCSTART- are left out: {skipped:,}")
    source = Source(str(file.path), file.sha256, "CoNLL-U" if conllu else "CoNLL")
    return tagged_dataset(rows, source, options, notes, used)


def looks_like_conll(text: str) -> bool:
    """Whether most of the first lines are words with tags."""
    lines = [line.split() for line in text.split("\n")[:200] if line.strip(_BLANKS)]
    return bool(lines) and sum(len(line) > 1 and bool(_TAG.fullmatch(line[-1])) for line in lines) > len(lines) * 0.8


def _delimiter(lines: list[str]) -> str | None:
    """A tab where half of the lines or more hold one, else None: any run of blanks."""
    written = [line for line in lines if line.strip(_BLANKS)]
    return "\t" if sum("\t" in line for line in written) * 2 >= len(written) else None


def _split(line: str, delimiter: str | None) -> list[str]:
    # Blanks are those of ASCII: an ideographic space may be a word.
    if delimiter is None:
        return re.split(r"[ \t]+", line.strip(_BLANKS))
    return [field.strip(_BLANKS) for field in line.rstrip("\r").split(delimiter)]


def _groups(lines: list[str], delimiter: str | None) -> tuple[list[list[_Line]], int]:
    groups: list[list[_Line]] = [[]]
    skipped = 0
    for number, line in enumerate(lines, 1):
        if not line.strip(_BLANKS) or line.startswith("-DOCSTART-"):
            groups.append([])
            skipped += line.startswith("-DOCSTART-")
            continue
        fields = _split(line, delimiter)
        if not groups[-1] and _is_comment(line, fields, delimiter):
            skipped += 1
            continue
        groups[-1].append(_Line(number, fields))
    return [group for group in groups if group], skipped


def _is_comment(line: str, fields: list[str], delimiter: str | None) -> bool:
    """`# text = …` before the first word of a text; a word `#` with its tag is a word."""
    if not line.startswith("#"):
        return False
    if delimiter is not None:
        return delimiter not in line
    return line.startswith("# ") and not (len(fields) > 1 and _TAG.fullmatch(fields[-1]))


def _column(wanted: str | int | None, default: int, option: str, width: int, file: TextFile) -> int:
    """A column's index; the user counts from 1, or from -1 at the end."""
    try:
        number = default if wanted is None else int(wanted)
    except ValueError as error:
        raise UsageError(
            f"{option} {wanted}: the columns of a CoNLL file have no names; "
            f"give a number, 1 to {width}, or -1 for the last."
        ) from error
    if number == 0 or abs(number) > width:
        raise HandloomError(
            f"{file.path} has no column {number} ({option}); there are {width}, counted from 1 (-1 is the last)."
        )
    return number - 1 if number > 0 else number


def _check(
    line: _Line, width: int, needed: tuple[int, ...], exact: bool, file: TextFile, delimiter: str | None
) -> None:
    count = len(line.fields)
    least = max(column + 1 if column >= 0 else -column for column in needed)
    if count < least or (exact and count != width and len(needed) > 1):
        few = "too few fields" if count < max(width, least) else "too many fields"
        between = "a tab" if delimiter == "\t" else "a blank" if delimiter is None else repr(delimiter)
        raise HandloomError(
            f"{file.path}:{line.number}: {few}: {count} where the other lines have {width}, separated by {between}: "
            f"{' '.join(line.fields)!r:.80}"
        )
