"""Is a model trained here as good as one trained by PyTorch? The same data, weights, settings and seeds on both sides.

    python -m benchmarks.quality [--tasks wnut17 banking77 semeval] [--sides f32 bf16] [--seeds 0 1 2] [--epochs 5]
                                 [--keep-in FILE]

MiniLM-L6, the weights after the last epoch, scored on the test set. Ours is `handloom train`; theirs the reference
script's tuned way (batches of like lengths). Both in f32, in bf16, or in both. Runs take minutes each, so that every
result is kept as a JSON line in --keep-in as soon as it is there, and what the file holds already is not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Kept, begin, data, environment, keep, minilm, options, reference, shown, spread


@dataclass(frozen=True)
class Task:
    """metric, theirs: what the score is called by us and by the reference. The reference trains on every row, and
    scores the last weights: what validates does not matter."""

    metric: str
    theirs: str
    kind: str
    train: str
    valid: str
    test: str
    rate: float
    batch: int


_BANKING, _SEMEVAL = "classification/banking77/", "relation/semeval2010_task8/"
TASKS = {
    "wnut17": Task("span_f1", "span_f1", "token-classification", "ner/wnut17/train.conll", "ner/wnut17/valid.conll",
                   "ner/wnut17/test.conll", 1e-4, 16),
    "banking77": Task("accuracy", "accuracy", "text-classification", f"{_BANKING}train.csv", f"{_BANKING}test.csv",
                      f"{_BANKING}test.csv", 2e-4, 32),
    "semeval": Task("relation_f1", "official_macro_f1", "relation-extraction", f"{_SEMEVAL}train.txt",
                    f"{_SEMEVAL}test.txt", f"{_SEMEVAL}test.txt", 1e-4, 16),
}  # fmt: skip
MOST_BELOW = 0.005
"""How far our mean may lie below the reference's."""
MOST_APART = 0.005
"""How far the means of our two precisions may lie apart."""


def ours(task: str, model: Path, seed: int, epochs: int, threads: int, precision: str = "f32") -> dict[str, Any]:
    """One training by the command line: score on the test set and seconds of the whole command."""
    asked = TASKS[task]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "handloom", "train", asked.kind, "--model", str(model), "--out", str(out)]
        command += ["--train", str(data(asked.train)), "--valid", str(data(asked.valid))]
        command += ["--test", str(data(asked.test)), "--keep", "last", "--json", "--max-length", "128"]
        command += ["--epochs", str(epochs), "--lr", str(asked.rate), "--batch-size", str(asked.batch)]
        command += ["--seed", str(seed), "--threads", str(threads), "--precision", precision]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment())
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        found = json.loads(done.stdout)
        return {"score": found["metrics"][asked.metric], "seconds": time.perf_counter() - began}


def theirs(task: str, model: Path, seed: int, epochs: int, threads: int, precision: str = "f32") -> dict[str, Any]:
    """The same by the reference script."""
    command = [sys.executable, str(reference()), task, "--model", str(model), "--epochs", str(epochs)]
    done = subprocess.run(
        [*command, "--precision", precision, "--seeds", str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS=str(threads)),
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {"score": found[TASKS[task].theirs], "seconds": found["train_seconds"]}


SIDES: dict[str, Callable[..., dict[str, Any]]] = {
    f"{name} {precision}": partial(run, precision=precision)
    for precision in ("f32", "bf16")
    for name, run in (("Handloom", ours), ("PyTorch", theirs))
}


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--sides", nargs="+", choices=("f32", "bf16"), default=["f32", "bf16"], metavar="PRECISION")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.quick:
        given.tasks, given.seeds, given.epochs = given.tasks[:1], given.seeds[:1], 1
    figures = begin(f"Quality after {given.epochs} epochs, weights of the last", given.threads)
    kept = Kept(given.keep_in)
    model = minilm(given.model)
    for task in given.tasks:
        print(f"\n{task}: {TASKS[task].metric}")
        means = {}
        for side, run in SIDES.items():
            if side.split()[1] not in given.sides:
                continue
            chosen = []
            for seed in given.seeds:
                key = {"task": task, "side": side, "seed": seed, "epochs": given.epochs}
                chosen.append(kept.row(key, partial(run, task, model, seed, given.epochs, given.threads)))
            scores = spread([row["score"] for row in chosen])
            means[side] = sum(row["score"] for row in chosen) / len(chosen)
            print(
                f"  {side}: mean {means[side]:.4f}, median {shown(scores, '{:.4f}'.format)}; "
                f"seconds {shown(spread([row['seconds'] for row in chosen]), '{:.0f}'.format)}",
                flush=True,
            )
        for precision in given.sides:
            apart = 100 * (means[f"Handloom {precision}"] - means[f"PyTorch {precision}"])
            print(f"  Handloom and PyTorch in {precision}: {apart:+.2f} points (at least {-100 * MOST_BELOW})")
        if len(given.sides) == 2:
            apart = 100 * (means["Handloom bf16"] - means["Handloom f32"])
            print(f"  bf16 and f32: {apart:+.2f} points (within {100 * MOST_APART})")
        figures[task] = means
    figures["rows"] = kept.rows
    keep(figures, given.json)


if __name__ == "__main__":
    main()
