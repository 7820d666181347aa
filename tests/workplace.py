"""A folder as a user has it: a tiny model under the name that the docs use, and labelled files."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path

SIZES = {"train": 48, "valid": 12, "test": 12}

_spec = importlib.util.spec_from_file_location("tiny_bert", Path(__file__).parent / "train" / "tiny_bert.py")
assert _spec is not None and _spec.loader is not None
tiny_bert = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_bert)


def furnish(folder: Path) -> Path:
    """Puts into `folder`: minilm-l6/ (a BERT of two layers), {train,valid,test}.{csv,conll}, new.csv. Returns it."""
    tiny_bert.write(folder / "minilm-l6")
    opinions, tagged = tiny_bert.opinions(sum(SIZES.values())), tiny_bert.tagged(sum(SIZES.values()))
    begin = 0
    for name, size in SIZES.items():
        write_table(folder / f"{name}.csv", ["text", "label"], opinions[begin : begin + size])
        blocks = ["".join(f"{word}\t{tag}\n" for word, tag in zip(*one, strict=True)) for one in tagged[begin:][:size]]
        (folder / f"{name}.conll").write_text("\n".join(blocks), encoding="utf-8")
        begin += size
    write_table(folder / "new.csv", ["id", "text"], [(str(i), text) for i, (text, _) in enumerate(opinions[:5])])
    return folder


def write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
