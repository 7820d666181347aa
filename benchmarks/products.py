"""How near do f32 products come to the processor's limit? The three products of BERT's linear layers.

For each layer and number of tokens: GFLOP/s of forward, dX and dW, beside the FMA ceiling (registers only), NumPy's BLAS and
PyTorch f32, in turns within one run, on all threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.ceiling import Ceiling, host_driver, host_target, table_of
from benchmarks.report_header import print_header
from handloom.codegen import llvm
from handloom.codegen.emit import Module
from handloom.codegen.matmul import Product, StoreEpilogue, emit_product
from handloom.codegen.target import Target
from handloom.runtime.arena import empty
from handloom.runtime.pool import Pool

LAYERS = {
    "MiniLM-L6": ((384, 384), (384, 1536), (1536, 384)),
    "BERT-base": ((768, 768), (768, 3072), (3072, 768)),
}
"""(inputs, outputs) of the linear layers."""


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


class Case:
    """One product with its buffers, ready to run in several ways."""

    def __init__(self, form: Form, sizes: tuple[int, int, int], target: Target, pool: Pool, tokens_known: bool) -> None:
        m, n, k = sizes
        self.flops = 2 * m * n * k
        known: list[int | None] = [m, n, k]
        if not tokens_known:
            known[2 if form.transpose_a else 0] = None
        product = Product(form.transpose_a, form.transpose_b, *known, row_sums=form.transpose_a)
        module = Module()
        begin = time.perf_counter()
        self.kernel = emit_product(module, "product", product, target, StoreEpilogue())
        code = llvm.compile_object(module.text(), target.cpu, target.features)
        self.compile_seconds = time.perf_counter() - begin
        self.library = llvm.load({"product": code})
        rng = np.random.default_rng(0)
        self.a = _matrix(rng, (k, m) if form.transpose_a else (m, k))
        self.b = _matrix(rng, (n, k) if form.transpose_b else (k, n))
        self.c = empty((m, n), "float32")
        self.sums = empty((m,), "float32")
        self.views = (self.a.T if form.transpose_a else self.a, self.b.T if form.transpose_b else self.b)
        slots = [self.a.ctypes.data, self.b.ctypes.data, m, n, k, self.a.shape[1], self.b.shape[1], 0, 0]
        slots += [self.sums.ctypes.data if form.transpose_a else 0, 1, self.c.ctypes.data, n, 0]
        self.arguments = np.array(slots, np.int64)
        self.table = table_of(self.library.address("product"), self.arguments, self.kernel.tasks(m, n, k))
        self.pool = pool

    def ours(self) -> None:
        self.pool.run(self.table, self.kernel.scratch)

    def check(self) -> None:
        """A sample of rows against float64."""
        self.ours()
        rows = np.linspace(0, len(self.c) - 1, 5).astype(int)
        expected = self.views[0][rows].astype(np.float64) @ self.views[1]
        error = np.abs(self.c[rows] - expected).max() / np.abs(expected).max()
        if not error < 1e-5:
            raise AssertionError(f"wrong result: relative error {error:.1e}")

    def peers(self, wanted: bool, threads: int) -> dict[str, Callable[[], object]]:
        if not wanted:
            return {}
        a, b = self.views
        runs: dict[str, Callable[[], object]] = {"numpy": lambda: np.matmul(a, b, out=self.c)}
        try:
            import torch
        except ImportError:
            return runs
        torch.set_num_threads(threads)
        ta, tb, tc = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(self.c)
        runs["torch"] = lambda: torch.matmul(ta, tb, out=tc)
        return runs


def _matrix(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    out = empty(shape, "float32")
    out[:] = rng.standard_normal(shape, np.float32)
    return out


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure(case: Case, ceiling: Ceiling, repeats: int, peers: bool) -> tuple[list[float], list[float], dict[str, float]]:
    """GFLOP/s of every repeat of ours and of the ceiling, in turns, and the best of the peers."""
    runs = case.peers(peers, ceiling.pool.threads)
    case.check()
    ours, tops = [], []
    best = dict.fromkeys(runs, 0.0)
    for _ in range(repeats):
        tops.append(ceiling.rate())
        ours.append(case.flops / min(_seconds(case.ours) for _ in range(2)) / 1e9)
        for name, run in runs.items():
            best[name] = max(best[name], case.flops / _seconds(run) / 1e9)
    return ours, tops, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048, 4096])
    parser.add_argument("--models", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--forms", nargs="+", choices=[form.name for form in FORMS], default=[f.name for f in FORMS])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--level", help="a lower instruction set, such as avx2")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    target = host_target(options.level)
    pool = Pool(host_driver(), options.threads)
    ceiling = Ceiling(pool, target)
    print_header("f32 products against the FMA ceiling", options.threads)
    print("share: best of ours / best ceiling of the same minute; spread: worst, median, best share of single repeats")
    print(f"{'':10} {'tokens':>6} {'in':>5} {'out':>5} {'':8} GFLOP/s share  spread             tasks   others")
    shares, medians, tops_all, slowest = [], [], [], 0.0
    for model in options.models:
        for tokens in options.tokens:
            for inputs, outputs in LAYERS[model]:
                for form in FORMS:
                    if form.name not in options.forms:
                        continue
                    case = Case(form, form.sizes(tokens, inputs, outputs), target, pool, tokens_known=False)
                    slowest = max(slowest, case.compile_seconds)
                    ours, tops, peers = measure(case, ceiling, options.repeats, not options.no_peers)
                    share = max(ours) / max(tops)
                    ratios = sorted(o / t for o, t in zip(ours, tops, strict=True))
                    shares.append(share)
                    medians.append(statistics.median(ratios))
                    tops_all += tops
                    others = "  ".join(f"{name} {rate:.0f}" for name, rate in peers.items())
                    print(
                        f"{model:10} {tokens:6} {inputs:5} {outputs:5} {form.name:8} {max(ours):7.0f} {share:5.3f}  "
                        f"{ratios[0]:.3f} {medians[-1]:.3f} {ratios[-1]:.3f}  {case.table[0, 2]:5}   {others}",
                        flush=True,
                    )
    print(f"ceiling: {min(tops_all):.0f} – {statistics.median(tops_all):.0f} – {max(tops_all):.0f} GFLOP/s")
    print(f"geometric mean of shares: {statistics.geometric_mean(shares):.3f}; of medians: {statistics.geometric_mean(medians):.3f}")
    print(f"slowest kernel to write and compile: {slowest:.2f} s")
    pool.close()


if __name__ == "__main__":
    main()
