"""How long does fine-tuning on WNUT17 take as a user runs it, beside PyTorch as tutorials show it and as it is tuned?

Ours: `handloom train token-classification` with --valid and --test, the last weights kept, in the precision that this
machine chooses. Theirs: the reference script, scored on the test set; *tutorial* is f32, everything padded to 128,
plain AdamW; *tuned* is bf16, fused AdamW, batches of like lengths. The same data, learning rate, batch size and
weights, one after the other. Two times of each: of the training alone (the steps), and of the whole command, in which
both read, tokenise and score; ours also validates, scores the model as it was, trains its baselines and writes a
report.

An epoch of the tutorial's takes minutes, and all of its epochs take the same: --measured-epochs of it are run, and
stand for the rest. --share 0.1 lets every side train on the first tenth of each file.

    python -m benchmarks.finetuning [--epochs 5] [--ways tuned tutorial] [--share 1] [--rounds 1]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import begin, environment, keep, minilm, options, reference, shown, spread
from benchmarks.wnut17 import cut, train_command
from handloom.train.run import read_log

LEAST = {"tutorial": 15.0, "tuned": 2.3}


def ours(
    model: Path, files: dict[str, Path], place: Path, epochs: int, threads: int, precision: str
) -> dict[str, float]:
    """Seconds of the whole command and of its steps, tokens a second, score."""
    out = place / "run"
    command = train_command(model, out, threads, epochs=str(epochs), keep="last", precision=precision, **files)
    command += ["--overwrite", "--json"]
    whole, printed = timed(command)
    last = [entry for entry in read_log(out / "log.jsonl") if entry.get("event") == "step"][-1]
    return {
        "whole": whole,
        "training": last["seconds"],
        "tokens_per_second": last["tokens"] / last["seconds"],
        "span_f1": json.loads(printed)["metrics"]["span_f1"],
    }


def theirs(model: Path, script: Path, way: str, epochs: int, measured: int, threads: int) -> dict[str, float]:
    """The same of the reference script, which finds its data beside it."""
    command = [sys.executable, str(script), "wnut17", "--model", str(model), "--way", way, "--epochs", str(measured)]
    whole, printed = timed(command, OMP_NUM_THREADS=str(threads))
    found = json.loads(printed.splitlines()[-1])
    training = found["train_seconds"] * epochs / measured
    return {
        "whole": whole - found["train_seconds"] + training,
        "training": training,
        "tokens_per_second": found["real_tokens_per_second"],
        "span_f1": found["span_f1"],
    }


def timed(command: list[str], **variables: str) -> tuple[float, str]:
    """Seconds and what was printed."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment(**variables))
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return whole, done.stdout


def measure(model: Path, given: Any) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *given.ways)}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = cut(place / "data" / "ner" / "wnut17", given.share)
        script = place / "reference" / reference().name
        script.parent.mkdir()
        shutil.copy(reference(), script)
        for _ in range(given.rounds):
            runs["ours"].append(ours(model, files, place, given.epochs, given.threads, given.precision))
            for way in given.ways:
                measured = min(given.epochs, given.measured_epochs) if way == "tutorial" else given.epochs
                runs[way].append(theirs(model, script, way, given.epochs, measured, given.threads))
    found: dict[str, Any] = {"share": given.share, "epochs": given.epochs, "rounds": given.rounds, "times": {}}
    for name, several in runs.items():
        found[name] = {key: spread([one[key] for one in several]) for key in several[0]}
        if name != "ours":
            pairs = list(zip(runs["ours"], several, strict=True))
            found["times"][name] = {
                key: spread([their[key] / our[key] for our, their in pairs]) for key in ("training", "whole")
            }
    return found


def show(found: dict[str, Any]) -> None:
    seconds = "{:.1f}".format
    print(f"\n{'':10} {'training s':>24} {'whole command s':>24} {'real tokens/s':>14} {'span F1':>8}")
    for name in ("ours", *found["times"]):
        one = found[name]
        print(
            f"{name:10} {shown(one['training'], seconds):>24} {shown(one['whole'], seconds):>24} "
            f"{one['tokens_per_second']['median']:14,.0f} {one['span_f1']['median']:8.3f}"
        )
    for way, times in found["times"].items():
        print(
            f"{shown(times['whole'])} × the {way} way's whole command (at least {LEAST[way]:g}); "
            f"{shown(times['training'])} × its training"
        )


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--measured-epochs", type=int, default=1, help="of the tutorial way, to stand for all")
    parser.add_argument("--share", type=float, default=1.0, help="of each file's sentences")
    parser.add_argument("--rounds", type=int, default=1, help="of one run of each side")
    parser.add_argument("--ways", nargs="+", choices=LEAST, default=list(LEAST), help="of the reference script")
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto", help="ours")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.quick:
        given.share, given.epochs, given.ways = 0.03, 1, ["tuned"]
    figures = begin(f"{given.epochs} epochs of {given.share:.0%} of WNUT17, as a user runs it", given.threads)
    figures |= measure(minilm(given.model), given)
    show(figures)
    keep(figures, given.json)


if __name__ == "__main__":
    main()
