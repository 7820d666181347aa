"""Questions find their answers: a sentence encoder is fine-tuned on pairs that belong together, and searched with.

    python examples/sentence_similarity.py            on a tiny encoder, from scratch
    python examples/sentence_similarity.py FOLDER     on an encoder of yours, such as MiniLM-L6

The same in the terminal: handloom train sentence-similarity --train faq.csv --out runs/faq
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import handloom as hl

TINY = {"model_type": "bert", "layers": 2, "hidden": 64, "heads": 4, "context": 64}
TOPICS = {"card": ["plastic", "chip", "pin"], "money": ["cash", "coins", "notes"], "trip": ["train", "flight", "hotel"]}
VERBS, OPENINGS = ["lost", "changed", "paid"], ["i have", "we just", "somebody"]
ANSWERS = [f"what to do about {topic} that was {verb}" for topic in TOPICS for verb in VERBS]


def questions(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(question, answer): the question never says the topic's name."""
    found = []
    for _ in range(count):
        topic, verb, opening = rng.choice(list(TOPICS)), rng.choice(VERBS), rng.choice(OPENINGS)
        found.append((f"{opening} {verb} the {rng.choice(TOPICS[topic])}", f"what to do about {topic} that was {verb}"))
    return found


def main(given: str | None) -> None:
    rng = np.random.default_rng(0)
    train, valid, test = questions(300, rng), questions(40, rng), questions(60, rng)
    with tempfile.TemporaryDirectory() as work:
        # 1 model and data, 2 task, 3 hyper-parameters, 4 training, 5 evaluation and use
        matcher = hl.SentenceMatcher.from_pretrained(given) if given else hl.SentenceMatcher.new(train, **TINY)
        matcher.fit(train, valid, test, epochs=4, lr=1e-4 if given else 1e-3, out=Path(work) / "run")
        print(matcher.scores, "\nBM25:", matcher.baselines["BM25"]["recall@1"])
        index = matcher.index(ANSWERS)
        for hit in index.search("somebody paid the flight", top=2):
            print(f"{hit.score:.3f}  {hit.text}")
        index.save(Path(work) / "answers")
        again = hl.SearchIndex.load(Path(work) / "answers", hl.SentenceMatcher.load(Path(work) / "run"))

        assert matcher.scores["recall@1"] > max(0.7, matcher.baselines["BM25"]["recall@1"])
        assert again.search("somebody paid the flight") == index.search("somebody paid the flight")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
