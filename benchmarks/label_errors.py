"""Wrong labels that are planted in banking77, and how many of them `data check --label-errors` finds.

    python -m benchmarks.label_errors [--share 0.05] [--seeds 0 1 2] [--judge linear]

A label in twenty is replaced by another, drawn evenly. Precision and recall are of all labels that are called wrong,
and precision of as many as were planted, the surest first. The data has errors of its own, which count against it here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.figures import begin, data, keep, options
from handloom.data.readers import read
from handloom.train.label_errors import LINEAR, find


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--judge", default=LINEAR)
    asked = parser.parse_args()
    figures = begin("Planted wrong labels in banking77", asked.threads)
    whole, figures["rows"] = read(data("classification", "banking77", "train.csv")), []
    if asked.quick:
        asked.seeds, whole = asked.seeds[:1], whole.select(range(0, len(whole), 10))
    for seed in asked.seeds:
        rng = np.random.default_rng(seed)
        wrong = set(rng.choice(len(whole), int(len(whole) * asked.share), replace=False).tolist())
        rows = [
            replace(e, label=str(rng.choice([label for label in whole.labels if label != e.label])), where=f"{i}")
            if i in wrong else replace(e, where=f"{i}")
            for i, e in enumerate(whole)
        ]  # fmt: skip
        found = find(
            replace(whole, examples=tuple(rows)), "text-classification", asked.judge, seed=seed, threads=asked.threads
        )
        said = [int(one.where) for one in found.suspects]
        hits = [number in wrong for number in said]
        row = {"seed": seed, "called": len(said), "planted": len(wrong), "precision": float(np.mean(hits)),
               "recall": sum(hits) / len(wrong), "precision_of_first": float(np.mean(hits[: len(wrong)])),
               "noise": found.noise}  # fmt: skip
        figures["rows"].append(row)
        print(f"seed {seed}: {len(said)} of {len(whole)} called wrong, {len(wrong)} planted: precision "
              f"{row['precision']:.3f}, recall {row['recall']:.3f}; of the first {len(wrong)}: "
              f"{row['precision_of_first']:.3f}; estimated noise {found.noise:.3f}", flush=True)  # fmt: skip
    keep(figures, asked.json)


if __name__ == "__main__":
    main()
