"""Entities of Chinese résumés (Zhang and Yang 2018), by character models from scratch: span F1 on the test set.

    python -m benchmarks.resume [--model bilstm-crf|bilstm|bert] [--seeds 0 1 2] [--epochs N] [--keep-in FILE]

Nothing was trained before: neither weights nor characters' vectors. Prints a line for each seed, and their mean.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

from benchmarks.figures import Kept, begin, data, keep, options
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
WANTED = 0.92


def run(name: str, seed: int, epochs: float, threads: int) -> dict[str, float]:
    """Scores on the test set of the weights that are best on the development set, and the seconds of the training."""
    made, settings = MODELS[name]
    files = {part: data("ner", "resume_zh", f"{part}.char.bmes") for part in ("train", "dev", "test")}
    began = time.perf_counter()
    model = TokenClassifier.new(files["train"], tokenizer="character", seed=seed, threads=threads, **made)
    model.fit(
        files["train"], files["dev"], files["test"], batch_size=32, schedule="cosine", seed=seed, before=False,
        baselines=False, listener=silent, **{**settings, "epochs": epochs},
    )  # fmt: skip
    return {**model.scores.metrics, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--model", choices=sorted(MODELS), default="bilstm-crf")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float)
    given = parser.parse_args()
    epochs = given.epochs or MODELS[given.model][1]["epochs"]
    if given.quick:
        given.seeds, epochs = given.seeds[:1], 0.1
    figures = begin("Entities of Chinese résumés, from scratch", given.threads)
    kept, found = Kept(given.keep_in), []
    for seed in given.seeds:
        key = {"model": given.model, "seed": seed, "epochs": epochs}
        scores = kept.row(key, partial(run, given.model, seed, epochs, given.threads))
        found.append(scores["span_f1"])
        print(f"{given.model} seed {seed}: F1 {scores['span_f1']:.4f}, precision {scores['span_precision']:.4f}, "
              f"recall {scores['span_recall']:.4f}, {scores['seconds']:,.0f} s", flush=True)  # fmt: skip
    print(f"{given.model}: F1 {statistics.mean(found):.4f}, mean of {len(found)} (at least {WANTED})")
    keep({**figures, "rows": kept.rows}, given.json)


if __name__ == "__main__":
    main()
