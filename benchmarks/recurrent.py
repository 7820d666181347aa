"""How fast is a training step of a recurrent language model, in f32, beside PyTorch?

The medium LSTM of Zaremba, Sutskever and Vinyals (2014): two layers of 650, a vocabulary of 10,000, 20 rows of 35
tokens with carried state, dropout 0.5; forward, backward, clipping at global norm 5, update. PyTorch's side is
torch.nn.LSTM (oneDNN's on a processor) with the same parts. Each side has a process of its own; they step in turns,
with a ceiling (multiply-adds on registers alone) before each of ours.

    python -m benchmarks.recurrent [--workloads 650x2:20x35:sgd 650x2:20x35:adam] [--steps 15] [--no-torch]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.ceiling import Ceiling, host_target
from benchmarks.figures import begin, keep, options, peak_bytes
from benchmarks.step import Side, measure, show
from handloom.compiler import native_driver
from handloom.models.config import Fields
from handloom.models.registry import new_model
from handloom.models.rnn import RNNForCausalLM, read_config
from handloom.runtime import pool
from handloom.train.optimisers import Optimiser, adam, sgd
from handloom.train.streams import StreamTraining

WORDS, CLIP, DROPOUT, MODULE = 10_000, 5.0, 0.5, "benchmarks.recurrent"
RULES: dict[str, tuple[Callable[[], Optimiser], float]] = {"sgd": (lambda: sgd(0.0, 0.0), 1.0), "adam": (adam, 1e-3)}


@dataclass(frozen=True)
class Workload:
    """A step on `rows` texts of `length` tokens each."""

    hidden: int
    layers: int
    rows: int
    length: int
    rule: str

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def flops(self) -> int:
        """Every product once forward and twice backward."""
        return 6 * self.tokens * (self.layers * 8 * self.hidden**2 + self.hidden * WORDS)

    @property
    def label(self) -> str:
        return f"LSTM of {self.layers} × {self.hidden}, {self.rows} × {self.length} tokens, {self.rule}"

    @staticmethod
    def parse(text: str) -> Workload:
        """Reads "650x2:20x35:sgd"."""
        try:
            sizes, batch, rule = text.split(":")
            hidden, layers, rows, length = (int(part) for pair in (sizes, batch) for part in pair.split("x"))
        except ValueError:
            raise ValueError(f"{text}: write HIDDENxLAYERS:ROWSxLENGTH:RULE") from None
        if rule not in RULES:
            raise ValueError(f"{text}: the rule is one of {', '.join(RULES)}")
        return Workload(hidden, layers, rows, length, rule)

    def __str__(self) -> str:
        return f"{self.hidden}x{self.layers}:{self.rows}x{self.length}:{self.rule}"

    def values(self) -> dict[str, Any]:
        """config.json"""
        return {"vocab_size": WORDS, "hidden_size": self.hidden, "num_layers": self.layers, "dropout": DROPOUT,
                "tie_word_embeddings": False}  # fmt: skip

    def batches(self) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(0)
        shape = (self.length + 1, self.rows)

        def drawn() -> tuple[np.ndarray, np.ndarray]:
            ids = rng.integers(0, WORDS, shape).astype(np.int32)
            return ids[:-1], ids[1:]

        return drawn


def our_step(workload: Workload, threads: int) -> tuple[StreamTraining, Callable[[], float]]:
    """The training, and a step of it: each call returns the mean loss."""
    model = new_model(read_config(Fields(workload.values())), "text-generation", np.random.default_rng(0))
    assert isinstance(model, RNNForCausalLM)
    make, rate = RULES[workload.rule]
    training = StreamTraining(model, make(), workload.rows, workload.length, clip=CLIP, threads=threads)
    drawn = workload.batches()

    def step() -> float:
        result = training.step(*drawn(), rate)
        return result.loss / result.weight

    return training, step


def torch_step(workload: Workload, threads: int) -> Callable[[], float]:
    """The same step as PyTorch's users write it."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    words, lstm = nn.Embedding(WORDS, workload.hidden), nn.LSTM(
        workload.hidden, workload.hidden, workload.layers, dropout=DROPOUT
    )
    out, drop = nn.Linear(workload.hidden, WORDS, bias=False), nn.Dropout(DROPOUT)
    parameters = [p for part in (words, lstm, out) for p in part.parameters()]
    make: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(parameters, lr=1.0),
        "adam": lambda: torch.optim.Adam(parameters, lr=1e-3, fused=True),
    }
    optimizer = make[workload.rule]()
    shape = (workload.layers, workload.rows, workload.hidden)
    state: Any = (torch.zeros(shape), torch.zeros(shape))
    drawn = workload.batches()

    def step() -> float:
        nonlocal state
        ids, labels = (torch.from_numpy(array).long() for array in drawn())
        y, last = lstm(drop(words(ids)), state)
        state = tuple(part.detach() for part in last)
        loss = nn.functional.cross_entropy(out(drop(y)).reshape(-1, WORDS), labels.reshape(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def work(side: str, workload: Workload, threads: int) -> None:
    """Answers each line on standard input with one measurement: seconds of a step, GFLOP/s, or bytes."""
    commands: dict[str, Callable[[], float]] = {}
    if side == "ours":
        step = our_step(workload, threads)[1]
        ceiling = Ceiling(pool.shared(native_driver(), threads), host_target(), "f32")
        commands["ceiling"] = lambda: ceiling.rates()[0]
    else:
        step = torch_step(workload, threads)
    losses: list[float] = []

    def timed() -> float:
        start = time.perf_counter()
        losses.append(step())
        return time.perf_counter() - start

    commands |= {"step": timed, "loss": lambda: losses[-1], "peak": lambda: float(peak_bytes())}
    for line in sys.stdin:
        print(repr(commands[line.strip()]()), flush=True)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workloads", nargs="+", type=Workload.parse, metavar="HIDDENxLAYERS:ROWSxLENGTH:RULE")
    parser.add_argument("--steps", type=int, default=15, help="of each side, after two that do not count")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--precision", choices=("f32",), default="f32")
    parser.add_argument("--side", choices=("ours", "torch"), help="be one of the two processes")
    given = parser.parse_args()
    usual = ["32x2:3x4:sgd"] if given.quick else ["650x2:20x35:sgd", "650x2:20x35:adam"]
    chosen = given.workloads or [Workload.parse(text) for text in usual]
    if given.side:
        work(given.side, chosen[0], given.threads)
        return
    figures = begin("A training step of a recurrent language model, f32", given.threads)
    figures["rows"] = []
    for workload in chosen:
        peers = () if given.no_torch else ("torch",)
        steps = 2 if given.quick else given.steps
        figures["rows"].append(measure(workload, steps, given.threads, peers, given.precision, MODULE))
        show(figures["rows"][-1])
    keep(figures, given.json)


__all__ = ["Side", "Workload", "our_step", "torch_step"]

if __name__ == "__main__":
    main()
