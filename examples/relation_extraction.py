"""How two places of a text are related: a model from nothing learns who works where, and for whom.

    python examples/relation_extraction.py                                         on sentences made here
    python examples/relation_extraction.py train.jsonl valid.jsonl test.jsonl      on your own files

The same on the command line:

    handloom train relation-extraction --train train.jsonl --valid valid.jsonl --test test.jsonl --out runs/relations

With a pre-trained encoder, `RelationExtractor.from_pretrained("minilm-l6")` stands in the place of `new`.
"""

from __future__ import annotations

import random
import sys

from handloom import RelationExtractor

PEOPLE = ["Marie Curie", "Ada Lovelace", "Alan Turing", "Grace Hopper", "Lise Meitner"]
FIRMS = ["Siemens", "Tata Steel", "Carl Zeiss", "Nokia"]
PLACES = ["Paris", "New York", "Jena", "Oslo"]
FORMS = [
    ("<e1>{p}</e1> works for <e2>{f}</e2> in {l}", "works-for(e1,e2)"),
    ("<e1>{f}</e1> , in {l} , pays <e2>{p}</e2>", "works-for(e2,e1)"),
    ("<e1>{f}</e1> has its office in <e2>{l}</e2>", "stands-in(e1,e2)"),
    ("<e1>{p}</e1> works for {f} in <e2>{l}</e2>", "Other"),
]


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(text with two marked places, relation)."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        form, label = rng.choice(FORMS)
        found.append((form.format(p=rng.choice(PEOPLE), f=rng.choice(FIRMS), l=rng.choice(PLACES)), label))
    return found


def main() -> None:
    # 1. data: files, or lists of (text, relation)
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (sentences(n, n) for n in (240, 40, 41))
    # 2. model
    extractor = RelationExtractor.new(train, model_type="roberta", layers=1, hidden=64, heads=4, dropout=0.0)
    # 3. task and hyper-parameters, and 4. training
    extractor.fit(train, valid, test, epochs=8, lr=3e-3, baselines=False)
    # 5. evaluation and use
    print(extractor.scores)
    said = extractor.predict("<e1>Nokia</e1> , in Oslo , pays <e2>Ada Lovelace</e2>")
    print(said.first.text, said.label, said.second.text, round(said.score, 3))


if __name__ == "__main__":
    main()
