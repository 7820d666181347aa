"""Is a model trained here as good as one trained by PyTorch? The same data, weights, settings and seeds on both sides.

    python -m benchmarks.quality [--tasks wnut17 banking77] [--seeds 0 1 2] [--epochs 5] [--keep-in FILE]

MiniLM-L6, the weights after the last epoch, scored on the test set. Ours is `handloom train`; theirs the reference
script's tuned way (bf16, batches of like lengths). Runs take minutes each, so that every result is kept as a JSON line
in --keep-in as soon as it is there, and what the file holds already is not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import begin, data, environment, keep, minilm, options, reference, shown, spread

TASKS = {  # metric, kind, training file, test file, learning rate, batch
    "wnut17": ("span_f1", "token-classification", "ner/wnut17/train.conll", "ner/wnut17/test.conll", 1e-4, 16),
    "banking77": (
        "accuracy",
        "text-classification",
        "classification/banking77/train.csv",
        "classification/banking77/test.csv",
        2e-4,
        32,
    ),
}
MOST_BELOW = 0.01
"""How far our mean may lie below the reference's."""
MOST_APART = 0.005
"""How far the means of our two precisions may lie apart."""


def ours(task: str, model: Path, seed: int, epochs: int, threads: int, precision: str = "f32") -> dict[str, Any]:
    """One training by the command line: score on the test set and seconds of the whole command."""
    metric, kind, train, test, rate, batch = TASKS[task]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "handloom", "train", kind, "--model", str(model), "--out", str(out)]
        command += ["--train", str(data(train)), "--test", str(data(test)), "--keep", "last", "--json"]
        if task == "wnut17":
            command += ["--valid", str(data("ner/wnut17/valid.conll"))]
        else:  # the reference trains on every row, and scores the last weights: what validates does not matter
            command += ["--valid", str(data(test))]
        command += ["--epochs", str(epochs), "--lr", str(rate), "--batch-size", str(batch), "--seed", str(seed)]
        command += ["--threads", str(threads), "--precision", precision]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment())
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        found = json.loads(done.stdout)
        return {"score": found["metrics"][metric], "seconds": time.perf_counter() - began}


def theirs(task: str, model: Path, seed: int, epochs: int, threads: int) -> dict[str, Any]:
    """The same by the reference script."""
    command = [sys.executable, str(reference()), task, "--model", str(model), "--epochs", str(epochs)]
    done = subprocess.run(
        [*command, "--seeds", str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS=str(threads)),
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {"score": found[TASKS[task][0]], "seconds": found["train_seconds"]}


SIDES: dict[str, Callable[..., dict[str, Any]]] = {
    "Handloom f32": ours,
    "Handloom bf16": partial(ours, precision="bf16"),
    "PyTorch bf16": theirs,
}


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--keep-in", type=Path, metavar="FILE", help="JSON lines: results so far, read and added to")
    given = parser.parse_args()
    if given.quick:
        given.tasks, given.seeds, given.epochs = given.tasks[:1], given.seeds[:1], 1
    figures = begin(f"Quality after {given.epochs} epochs, weights of the last", given.threads)
    rows: list[dict[str, Any]] = []
    if given.keep_in is not None and given.keep_in.exists():
        rows = [json.loads(line) for line in given.keep_in.read_text(encoding="utf-8").splitlines()]
    known = {(row["task"], row["side"], row["seed"], row["epochs"]): row for row in rows}
    model = minilm(given.model)
    for task in given.tasks:
        print(f"\n{task}: {TASKS[task][0]}")
        means = {}
        for side, run in SIDES.items():
            for seed in given.seeds:
                key = (task, side, seed, given.epochs)
                if key not in known:
                    known[key] = dict(zip(("task", "side", "seed", "epochs"), key, strict=True))
                    known[key] |= run(task, model, seed, given.epochs, given.threads)
                    if given.keep_in is not None:
                        with given.keep_in.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(known[key]) + "\n")
            chosen = [known[task, side, seed, given.epochs] for seed in given.seeds]
            scores = spread([row["score"] for row in chosen])
            means[side] = sum(row["score"] for row in chosen) / len(chosen)
            print(
                f"  {side}: mean {means[side]:.4f}, median {shown(scores, '{:.4f}'.format)}; "
                f"seconds {shown(spread([row['seconds'] for row in chosen]), '{:.0f}'.format)}",
                flush=True,
            )
        single, narrow, peer = means.values()
        print(f"  f32 and PyTorch: {100 * (single - peer):+.2f} points (at least {-100 * MOST_BELOW:.0f})")
        print(f"  bf16 and f32: {100 * (narrow - single):+.2f} points (within {100 * MOST_APART})")
        figures[task] = means
    figures["rows"] = list(known.values())
    keep(figures, given.json)


if __name__ == "__main__":
    main()
