"""Questions about a text: a model from nothing learns to point at the place that answers.

    python examples/question_answering.py                                      on questions made here
    python examples/question_answering.py train.json valid.json test.json      on your own, in SQuAD's form

The same on the command line:

    handloom train question-answering --train train.json --valid valid.json --test test.json --out runs/questions

With a pre-trained encoder, `QuestionAnswerer.from_pretrained("minilm-l6")` stands in the place of `new`.
"""

from __future__ import annotations

import random
import sys

from handloom import QuestionAnswerer

PEOPLE = ["Marie Curie", "Ada", "Alan Turing", "Grace Hopper", "Lise"]
PLACES = ["Paris", "New York", "Jena", "Oslo"]
THINGS = ["a pump", "two maps", "the first radio", "a clock"]
ASKED = {"Who was it?": 0, "Where was it?": 1, "What was built?": 2}


def questions(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(question, text, answer)."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        parts = [rng.choice(group) for group in (PEOPLE, PLACES, THINGS)]
        question = rng.choice(list(ASKED))
        found.append((question, "In {1} , {0} has built {2} .".format(*parts), parts[ASKED[question]]))
    return found


def main() -> None:
    # 1. data: files, or lists of (question, text, answer)
    train, valid, test = sys.argv[1:4] if len(sys.argv) > 3 else (questions(n, n) for n in (240, 40, 41))
    # 2. model
    answerer = QuestionAnswerer.new(train, model_type="bert", layers=2, hidden=64, heads=4, dropout=0.0)
    # 3. task and hyper-parameters, and 4. training
    answerer.fit(train, valid, test, epochs=8, lr=3e-3, baselines=False)
    # 5. evaluation and use
    print(answerer.scores)
    said = answerer.predict(("Where was it?", "In New York , Ada has built a clock ."))
    print(said.text, f"{said.start}–{said.end}", round(said.score, 3), [other.text for other in said.others])


if __name__ == "__main__":
    main()
