"""An encoder that Handloom does not know, from its layers: pre-norm, RMSNorm, SwiGLU.

    python examples/prenorm_encoder.py

Nothing in the compiler was made for it. The task needs attention: at each place of a sequence of random numbers the
greatest number of the whole sequence is to be named, which no place can know by itself.
"""

from __future__ import annotations

import numpy as np

import handloom as hl

NUMBERS, WIDTH, INNER, HEADS, LAYERS, LONGEST = 30, 64, 128, 4, 2, 12
STEPS, RATE, MOMENTUM, CLIP = 300, 0.1, 0.9, 1.0
CAPACITY = {"tokens": 32 * LONGEST, "sequences": 32}
SIZES = {"ids": ("tokens",), "labels": ("tokens",), "starts": ("sequences+1",)}


class SwiGLU(hl.nn.Module):
    """down(silu(gate x) · up x)"""

    def __init__(self, width: int, inner: int, rng: np.random.Generator) -> None:
        self.gate_proj = hl.nn.Linear(width, inner, bias=False, rng=rng)
        self.up_proj = hl.nn.Linear(width, inner, bias=False, rng=rng)
        self.down_proj = hl.nn.Linear(inner, width, bias=False, rng=rng)

    def forward(self, x):
        return self.down_proj(hl.silu(self.gate_proj(x)) * self.up_proj(x))


class Attention(hl.nn.Module):
    def __init__(self, width: int, heads: int, rng: np.random.Generator) -> None:
        self.heads = heads
        self.q_proj = hl.nn.Linear(width, width, bias=False, rng=rng)
        self.k_proj = hl.nn.Linear(width, width, bias=False, rng=rng)
        self.v_proj = hl.nn.Linear(width, width, bias=False, rng=rng)
        self.o_proj = hl.nn.Linear(width, width, bias=False, rng=rng)

    def forward(self, x, starts):
        return self.o_proj(hl.attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), starts, heads=self.heads))


class Block(hl.nn.Module):
    """Each half reads a normalised copy and adds what it found: the residual stream itself is never normalised."""

    def __init__(self, width: int, inner: int, heads: int, rng: np.random.Generator) -> None:
        self.input_layernorm = hl.nn.RMSNorm(width, 1e-6)
        self.self_attn = Attention(width, heads, rng)
        self.post_attention_layernorm = hl.nn.RMSNorm(width, 1e-6)
        self.mlp = SwiGLU(width, inner, rng)

    def forward(self, x, starts):
        x = x + self.self_attn(self.input_layernorm(x), starts)
        return x + self.mlp(self.post_attention_layernorm(x))


class Encoder(hl.nn.Module):
    """ids [tokens], packed sequences → scores [tokens, classes]"""

    def __init__(
        self, words: int, classes: int, width: int, inner: int, heads: int, layers: int, rng: np.random.Generator
    ) -> None:
        self.embed_tokens = hl.nn.Embedding(words, width, rng=rng)
        self.layers = [Block(width, inner, heads, rng) for _ in range(layers)]
        self.norm = hl.nn.RMSNorm(width, 1e-6)
        self.head = hl.nn.Linear(width, classes, rng=rng)

    def forward(self, ids, starts):
        x = self.embed_tokens(ids)
        for block in self.layers:
            x = block(x, starts)
        return self.head(self.norm(x))


def draw(sequences: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A packed batch of random sequences of 2 to LONGEST numbers."""
    rows = [rng.integers(0, NUMBERS, rng.integers(2, LONGEST + 1)) for _ in range(sequences)]
    return {
        "ids": np.concatenate(rows).astype(np.int32),
        "labels": np.concatenate([np.full(len(row), row.max()) for row in rows]).astype(np.int32),
        "starts": np.cumsum([0, *map(len, rows)]).astype(np.int32),
    }


def main() -> None:
    rng = np.random.default_rng(0)
    model = Encoder(NUMBERS, NUMBERS, WIDTH, INNER, HEADS, LAYERS, rng)

    def loss(parameters, batch):
        with model.bound(parameters):
            total, weight = hl.cross_entropy(model(batch["ids"], batch["starts"]), batch["labels"])
        return total / weight

    def step(parameters, speed, batch):
        value, slope = hl.value_and_grad(loss)(parameters, batch)
        norm = hl.sqrt(sum(((g * g).sum() for g in slope.values()), start=hl.Tensor(np.float32(1e-12))))
        scale = hl.minimum(CLIP / norm, 1.0)
        speed = {name: MOMENTUM * speed[name] + scale * slope[name] for name in speed}
        return value, {name: parameters[name] - RATE * speed[name] for name in parameters}, speed

    def scores(parameters, batch):
        with model.bound(parameters):
            return model(batch["ids"], batch["starts"])

    compiled = hl.compile(step, symbols={"batch": SIZES}, capacity=CAPACITY, donate=("parameters", "speed"))
    parameters = {name: value.numpy() for name, value in model.parameters().items()}
    speed = {name: np.zeros_like(value) for name, value in parameters.items()}
    for number in range(STEPS):
        value, parameters, speed = compiled(parameters, speed, draw(32, rng))
        if number % 100 == 99:
            print(f"step {number + 1}: loss {float(value.numpy()):.4f}")

    test = draw(32, rng)
    best = hl.compile(scores, symbols={"batch": SIZES}, capacity=CAPACITY)(parameters, test).numpy().argmax(axis=1)
    print(f"right at {(best == test['labels']).mean():.3f} of the places; always saying {NUMBERS - 1} is right at "
          f"{(test['labels'] == NUMBERS - 1).mean():.3f}")
    assert (best == test["labels"]).mean() > 0.9


if __name__ == "__main__":
    main()
