"""How long does an epoch of WNUT17 take as a user runs it, beside the way that tutorials show?

Ours: `handloom train token-classification` with --valid and --test, one epoch, the last weights kept. Theirs: the
reference script's tutorial way (PyTorch f32, everything padded to 128, plain AdamW), one epoch, scored on the test
set. The same data, learning rate, batch size and weights, in turns. Two times of each: of the training alone (the
steps), and of the whole command, in which both read, tokenise and score; ours also validates, scores the model as it
was, trains its baselines and writes a report.

The tutorial's epoch takes minutes: --share 0.1 lets both sides train on the first tenth of each file.

    python -m benchmarks.wnut17_epoch [--share 1] [--rounds 1]
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

LEAST = 9.0
WAYS = ("tutorial", "tuned")


def ours(model: Path, files: dict[str, Path], place: Path, threads: int) -> dict[str, float]:
    """Seconds of the whole command and of its steps, tokens a second, score."""
    out = place / "run"
    command = train_command(model, out, threads, epochs="1", keep="last", **files)
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--overwrite", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    last = [entry for entry in read_log(out / "log.jsonl") if entry.get("event") == "step"][-1]
    return {
        "whole": whole,
        "training": last["seconds"],
        "tokens_per_second": last["tokens"] / last["seconds"],
        "span_f1": json.loads(done.stdout)["metrics"]["span_f1"],
    }


def theirs(model: Path, script: Path, way: str, threads: int) -> dict[str, float]:
    """The same of the reference script, which finds its data beside it."""
    command = [sys.executable, str(script), "wnut17", "--model", str(model), "--way", way, "--epochs", "1"]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment(OMP_NUM_THREADS=str(threads)),
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "whole": whole,
        "training": found["train_seconds"],
        "tokens_per_second": found["real_tokens_per_second"],
        "span_f1": found["span_f1"],
    }


def measure(model: Path, way: str, share: float, rounds: int, threads: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {"ours": [], way: []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = cut(place / "data" / "ner" / "wnut17", share)
        script = place / "reference" / reference().name
        script.parent.mkdir()
        shutil.copy(reference(), script)
        for _ in range(rounds):
            runs["ours"].append(ours(model, files, place, threads))
            runs[way].append(theirs(model, script, way, threads))
    found: dict[str, Any] = {"share": share, "way": way, "rounds": rounds}
    for name, several in runs.items():
        found[name] = {key: spread([one[key] for one in several]) for key in several[0]}
    for key in ("training", "whole"):
        ratios = [their[key] / our[key] for our, their in zip(runs["ours"], runs[way], strict=True)]
        found[f"times_{key}"] = spread(ratios)
    return found


def show(found: dict[str, Any]) -> None:
    seconds = "{:.1f}".format
    print(f"\n{'':10} {'training s':>24} {'whole command s':>24} {'real tokens/s':>14} {'span F1':>8}")
    for name in ("ours", found["way"]):
        one = found[name]
        print(
            f"{name:10} {shown(one['training'], seconds):>24} {shown(one['whole'], seconds):>24} "
            f"{one['tokens_per_second']['median']:14,.0f} {one['span_f1']['median']:8.3f}"
        )
    print(
        f"{shown(found['times_training'])} × the {found['way']} way's training (at least {LEAST:g}); "
        f"{shown(found['times_whole'])} × its whole command"
    )


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--share", type=float, default=1.0, help="of each file's sentences")
    parser.add_argument("--rounds", type=int, default=1, help="of one run of each side")
    parser.add_argument("--way", choices=WAYS, default=WAYS[0], help="of the reference script")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    share = 0.03 if given.quick else given.share
    figures = begin(f"An epoch of {share:.0%} of WNUT17, as a user runs it", given.threads)
    figures |= measure(minilm(given.model), given.way, share, given.rounds, given.threads)
    show(figures)
    keep(figures, given.json)


if __name__ == "__main__":
    main()
