"""How fast is a full training step, in f32 or bf16, against the processor's limit and beside PyTorch?

Forward, backward, global-norm clipping and AdamW, dropout 0.1, all sequences of one length: no padding on either side.
Ours are the programs that `handloom train` runs; PyTorch's is transformers' BertForSequenceClassification, eager, with
SDPA and fused AdamW, in bf16 under autocast. Each side has a process of its own; they step in turns, with a ceiling
(multiply-adds on registers alone) before each of ours, so that whatever else the machine does falls on all of them.

    python -m benchmarks.step [--workloads MiniLM-L6:32x32 BERT-base:16x128] [--steps 15] [--no-torch]
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchmarks.ceiling import Ceiling, host_target
from benchmarks.encoders import Workload, our_step, torch_step
from benchmarks.figures import begin, environment, keep, options, peak_bytes, shown, spread
from handloom.compiler import native_driver
from handloom.runtime import pool

WORKLOADS = ("MiniLM-L6:32x32", "MiniLM-L6:8x128", "BERT-base:16x128")
REST = 0.1
"""Seconds between turns: the threads of the other side go on spinning for a while."""
WARM = 2
"""Steps of each side that do not count."""


class Counted(Protocol):
    """What a step has to do; as text, what the option --workloads reads."""

    @property
    def label(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def flops(self) -> int: ...


TORCH = {
    "torch": (False, None),
    "torch f32": (False, "f32"),
    "torch bf16": (False, "bf16"),
    "torch.compile f32": (True, "f32"),
    "torch.compile bf16": (True, "bf16"),
}
"""Sides of PyTorch: whether compiled, and the precision where it is not ours."""


def work(side: str, workload: Workload, threads: int, precision: str) -> None:
    """Answers each line on standard input with one measurement: seconds of a step, GFLOP/s, or bytes."""
    if side == "ours":
        answer(our_step(workload, threads, precision)[1], threads, precision)
    else:
        compiled, own = TORCH[side]
        answer(torch_step(workload, threads, own or precision, compiled), threads)


def answer(step: Callable[[], float], threads: int, precision: str | None = None) -> None:
    """The loop of `work` around a step; with a precision, the machine's ceiling is measured, too."""
    commands: dict[str, Callable[[], float]] = {}
    if precision is not None:
        ceiling = Ceiling(pool.shared(native_driver(), threads), host_target(), precision)
        commands["ceiling"] = lambda: ceiling.rates()[0]
    losses: list[float] = []

    def timed() -> float:
        start = time.perf_counter()
        losses.append(step())
        return time.perf_counter() - start

    commands |= {"step": timed, "loss": lambda: losses[-1], "peak": lambda: float(peak_bytes())}
    for line in sys.stdin:
        print(repr(commands[line.strip()]()), flush=True)


class Side:
    """A process that steps when it is asked to."""

    def __init__(
        self, side: str, workload: object, threads: int, precision: str, module: str = "benchmarks.step"
    ) -> None:
        command = [sys.executable, "-m", module, "--side", side, "--workloads", str(workload)]
        command += ["--threads", str(threads), "--precision", precision]
        # huge pages for PyTorch, too
        variables = environment(OMP_NUM_THREADS=str(threads), THP_MEM_ALLOC_ENABLE="1", TRANSFORMERS_VERBOSITY="error")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def ask(self, command: str) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process that steps has ended with {self.process.wait()}")
        return float(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(
    workload: Counted, steps: int, threads: int, peers: Sequence[str], precision: str, module: str = "benchmarks.step"
) -> dict[str, Any]:
    """Ours and PyTorch's sides in turns. The fastest of those is what `times_torch` compares with. `module`: the script
    that steps, and answers as `work` does."""
    sides = {name: Side(name, workload, threads, precision, module) for name in ("ours", *peers)}
    firsts = {name: side.ask("step") for name, side in sides.items()}
    for side in sides.values():
        for _ in range(WARM - 1):
            side.ask("step")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    ceilings: list[float] = []
    for _ in range(steps):
        time.sleep(REST)
        ceilings.append(sides["ours"].ask("ceiling"))
        for name, side in sides.items():
            seconds[name].append(side.ask("step"))
            time.sleep(REST if peers else 0)
    found: dict[str, Any] = {"workload": str(workload), "label": workload.label, "flops": workload.flops}
    found["ceiling"] = spread(ceilings)
    for name, side in sides.items():
        rates = [workload.flops / s / 1e9 for s in seconds[name]]
        found[name] = {
            "seconds": spread(seconds[name]),
            "first_step": firsts[name],
            "gflops": spread(rates),
            "tokens_per_second": workload.tokens / spread(seconds[name])["median"],
            "share": spread([rate / top for rate, top in zip(rates, ceilings, strict=True)]),
            "share_of_best": max(rates) / max(ceilings),
            "peak_bytes": side.ask("peak"),
            "loss": side.ask("loss"),
        }
        side.close()
    if peers:
        best = min(peers, key=lambda name: spread(seconds[name])["median"])
        found["best_peer"] = best
        found["times_torch"] = spread([t / o for o, t in zip(seconds["ours"], seconds[best], strict=True)])
    return found


def in_turns(make: Callable[[str], Side], peers: Sequence[str], rounds: int) -> dict[str, Any]:
    """Rounds of several steps each, ours and the peers' in turns: seconds and the last loss of each side, and how many
    times as long the fastest peer takes."""
    sides = {name: make(name) for name in ("ours", *peers)}
    for side in sides.values():
        for _ in range(WARM):
            side.ask("step")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            time.sleep(REST)
            seconds[name].append(side.ask("step"))
    found: dict[str, Any] = {}
    for name, side in sides.items():
        found[name] = {"seconds": spread(seconds[name]), "loss": side.ask("loss")}
        side.close()
    best = min(peers, key=lambda name: found[name]["seconds"]["median"])
    times = spread([t / o for o, t in zip(seconds["ours"], seconds[best], strict=True)])
    return {**found, "best_peer": best, "times_torch": times}


def show(found: dict[str, Any]) -> None:
    print(
        f"\n{found['label']}: {found['flops'] / 1e9:.0f} GFLOP a step; "
        f"ceiling {shown(found['ceiling'], '{:.0f}'.format)} GFLOP/s"
    )
    print(
        f"  {'':18} {'ms a step':>24} {'tokens/s':>9} {'GFLOP/s':>8} {'of the ceiling':>20} {'best':>6} "
        f"{'peak MB':>8} {'loss':>7}"
    )
    for name in ("ours", *TORCH):
        if name not in found:
            continue
        one = found[name]
        time_ = shown(one["seconds"], lambda s: f"{s * 1e3:.1f}")
        print(
            f"  {name:18} {time_:>24} {one['tokens_per_second']:9,.0f} {one['gflops']['median']:8.0f} "
            f"{shown(one['share']):>20} {one['share_of_best']:6.2f} {one['peak_bytes'] / 1e6:8.0f} {one['loss']:7.3f}"
        )
    if "times_torch" in found:
        print(f"  {shown(found['times_torch'])} × {found['best_peer']}")


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workloads", nargs="+", type=Workload.parse, metavar="MODEL:SEQUENCESxLENGTH")
    parser.add_argument("--steps", type=int, default=15, help="of each side, after two that do not count")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--tuned", action="store_true", help="eager and compiled, f32 and bf16: all of PyTorch's ways")
    parser.add_argument("--peers", nargs="+", choices=TORCH, help="these of PyTorch's ways")
    parser.add_argument("--side", choices=("ours", *TORCH), help="be one of the two processes")
    given = parser.parse_args()
    chosen = given.workloads or [Workload.parse(text) for text in (WORKLOADS[:1] if given.quick else WORKLOADS)]
    if given.side:
        work(given.side, chosen[0], given.threads, given.precision)
        return
    title = f"A full {given.precision} training step: forward, backward, clip, AdamW; dropout 0.1"
    figures = begin(title, given.threads)
    figures["rows"] = []
    for workload in chosen:
        steps = 2 if given.quick else given.steps
        peers = () if given.no_torch else tuple(TORCH)[1:] if given.tuned else given.peers or ("torch",)
        figures["rows"].append(measure(workload, steps, given.threads, peers, given.precision))
        show(figures["rows"][-1])
    keep(figures, given.json)


if __name__ == "__main__":
    main()
