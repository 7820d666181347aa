"""A label for a text: a model from nothing learns what people want of a bank.

    python examples/text_classification.py                                   on sentences made here
    python examples/text_classification.py train.csv valid.csv test.csv      on your own files

The same on the command line:

    handloom train text-classification --train train.csv --valid valid.csv --test test.csv --out runs/labels

With a pre-trained encoder, `TextClassifier.from_pretrained("minilm-l6")` stands in the place of `new`.
"""

from __future__ import annotations

import random
import sys

from handloom import TextClassifier

WANTED = {
    "card": ["my card is lost", "the card was stolen", "when does the new card come"],
    "money": ["a transfer did not arrive", "where is my transfer", "I was charged twice"],
    "account": ["how do I close my account", "my address has changed", "who can see my data"],
}
AROUND = ["hello ,", "please help ,", "good morning ,", "sorry ,", "once more :"]


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, label)."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        label = rng.choice(list(WANTED))
        found.append((f"{rng.choice(AROUND)} {rng.choice(WANTED[label])} {rng.choice(['?', '!', '. thanks'])}", label))
    return found


def main() -> None:
    # 1. data: files, or lists of (text, label)
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (sentences(n, n) for n in (300, 40, 41))
    # 2. model
    classifier = TextClassifier.new(train, model_type="bert", layers=1, hidden=64, heads=4, dropout=0.0)
    # 3. task and hyper-parameters, and 4. training
    classifier.fit(train, valid, test, epochs=10, lr=4e-3, baselines=False)
    # 5. evaluation and use
    print(classifier.scores)
    said = classifier.predict("good morning , my new card was stolen !")
    print(said.label, round(said.score, 3))


if __name__ == "__main__":
    main()
