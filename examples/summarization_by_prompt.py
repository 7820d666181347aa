"""A decoder learns to summarize: a prompt with the text in it, and what is to be written.

    python examples/summarization_by_prompt.py            a tiny model from scratch
    python examples/summarization_by_prompt.py MODEL      a checkpoint, such as smollm2-135m-instruct
"""

from __future__ import annotations

import random
import sys

from handloom import Summarizer, TextGenerator

PLACES, SKIES, WINDS = ("Rome", "Oslo", "Lima"), ("rain", "sun", "snow"), ("no wind", "a storm")


def reports(count: int, seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        place, sky, wind = draw.choice(PLACES), draw.choice(SKIES), draw.choice(WINDS)
        said = [f"In {place} there is {sky}.", f"We expect {wind}.", "Drive with care.", "More at noon."]
        draw.shuffle(said)
        found.append((" ".join(said), f"{place}: {sky}, {wind}"))
    return found


def main(given: str | None) -> None:
    train, test = reports(300, 0), reports(20, 1)
    # the five steps: model and data, task, hyper-parameters, training, evaluation and use
    if given is None:
        texts = [f"{text} Short: {summary}" for text, summary in train]
        new = TextGenerator.new(texts, model_type="llama", layers=2, hidden=64, heads=4, context=96, vocab_size=400)
        model = Summarizer.from_pretrained(new.folder, prompt="{text} Short:")
    else:
        model = Summarizer.from_pretrained(given)
    model.fit(train, test[:10], test, epochs=12, lr=4e-3 if given is None else 5e-5, baselines=True)
    print(model.scores, *(f"{name}: {found['rougeL']:.2f}" for name, found in model.baselines.items()), sep="\n")
    print(test[0][0], "→", model.predict(test[0][0]))
    assert model.scores["rougeL"] > max(found["rougeL"] for found in model.baselines.values())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
