"""Is a model that the compiler was not made for trained as near to the limit as BERT?

The pre-norm encoder of examples/prenorm_encoder.py (RMSNorm, SwiGLU, no biases) beside BERT of the same hidden size,
layers, heads, tokens and vocabulary, both with a label for every token. SwiGLU's inner width is two thirds of BERT's,
so that the parameters of a layer are as many. Both make full steps (forward, backward, clipping, AdamW) through one
engine, in turns, with a ceiling before each round. Utilisation: each model's own FLOPs / ceiling. The example has no
dropout, so BERT has none here. The ratio by CPU time leaves out what other processes took: it is the one to look at on
a busy machine.

    python -m benchmarks.generality [--workloads MiniLM-L6:32x32 BERT-base:16x128] [--rounds 15]
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

import handloom.tensor as ht
from benchmarks.ceiling import Ceiling, host_target
from benchmarks.encoders import RATE, Sizes, Workload, drawn, engine_for, texts
from benchmarks.figures import ROOT, begin, keep, options, seconds_of, shown, spread
from handloom.compiler import native_driver
from handloom.models.bert import BertForTokenClassification
from handloom.nn import Module
from handloom.runtime import pool
from handloom.tasks.task import Batch, Feature, Task
from handloom.tensor import Tensor

LABELS = 13
LEAST = 0.95
WORKLOADS = ("MiniLM-L6:32x32",)


class Tagging(Task):
    """A label for every token."""

    rows = "tokens"
    labels = tuple(str(i) for i in range(LABELS))

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return ht.cross_entropy(logits, batch["labels"])


class Prenorm(Module):
    """The example's encoder, called with a packed batch."""

    def __init__(self, sizes: Sizes) -> None:
        self.encoder = example().Encoder(
            sizes.words, LABELS, sizes.hidden, swiglu_inner(sizes), sizes.heads, sizes.layers, np.random.default_rng(0)
        )

    def forward(self, batch: Batch) -> Tensor:
        scores: Tensor = self.encoder(batch["ids"], batch["starts"])
        return scores


def example() -> ModuleType:
    """examples/prenorm_encoder.py."""
    spec = importlib.util.spec_from_file_location("prenorm_encoder", ROOT / "examples" / "prenorm_encoder.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def swiglu_inner(sizes: Sizes) -> int:
    """Three matrices with as many parameters as BERT's two."""
    return 2 * sizes.inner // 3


def bert(sizes: Sizes) -> Module:
    model = BertForTokenClassification(replace(sizes.config(dropout=0.0), labels=()), LABELS)
    model.load(drawn(model))
    return model


def layer_products(name: str, sizes: Sizes, length: int) -> int:
    """Multiplications that a token takes in a layer's products."""
    hidden = sizes.hidden
    attention = 4 * hidden**2 + 2 * length * hidden
    return attention + {"BERT": 2 * hidden * sizes.inner, "pre-norm": 3 * hidden * swiglu_inner(sizes)}[name]


def flops(name: str, workload: Workload) -> int:
    """Model FLOPs of a step: every product once forward and twice backward."""
    sizes = workload.sizes
    token = sizes.layers * layer_products(name, sizes, workload.length) + sizes.hidden * LABELS
    return 6 * workload.tokens * token


def tagged(workload: Workload) -> list[Feature]:
    rng = np.random.default_rng(1)
    features = texts(workload.sequences, workload.length, workload.sizes.words)
    return [replace(f, label=rng.integers(0, LABELS, len(f)).astype(np.int32)) for f in features]


def stepper(model: Module, workload: Workload, threads: int) -> Callable[[], None]:
    engine = engine_for(model, Tagging(), workload.tokens, workload.sequences, threads)
    batch = tagged(workload)
    number = 0

    def step() -> None:
        nonlocal number
        if not engine.step([batch], number, RATE).applied:
            raise SystemExit("a gradient is not finite")
        number += 1

    return step


def measure(workload: Workload, rounds: int, threads: int) -> dict[str, Any]:
    ceiling = Ceiling(pool.shared(native_driver(), threads), host_target())
    makers: dict[str, Callable[[Sizes], Module]] = {"BERT": bert, "pre-norm": Prenorm}
    steps = {name: stepper(make(workload.sizes), workload, threads) for name, make in makers.items()}
    work = {name: flops(name, workload) for name in steps}
    for _ in range(2):
        for step in steps.values():
            step()
    ceilings: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        ceilings.append(ceiling.rates()[0])
        for name, step in steps.items():
            used = time.process_time()
            seconds[name].append(seconds_of(step))
            cpu[name].append(time.process_time() - used)
    found: dict[str, Any] = {"workload": str(workload), "label": workload.label, "ceiling": spread(ceilings)}
    rates = {name: [work[name] / s / 1e9 for s in seconds[name]] for name in steps}
    for name in steps:
        found[name] = {
            "flops": work[name],
            "seconds": spread(seconds[name]),
            "cpu_seconds": spread(cpu[name]),
            "share": spread([rate / top for rate, top in zip(rates[name], ceilings, strict=True)]),
        }
    found["ratio"] = spread([ours / bert for ours, bert in zip(rates["pre-norm"], rates["BERT"], strict=True)])
    medians = {name: spread(rates[name])["median"] for name in steps}
    found["ratio_of_medians"] = medians["pre-norm"] / medians["BERT"]
    by_cpu = {name: work[name] / found[name]["cpu_seconds"]["median"] for name in steps}
    found["ratio_by_cpu"] = by_cpu["pre-norm"] / by_cpu["BERT"]
    return found


def show(found: dict[str, Any]) -> None:
    print(f"\n{found['label']}; ceiling {shown(found['ceiling'], '{:.0f}'.format)} GFLOP/s")
    print(f"  {'':10} {'GFLOP':>7} {'ms a step':>24} {'utilisation':>20}")
    for name in ("BERT", "pre-norm"):
        one = found[name]
        time_ = shown(one["seconds"], lambda s: f"{s * 1e3:.1f}")
        print(f"  {name:10} {one['flops'] / 1e9:7.1f} {time_:>24} {shown(one['share']):>20}")
    print(
        f"  pre-norm / BERT: {found['ratio_of_medians']:.3f} of the medians; by rounds {shown(found['ratio'])} "
        f"(at least {LEAST}); by CPU time {found['ratio_by_cpu']:.3f}"
    )


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workloads", nargs="+", type=Workload.parse, metavar="MODEL:SEQUENCESxLENGTH")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    default = ("MiniLM-L6:8x32",) if given.quick else WORKLOADS
    figures = begin("An encoder that the compiler was not made for, beside BERT of its size", given.threads)
    figures["rows"] = []
    for workload in given.workloads or [Workload.parse(text) for text in default]:
        figures["rows"].append(measure(workload, 3 if given.quick else given.rounds, given.threads))
        show(figures["rows"][-1])
    keep(figures, given.json)


if __name__ == "__main__":
    main()
