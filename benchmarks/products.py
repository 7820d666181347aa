"""How near do products come to the processor's limit? The three products of BERT's linear layers, in f32 or bf16.

For each layer and number of tokens: GFLOP/s of forward, dX and dW (with the bias gradient), beside the ceiling of
multiply-adds (registers only), NumPy's BLAS (f32) and PyTorch. In bf16 weights lie in memory as f32. All cases are
measured in rounds, a ceiling before each; peers have the second half of a round, because their threads go on spinning
for a while. The share is the best round against the best ceiling of the whole run: on a disturbed machine it comes out
too low, never too high. There, look at the share by CPU time, which leaves out what other processes took (and the
waiting of threads for one another).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.ceiling import Ceiling, host_driver, host_target, rates, table_of
from benchmarks.figures import keep
from benchmarks.report_header import print_header
from handloom.codegen import llvm
from handloom.codegen.emit import Module
from handloom.codegen.matmul import Product, ProductKernel, StoreEpilogue, emit_product
from handloom.codegen.target import Target
from handloom.graph.reference import round_bf16
from handloom.runtime.arena import empty
from handloom.runtime.pool import Pool

LAYERS = {
    "MiniLM-L6": ((384, 384), (384, 1536), (1536, 384)),
    "BERT-base": ((768, 768), (768, 3072), (3072, 768)),
}
"""(inputs, outputs) of the linear layers."""

ENOUGH = 2_000_000_000
"""FLOPs that take some milliseconds: a measurement repeats smaller products."""


@dataclass(frozen=True)
class Form:
    name: str
    transpose_a: bool
    transpose_b: bool
    sizes: Callable[[int, int, int], tuple[int, int, int]]  # tokens, inputs, outputs -> m, n, k


FORMS = (
    Form("forward", False, True, lambda t, i, o: (t, o, i)),
    Form("dX", False, False, lambda t, i, o: (t, i, o)),
    Form("dW", True, False, lambda t, i, o: (o, i, t)),
)


@dataclass(frozen=True)
class Kernel:
    """A compiled product of one layer and form, for any number of tokens."""

    made: ProductKernel
    library: llvm.Library
    seconds: float
    """To write and compile it."""


def compiled(form: Form, inputs: int, outputs: int, target: Target, dtype: str) -> Kernel:
    known: list[int | None] = list(form.sizes(0, inputs, outputs))
    known[2 if form.transpose_a else 0] = None  # tokens
    module = Module(native_bf16=target.bf16_dot)
    begin = time.perf_counter()
    weights = dtype == "bf16" and not form.transpose_a
    m, n, k = known
    product = Product(form.transpose_a, form.transpose_b, m, n, k, form.transpose_a, dtype, weights)
    made = emit_product(module, "product", product, target, StoreEpilogue())
    code = llvm.compile_object(module.text(), target.cpu, target.features)
    return Kernel(made, llvm.load({"product": code}), time.perf_counter() - begin)


class Memory:
    """Operands and result, large enough for every case, which are views of them. Rounded operands have their f32
    values beside their bits."""

    def __init__(self, elements: tuple[int, int, int], dtype: str) -> None:
        rng = np.random.default_rng(0)
        self.parts = [empty((count,), "float32") for count in elements]
        self.bits = [empty((count,), "uint16") for count in elements[:2]]
        for part, bits in zip(self.parts, self.bits, strict=False):
            part[:] = rng.standard_normal(part.size, np.float32)
            if dtype == "bf16":
                part[:] = round_bf16(part)
                bits[:] = part.view(np.uint32) >> 16

    def view(self, part: int, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        whole: npt.NDArray[np.float32] = self.parts[part].astype(np.float32, copy=False)
        return whole[: shape[0] * shape[1]].reshape(shape)

    def address(self, part: int, narrow: bool) -> int:
        return int((self.bits if narrow else self.parts)[part].ctypes.data)


class Case:
    """One product, ready to run in several ways."""

    def __init__(self, model: str, tokens: int, layer: tuple[int, int], form: Form, kernel: Kernel) -> None:
        self.label = f"{model:10} {tokens:6} {layer[0]:5} {layer[1]:5} {form.name:8}"
        self.form, self.kernel = form, kernel
        self.m, self.n, self.k = form.sizes(tokens, *layer)
        self.flops = 2 * self.m * self.n * self.k
        self.tasks = kernel.made.tasks(self.m, self.n, self.k)
        self.rates: dict[str, list[float]] = {}
        self.dtype = kernel.made.product.dtype

    @property
    def elements(self) -> tuple[int, int, int]:
        return self.m * self.k, self.k * self.n, self.m * self.n

    def place(self, memory: Memory) -> None:
        """Points the kernel's arguments at the operands."""
        form, m, n, k = self.form, self.m, self.n, self.k
        a = memory.view(0, (k, m) if form.transpose_a else (m, k))
        b = memory.view(1, (n, k) if form.transpose_b else (k, n))
        self.c = memory.view(2, (m, n))
        self.a, self.b = a.T if form.transpose_a else a, b.T if form.transpose_b else b
        self.sums = empty((m,), "float32")
        half = self.dtype == "bf16"
        places = [memory.address(0, half), memory.address(1, half and not self.kernel.made.product.wide_b)]
        slots = [*places, m, n, k, a.shape[1], b.shape[1], 0, 0]
        slots += [self.sums.ctypes.data if form.transpose_a else 0, 1, self.c.ctypes.data, n, 0]
        self.arguments = np.array(slots, np.int64)
        self.table = table_of(self.kernel.library.address("product"), self.arguments, self.tasks)

    def check(self, pool: Pool) -> None:
        """A sample of rows against float64."""
        pool.run(self.table, self.kernel.made.scratch)
        rows = np.linspace(0, self.m - 1, 3).astype(int)
        exact = self.a[rows].astype(np.float64) @ self.b
        error = np.abs(self.c[rows] - exact).max() / np.abs(exact).max()
        if not error < 1e-5:
            raise AssertionError(f"{self.label}: wrong result, relative error {error:.1e}")

    def measure(self, pool: Pool, ceiling: Ceiling) -> None:
        """One ceiling, and the better of two or more runs of ours."""
        self.note("ceiling", ceiling.rates())
        repeats = max(2, ENOUGH // self.flops)
        self.note(
            "ours",
            rates(self.flops, pool.threads, lambda: pool.run(self.table, self.kernel.made.scratch), repeats),
        )

    def measure_peers(self, threads: int) -> None:
        for name, run in self.peers.items():
            self.note(name, rates(self.flops, threads, run))

    def note(self, name: str, measured: tuple[float, float]) -> None:
        for suffix, value in zip(("", " cpu"), measured, strict=True):
            self.rates.setdefault(name + suffix, []).append(value)

    @cached_property
    def peers(self) -> dict[str, Callable[[], object]]:
        runs: dict[str, Callable[[], object]] = {}
        if self.dtype == "f32":
            runs["numpy"] = lambda: np.matmul(self.a, self.b, out=self.c)
        try:
            import torch
        except ImportError:
            return runs
        kind = torch.bfloat16 if self.dtype == "bf16" else torch.float32
        a, b, c = (torch.from_numpy(x).to(kind) for x in (self.a, self.b, self.c))
        runs["torch"] = lambda: torch.matmul(a, b, out=c)
        return runs

    def share(self, cases: list[Case], suffix: str = "") -> float:
        """On the clock: our best round against the best ceiling of all cases. By CPU time: median against median."""
        tops = [rate for case in cases for rate in case.rates["ceiling" + suffix]]
        middle = statistics.median if suffix else max
        return middle(self.rates["ours" + suffix]) / middle(tops)

    def row(self, cases: list[Case]) -> str:
        """The line of the table."""
        ratios = sorted(x / y for x, y in zip(self.rates["ours"], self.rates["ceiling"], strict=True))
        spread = f"{ratios[0]:.2f} – {statistics.median(ratios):.2f} – {ratios[-1]:.2f}"
        peers = "  ".join(f"{name} {max(self.rates[name]):4.0f}" for name in ("numpy", "torch") if name in self.rates)
        shares = f"{self.share(cases):.3f}  {self.share(cases, ' cpu'):.3f}"
        return f"{self.label} {max(self.rates['ours']):7.0f}   {shares}   {spread:20} {self.tasks:4}   {peers}"


def geometric(cases: list[Case], forms: list[str], name: str, suffix: str = "") -> float:
    """The geometric mean of the shares of a form, or of all."""
    return statistics.geometric_mean([c.share(cases, suffix) for c in cases if name in ("all", c.form.name)])


def against_peers(cases: list[Case]) -> dict[str, float]:
    """Our best rate by the best rate of the best peer: over all shapes, and the worst shape."""
    ratios = []
    for case in cases:
        peers = [max(case.rates[name]) for name in case.peers if name in case.rates]
        if peers:
            ratios.append(max(case.rates["ours"]) / max(peers))
    return {"geometric mean": statistics.geometric_mean(ratios), "worst": min(ratios)} if ratios else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048, 4096])
    parser.add_argument("--models", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--forms", nargs="+", choices=[form.name for form in FORMS], default=[f.name for f in FORMS])
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--level", help="another instruction set than is chosen, such as avx2 or amx")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures in a file")
    options = parser.parse_args()
    target = host_target(options.level)
    pool = Pool(host_driver(), options.threads)
    ceiling = Ceiling(pool, target, options.dtype)
    print_header(f"{options.dtype} products against the ceiling of multiply-adds", options.threads)
    tile = target.shaped(options.dtype)
    print(f"target {target.name}: tile {tile.rows} × {tile.columns}; {options.rounds} rounds")
    cases = []
    for model in options.models:
        for layer in LAYERS[model]:
            for form in (form for form in FORMS if form.name in options.forms):
                kernel = compiled(form, *layer, target, options.dtype)
                cases += [Case(model, tokens, layer, form, kernel) for tokens in options.tokens]
    memory = Memory(tuple(max(case.elements[i] for case in cases) for i in range(3)), options.dtype)  # type: ignore[arg-type]
    for case in cases:
        case.place(memory)
        case.check(pool)
    for _ in range(options.rounds):
        for case in cases:
            case.measure(pool, ceiling)
        if not options.no_peers:
            for case in cases:
                case.measure_peers(options.threads)
    print(f"{'':10} {'tokens':>6} {'in':>5} {'out':>5} {'':8} GFLOP/s   share  by CPU  single rounds", end="")
    print("        tasks  peers, GFLOP/s")
    for case in sorted(cases, key=lambda case: case.label):
        print(case.row(cases))
    for suffix in ("", " cpu"):
        tops = sorted(rate for case in cases for rate in case.rates["ceiling" + suffix])
        print(f"ceiling{suffix}: {tops[0]:.0f} – {statistics.median(tops):.0f} – {tops[-1]:.0f} GFLOP/s")
        for name in [*options.forms, "all"]:
            print(f"geometric mean of shares{suffix}, {name}: {geometric(cases, options.forms, name, suffix):.3f}")
    figures = {
        "share": {name: geometric(cases, options.forms, name) for name in [*options.forms, "all"]},
        "share by CPU": {name: geometric(cases, options.forms, name, " cpu") for name in [*options.forms, "all"]},
        "times peer": against_peers(cases),
    }
    if figures["times peer"]:
        whole, worst = figures["times peer"].values()
        print(f"against the best peer of each shape: geometric mean {whole:.2f}, worst shape {worst:.2f}")
    keep(figures, options.json)
    print(f"slowest kernel to write and compile: {max(case.kernel.seconds for case in cases):.2f} s")
    pool.close()


if __name__ == "__main__":
    main()
