"""The WNUT17 files, whole or cut, and the command that trains on them."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.figures import data

PARTS = ("train", "valid", "test")
RATE, BATCH = "1e-4", "16"


def sentences(text: str) -> list[str]:
    """The sentences of a CoNLL file, each as its lines; an empty line, or one of blanks alone, ends a sentence."""
    found: list[str] = []
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            found.append("\n".join(lines))
            lines = []
    return found


def cut(folder: Path, share: float = 1.0, most: int | None = None) -> dict[str, Path]:
    """Writes the first `share` of each file's sentences, at most `most` of them, to `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part in PARTS:
        every = sentences(data("ner", "wnut17", f"{part}.conll").read_text(encoding="utf-8"))
        kept = every[: max(1, round(share * len(every)))][:most]
        files[part] = folder / f"{part}.conll"
        files[part].write_text("\n\n".join(kept) + "\n\n", encoding="utf-8")
    return files


def train_command(model: Path, out: Path, threads: int, train: Path, **more: Path | str) -> list[str]:
    """`handloom train token-classification` with the reference's learning rate and batch size."""
    command = [sys.executable, "-m", "handloom", "train", "token-classification", "--model", str(model)]
    command += ["--train", str(train), "--out", str(out), "--lr", RATE, "--batch-size", BATCH]
    command += ["--threads", str(threads)]
    for name, value in more.items():
        command += [f"--{name}", str(value)]
    return command
