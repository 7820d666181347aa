"""How fast is a training step of a decoder, in f32 or bf16, against the processor's limit and beside PyTorch?

GPT-2 with 124 M parameters, dropout 0.1, texts of one length, every next token predicted: forward, backward, clipping
of the global norm and AdamW. Ours is one compiled program over packed tokens, with the output layer and its loss in one
node; PyTorch's is transformers' GPT2LMHeadModel, eager, with SDPA and fused AdamW, in bf16 under autocast. The sides
step in turns, as in benchmarks.step.

    python -m benchmarks.causal_step [--workloads 4x512] [--steps 5] [--precision bf16] [--no-torch]
    python -m benchmarks.causal_step --profile
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from benchmarks.figures import begin, keep, options
from benchmarks.step import TORCH, answer, measure, show
from handloom.models.config import Fields
from handloom.models.gpt2 import read_config
from handloom.models.language_model import LanguageModel
from handloom.models.registry import new_model
from handloom.tensor import random
from handloom.train.optimisers import apply, decays, optimiser
from handloom.train.profiling import Profiled, profile_calls

RATE, DECAY, CLIP, DROPOUT = 3e-4, 0.1, 1.0, 0.1
VALUES: dict[str, Any] = {
    "model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
    "resid_pdrop": DROPOUT, "embd_pdrop": DROPOUT, "attn_pdrop": DROPOUT, "tie_word_embeddings": True,
}  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """A step on `sequences` texts of `length` tokens each."""

    sequences: int
    length: int

    @staticmethod
    def parse(text: str) -> Workload:
        """Reads "4x512"."""
        sequences, _, length = text.partition("x")
        return Workload(int(sequences), int(length))

    def __str__(self) -> str:
        return f"{self.sequences}x{self.length}"

    @property
    def label(self) -> str:
        return f"GPT-2 124M, {self.sequences} × {self.length} tokens"

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    @property
    def flops(self) -> int:
        """Every product once forward and twice backward; attention's over the half of the keys that are visible."""
        hidden, layers, words = (int(VALUES[name]) for name in ("n_embd", "n_layer", "vocab_size"))
        layer = 12 * hidden**2 + (self.length + 1) * hidden
        return 6 * self.tokens * (layers * layer + words * hidden)

    def ids(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """i32[sequences, length], drawn evenly."""
        shape = self.sequences, self.length
        return np.random.default_rng(0).integers(0, VALUES["vocab_size"], shape).astype(np.int32)


def our_step(workload: Workload, threads: int | None, precision: str) -> tuple[Any, Callable[[], float]]:
    """The compiled function, and a step of it: each call returns the mean loss."""
    model = new_model(read_config(Fields(VALUES)), "text-generation", np.random.default_rng(0))
    assert isinstance(model, LanguageModel)
    rule = optimiser("adamw", DECAY)
    ids = workload.ids()
    labels = np.concatenate([ids[:, 1:], np.full((len(ids), 1), -100, np.int32)], 1)
    batch = {
        "ids": ids.reshape(-1), "labels": labels.reshape(-1),
        "positions": np.tile(np.arange(workload.length, dtype=np.int32), workload.sequences),
        "starts": np.arange(workload.sequences + 1, dtype=np.int32) * workload.length,
    }  # fmt: skip

    def step(params: Any, moments: Any, batch: Any, state: Any, given: Any) -> Any:
        def loss_of(params: Any) -> Any:
            with model.bound(params), random.using(state):
                return model.loss(model.encode(batch), batch["labels"])

        (loss, weight), grads = ht.value_and_grad(loss_of, has_aux=True)(params)
        return loss, weight, *apply(rule, CLIP, params, moments, grads, weight, given)

    symbols = {"batch": {"ids": ("tokens",), "labels": ("tokens",), "positions": ("tokens",),
                         "starts": ("sequences+1",)}}
    run = ht.compile(step, symbols=symbols, capacity={"tokens": workload.tokens, "sequences": workload.sequences},
                     donate=("params", "moments"), threads=threads, precision=precision)
    params: Any = model.parameters()
    moments: Any = {key: {name: ht.tensor(value) for name, value in tree.items()} for key, tree in
                    rule.init({name: value.numpy() for name, value in params.items()}).items()}
    number = 0

    def one() -> float:
        nonlocal params, moments, number
        given = {key: np.float32(value) for key, value in rule.scalars(RATE, number + 1).items()}
        loss, weight, params, moments, _ = run(params, moments, batch, random.state(0, number, 0).numpy(), given)
        number += 1
        return float(loss) / float(weight)

    return run, one


def torch_step(workload: Workload, threads: int, precision: str, compiled: bool = False) -> Callable[[], float]:
    """The same step as PyTorch's users write it; by torch.compile if it is `compiled`."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    values = {name: value for name, value in VALUES.items() if name != "model_type"}
    values |= {"attn_implementation": "sdpa", "use_cache": False}
    config = GPT2Config(**values)
    model = GPT2LMHeadModel(config).train()
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if decays(n)], "weight_decay": DECAY},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)
    ids = torch.from_numpy(workload.ids()).long()
    run: Any = torch.compile(model) if compiled else model

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def profiled(workload: Workload, threads: int, precision: str, steps: int) -> Profiled:
    """Where the time of our step goes."""
    run, step = our_step(workload, threads, precision)
    lengths = {"tokens": [workload.length] * workload.sequences}
    return profile_calls(step, lambda: run.program, lengths, steps, run.precision)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workloads", nargs="+", type=Workload.parse, metavar="SEQUENCESxLENGTH",
                        default=[Workload(4, 512)])
    parser.add_argument("--steps", type=int, default=5, help="of each side, after two that do not count")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--peers", nargs="+", choices=TORCH, default=["torch"], help="these of PyTorch's ways")
    parser.add_argument("--profile", action="store_true", help="our kernels, the longest first, in place of PyTorch")
    parser.add_argument("--side", choices=("ours", *TORCH), help="be one of the processes")
    given = parser.parse_args()
    if given.side == "ours":
        answer(our_step(given.workloads[0], given.threads, given.precision)[1], given.threads, given.precision)
    elif given.side:
        compiled, own = TORCH[given.side]
        answer(torch_step(given.workloads[0], given.threads, own or given.precision, compiled), given.threads)
    if given.side:
        return
    steps = 2 if given.quick else given.steps
    figures = begin(f"A {given.precision} training step of GPT-2 124M: forward, backward, clip, AdamW; dropout "
                    f"{DROPOUT}", given.threads)
    figures["rows"] = []
    for workload in [Workload(1, 64)] if given.quick else given.workloads:
        if given.profile:
            found = profiled(workload, given.threads, given.precision, steps)
            figures["rows"].append(found.to_dict())
            print(f"{workload.label}: {found.step_seconds:.3f} s a step, {found.utilisation:.2f} of the ceiling")
            for kind, seconds in found.by_kind().items():
                print(f"  {seconds * 1e3:8.1f} ms  {kind}")
            for kernel in found.kernels[:30]:
                print(f"  {kernel.seconds * 1e3:8.1f} ms  {kernel.calls:3} calls  {kernel.gflops:6.0f} GFLOP/s  "
                      f"{kernel.gbs:6.1f} GB/s  {kernel.name}  {kernel.label[:90]}")
        else:
            peers = () if given.no_torch else given.peers
            figures["rows"].append(measure(workload, steps, given.threads, peers, given.precision,
                                           "benchmarks.causal_step"))
            show(figures["rows"][-1])
    keep(figures, given.json)


if __name__ == "__main__":
    main()
