"""Translation: an encoder–decoder from nothing learns numbers in German.

    python examples/translation.py                            on sentences made here
    python examples/translation.py train.tsv valid.tsv test.tsv      on your own files

The same on the command line:

    handloom train translation --model-type marian --layers 1 --hidden 64 --heads 4 --train train.tsv \\
        --valid valid.tsv --test test.tsv --epochs 12 --lr 0.004 --out runs/translation

With a checkpoint, `Translator.from_pretrained(FOLDER)` stands in the place of `new`.
"""

from __future__ import annotations

import random
import sys

from handloom import Translator

ENGLISH = ["one", "two", "three", "four", "five", "six", "seven"]
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben"]


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(source, target)."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        picked = [rng.randrange(len(ENGLISH)) for _ in range(rng.randint(2, 5))]
        found.append((" ".join(ENGLISH[i] for i in picked), " ".join(GERMAN[i] for i in picked)))
    return found


def main() -> None:
    # 1. data: files, or lists of (source, target)
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (sentences(n, n) for n in (400, 40, 41))
    # 2. model
    translator = Translator.new(train, model_type="marian", layers=1, hidden=64, heads=4, dropout=0.0)
    # 3. task and hyper-parameters, and 4. training
    translator.fit(train, valid, test, epochs=12, lr=4e-3, max_length=32, baselines=False)
    # 5. evaluation and use
    print(translator.scores)
    print("three two one →", translator.predict("three two one"))


if __name__ == "__main__":
    main()
