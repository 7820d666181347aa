"""An LSTM that learns a text letter by letter, with state carried from window to window, and goes on with it.

    python examples/lstm_language_model.py [FILE]

The model is of the family `handloom-rnn` (handloom/models/rnn.py): embeddings, LSTM or GRU layers, and the table of
letters once more as the output layer. `StreamTraining` cuts the text into rows that are read side by side, a window at
a time; `RecurrentDecoder` keeps a state of two vectors a layer of what it has read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from handloom.generate.recurrent import RecurrentDecoder
from handloom.models.config import Fields
from handloom.models.registry import new_model
from handloom.models.rnn import MODEL_TYPE, read_config
from handloom.train.optimisers import adam
from handloom.train.streams import StreamTraining, rows_of

TEXT = (
    "the loom is warped with thread, the shuttle flies across the thread, the cloth grows under the hand, "
    "and what the hand has woven once the hand can weave again. "
)
ROWS, TIME, EPOCHS, RATE = 4, 32, 25, 5e-3


def main() -> None:
    text = Path(sys.argv[1]).read_text(encoding="utf-8") if len(sys.argv) > 1 else TEXT * 8
    letters = sorted(set(text))
    ids = np.array([letters.index(letter) for letter in text], np.int32)
    values = {"model_type": MODEL_TYPE, "vocab_size": len(letters), "hidden_size": 96, "num_layers": 2, "dropout": 0.05}
    model = new_model(read_config(Fields(values)), "text-generation", np.random.default_rng(0))

    stream = rows_of(ids, ROWS)
    training = StreamTraining(model, adam(), ROWS, TIME, clip=1.0)
    for epoch in range(1, EPOCHS + 1):
        loss = training.epoch(stream, TIME, RATE)
        if epoch % 5 == 0:
            print(f"epoch {epoch}: {loss:.3f} nats a letter, perplexity {training.perplexity(stream, TIME):.2f}")

    model.load(training.weights())
    written = [letters.index(letter) for letter in "the loom is "]
    state, logits = RecurrentDecoder(model).start([np.array(written, np.int32)])
    for _ in range(80):
        written.append(int(logits[0].argmax()))
        logits = state.step(np.array(written[-1:], np.int32))
    print("".join(letters[number] for number in written))
    if len(sys.argv) == 1:
        assert training.perplexity(stream, TIME) < 1.5  # guessing among the letters would be 25
        assert "thread" in "".join(letters[number] for number in written)


if __name__ == "__main__":
    main()
