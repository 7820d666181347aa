"""How does a step's time fall with the number of threads, beside the ceilings of as many?

MiniLM-L6's (or another) full training step on 1, 2, 4 … threads up to all physical cores, in turns. A number of threads
has a ceiling of its own: processors clock lower when more of their cores work.

    python -m benchmarks.scaling [--workload MiniLM-L6:32x32] [--steps 8] [--precision bf16]
"""

from __future__ import annotations

from typing import Any

from benchmarks.ceiling import Ceiling, host_target
from benchmarks.encoders import Workload, our_step
from benchmarks.figures import begin, keep, options, seconds_of, shown, spread
from handloom.ceilings import choose
from handloom.compiler import native_driver
from handloom.runtime import cores, pool

LEAST = 1.9
"""How much faster two threads must be than one."""


def counts(most: int) -> list[int]:
    """1, 2, 4 … and all."""
    return sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most})


def measure(workload: Workload, steps: int, threads: list[int], precision: str) -> list[dict[str, Any]]:
    sides = {n: our_step(workload, n, precision)[1] for n in threads}
    ceilings = {n: Ceiling(pool.shared(native_driver(), n), host_target(), precision) for n in threads}
    for step in sides.values():
        step()
        step()
    seconds: dict[int, list[float]] = {n: [] for n in threads}
    tops: dict[int, list[float]] = {n: [] for n in threads}
    for _ in range(steps):
        for n, step in sides.items():
            tops[n].append(ceilings[n].rates()[0])
            seconds[n].append(seconds_of(step))
    one = spread(seconds[threads[0]])["median"]
    return [
        {
            "threads": n, "seconds": spread(seconds[n]), "ceiling": spread(tops[n]),
            "times": spread([a / b for a, b in zip(seconds[threads[0]], seconds[n], strict=True)]),
            "times_of_medians": one / spread(seconds[n])["median"],
            "share": workload.flops / spread(seconds[n])["median"] / 1e9 / spread(tops[n])["median"],
        }
        for n in threads
    ]  # fmt: skip


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workload", type=Workload.parse, default="MiniLM-L6:32x32", metavar="MODEL:SEQUENCESxLENGTH")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    given = parser.parse_args()
    precision = choose(given.precision)
    threads = counts(cores.physical_cores())
    figures = begin(f"A training step on more and more threads, {precision}", max(threads))
    rows = measure(given.workload, 2 if given.quick else given.steps, threads, precision)
    print(f"\n{given.workload.label}\n{'threads':>8} {'ms a step':>26} {'times':>20} {'ceiling':>22} {'share':>6}")
    for row in rows:
        times = shown(row["times"], "{:.2f}".format)
        ms = shown(row["seconds"], lambda s: f"{s * 1e3:.1f}")
        top = shown(row["ceiling"], "{:.0f}".format)
        print(f"{row['threads']:8} {ms:>26} {times:>20} {top:>22} {row['share']:6.2f}")
    if len(rows) > 1:
        print(f"2 threads: {rows[1]['times_of_medians']:.2f} times as fast as 1 (at least {LEAST})")
    figures["rows"] = rows
    keep(figures, given.json)


if __name__ == "__main__":
    main()
