"""Summaries: an encoder–decoder from nothing learns to say in three words what a report of the weather says.

    python examples/summarization.py                                       on reports made here
    python examples/summarization.py train.jsonl valid.jsonl test.jsonl    on your own files

The same on the command line:

    handloom train summarization --model-type marian --layers 1 --hidden 64 --heads 4 --train train.jsonl \\
        --valid valid.jsonl --test test.jsonl --epochs 12 --lr 0.004 --out runs/short

With a checkpoint, `Summarizer.from_pretrained(FOLDER)` stands in the place of `new`.
"""

from __future__ import annotations

import random
import sys

from handloom import Summarizer

PLACES, SKIES, DAYS = ["Rome", "Oslo", "Lima"], ["rain", "sun", "snow"], ["today", "tonight", "tomorrow"]


def reports(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, summary)."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        place, sky, day = rng.choice(PLACES), rng.choice(SKIES), rng.choice(DAYS)
        found.append((f"The office says that people in {place} will see {sky} {day} .", f"{place} {sky} {day}"))
    return found


def main() -> None:
    # 1. data: files, or lists of (text, summary)
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (reports(n, n) for n in (300, 20, 21))
    # 2. model
    summarizer = Summarizer.new(train, model_type="marian", layers=1, hidden=64, heads=4, dropout=0.0)
    # 3. task and hyper-parameters, and 4. training
    summarizer.fit(train, valid, test, epochs=10, lr=4e-3, max_length=32, baselines=True)
    # 5. evaluation and use
    print(summarizer.scores)
    print({name: found["rougeL"] for name, found in summarizer.baselines.items()})
    print(summarizer.predict("The office says that people in Oslo will see snow tonight ."))


if __name__ == "__main__":
    main()
