"""Several labels a text in five steps, and stars, which have an order, by a small model from nothing.

    python examples/several_labels.py                               on sentences made here
    python examples/several_labels.py train.csv valid.csv test.csv  on your own files

The same on the command line:

    handloom train text-classification --model-type handloom-rnn --layers 1 --hidden 64 --set bidirectional=true \\
        --train train.csv --valid valid.csv --test test.csv --epochs 6 --lr 0.01 --out runs/topics

With a pre-trained encoder, `TextClassifier.from_pretrained("minilm-l6")` stands in the place of `new`. What the labels
are, the data says: a name for each text, a list of names, or a number; problem="ordered" says that they have an order.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from handloom import TextClassifier

TOPICS = {
    "food": ["soup", "bread", "menu"], "staff": ["waiter", "cook", "host"], "price": ["bill", "cost", "tip"],
}  # fmt: skip
STARS = {"awful": 1, "poor": 2, "fair": 3, "good": 4, "great": 5}


def reviews(count: int, seed: int, kind: str = "topics") -> list[tuple[str, Any]]:
    """Texts about some topics. The label of kind "topics" is a list of names, that of "stars" a whole number."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        topics = rng.sample(sorted(TOPICS), rng.randint(0, 2))
        word = rng.choice(sorted(STARS))
        things = " and ".join(f"the {rng.choice(TOPICS[topic])}" for topic in topics) or "it"
        found.append((f"{things} was {word}", topics if kind == "topics" else STARS[word]))
    return found


def main() -> None:
    # 1. data: files, or lists of (text, label), and a model
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (reviews(n, n) for n in (300, 60, 61))
    model = TextClassifier.new(train, model_type="handloom-rnn", layers=1, hidden=64, bidirectional=True)
    # 2. task, 3. hyper-parameters, 4. training; thresholds and calibration are chosen on the validation data
    model.fit(train, valid, test, epochs=6, lr=1e-2, baselines=False)
    # 5. evaluation and use
    print(model.scores)
    print(model.predict("the soup and the waiter was good", top=3))

    if len(sys.argv) <= 3:  # the same texts with stars, which have an order
        stars = TextClassifier.new(reviews(300, 1, "stars"), model_type="handloom-rnn", layers=1, hidden=64)
        stars.fit(reviews(300, 1, "stars"), test=reviews(60, 2, "stars"), problem="ordered", epochs=6, lr=1e-2,
                  baselines=False)  # fmt: skip
        print(stars.scores)


if __name__ == "__main__":
    main()
