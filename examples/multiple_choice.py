"""One of several answers: a model is taught to choose, and one that was never taught chooses by likelihood.

    python examples/multiple_choice.py                    on a tiny encoder, made here
    python examples/multiple_choice.py FOLDER [DECODER]   on an encoder of yours, such as MiniLM-L6; and a decoder

The same in the terminal: handloom train multiple-choice --train exam.jsonl --out runs/exam
and untrained:            handloom choose DECODER --data exam.jsonl --evaluate
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import handloom as hl
from handloom.models.bert import CLASSES
from handloom.models.registry import load_config

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


def tiny_encoder(folder: Path, texts: list[str]) -> Path:
    """A BERT of two layers that has never been trained, with the words of `texts`."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for text in texts for w in text.split()})]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    config = {
        "model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 64,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rng = np.random.default_rng(0)
    parts = CLASSES[None](load_config(folder)).modules()
    weights = {f"{name}.{key}": value for name, part in parts for key, value in part.initial(rng, 0.1).items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def main(given: str | None, decoder: str | None) -> None:
    rng = np.random.default_rng(0)
    train, valid, test = questions(300, rng), questions(40, rng), questions(60, rng)
    with tempfile.TemporaryDirectory() as work:
        words = [text for one in train for text in (str(one["question"]), *one["choices"])]
        encoder = given or tiny_encoder(Path(work) / "tiny", words)

        # 1 model and data, 2 task, 3 hyper-parameters, 4 training, 5 evaluation and use
        chooser = hl.MultipleChooser.from_pretrained(encoder)
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
