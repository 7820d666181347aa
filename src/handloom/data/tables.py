"""Tables: CSV and TSV text, Parquet and Excel files, data frames."""

from __future__ import annotations

import csv
import importlib
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from handloom.data import columns
from handloom.data.files import TextFile
from handloom.data.options import Options, Record
from handloom.errors import HandloomError, UsageError
from handloom.text.counting import counted

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_ESCAPED = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}
_USUAL = (*columns.TEXT_NAMES, *columns.LABEL_NAMES, *columns.TOKEN_NAMES, *columns.PAIR_NAMES)
_SAMPLE = 200
_LONGEST_FIELD = 2**31 - 1

Row = tuple[int, list[str]]
"""The line on which a row begins, from 1, and its fields."""


def read_csv(file: TextFile, options: Options) -> tuple[list[Record], list[str]]:
    """Rows of a CSV or TSV file, and notes. Raises HandloomError for rows of differing width."""
    delimiter = _ESCAPED.get(options.delimiter or "", options.delimiter) or _sniff(file.text)
    if len(delimiter) != 1:
        raise UsageError(f"--delimiter {options.delimiter!r}: a delimiter is one character, or `tab`.")
    quoted = delimiter != "\t" or _quotes(file.text)
    rows = [row for row in _rows(file.text, delimiter, quoted, file.path) if row[1]]
    while rows and not any(field.strip() for field in rows[-1][1]) and (options.labelled or len(rows[-1][1]) > 1):
        rows.pop()  # what spreadsheets leave below a table
    if not any(field.strip() for _, row in rows for field in row):
        raise HandloomError(
            f"{file.path} holds no text, only {_DELIMITERS.get(delimiter, repr(delimiter))} and blanks."
        )
    header, rows, notes = _header(rows, options)
    width = len(header)
    for line, row in rows:
        if len(row) != width and not (len(row) > width and not any(row[width:])):
            raise HandloomError(
                f"{file.path}:{line}: {counted(len(row), 'field')} where there should be {width} "
                f"({', '.join(header)}), separated by {_DELIMITERS.get(delimiter, repr(delimiter))}: "
                f"{delimiter.join(row)!r:.80}. "
                "A field that holds the delimiter must stand in double quotes."
            )
    if not rows:
        raise HandloomError(f"{file.path} holds a header and no rows: {columns.listed(header)}.")
    records = [Record(f"{file.path}:{line}", dict(zip(header, row, strict=False))) for line, row in rows]
    return records, [f"separated by {_DELIMITERS.get(delimiter, repr(delimiter))}", *notes]


def first_rows(file: TextFile, options: Options) -> Iterator[dict[str, str]]:
    """The first rows of a table by their columns' names, as far as they can be read."""
    delimiter = _ESCAPED.get(options.delimiter or "", options.delimiter) or _sniff(file.text)
    rows = _sample(file.text, delimiter)
    if rows:
        names, below, _ = _header(rows, options)
        yield from (dict(zip(names, row, strict=False)) for _, row in below)


def _rows(text: str, delimiter: str, quoted: bool, path: Path | str) -> Iterator[Row]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise HandloomError(
            f"{path}:{line}: {error}. A quoted field must be closed, and a quote inside of one doubled."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _sniff(text: str) -> str:
    """The delimiter that splits the first rows into the same number of fields; usual column names weigh most."""
    scores: dict[str, tuple[int, float, int]] = {}
    for delimiter in _DELIMITERS:
        rows = _sample(text, delimiter)
        counts = Counter(len(row) for _, row in rows if row)
        width, alike = counts.most_common(1)[0] if counts else (1, 0)
        if width > 1:
            known = sum(columns.guess([name], _USUAL) is not None for name in rows[0][1])
            scores[delimiter] = (known, alike / len(rows), width)
    return max(scores, key=lambda delimiter: scores[delimiter]) if scores else ","


def _sample(text: str, delimiter: str) -> list[Row]:
    rows: list[Row] = []
    try:
        for row in islice(_rows(text[:100_000], delimiter, delimiter != "\t", ""), _SAMPLE):
            rows.append(row)
    except HandloomError:
        pass  # the sample may end inside of a quoted field
    return rows


def _quotes(text: str) -> bool:
    """Whether quotes of a TSV file are CSV's. In many they are plain text: then some field opens one and never closes
    it, while every line has the same number of tabs."""
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if len({line.count("\t") for line in lines}) > 1:
        return True
    fields = [field for line in lines for field in line.split("\t") if field.startswith('"')]
    return all(len(f) > 1 and f.endswith('"') and '"' not in f[1:-1].replace('""', "") for f in fields)


def _header(rows: list[Row], options: Options) -> tuple[list[str], list[Row], list[str]]:
    """The columns' names. A first line that holds no usual or given name, and a value that comes again below it, is
    taken for data; the columns are then called by their numbers."""
    first = [field.strip() for field in rows[0][1]]
    wanted = [w for w in (options.text_column, options.label_column, options.pair_column) if w is not None]
    width = len(first)
    named = (
        any(columns.guess([name], _USUAL) for name in first)
        or any(not str(w).isdigit() for w in wanted)
        or first in ([str(i) for i in range(width)], [str(i + 1) for i in range(width)])
    )
    if not named:
        again = [Counter(row[index] for _, row in rows[1:] if index < len(row)) for index in range(width)]
        if any(first[index] in again[index] for index in range(width)):
            return [str(index + 1) for index in range(width)], rows, ["no header; columns are called by their numbers"]
    repeated = [name for name, count in Counter(first).items() if count > 1]
    names = [name if name and name not in repeated else f"{name or 'column'}.{i + 1}" for i, name in enumerate(first)]
    taken = f"the first row is taken for the columns' names ({columns.listed(names)}); if it is data, put names above"
    return names, rows[1:], [] if named else [taken]


def read_frame(frame: Any) -> list[Record]:
    """Rows of a data frame (pandas', or anything with `columns` and `to_dict("records")`)."""
    names = [str(name) for name in frame.columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HandloomError(f"the data frame has names of columns more than once: {columns.listed(twice)}")
    rows = frame.to_dict("records")
    return [
        Record(f"row {number}", dict(zip(names, (_plain(value) for value in row.values()), strict=True)))
        for number, row in enumerate(rows)
    ]


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's; what a frame means by missing as None."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def read_parquet(path: Path) -> list[Record]:
    """Rows of a Parquet file, through the extra `files`."""
    parquet = _extra("pyarrow.parquet", path)
    arrow = _extra("pyarrow", path)
    try:
        rows = parquet.read_table(str(path)).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        raise HandloomError(f"{path} cannot be read as Parquet: {error}") from error
    return [Record(f"{path} row {number}", row) for number, row in enumerate(rows)]


def read_excel(path: Path) -> list[Record]:
    """Rows of the first sheet of an .xlsx file, its first row holding the names; through the extra `files`."""
    if path.suffix.lower() == ".xls":
        raise HandloomError(f"{path} is in the old Excel format; save it as .xlsx or .csv.")
    openpyxl = _extra("openpyxl", path)
    import zipfile

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise HandloomError(f"{path} cannot be read as an Excel file: {error}") from error
    rows = [row for row in rows if any(value is not None for value in row)]
    if len(rows) < 2:
        raise HandloomError(f"{path}: the first sheet holds no rows below its header.")
    names = [f"column.{i + 1}" if name is None else str(name) for i, name in enumerate(rows[0])]
    return [
        Record(f"{path} row {number}", dict(zip(names, row, strict=False))) for number, row in enumerate(rows[1:], 2)
    ]


def _extra(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise HandloomError(
            f"{path}: reading {path.suffix} files needs {module.split('.')[0]}: pip install 'handloom[files]'"
        ) from error
