"""Named entities in five steps: a tagger from nothing, with a conditional random field over its words.

    python examples/named_entities.py                                       on sentences made here
    python examples/named_entities.py train.conll valid.conll test.conll    on your own files

The same on the command line:

    handloom train token-classification --model-type handloom-rnn --layers 1 --hidden 64 --set bidirectional=true \\
        --train train.conll --valid valid.conll --test test.conll --crf --epochs 8 --lr 0.01 --out runs/entities

With a pre-trained encoder, `TokenClassifier.from_pretrained("minilm-l6")` stands in the place of `new`.
"""

from __future__ import annotations

import random
import sys

from handloom import TokenClassifier

PEOPLE = ["Marie Curie", "Ada Lovelace", "Alan Turing", "Grace Hopper", "Lise Meitner", "Emmy Noether", "Paul Klee"]
PLACES = ["Paris", "London", "New York", "Rio de Janeiro", "Berlin", "Vienna", "Cape Town", "Oslo"]
FORMS = ["{p} worked in {l} .", "she met {p} in {l}", "{l} was home to {p} and to {p}", "nobody lives here",
         "{p} left {l} for {l}"]  # fmt: skip


def sentences(count: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """(words, tags), in BIO."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        words, tags = [], []
        for part in rng.choice(FORMS).split():
            kind = {"{p}": "PER", "{l}": "LOC"}.get(part)
            name = rng.choice(PEOPLE if kind == "PER" else PLACES).split() if kind else [part]
            words += name
            tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(name))]
        found.append((words, tags))
    return found


def main() -> None:
    # 1. data: files, or lists of (words, tags)
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (sentences(n, n) for n in (200, 40, 41))
    # 2. model
    tagger = TokenClassifier.new(train, model_type="handloom-rnn", layers=1, hidden=64, bidirectional=True)
    # 3. task and hyper-parameters, and 4. training
    tagger.fit(train, valid, test, crf=True, epochs=8, lr=1e-2, baselines=False)
    # 5. evaluation and use
    print(tagger.scores)
    for span in tagger.predict("Ada Lovelace left Rio de Janeiro for Oslo"):
        print(span.label, span.text, f"{span.start}–{span.end}", round(span.score, 3))


if __name__ == "__main__":
    main()
