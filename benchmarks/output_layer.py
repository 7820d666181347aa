"""What does the output layer of a language model take? Memory beyond weights and gradients, and time, against the same
layer with its logits stored.

    python -m benchmarks.output_layer [--rows 2048] [--hidden 576] [--classes 49152]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import handloom as hl
from benchmarks.figures import begin, keep, options, seconds_of, shown, spread
from handloom.ceilings import choose


def stored(x: Any, w: Any, labels: Any) -> Any:
    return hl.cross_entropy(hl.linear(x, w), labels)


def stepper(loss: Callable[..., Any]) -> Callable[..., Any]:
    def step(p: Any, labels: Any) -> Any:
        return hl.value_and_grad(lambda p: loss(p["x"], p["w"], labels), has_aux=True)(p)

    return step


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--classes", type=int, default=49152)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    given = parser.parse_args()
    if given.quick:
        given.rows, given.classes, given.repeats = 256, 1024, 2
    precision = choose(given.precision)
    figures = begin(f"An output layer of {given.classes:,} classes, {given.rows:,} rows, {precision}", given.threads)
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((given.classes, given.hidden)) / 30).astype(np.float32)
    x = rng.standard_normal((given.rows, given.hidden)).astype(np.float32)
    labels = rng.integers(0, given.classes, given.rows).astype(np.int32)
    logits = 4 * given.rows * given.classes
    ways: dict[str, Callable[..., Any]] = {"chunks": hl.linear_cross_entropy, "logits stored": stored}
    for name, loss in ways.items():
        run = hl.compile(stepper(loss), threads=given.threads, precision=precision)
        p = {"x": x, "w": w}
        (value, _), _ = run(p, labels)
        seconds = spread([seconds_of(partial(run, p, labels)) for _ in range(given.repeats)])
        beyond = run.reserve(p, labels) - w.nbytes - x.nbytes  # the gradients are the results
        figures[name] = {"seconds": seconds, "bytes": beyond, "share": beyond / logits, "loss": value.item()}
        time_ = shown(seconds, lambda s: f"{s * 1e3:.0f}")
        size = f"{beyond / 1e6:,.1f} MB = {beyond / logits:.3f} of the logits"
        print(f"  {name:14} {time_} ms, {size}, loss {value.item():.1f}")
    keep(figures, given.json)


if __name__ == "__main__":
    main()
