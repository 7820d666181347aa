"""What does it win to put off the updates of rows that a batch does not read (train/backlog.py)?

Two trainings of one model from one seed take turns, step by step, on the same batches: one moves every row of the table
in every step, the other the rows of the batch. What differs are kernels that are neither products nor attention: their
time is summed apart, for it is disturbed less than that of a whole step. Token ids are drawn as words are: the r-th
most frequent 1/r times as often as the first. After the last step everything is brought up to date, as before an
evaluation; that is timed, too, and the weights are compared to the bit.

    python -m benchmarks.tables [--workloads MiniLM-L6:28x32 MiniLM-L6:8x32 XLM-R-base:8x32 least:28x32] [--steps 40]
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.encoders import LABELS, RATE, SIZES, Sizes, bert, engine_for, texts
from benchmarks.figures import begin, keep, options, shown, spread
from handloom.runtime import profile
from handloom.tasks.task import Feature
from handloom.tasks.text_classification import TextClassification
from handloom.train import backlog
from handloom.train.engine import Engine

TABLES = {
    **SIZES,
    "XLM-R-base": Sizes(768, 12, 12, 3072, words=250_002),
    "least": Sizes(384, 1, 12, 1536, words=backlog.MANY_ROWS),  # the smallest table of which updates are put off
}
DEFAULT = ["MiniLM-L6:28x32", "MiniLM-L6:8x32", "XLM-R-base:8x32", "least:28x32"]
WARM = 2
PRODUCTS = ("dot", "attention")


def batch(sequences: int, length: int, words: int, seed: int) -> list[Feature]:
    rng = np.random.default_rng(seed)
    found = []
    for feature in texts(sequences, length, words, seed=seed):
        ids = np.exp(rng.random(length) * np.log(words)).astype(np.int32) - 1
        found.append(replace(feature, encoding=replace(feature.encoding, ids=ids)))
    return found


def measure(name: str, sequences: int, length: int, steps: int, threads: int) -> dict[str, Any]:
    sizes = TABLES[name]
    task = TextClassification([str(i) for i in range(LABELS)])

    def engine(many_rows: int) -> Engine:
        with mock.patch.object(backlog, "MANY_ROWS", many_rows):
            return engine_for(bert(sizes), task, sequences * length, sequences, threads)

    sides = {"all rows": engine(sizes.words + 1), "rows read": engine(1)}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    rest: dict[str, list[float]] = {side: [] for side in sides}
    distinct = []
    for number in range(WARM + steps):
        features = batch(sequences, length, sizes.words, number)
        distinct.append(len(np.unique(np.concatenate([feature.encoding.ids for feature in features]))))
        for side, one in sides.items():
            start = time.perf_counter()
            with profile.collect() as collected:
                one.step([features], number, RATE)
            seconds[side].append(time.perf_counter() - start)
            rest[side].append(sum(row.seconds for row in collected.rows() if not row.name.startswith(PRODUCTS)))
            if number == WARM - 1:
                one.weights()  # compiles what brings rows up to date
    whole = sides["all rows"].weights()
    start = time.perf_counter()
    late = sides["rows read"].weights()
    catching_up = time.perf_counter() - start
    if any(whole[key].tobytes() != late[key].tobytes() for key in whole):
        raise SystemExit("the two trainings have different weights")
    return {
        "steps": {side: spread(values[WARM:]) for side, values in seconds.items()},
        "rest": {side: spread(values[WARM:]) for side, values in rest.items()},
        "catching_up": catching_up,
        "distinct": float(np.mean(distinct)),
        "count": steps,
    }


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workloads", nargs="*", default=DEFAULT)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    figures = begin("Tables of which a step moves the rows that it reads", given.threads)
    for workload in given.workloads[:1] if given.quick else given.workloads:
        name, _, size = workload.partition(":")
        sequences, length = map(int, size.split("x"))
        one = measure(name, sequences, length, 2 if given.quick else given.steps, given.threads)
        figures[workload] = one
        words, hidden = TABLES[name].words, TABLES[name].hidden
        print(f"\n{name}, {words:,} rows of {hidden}, {sequences * length} tokens, {one['distinct']:.0f} distinct")
        for label, key in (("ms a step", "steps"), ("without products and attention", "rest")):
            print(f"  {label}: " + ", ".join(f"{side} {shown(found, ms)}" for side, found in one[key].items()))
        print(f"  bringing {one['count']} steps up to date: {ms(one['catching_up'])} ms")
    keep(figures, given.json)


if __name__ == "__main__":
    main()
