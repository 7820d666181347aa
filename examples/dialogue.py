"""A model learns to reply: conversations of several turns, of which only the assistant's words are learnt.

    python examples/dialogue.py            a tiny model from scratch
    python examples/dialogue.py MODEL      a checkpoint, such as smollm2-135m-instruct
"""

from __future__ import annotations

import random
import sys

from handloom import TextGenerator

REPLIES = {
    "Hello": "Hello! What can I do for you?", "Who are you?": "A small model, made on a CPU.",
    "你好": "你好！有什么可以帮忙的？", "Where are you?": "In your computer.", "Bye": "Goodbye!",
}  # fmt: skip


def conversations(count: int, seed: int) -> list[list[dict[str, str]]]:
    draw = random.Random(seed)
    asked = [draw.sample(sorted(REPLIES), 2) for _ in range(count)]
    return [[{"role": role, "content": text} for one in pair for role, text in
             (("user", one), ("assistant", REPLIES[one]))] for pair in asked]  # fmt: skip


def main(given: str | None) -> None:
    train, test = conversations(120, 0), conversations(10, 1)
    # the five steps: model and data, task, hyper-parameters, training, evaluation and use
    if given is None:
        model = TextGenerator.new(train, model_type="llama", layers=2, hidden=64, heads=4, context=128, vocab_size=400)
    else:
        model = TextGenerator.from_pretrained(given)
    model.fit(train, valid=test, epochs=8, batch_size=8, lr=4e-3 if given is None else 5e-5)
    print(model.evaluate(test, before=False))
    talk = [{"role": "user", "content": "Hello"}]
    print("Hello →", model.predict(talk))
    talk += [{"role": "assistant", "content": REPLIES["Hello"]}, {"role": "user", "content": "你好"}]
    print("你好 →", model.predict(talk))
    assert given is not None or model.predict(talk) == REPLIES["你好"]


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
