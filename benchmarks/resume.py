"""Entities of Chinese résumés (Zhang and Yang 2018), by character models from scratch: span F1 on the test set.

    python -m benchmarks.resume [--model bilstm-crf|bilstm|bert] [--seeds 0,1,2] [--epochs N]

Nothing was trained before: neither weights nor characters' vectors. Prints a line for each seed, and their mean.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.figures import data
from handloom.train.estimators import TokenClassifier
from handloom.train.progress import silent

RECURRENT = {"model_type": "handloom-rnn", "layers": 1, "hidden": 300, "bidirectional": True, "embedding_size": 150,
             "lanes": 32, "dropout": 0.5}  # fmt: skip
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bilstm-crf": (RECURRENT, {"crf": True, "lr": 4e-3, "epochs": 12}),
    "bilstm": (RECURRENT, {"lr": 4e-3, "epochs": 12}),
    "bert": (
        {"model_type": "bert", "layers": 3, "hidden": 192, "heads": 6, "context": 256, "dropout": 0.2},
        {"crf": True, "lr": 1e-3, "epochs": 20},
    ),
}
"""What the model is, and how it is trained."""


def run(name: str, seed: int, epochs: float | None, threads: int | None) -> dict[str, float]:
    """Scores on the test set of the weights that are best on the development set, and the seconds of the training."""
    made, settings = MODELS[name]
    files = {part: data("ner", "resume_zh", f"{part}.char.bmes") for part in ("train", "dev", "test")}
    began = time.perf_counter()
    model = TokenClassifier.new(files["train"], tokenizer="character", seed=seed, threads=threads, **made)
    model.fit(
        files["train"], files["dev"], files["test"], batch_size=32, schedule="cosine", seed=seed, before=False,
        baselines=False, listener=silent, **{**settings, **({} if epochs is None else {"epochs": epochs})},
    )  # fmt: skip
    return {**model.scores.metrics, "seconds": time.perf_counter() - began}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", choices=sorted(MODELS), default="bilstm-crf")
    asked.add_argument("--seeds", default="0,1,2")
    asked.add_argument("--epochs", type=float)
    asked.add_argument("--threads", type=int)
    given = asked.parse_args()
    found = []
    for seed in map(int, given.seeds.split(",")):
        scores = run(given.model, seed, given.epochs, given.threads)
        found.append(scores["span_f1"])
        print(f"{given.model} seed {seed}: F1 {scores['span_f1']:.4f}, precision {scores['span_precision']:.4f}, "
              f"recall {scores['span_recall']:.4f}, {scores['seconds']:,.0f} s", flush=True)  # fmt: skip
    print(f"{given.model}: F1 {statistics.mean(found):.4f}, mean of {len(found)}")


if __name__ == "__main__":
    main()
