"""One of several answers: a model is taught to choose, and one that was never taught chooses by likelihood.

    python examples/multiple_choice.py                    on a tiny encoder, from scratch
    python examples/multiple_choice.py FOLDER [DECODER]   on an encoder of yours, such as MiniLM-L6; and a decoder

The same in the terminal: handloom train multiple-choice --train exam.jsonl --out runs/exam
and untrained:            handloom choose DECODER --data exam.jsonl --evaluate
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import handloom as hl

TINY = {"model_type": "bert", "layers": 2, "hidden": 64, "heads": 4, "context": 64}
DRINKS, NAMES = ["tea", "milk", "water", "juice"], ["anna", "bob", "the cat"]
OTHERS = ["shoes", "hats", "coats", "books", "letters", "stones"]


def questions(count: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Two to four choices, one of which can be drunk."""
    found = []
    for _ in range(count):
        choices = [str(thing) for thing in rng.permutation(OTHERS)[: rng.integers(1, 4)]]
        answer = str(rng.choice(DRINKS))
        choices.insert(int(rng.integers(len(choices) + 1)), answer)
        found.append({"question": f"{rng.choice(NAMES)} drinks", "choices": choices, "answer": answer})
    return found


def main(given: str | None, decoder: str | None) -> None:
    rng = np.random.default_rng(0)
    train, valid, test = questions(300, rng), questions(40, rng), questions(60, rng)
    with tempfile.TemporaryDirectory() as work:
        # 1 model and data, 2 task, 3 hyper-parameters, 4 training, 5 evaluation and use
        chooser = hl.MultipleChooser.from_pretrained(given) if given else hl.MultipleChooser.new(train, **TINY)
        chooser.fit(train, valid, test, epochs=5, batch_size=16, lr=2e-4 if given else 2e-3, out=Path(work) / "run")
        print(chooser.scores)
        again = hl.MultipleChooser.load(Path(work) / "run")
        said = again.predict(("the cat drinks", ["letters", "milk", "coats"]))
        print(said.text, f"{said.score:.3f}")
        if decoder:
            print(hl.LikelihoodChooser.from_pretrained(decoder).evaluate(test))

        assert chooser.scores["accuracy"] > 0.9
        assert said == chooser.predict(("the cat drinks", ["letters", "milk", "coats"]))


if __name__ == "__main__":
    main(*[*sys.argv[1:], None, None][:2])
