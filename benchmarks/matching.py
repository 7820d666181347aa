"""What does fine-tuning give a sentence encoder? banking77's messages, before and after, beside BM25.

    python -m benchmarks.matching [--tasks search pairs] [--seeds 0] [--epochs 3] [--share 1]

MiniLM-L6, a bi-encoder by `handloom train sentence-similarity`, the weights after the last epoch, scored on the test
set. search: a message is to find the name of its intent ("card arrival") among all 77, learnt from pairs that belong
together (in-batch negatives); pairs: two messages have the same intent or not, half of them each (cosine loss).
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import begin, data, environment, keep, minilm, options, shown, spread

RATE, BATCH, MAX_LENGTH = 2e-4, 64, 128
PAIRS = {"train": 10_000, "test": 3_000}  # of the whole data
TASKS = {"search": ("recall@1", "mrr@10", "ndcg@10"), "pairs": ("average_precision",)}
Row = dict[str, Any]


def messages(name: str, share: float) -> list[tuple[str, str]]:
    """(message, intent in words); some of them, drawn always the same."""
    with open(data("classification", "banking77", f"{name}.csv"), encoding="utf-8", newline="") as file:
        found = [(row["text"], row["category"].replace("_", " ")) for row in csv.DictReader(file)]
    return random.Random(77).sample(found, round(share * len(found))) if share < 1 else found


def searched(name: str, share: float) -> list[Row]:
    return [{"question": text, "answer": intent} for text, intent in messages(name, share)]


def paired(name: str, share: float) -> list[Row]:
    """Every other pair has one intent."""
    given, rng = messages(name, share), random.Random(f"{name} 77")
    found: list[Row] = []
    by_intent: dict[str, list[str]] = {}
    for text, intent in given:
        by_intent.setdefault(intent, []).append(text)
    while len(found) < share * PAIRS[name]:
        text, intent = rng.choice(given)
        same = len(found) % 2 == 0
        other = rng.choice(by_intent[intent if same else rng.choice([one for one in by_intent if one != intent])])
        if other != text:
            found.append({"text1": text, "text2": other, "label": int(same)})
    return found


ROWS = {"search": searched, "pairs": paired}


def trained(task: str, model: Path, seed: int, epochs: float, share: float, threads: int) -> Row:
    """One training by the command line: scores before and after, and those of BM25."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("train", "test"):
            lines = [json.dumps(row, ensure_ascii=False) for row in ROWS[task](name, share)]
            Path(folder, f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "handloom", "train", "sentence-similarity", "--model", str(model), "--json"]
        command += ["--train", f"{folder}/train.jsonl", "--test", f"{folder}/test.jsonl", "--out", f"{folder}/run"]
        command += ["--keep", "last", "--epochs", str(epochs), "--lr", str(RATE), "--batch-size", str(BATCH)]
        command += ["--max-length", str(MAX_LENGTH), "--seed", str(seed), "--threads", str(threads)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment())
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        found = json.loads(done.stdout)
    sides = {"after": found["metrics"], "before": found["before"]["metrics"], "BM25": found["baselines"]["BM25"]}
    return {side: {name: values[name] for name in TASKS[task]} for side, values in sides.items()}


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the messages of both files")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.epochs, given.share = given.seeds[:1], 1, 0.02
    figures = begin(f"A sentence encoder after {given.epochs:g} epochs, weights of the last", given.threads)
    model, rows = minilm(given.model), []
    for task in given.tasks:
        mine = [trained(task, model, seed, given.epochs, given.share, given.threads) for seed in given.seeds]
        for name in TASKS[task]:
            sides = {side: spread([row[side][name] for row in mine]) for side in mine[0]}
            print(f"  {task}, {name}: " + ", ".join(f"{s} {shown(v, '{:.4f}'.format)}" for s, v in sides.items()),
                  flush=True)  # fmt: skip
        rows += [{"task": task, "seed": seed, **row} for seed, row in zip(given.seeds, mine, strict=True)]
    keep({**figures, "rows": rows}, given.json)


if __name__ == "__main__":
    main()
