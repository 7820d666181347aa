"""A multi-layer perceptron on two spirals: parameters in a dict, the loss a function, one compiled step.

    python examples/mlp.py

`hl.value_and_grad` differentiates the function, `hl.compile` turns loss, gradient and update into native kernels. The
old parameters are donated: the new ones may be written over them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import handloom as hl

STEPS, RATE, MOMENTUM = 600, 0.3, 0.9


def spirals(points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two arms that wind around each other: positions f32 [points, 2] and the arm of each, i32 [points]."""
    arm = np.arange(points, dtype=np.int32) % 2
    turn = rng.uniform(0.25, 1.0, points)
    angle = 3 * np.pi * turn + np.pi * arm
    places = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1) + rng.normal(0, 0.01, (points, 2))
    return places.astype(np.float32), arm


def new_parameters(widths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    parameters = {}
    for layer, (inner, outer) in enumerate(pairwise(widths)):
        parameters[f"weight{layer}"] = (rng.standard_normal((outer, inner)) * (2 / inner) ** 0.5).astype(np.float32)
        parameters[f"bias{layer}"] = np.zeros(outer, np.float32)
    return parameters


def forward(parameters, x):
    """x [points, 2] → logits [points, 2]."""
    layers = len(parameters) // 2
    for layer in range(layers):
        x = hl.linear(x, parameters[f"weight{layer}"], parameters[f"bias{layer}"])
        if layer < layers - 1:
            x = hl.relu(x)
    return x


def loss(parameters, x, y):
    total, weight = hl.cross_entropy(forward(parameters, x), y)
    return total / weight


def step(parameters, speed, x, y):
    """One update of stochastic gradient descent with momentum."""
    value, slope = hl.value_and_grad(loss)(parameters, x, y)
    speed = {name: MOMENTUM * speed[name] + slope[name] for name in speed}
    return value, {name: parameters[name] - RATE * speed[name] for name in parameters}, speed


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = spirals(400, rng)
    test_x, test_y = spirals(400, rng)
    parameters = new_parameters([2, 64, 64, 2], rng)
    speed = {name: np.zeros_like(value) for name, value in parameters.items()}

    compiled = hl.compile(step, donate=("parameters", "speed"))
    for number in range(STEPS):
        batch = rng.choice(len(x), 128, replace=False)
        value, parameters, speed = compiled(parameters, speed, x[batch], y[batch])
        if number % 100 == 99:
            print(f"step {number + 1}: loss {float(value.numpy()):.4f}")

    correct = forward(parameters, hl.Tensor(test_x)).numpy().argmax(axis=1) == test_y
    print(f"accuracy on points it never saw: {correct.mean():.3f}")
    assert correct.mean() > 0.95


if __name__ == "__main__":
    main()
