"""How near is attention to the processor's limit, at the lengths that fine-tuning has, and at long ones?

One thread, packed sequences of one length, all heads. GFLOP/s of the matrix products (2 forward, 5 backward) against
the ceiling: fused multiply-adds on registers only, measured between the others. `--torch` puts PyTorch's
scaled_dot_product_attention beside it, on one thread and on the same sequences as one batch without padding.

    python benchmarks/attention.py [--heads 12] [--sizes 32 64] [--lengths 20 32 64 128 512] [--dropout 0.1] [--torch]
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handloom.codegen import llvm
from handloom.codegen.attention import emit_attention
from handloom.codegen.attention_backward import emit_attention_backward
from handloom.codegen.attention_parts import AttentionKernel
from handloom.codegen.emit import Function, Module, Value, number, vector
from handloom.codegen.target import Target, choose
from handloom.graph.ops import AttentionAttrs

CHAINS = 12
TOKENS = 2048


@dataclass
class Program:
    """A kernel with a native loop over its tasks, and the arguments that it runs on."""

    kernel: AttentionKernel
    address: int
    arguments: np.ndarray
    scratch: np.ndarray
    sequences: int
    held: object = None

    def run(self) -> None:
        loop = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)(self.address)
        aligned = -(-self.scratch.ctypes.data // 64) * 64
        loop(self.arguments.ctypes.data, self.kernel.tasks(self.sequences), aligned)


def emit_all_tasks(module: Module, kernel: str) -> str:
    f = Function(module, f"{kernel}_all", [("ptr", "args"), ("i64", "tasks"), ("ptr", "scratch")])
    args, tasks, scratch = f.parameters
    f.loop(0, tasks, 1, lambda task, _: f.line(f"call void @{kernel}({args}, {task}, {scratch})"))
    f.finish()
    return f.name


def emit_ceiling(module: Module, target: Target) -> None:
    """void ceiling(ptr out, i64 steps): CHAINS independent fused multiply-adds a step."""
    f = Function(module, "ceiling", [("ptr", "out"), ("i64", "steps")])
    out, steps = f.parameters
    type = vector("float", target.lanes)
    x = f.load(type, out)

    def step(_: Value, sums: list[Value]) -> list[Value]:
        return [f.fma(s, x, x) for s in sums]

    sums = f.loop(0, steps, 1, step, [number(float(i), type) for i in range(CHAINS)])
    for index, s in enumerate(sums):
        f.store(s, f.at(out, index * target.lanes, "float"))
    f.finish()


def best_of(run: Callable[[], object], seconds: float = 0.4) -> tuple[float, float]:
    """(fastest, median) seconds of a call."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def programs(
    target: Target, heads: int, size: int, length: int, dropout: float, causal: bool
) -> tuple[Program, Program]:
    options = AttentionAttrs(heads, heads, size, size**-0.5, causal=causal, dropout=dropout)
    module = Module()
    kernels = (
        emit_attention(module, "forward", options, target),
        emit_attention_backward(module, "backward", options, target),
    )
    names = [emit_all_tasks(module, kernel.name) for kernel in kernels]
    library = llvm.load({"attention": llvm.compile_object(module.text(), target.cpu, target.features)})
    sequences = max(1, TOKENS // length)
    tokens, random = sequences * length, np.random.default_rng(0)
    starts = np.arange(0, tokens + 1, length, dtype=np.int32)
    data: dict[str, np.ndarray] = {}
    data |= {name: random.normal(size=(tokens, heads * size)).astype(np.float32) for name in ("q", "k", "v", "dout")}
    data |= {name: np.zeros((tokens, heads * size), np.float32) for name in ("out", "dq", "dk", "dv")}
    data |= {"log_sum": np.zeros((tokens, heads), np.float32), "state": np.arange(4, dtype=np.uint32)}
    data |= {"starts": starts, "key_starts": starts, "key_ends": starts[1:]}
    made = []
    for kernel, name in zip(kernels, names, strict=True):
        slots = [data[slot].ctypes.data if slot in data else heads * size for slot in kernel.slots]  # a site, too
        program = Program(
            kernel,
            library.address(name),
            np.array(slots, np.int64),
            np.empty(kernel.scratch_bytes(length) + 64, np.uint8),
            sequences,
        )
        program.held = (library, data)
        made.append(program)
    return made[0], made[1]


def torch_seconds(heads: int, size: int, length: int, dropout: float, causal: bool) -> tuple[float, float]:
    import torch

    torch.set_num_threads(1)
    q, k, v = (torch.randn(max(1, TOKENS // length), heads, length, size, requires_grad=True) for _ in range(3))

    def forward() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)

    gradient = torch.randn_like(forward())
    both = best_of(lambda: torch.autograd.grad(forward(), (q, k, v), gradient))[0]
    with torch.no_grad():
        alone = best_of(forward)[0]
    return alone, both - alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 32, 64, 128, 512])
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--level", help="a lower instruction set, for example avx2")
    parser.add_argument("--torch", action="store_true")
    given = parser.parse_args()
    target = choose(llvm.host()[2], *llvm.host()[:2], given.level)
    module = Module()
    emit_ceiling(module, target)
    library = llvm.load({"ceiling": llvm.compile_object(module.text(), target.cpu, target.features)})
    limit = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address("ceiling"))
    out, steps = np.zeros(CHAINS * 16, np.float32), 1_000_000

    def ceiling() -> float:
        return 2 * CHAINS * target.lanes * steps / best_of(lambda: limit(out.ctypes.data, steps), 0.1)[0] / 1e9

    print(f"{platform.machine()}, {target.cpu}, {target.name}; {llvm.version()}")
    print(f"one thread, {given.heads} heads, about {TOKENS} tokens, dropout {given.dropout}")
    heading = ("size", "length", "", "best ms", "median", "GFLOP/s", "of ceiling", "torch ms")
    print("{:>4} {:>6} {:>8} {:>8} {:>8} {:>8} {:>10} {:>8}".format(*heading))
    for size in given.sizes:
        for length in given.lengths:
            problem = (given.heads, size, length, given.dropout, given.causal)
            peers = torch_seconds(*problem) if given.torch else (None, None)
            for program, peer in zip(programs(target, *problem), peers, strict=True):
                best, median = best_of(program.run)
                rate = program.kernel.flops([(length, length)] * program.sequences) / best / 1e9
                line = f"{size:4} {length:6} {program.kernel.name:>8} {best * 1e3:8.2f} {median * 1e3:8.2f} {rate:8.1f}"
                print(f"{line} {rate / ceiling():10.2f} {f'{peer * 1e3:.2f}' if peer else '-':>8}")


if __name__ == "__main__":
    main()
