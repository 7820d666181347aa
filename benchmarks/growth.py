"""How does the cost of a token grow with the batch, and that of attention with the length of a text?

MiniLM-L6's step on batches of 256 to 8,192 tokens, and one layer of attention, forward and backward, on 8,192 tokens in
texts of 64 to 4,096: seconds a token, and the memory that its program plans.

    python -m benchmarks.growth [--tokens 256 512 … 8192] [--lengths 64 128 … 4096]
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import handloom as hl
from benchmarks.encoders import Workload, our_step
from benchmarks.figures import begin, keep, options, seconds_of, spread
from handloom.ceilings import choose

TOKENS = [256, 512, 1024, 2048, 4096, 8192]
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
HEADS, SIZE, PACKED = 12, 32, 8192


def steps(tokens: list[int], threads: int, precision: str, repeats: int) -> list[dict[str, Any]]:
    rows = []
    for count in tokens:
        engine, step = our_step(Workload("MiniLM-L6", count // 32, 32), threads, precision)
        step()
        seconds = spread([seconds_of(step) for _ in range(repeats)])
        program: Any = engine.program()
        rows.append({"tokens": count, "seconds": seconds, "arena": program.plan.bytes})
    return rows


def attention(lengths: list[int], threads: int, precision: str, repeats: int) -> list[dict[str, Any]]:
    def layer(x: Any, starts: Any) -> Any:
        def loss(x: Any) -> Any:
            return (hl.attention(x * 1.0, x * 0.5, x * 2.0, starts, heads=HEADS) * x).sum()

        return hl.value_and_grad(loss)(x)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((PACKED, HEADS * SIZE)).astype(np.float32)
    rows = []
    for length in lengths:
        run = hl.compile(layer, threads=threads, precision=precision)
        starts = np.arange(0, PACKED + 1, length, dtype=np.int32)
        run(x, starts)
        seconds = spread([seconds_of(partial(run, x, starts)) for _ in range(repeats)])
        rows.append({"length": length, "seconds": seconds, "bytes": run.reserve(x, starts)})
    return rows


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    given = parser.parse_args()
    precision = choose(given.precision)
    figures = begin(f"Growth, {precision}", given.threads)
    if given.quick:
        given.tokens, given.lengths, given.repeats = given.tokens[:2], given.lengths[:2], 2
    figures["steps"] = steps(given.tokens, given.threads, precision, given.repeats)
    print(f"\n{'tokens a batch':>15} {'µs a token':>11} {'MB of intermediate values':>26}")
    for row in figures["steps"]:
        print(f"{row['tokens']:15,} {row['seconds']['median'] / row['tokens'] * 1e6:11.1f} {row['arena'] / 1e6:26.1f}")
    figures["attention"] = attention(given.lengths, given.threads, precision, given.repeats)
    print(f"\n{'tokens a text':>15} {'µs a token':>11} {'MB beside the operand':>26}")
    for row in figures["attention"]:
        print(f"{row['length']:15,} {row['seconds']['median'] / PACKED * 1e6:11.2f} {row['bytes'] / 1e6:26.1f}")
    keep(figures, given.json)


if __name__ == "__main__":
    main()
