"""Wrong labels that are planted in banking77, and how many of them `data check --label-errors` finds.

    python -m benchmarks.label_errors [--share 0.05] [--seeds 3] [--judge linear]

A label in twenty is replaced by another, drawn evenly. Precision and recall are of all labels that are called wrong,
and precision of as many as were planted, the surest first. The data has errors of its own, which count against it here.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from handloom.data.readers import read
from handloom.train.label_errors import LINEAR, find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judge", default=LINEAR)
    asked = parser.parse_args()
    data = read(Path(os.environ.get("HANDLOOM_DATA", "../shared/data")) / "classification" / "banking77" / "train.csv")
    for seed in range(asked.seeds):
        rng = np.random.default_rng(seed)
        wrong = set(rng.choice(len(data), int(len(data) * asked.share), replace=False).tolist())
        rows = [
            replace(e, label=str(rng.choice([label for label in data.labels if label != e.label])), where=f"{i}")
            if i in wrong else replace(e, where=f"{i}")
            for i, e in enumerate(data)
        ]  # fmt: skip
        found = find(replace(data, examples=tuple(rows)), "text-classification", asked.judge, seed=seed)
        said = [int(one.where) for one in found.suspects]
        hits = [number in wrong for number in said]
        print(f"seed {seed}: {len(said)} of {len(data)} called wrong, {len(wrong)} planted: precision "
              f"{np.mean(hits):.3f}, recall {sum(hits) / len(wrong):.3f}; of the first {len(wrong)}: "
              f"{np.mean(hits[: len(wrong)]):.3f}; estimated noise {found.noise:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
