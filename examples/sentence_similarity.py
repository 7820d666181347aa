"""Questions find their answers: a sentence encoder is fine-tuned on pairs that belong together, and searched with.

    python examples/sentence_similarity.py            on a tiny encoder, made here
    python examples/sentence_similarity.py FOLDER     on an encoder of yours, such as MiniLM-L6

The same in the terminal: handloom train sentence-similarity --train faq.csv --out runs/faq
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

TOPICS = {"card": ["plastic", "chip", "pin"], "money": ["cash", "coins", "notes"], "trip": ["train", "flight", "hotel"]}
VERBS, OPENINGS = ["lost", "changed", "paid"], ["i have", "we just", "somebody"]
ANSWERS = [f"what to do about {topic} that was {verb}" for topic in TOPICS for verb in VERBS]


def questions(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(question, answer): the question never says the topic's name."""
    found = []
    for _ in range(count):
        topic, verb, opening = rng.choice(list(TOPICS)), rng.choice(VERBS), rng.choice(OPENINGS)
        found.append((f"{opening} {verb} the {rng.choice(TOPICS[topic])}", f"what to do about {topic} that was {verb}"))
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


def main(given: str | None) -> None:
    rng = np.random.default_rng(0)
    train, valid, test = questions(300, rng), questions(40, rng), questions(60, rng)
    with tempfile.TemporaryDirectory() as work:
        encoder = given or tiny_encoder(Path(work) / "tiny", [text for pair in train for text in pair])

        # 1 model and data, 2 task, 3 hyper-parameters, 4 training, 5 evaluation and use
        matcher = hl.SentenceMatcher.from_pretrained(encoder)
        matcher.fit(train, valid, test, epochs=4, batch_size=16, lr=1e-4 if given else 1e-3, out=Path(work) / "run")
        print(matcher.scores, "\nBM25:", matcher.baselines["BM25"]["recall@1"])
        index = matcher.index(ANSWERS)
        for hit in index.search("somebody paid the flight", top=2):
            print(f"{hit.score:.3f}  {hit.text}")
        index.save(Path(work) / "answers")
        again = hl.SearchIndex.load(Path(work) / "answers", hl.SentenceMatcher.load(Path(work) / "run"))

        assert matcher.scores["recall@1"] > max(0.7, matcher.scores.before["recall@1"])
        assert again.search("somebody paid the flight") == index.search("somebody paid the flight")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
