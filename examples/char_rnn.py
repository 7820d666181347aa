"""A recurrent network that writes letters, from primitives: `hl.scan` is the only loop.

    python examples/char_rnn.py

The cell is h ← tanh(E[letter] + W h + b), its output U h + c. `scan` runs it over time; its gradient is a scan in
reverse, so back-propagation through time needs no line of its own.
"""

from __future__ import annotations

import numpy as np

import handloom as hl

TEXT = (
    "the loom is warped with thread, the shuttle flies across the thread, the cloth grows under the hand, "
    "and what the hand has woven once the hand can weave again. "
)
WIDTH, TIME, BATCH, STEPS, RATE = 64, 32, 16, 400, 3e-3
LETTERS = sorted(set(TEXT))


def new_parameters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    count = len(LETTERS)
    return {
        "embedding": (rng.standard_normal((count, WIDTH)) * 0.5).astype(np.float32),
        "recurrent": (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32),
        "bias": np.zeros(WIDTH, np.float32),
        "output": (rng.standard_normal((count, WIDTH)) / WIDTH**0.5).astype(np.float32),
        "output_bias": np.zeros(count, np.float32),
    }


def cell(parameters, hidden, letters):
    """hidden [batch, WIDTH], letters i32 [batch] → the next hidden state."""
    carried = hl.linear(hidden, parameters["recurrent"], parameters["bias"])
    return hl.tanh(hl.take(parameters["embedding"], letters) + carried)


def loss(parameters, hidden, letters, following):
    """letters and following i32 [TIME, batch]; the mean surprise of each following letter, in nats."""

    def body(hidden, letters):
        hidden = cell(parameters, hidden, letters)
        return hidden, hl.linear(hidden, parameters["output"], parameters["output_bias"])

    _, logits = hl.scan(body, hidden, letters)
    total, weight = hl.cross_entropy(logits.reshape(TIME * BATCH, len(LETTERS)), following.reshape(TIME * BATCH))
    return total / weight


def step(parameters, square, hidden, letters, following):
    """One update of RMSProp: each gradient over the root of its running mean square."""
    value, slope = hl.value_and_grad(loss)(parameters, hidden, letters, following)
    square = {name: 0.95 * square[name] + 0.05 * slope[name] ** 2 for name in square}
    moved = {name: parameters[name] - RATE * slope[name] * hl.rsqrt(square[name] + 1e-6) for name in parameters}
    return value, moved, square


def write(parameters, start: str, length: int) -> str:
    """Go on from `start` with the likeliest letter each time."""
    tensors = {name: hl.Tensor(value) if isinstance(value, np.ndarray) else value for name, value in parameters.items()}
    hidden, text = hl.Tensor(np.zeros((1, WIDTH), np.float32)), start
    for position in range(len(start) + length - 1):
        letter = np.array([LETTERS.index(text[position])], np.int32)
        hidden = cell(tensors, hidden, hl.Tensor(letter))
        if position >= len(start) - 1:
            logits = hl.linear(hidden, tensors["output"], tensors["output_bias"]).numpy()
            text += LETTERS[int(logits[0].argmax())]
    return text


def main() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([LETTERS.index(letter) for letter in TEXT * 2], np.int32)
    parameters = new_parameters(rng)
    square = {name: np.zeros_like(value) for name, value in parameters.items()}
    still = np.zeros((BATCH, WIDTH), np.float32)

    compiled = hl.compile(step, donate=("parameters", "square"))
    for number in range(STEPS):
        starts = rng.integers(0, len(TEXT), BATCH)
        window = starts[None, :] + np.arange(TIME + 1)[:, None]
        value, parameters, square = compiled(parameters, square, still, ids[window[:-1]], ids[window[1:]])
        if number % 100 == 99:
            print(f"step {number + 1}: {float(value.numpy()):.3f} nats a letter")

    written = write(parameters, "the loom is ", 80)
    print(written)
    assert float(value.numpy()) < 0.5  # guessing among the letters costs log(25) ≈ 3.2 nats
    assert "thread" in written


if __name__ == "__main__":
    main()
