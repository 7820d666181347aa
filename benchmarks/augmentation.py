"""What copies of training examples are worth: span F1 on WNUT17 from a tenth of its training sentences.

    python -m benchmarks.augmentation [--seeds 0 1 2] [--ways mention typo] [--keep-in FILE]

MiniLM-L6, as many steps with copies as without: 12 epochs of the 339 sentences, or 12 / (1 + copies) epochs of them and
their copies. The last weights are measured, on all of the test set.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Kept, begin, data, keep, minilm, options
from handloom.data.readers import read
from handloom.train.estimators import TokenClassifier
from handloom.train.progress import silent

EPOCHS, TIMES = 12, 2


def run(model: Path, way: str | None, seed: int, epochs: float, threads: int) -> dict[str, float]:
    whole = read(data("ner", "wnut17", "train.conll"), "token-classification")
    few = whole.select(range(len(whole) // 10))
    test = data("ner", "wnut17", "test.conll")
    copies: dict[str, Any] = {} if way is None else {"augment": way, "augment_times": TIMES}
    epochs = epochs if way is None else epochs / (1 + TIMES)
    tagger = TokenClassifier.from_pretrained(model, threads=threads)
    began = time.perf_counter()
    # some of the training sentences stand for validation data, which decides on nothing
    tagger.fit(few, few.select(range(16)), test, epochs=epochs, lr=2e-4, seed=seed, keep="last", before=False,
               baselines=False, listener=silent, **copies)  # fmt: skip
    return {**tagger.scores.metrics, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=["mention"])
    given = parser.parse_args()
    if given.quick:
        given.seeds = given.seeds[:1]
    figures = begin("Copies of the examples, a tenth of WNUT17", given.threads)
    kept, model, epochs = Kept(given.keep_in), minilm(given.model), 1 if given.quick else EPOCHS
    found: dict[str, list[float]] = {}
    for seed in given.seeds:
        for way in (None, *given.ways):
            key = {"way": way, "seed": seed, "epochs": epochs}
            scores = kept.row(key, partial(run, model, way, seed, epochs, given.threads))
            found.setdefault(way or "nothing", []).append(scores["span_f1"])
            print(f"{way or 'nothing'} seed {seed}: F1 {scores['span_f1']:.4f}, precision "
                  f"{scores['span_precision']:.4f}, recall {scores['span_recall']:.4f}, {scores['seconds']:,.0f} s",
                  flush=True)  # fmt: skip
    for way, values in found.items():
        print(f"{way}: F1 {statistics.mean(values):.4f}, mean of {len(values)}")
    keep({**figures, "rows": kept.rows}, given.json)


if __name__ == "__main__":
    main()
