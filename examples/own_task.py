"""A task of your own inside `fit`: texts are given a number of stars, 1 to 5, with halves between.

    python examples/own_task.py              on a tiny encoder, from scratch
    python examples/own_task.py FOLDER       on an encoder of yours, such as MiniLM-L6

For numbers Handloom has a task of its own (`fit(..., problem="number")`); this shows how one is written. A task says
(`handloom.tasks.task.Task`) how examples become tokens and labels, what stands on top of the encoder, what the loss is,
what logits mean, and how good predictions are. Batches, training, checkpoints, the report and the saved folder
are then the same as for any other task.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import handloom as hl
from handloom.data.examples import TextExample
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Feature, Task
from handloom.testing import check_task
from handloom.text.windows import cut_all

TINY = {"model_type": "bert", "layers": 2, "hidden": 64, "heads": 4, "context": 64}
WORDS = {"awful": 1, "poor": 2, "fair": 3, "good": 4, "great": 5}
THINGS = ["room", "food", "view", "music", "staff", "garden"]


# -- the task


@dataclass(frozen=True)
class Stars:
    """A prediction. `to_dict` is what `predict_dicts` shows of it."""

    stars: float

    def to_dict(self) -> dict[str, float]:
        return {"stars": self.stars}


def stars(example) -> float:
    """What the data says. An error names the place: the user has to find it."""
    try:
        return float(example.label)
    except ValueError:
        raise hl.HandloomError(f"{example.where}: {example.label!r} is no number of stars") from None


class OneNumber(hl.nn.Module):
    """The head: a hidden layer and one number for each text, from the row of the text's first token."""

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        self.inner = hl.nn.Linear(width, width, rng=rng)
        self.outer = hl.nn.Linear(width, 1, rng=rng)

    def forward(self, hidden, batch):
        first = hl.take(hidden, batch["starts"][:-1])  # [texts, width]
        return self.outer(hl.tanh(self.inner(first)))  # [texts, 1]


class Rating(Task):
    """metric: the one that chooses the best weights; of "loss" the least is the best. labels: there are no classes."""

    metric = "loss"
    metrics = ("mean error", "loss")
    label_dtype = "f32"

    def encode(self, examples, tokenizer, max_length, long):
        whole = tokenizer.encode_batch([example.text for example in examples])
        cuts, found = cut_all(whole, max_length, long)  # long texts: windows, or a cut
        features = []
        for index, (example, coded, cut) in enumerate(zip(examples, whole, cuts, strict=True)):
            label = None if example.label is None else np.array(stars(example) - 3, np.float32)  # a fresh head says 0
            for window, kept in zip(cut.windows, cut.kept, strict=True):
                features.append(Feature(window, index, label, kept, len(coded)))
        return Encoded(features, len(examples), (str(found),) if found.long else ())

    def head(self, width, rng):
        return OneNumber(width, rng)

    def loss(self, logits, batch):
        return hl.mean_squared_error(logits.reshape(-1), batch["labels"])  # (sum, how many)

    def decode(self, examples, encoded, logits):
        found = [[] for _ in examples]
        for feature, (value,) in zip(encoded.features, logits, strict=True):
            found[feature.example].append(float(value))
        return [Stars(3 + sum(windows) / len(windows)) for windows in found]

    def score(self, examples, predictions, seed=0):
        errors = [abs(stars(e) - p.stars) for e, p in zip(examples, predictions, strict=True)]
        return Scores({"mean error": sum(errors) / len(errors)})


# -- something to train


def ratings(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Texts about two things; the stars are the mean of the two words."""
    found = []
    for _ in range(count):
        (one, two), (a, b) = rng.choice(THINGS, 2), rng.choice(list(WORDS), 2)
        found.append((f"the {one} was {a} and the {two} was {b}", str((WORDS[a] + WORDS[b]) / 2)))
    return found


def main(given: str | None) -> None:
    rng = np.random.default_rng(0)
    train, test = ratings(400, rng), ratings(60, rng)
    with tempfile.TemporaryDirectory() as work:
        model = hl.TextClassifier.from_pretrained(given) if given else hl.TextClassifier.new(train, **TINY)
        rate = 2e-4 if given else 2e-3
        model.fit(train, test=test, task=Rating(), epochs=8, lr=rate, out=Path(work) / "run")
        print(model.scores)
        assert model.scores["mean error"] < 0.3

        model.save(Path(work) / "stars")
        again = hl.TextClassifier.load(Path(work) / "stars", task=Rating())  # the folder holds weights, not your class
        text = "the garden was great and the staff was poor"
        print(f"{text}: {again.predict(text).stars:.2f} stars")
        assert again.predict(text) == model.predict(text)

        # what every task is held to: handloom.testing names the checks
        check_task(Rating(), [TextExample(text, label=label) for text, label in train[:8]], model.folder)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
