"""Text that has to be of a kind: control codes that are learnt, choices and patterns that hold, words that must come.

    python examples/controlled_generation.py            a tiny model from scratch
    python examples/controlled_generation.py MODEL      a checkpoint: a folder, a catalogue name, a .gguf file

A control code (Keskar and others, CTRL, 2019) is a prompt: what stands before a text in training, and says of which
kind the text is to be. Choices, patterns, schemas and words need no training.
"""

from __future__ import annotations

import re
import sys

from handloom import TextGenerator

THINGS, KINDS = ["room", "food", "view", "staff"], {"praise": ["great", "lovely"], "complaint": ["awful", "dirty"]}
REVIEWS = [
    (f"{kind}:", f" the {one} was {word} and the {two} was {other}")
    for kind, words in KINDS.items() for word in words for other in words for one in THINGS for two in THINGS
]  # fmt: skip


def main(given: list[str]) -> None:
    # the five steps: model and data, task, hyper-parameters, training, use
    if given:
        model = TextGenerator.from_pretrained(given[0])
    else:
        model = TextGenerator.new(REVIEWS, model_type="gpt2", layers=2, hidden=64, heads=4, context=64, vocab_size=400,
                                  dropout=0.0)  # fmt: skip
    model.fit(REVIEWS, REVIEWS[::8], epochs=12, batch_size=16, lr=5e-3 if not given else 5e-5)
    said = {kind: [one.text for one in model.generate(f"{kind}:", samples=20, temperature=0.8, seed=1,
                                                      max_new_tokens=16)] for kind in KINDS}  # fmt: skip
    chosen = model.generate("praise: the food was", choices=[" great", " awful"]).text
    shaped = model.generate("complaint:", pattern=r" the (room|view) was (awful|dirty), [1-5] stars").text
    print(repr((model.predict("praise:"), chosen, shaped)))

    own = {kind: sum(any(word in text for word in KINDS[kind]) for text in texts) for kind, texts in said.items()}
    strange = sum(any(word in text for word in KINDS["complaint"]) for text in said["praise"])
    print(f"of 20 texts each, the code decides: {own}, {strange} of the other kind")
    assert re.fullmatch(r" the (room|view) was (awful|dirty), [1-5] stars", shaped) and chosen in (" great", " awful")
    assert given or (min(own.values()) >= 19 and not strange)


if __name__ == "__main__":
    main(sys.argv[1:])
