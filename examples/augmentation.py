"""More training examples out of few, in five steps: copies of sentences with other names, and with slips.

    python examples/augmentation.py                           on sentences made here
    python examples/augmentation.py train.conll test.conll    on your own files

The same on the command line:

    handloom train token-classification --model-type bert --layers 1 --hidden 64 --heads 4 --train train.conll \\
        --test test.conll --augment mention,typo --augment-times 2 --epochs 12 --lr 0.004 --out runs/more

`handloom augment train.conll --how mention,typo --times 2 --out more.jsonl` writes the copies to a file; other ways
take words from a list of yours, from a masked language model, or by way of another language. What copies are worth
differs from data to data: measure it on examples that have none.
"""

from __future__ import annotations

import sys

from named_entities import sentences

from handloom import TokenClassifier, augment


def main() -> None:
    # 1. data: few sentences, and copies of them
    train, test = sys.argv[1:3] if len(sys.argv) > 2 else (sentences(30, 1), sentences(60, 2))
    more = augment(train, "token-classification", "mention,typo", times=2)
    for copy in more.examples[-3:]:
        print(copy.text, "  from:", copy.extra["augmented_from"])
    # 2. model
    tagger = TokenClassifier.new(more, model_type="bert", layers=1, hidden=64, heads=4)
    # 3. task and hyper-parameters, and 4. training
    tagger.fit(more, test=test, epochs=12, lr=4e-3, baselines=False)
    # 5. evaluation and use
    print(tagger.scores)
    print([(span.label, span.text) for span in tagger.predict("Ada Lovelace left Rio de Janeiro for Oslo")])


if __name__ == "__main__":
    main()
