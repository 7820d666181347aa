"""What are the kernels of a training step, and how near is each to what the machine could do at most?

For each kernel: how many calls a step, GFLOP, MB read and written (distinct buffers), time, and its roofline: the
greater of operations / ceiling and bytes / bandwidth. The ceiling is fused multiply-adds on registers, the bandwidth a
triad's over as much memory as was touched since the buffer was used last (see bandwidth.py): a tensor that the kernel
before has left in a cache is charged that cache's speed. Both are measured in this run, between the steps. Operations
count a multiply-add as two and any other arithmetic as one, also that on whole numbers (random bits).

Then the kernels that one more layer of the model costs: forward and backward, and with clipping and the update.

    python -m benchmarks.kernels [--workload MiniLM-L6:32x32 | BERT-base:16x128] [--steps 9] [--rows 24]
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.bandwidth import Reuse, Triad
from benchmarks.ceiling import Ceiling, host_target
from benchmarks.encoders import (
    LABELS,
    RATE,
    SIZES,
    Sizes,
    Workload,
    bert,
    engine_for,
    our_step,
    texts,
)
from benchmarks.figures import begin, keep, options, seconds_of, shown, spread
from handloom.compiler import CompiledProgram, native_driver
from handloom.costs import Work, works
from handloom.runtime import pool, profile
from handloom.tasks.text_classification import TextClassification
from handloom.train.engine import Engine

MOST_KERNELS = 25
MOST_OVER = 1.2


@dataclass(frozen=True)
class Row:
    """All calls of one kernel in a step. roof_ms: the sum of their rooflines; memory_ms: of bytes / bandwidth alone."""

    kernel: str
    label: str
    calls: int
    gflop: float
    mb: float
    ms: float
    roof_ms: float
    memory_ms: float

    @property
    def bound(self) -> str:
        return "memory" if self.memory_ms >= self.roof_ms * 0.999 else "arithmetic"


def program_of(engine: Engine, name: str = "step") -> CompiledProgram:
    """The compiled program of a function of an engine that has made a step."""
    program = engine.program(name)
    assert isinstance(program, CompiledProgram)
    return program


def rooflines(calls: list[Work], seconds: dict[str, float], ceiling: float, memory: list[float]) -> list[Row]:
    """The calls gathered by kernel, the longest first. seconds: of each kernel; ceiling: GFLOP/s."""
    rows: dict[str, Row] = {}
    largest = {call.kernel: call.label for call in sorted(calls, key=lambda call: call.flops)}
    for call, bytes_seconds in zip(calls, memory, strict=True):
        roof = max(call.flops / ceiling / 1e9, bytes_seconds)
        name = call.kernel
        row = rows.get(name) or Row(name, largest[name], 0, 0.0, 0.0, seconds[name] * 1e3, 0.0, 0.0)
        rows[name] = replace(
            row,
            calls=row.calls + 1,
            gflop=row.gflop + call.flops / 1e9,
            mb=row.mb + call.bytes / 1e6,
            roof_ms=row.roof_ms + roof * 1e3,
            memory_ms=row.memory_ms + bytes_seconds * 1e3,
        )
    return sorted(rows.values(), key=lambda row: -row.ms)


def layers_cost(sizes: Sizes, name: str, step: Callable[[Engine], object]) -> int:
    """Kernels of a program of a model with one layer more: head and embeddings do not count."""
    counts = []
    for layers in (2, 3):
        small = replace(sizes, layers=layers, hidden=64, heads=4, inner=256, words=500)
        engine = engine_for(bert(small), TextClassification([str(i) for i in range(LABELS)]), 256, 8, None)
        if name == "accumulate":  # one of several micro-batches: forward and backward alone
            engine._accumulates = True
        step(engine)
        counts.append(len(program_of(engine, name).steps))
    return counts[1] - counts[0]


def kernels_a_layer(sizes: Sizes) -> dict[str, int]:
    batch = texts(8, 32, 500)
    return {
        "forward and backward": layers_cost(sizes, "accumulate", lambda engine: engine.step([batch], 0, RATE)),
        "with clipping and update": layers_cost(sizes, "step", lambda engine: engine.step([batch], 0, RATE)),
    }


def measure(workload: Workload, steps: int, threads: int, precision: str) -> dict[str, Any]:
    engine, step = our_step(workload, threads, precision)
    workers = pool.shared(native_driver(), threads)
    ceiling, triad = Ceiling(workers, host_target(), precision), Triad(workers, host_target())
    step()
    step()
    curves = [triad.curve()]
    ceilings, plain, native = [], [], []
    times: dict[str, list[float]] = {}
    for _ in range(steps):
        ceilings.append(ceiling.rates()[0])
        plain.append(seconds_of(step))
        with profile.collect() as collected:
            step()
        rows = collected.rows()
        native.append(sum(row.seconds for row in rows))
        for row in rows:
            times.setdefault(row.name, []).append(row.seconds)
    curves.append(triad.curve())
    curve = {size: max(one[size] for one in curves) for size in curves[0]}
    program = program_of(engine)
    calls = works(program, {"tokens": [workload.length] * workload.sequences})
    seconds = {name: statistics.median(found) for name, found in times.items()}
    top = statistics.median(ceilings)
    table = rooflines(calls, seconds, top, Reuse(calls).seconds(curve))
    slow = rooflines(calls, seconds, top, [call.bytes / curve[max(curve)] / 1e9 for call in calls])
    roofs = sum(row.roof_ms for row in table) / 1e3
    return {
        "workload": str(workload),
        "label": workload.label,
        "model_gflop": workload.flops / 1e9,
        "ceiling": spread(ceilings),
        "bandwidth": {str(size): rate for size, rate in curve.items()},
        "step_seconds": spread(plain),
        "kernel_seconds": spread(native),
        "sum_of_kernels": sum(seconds.values()),
        "sum_of_rooflines": roofs,
        "sum_of_rooflines_all_from_memory": sum(row.roof_ms for row in slow) / 1e3,
        "over_rooflines": spread([one / roofs for one in native]),
        "calls": len(calls),
        "rows": [{**asdict(row), "bound": row.bound} for row in table],
    }


def show(found: dict[str, Any], limit: int) -> None:
    print(f"\n{found['label']}: {found['model_gflop']:.1f} model GFLOP a step, {found['calls']} kernels")
    print(f"ceiling {shown(found['ceiling'], '{:.0f}'.format)} GFLOP/s")
    rates = ", ".join(f"{int(size) / 2**20:g} MiB {rate:.0f}" for size, rate in found["bandwidth"].items())
    print(f"bandwidth in GB/s by bytes touched since the last use: {rates}\n")
    print(f"{'calls':>5} {'GFLOP':>8} {'MB':>8} {'ms':>8} {'roof ms':>8} {'ms/roof':>8}  {'bound by':10}  kernel")
    rows = found["rows"]
    for row in rows[:limit]:
        ratio = row["ms"] / row["roof_ms"] if row["roof_ms"] else float("inf")
        print(
            f"{row['calls']:5} {row['gflop']:8.2f} {row['mb']:8.1f} {row['ms']:8.2f} {row['roof_ms']:8.2f} "
            f"{ratio:8.2f}  {row['bound']:10}  {row['label']}"
        )
    rest = rows[limit:]
    if rest:
        ms, roof = (sum(row[key] for row in rest) for key in ("ms", "roof_ms"))
        calls = sum(row["calls"] for row in rest)
        print(f"{calls:5} {'':8} {'':8} {ms:8.2f} {roof:8.2f} {ms / roof:8.2f}  {'':10}  {len(rest)} other kernels")
    ms = "{:.1f}".format
    for label, key in (("step on the clock", "step_seconds"), ("its kernels", "kernel_seconds")):
        print(f"\n{label}: {shown({k: v * 1e3 for k, v in found[key].items()}, ms)} ms", end="")
    print(
        f"\nsum of rooflines: {found['sum_of_rooflines'] * 1e3:.1f} ms "
        f"({found['sum_of_rooflines_all_from_memory'] * 1e3:.1f} ms if every byte came from main memory)"
    )
    print(f"kernels / rooflines: {shown(found['over_rooflines'])} (at most {MOST_OVER})")


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workload", type=Workload.parse, metavar="MODEL:SEQUENCESxLENGTH")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--rows", type=int, default=24, help="kernels to print; --json keeps all")
    given = parser.parse_args()
    workload = given.workload or Workload("MiniLM-L6", *((8, 32) if given.quick else (32, 32)))
    figures = begin("The kernels of a training step against their rooflines", given.threads)
    figures |= measure(workload, 2 if given.quick else given.steps, given.threads, given.precision)
    show(figures, given.rows)
    figures["kernels_a_layer"] = kernels_a_layer(SIZES[workload.model])
    for label, count in figures["kernels_a_layer"].items():
        print(f"kernels a layer, {label}: {count}" + (f" (at most {MOST_KERNELS})" if "update" not in label else ""))
    keep(figures, given.json)


if __name__ == "__main__":
    main()
