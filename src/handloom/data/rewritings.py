"""Texts with what is to be written for them: a translation, a summary. Rows, and two files side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handloom.data import columns
from handloom.data.examples import Dataset, RewritingExample, Source
from handloom.data.files import read_text
from handloom.data.labels import blank, text_string
from handloom.data.options import Options, Record, refuse
from handloom.data.records import names_of
from handloom.errors import HandloomError
from handloom.text.counting import counted
from handloom.text.width import shown

SOURCE_NAMES = (
    "source", "src", "document", "article", "source_text", "dialogue", "原文", "源", "源文", *columns.TEXT_NAMES,
)  # fmt: skip
TARGET_NAMES = (
    "target", "tgt", "summary", "translation", "highlights", "abstract", "target_text", "reference", "references",
    "output", "label", "译文", "目标", "摘要",
)  # fmt: skip

LINES = "Or are these lines of plain text? Then give the file of their targets, too: --targets"
"""What may be meant by a file whose name does not say that it is a table."""
LOOKED_AT, MOST_LEFT_OUT = 100_000, 8
"""Lines in which a shift of parallel files is looked for, and the most lines that may be left out before it."""


def read_rewritings(records: Sequence[Record], source: Source, options: Options) -> Dataset[RewritingExample]:
    """From rows with a source and a target; a list of texts as target is several right ones, of which the first is
    learnt and all count in scores."""
    where = source.path or "the data"
    used = _columns(names_of(records), options, where)
    examples = [_example(record, used) for record in records]
    if options.blanks == "error":
        refuse([e.where for e in examples if not e.text.strip()], f"an empty text (column {used['text']!r})",
               "Fill or remove them.")  # fmt: skip
        if options.labelled:
            refuse([e.where for e in examples if not e.targets], f"nothing to write (column {used['label']!r})",
                   "Fill or remove them.")  # fmt: skip
    notes = options.told({{"text": "source", "label": "target"}.get(role, role): name for role, name in used.items()})
    return Dataset(tuple(examples), source, tuple(notes), columns=used)


def _columns(names: Sequence[str], options: Options, where: str) -> dict[str, str]:
    used: dict[str, str] = {}
    roles = {"text": (options.text_column, SOURCE_NAMES), "label": (options.label_column, TARGET_NAMES)}
    if not options.labelled:
        del roles["label"]
    for role, (wanted, _) in roles.items():
        if wanted is not None:
            used[role] = columns.choose(names, wanted, f"--{role}-column", where)
    for role, (_, usual) in roles.items():
        free = [name for name in names if name not in used.values()]
        if role not in used and (name := columns.guess(free, usual) or (free[0] if len(free) == 1 else None)):
            used[role] = name
    for role in roles:
        if role not in used:
            what = "text to read" if role == "text" else "text to write"
            raise HandloomError(f"{where}: which column is the {what}? There are {columns.listed(names)}; "
                                f"name it with --{role}-column, or of two parallel files give both (--targets, "
                                "--valid-targets, --test-targets).")  # fmt: skip
    return used


def _example(record: Record, used: dict[str, str]) -> RewritingExample:
    values, where = record.values, record.where
    text = text_string(values.get(used["text"]), used["text"], where)
    targets: tuple[str, ...] = ()
    given: Any = values.get(used["label"]) if "label" in used else None
    if hasattr(given, "tolist"):
        given = given.tolist()
    if isinstance(given, (list, tuple)) or not blank(given):
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, (list, tuple)) or not all(isinstance(one, str) for one in listed):
            what = f"a text or a list of texts, not {given!r:.60}"
            raise HandloomError(f"{where}: column {used['label']!r} should hold {what}")
        if isinstance(given, (list, tuple)) and not all(one.strip() for one in listed):
            raise HandloomError(f"{where}: column {used['label']!r} holds an empty text among those to write")
        targets = tuple(one for one in listed if one.strip())
    extra = {name: value for name, value in values.items() if name not in used.values()}
    return RewritingExample(text if text.strip() else "", targets, extra, where)


def read_parallel(sources: Path, targets: Path, options: Options) -> Dataset[RewritingExample]:
    """Two files of which a line of the one is to be written for that line of the other."""
    files = [read_text(path, options.encoding) for path in (sources, targets)]
    lines = [[line.rstrip("\r") for line in file.text.removesuffix("\n").split("\n")] for file in files]
    if len(lines[0]) != len(lines[1]):
        raise HandloomError(
            f"{sources} has {counted(len(lines[0]), 'line')} and {targets} {len(lines[1]):,}: "
            "each line needs its partner. "
            + _suspicious(lines, sources, targets)
        )
    for side, (path, texts) in enumerate(zip((sources, targets), lines, strict=True)):
        empty = [f"{path}:{n}" for n, text in enumerate(texts, 1) if not text.strip()
                 and (lines[1 - side][n - 1].strip() or options.blanks == "error")]  # fmt: skip
        if options.blanks == "error":
            refuse(empty, "an empty line", "Fill or remove it, and its partner.")
    examples = tuple(
        RewritingExample(source, (target,) if target.strip() else (), {}, f"{sources}:{number}",
                         f"{targets}:{number}")
        for number, (source, target) in enumerate(zip(*lines, strict=True), 1)
    )  # fmt: skip
    digest = files[0].sha256 if files[0].sha256 == files[1].sha256 else f"{files[0].sha256} {files[1].sha256}"
    return Dataset(examples, Source(str(sources), digest, "parallel"), (f"targets: {targets}",))


def _suspicious(lines: Sequence[Sequence[str]], sources: Path, targets: Path) -> str:
    """The first line without a partner, or the pair from which on the files are likelier to be shifted."""
    path = sources if len(lines[0]) > len(lines[1]) else targets
    ranked = sorted(lines, key=len, reverse=True)
    extra = min(len(ranked[0]) - len(ranked[1]), MOST_LEFT_OUT)
    shorter = [len(text) + 5 for text in ranked[1][:LOOKED_AT]]
    longer = [len(text) + 5 for text in ranked[0][: len(shorter) + extra]]
    least, _ = _shift(shorter, longer, 0.0)
    # Noise alone makes some shift near the end look a little better than none: it has to be better than the best of so
    # many. The power was measured on Multi30k, cut off and with lines left out.
    _, first = _shift(shorter, longer, least / len(shorter) * math.log(len(shorter) * extra**3))
    if first == len(shorter):  # nothing speaks for a place before the end
        rest = len(ranked[1])
        return f"The first line without one: {path}:{rest + 1} '{shown(ranked[0][rest], 60)}'"
    sides = zip((sources, targets), lines, strict=True)
    pair = (f"{path}:{first + 1} '{shown(side[first], 60)}'" for path, side in sides)
    return f"Going by lengths, the first pair that looks shifted: {', '.join(pair)}"


def _shift(shorter: Sequence[int], longer: Sequence[int], price: float) -> tuple[float, int]:
    """By how much lengths differ where they agree best if lines of the longer file are left out, each place at a price,
    and the first such place (the end for none). As with Gale and Church, the longer texts are, the more their lengths
    may differ."""
    usual = sum(shorter) / max(sum(longer), 1)
    end = len(shorter)
    # by how many lines are left out so far: how much lengths differ, and the first pair behind such a line
    ways = [(0.0, end), *[(math.inf, end)] * (len(longer) - end)]
    for number, own in enumerate(shorter):
        best, following = (math.inf, end), []
        for left, (cost, first) in enumerate(ways):
            if cost < best[0]:
                best = cost, first
            elif best[0] + price < cost:
                cost, first = best[0] + price, min(best[1], number)
            other = usual * longer[number + left]
            following.append((cost + (own - other) ** 2 / (own + other), first))
        ways = following
    return min(ways, key=lambda way: (way[0], -way[1]))
