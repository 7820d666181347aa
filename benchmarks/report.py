"""Every number that the training step is judged by, beside its peer: one table.

Runs the other benchmarks one after the other, keeps what each found as JSON in a folder, and prints the table from what
is there; what the folder holds already is not run again. All of it takes some three hours, two of them for quality: the
trainings of three seeds in both precisions and in PyTorch.

    python -m benchmarks.report --keep-in FOLDER [--only bert minilm …]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import environment, shown
from benchmarks.report_header import print_header

Found = dict[str, Any]

PARTS: dict[str, list[str]] = {
    "products-f32": ["products", "--dtype", "f32", "--rounds", "3"],
    "products-bf16": ["products", "--dtype", "bf16", "--rounds", "3"],
    "bert": ["step", "--workloads", "BERT-base:16x128", "--steps", "5", "--precision", "bf16", "--tuned"],
    "bert-f32": ["step", "--workloads", "BERT-base:16x128", "--steps", "3", "--precision", "f32"],
    "minilm": ["real_step", "--rounds", "6", "--tuned"],
    "frozen": ["frozen", "--steps", "5"],
    "output-layer": ["output_layer"],
    "growth": ["growth"],
    "inference": ["inference"],
    "accuracy": ["accuracy"],
    "finetuning": ["finetuning"],
    "quality": ["quality"],
    "scaling": ["scaling", "--steps", "8"],
    "start": ["start", "--repeats", "3", "--sentences", "3394"],
}
"""By the name of the file that is kept: the module and its options."""


@dataclass(frozen=True)
class Row:
    """A line of the table: what must be reached, and how the answer is read from what a part found."""

    text: str
    must: str
    part: str
    read: Callable[[Found], str]


def _step(found: Found) -> Found:
    one: Found = found["rows"][0]
    return one


def _memory(found: Found) -> str:
    one = _step(found)
    peer = one[one["best_peer"]]["peak_bytes"]
    return f"{one['ours']['peak_bytes'] / peer:.2f} ({one['ours']['peak_bytes'] / 1e6:,.0f} of {peer / 1e6:,.0f} MB)"


def _times(one: Found) -> str:
    return f"{shown(one['times_torch'])} × {one['best_peer']}"


def _peer(found: Found) -> str:
    peer = found["times peer"]
    return f"{peer['geometric mean']:.2f} / {peer['worst']:.2f}"


def _growth(found: Found) -> str:
    rows = found["steps"]
    first, last = (row["seconds"]["median"] / row["tokens"] * 1e6 for row in (rows[0], rows[-1]))
    return f"{first:.0f} µs a token at {rows[0]['tokens']} to {last:.0f} at {rows[-1]['tokens']}"


def _attention(found: Found) -> str:
    rows = found["attention"]
    return (
        f"{rows[0]['bytes'] / 1e6:.0f} MB at {rows[0]['length']} tokens a text to {rows[-1]['bytes'] / 1e6:.0f} MB at "
        f"{rows[-1]['length']}"
    )


def _inference(found: Found) -> str:
    return f"{shown(found['times'])} × {found['peer']}"


def _quality(found: Found) -> str:
    points = []
    for task in ("wnut17", "banking77"):
        single, narrow, _ = found[task].values()
        points.append(f"{100 * (narrow - single):+.2f}")
    return " / ".join(points)


def _start(found: Found) -> str:
    one = found["starts"]["3394"]
    return " / ".join(shown(one[name], "{:.1f}".format) for name in ("cold", "warm"))


ROWS = (
    Row("f32 products, share of the ceiling", "0.92", "products-f32", lambda f: f"{f['share']['all']:.3f}"),
    Row("bf16 products, share of the ceiling", "0.88", "products-bf16", lambda f: f"{f['share']['all']:.3f}"),
    Row("f32 products by the best of MKL and OpenBLAS: mean / worst", "1.0 / 0.93", "products-f32", _peer),
    Row("bf16 products by oneDNN: mean / worst", "1.0 / 0.93", "products-bf16", _peer),
    Row("BERT-base step, times tuned PyTorch", "1.6", "bert", lambda f: _times(_step(f))),
    Row("BERT-base step in f32, times PyTorch f32", "2.5", "bert-f32", lambda f: _times(_step(f))),
    Row("its utilisation, f32", "0.80", "bert-f32", lambda f: shown(_step(f)["ours"]["share"])),
    Row("its utilisation, bf16", "0.72", "bert", lambda f: shown(_step(f)["ours"]["share"])),
    Row("MiniLM-L6 on WNUT17's sentences, times tuned PyTorch", "2.3", "minilm", lambda f: _times(f["found"])),
    Row(
        "fine-tuning on WNUT17, 5 epochs, all of it: times the tutorial way / tuned PyTorch", "15 / 2.3", "finetuning",
        lambda f: " / ".join(shown(f["times"][way]["whole"], "{:.1f}".format) for way in ("tutorial", "tuned")),
    ),
    Row("8 of 12 layers frozen, of the full step", "0.60", "frozen", lambda f: shown(f["ratio"])),
    Row(
        "output layer of 49,152 classes: memory, of its logits", "0.05", "output-layer",
        lambda f: f"{f['chunks']['share']:.3f}",
    ),
    Row("peak memory of the BERT-base step, of tuned PyTorch's", "0.60", "bert", _memory),
    Row("growth with the batch", "curve", "growth", _growth),
    Row("attention's memory with the length", "linear", "growth", _attention),
    Row("inference, 1 text at a time, times the best peer", "1.0", "inference", lambda f: _inference(f["1"])),
    Row("inference, 64 texts at a time", "1.0", "inference", lambda f: _inference(f["64"])),
    Row("bf16 against f32, points: WNUT17 / banking77", "within 0.5", "quality", _quality),
    Row("error of bf16 against f64, of autocast's, at worst", "2", "accuracy", lambda f: f"{f['worst']:.2f}"),
    Row("first step, cold / warm, s", "5 / 1.5", "start", _start),
    Row("two threads, times one", "1.9", "scaling", lambda f: shown(f["rows"][1]["times"])),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-in", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    given.keep_in.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        file = given.keep_in / f"{name}.json"
        if not file.exists():
            module, *options = PARTS[name]
            command = [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(file)]
            print(f"… {' '.join(command[1:-2])}", flush=True)
            with (given.keep_in / f"{name}.txt").open("w") as printed:
                if subprocess.run(command, env=environment(), stdout=printed, stderr=subprocess.STDOUT).returncode:
                    print(f"  failed: see {given.keep_in / name}.txt")
    print_header("The training step", 2)
    print("\n| what | must reach | measured |\n|---|---|---|")
    for row in ROWS:
        file = given.keep_in / f"{row.part}.json"
        answer = row.read(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else "not measured"
        print(f"| {row.text} | {row.must} | {answer} |")


if __name__ == "__main__":
    main()
