"""How fast is a small language model pre-trained from scratch, and how well, beside tuned PyTorch?

The character model of nanoGPT's recipe for CPUs on Tiny Shakespeare: 4 layers, 4 heads, width 128, context 64, batches
of 12, 2,000 iterations, AdamW (β₂ 0.99, decay 0.1 on matrices), learning rate 1e-3 to 1e-4 by a cosine after 100 steps
of warm-up, clipping at 1, no dropout. PyTorch's is the same model (GPT-2 with biases, GELU by tanh, tied embeddings)
with SDPA and fused AdamW, eager and by torch.compile. All sides read the same tokens and go on in turns of 50
iterations, so that whatever else the machine does falls on all of them; the first turn, in which programs are compiled,
does not count. Each is validated on the last tenth of the text, all of it. At the end `handloom pretrain` is run as a
user would.

    python -m benchmarks.character_model [--iterations 2000] [--peers torch] [--no-command]
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import begin, data, environment, keep, options, shown, spread
from benchmarks.step import REST, Side

ITERATIONS, CHUNK = 2000, 50
LAYERS, HEADS, HIDDEN, CONTEXT, BATCH = 4, 4, 128, 64, 12
RATE, FINAL, WARM, BETA2, DECAY = 1e-3, 1e-4, 100, 0.99, 0.1
RECIPE: dict[str, Any] = {
    "model_type": "gpt2", "tokenizer": "character", "layers": LAYERS, "heads": HEADS, "hidden": HIDDEN,
    "context": CONTEXT, "batch_size": BATCH, "lr": RATE, "final_lr": FINAL, "warmup": WARM, "beta2": BETA2,
    "weight_decay": DECAY, "dropout": 0.0, "schedule": "cosine",
}  # fmt: skip
PEERS = {"torch": False, "torch.compile": True}


def text() -> Path:
    return data("lm", "tinyshakespeare.txt")


Trained = tuple[Callable[[int], None], Callable[[], float]]
"""Does the iteration of a number; gives the validation loss."""


def ours(iterations: int, threads: int, precision: str) -> Trained:
    from handloom.train.pretraining import Prepared, prepare
    from handloom.train.schedules import schedule
    from handloom.train.windows import held_out

    prepared: Prepared = prepare(text(), steps=iterations, threads=threads, precision=precision, **RECIPE)
    engine, batches = prepared.engine(), prepared.batches
    rate = schedule("cosine", RATE, iterations, WARM, FINAL)

    def loss() -> float:
        total, weight = engine.total(held_out(prepared.valid, prepared.task, BATCH, 10**9))
        return total / weight

    return lambda number: void(engine.step(batches.step(number), number, rate(number))), loss


def void(_: object) -> None:
    pass


def torchs(iterations: int, threads: int, compiled: bool) -> Trained:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from handloom.train.pretraining import prepare

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    prepared = prepare(text(), steps=iterations, **RECIPE)
    train, valid = (torch.from_numpy(file.tokens.astype(np.int64)) for file in (prepared.batches.file, prepared.valid))
    words = prepared.config.vocab_size

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
            self.c_attn, self.c_proj = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
            self.c_fc, self.mlp_proj = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)

        def forward(self, x: Any) -> Any:
            rows, length, _ = x.shape
            q, k, v = self.c_attn(self.ln_1(x)).view(rows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(rows, length, -1)
            x = x + self.c_proj(seen)
            return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(words, HIDDEN), nn.Embedding(CONTEXT, HIDDEN)
            self.h = nn.ModuleList(Block() for _ in range(LAYERS))
            self.ln_f = nn.LayerNorm(HIDDEN)
            for name, value in self.named_parameters():
                if value.dim() == 2:
                    nn.init.normal_(value, std=0.02 / (math.sqrt(2 * LAYERS) if "proj" in name else 1.0))
                elif name.endswith("bias"):
                    nn.init.zeros_(value)

        def forward(self, ids: Any, labels: Any) -> Any:
            x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
            for block in self.h:
                x = block(x)
            logits = F.linear(self.ln_f(x), self.wte.weight)
            return F.cross_entropy(logits.view(-1, words), labels.reshape(-1))

    model = GPT()
    forward: Any = torch.compile(model) if compiled else model
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, BETA2), fused=True)
    span = torch.arange(CONTEXT + 1)

    def rate(number: int) -> float:
        if number < WARM:
            return RATE * (number + 1) / (WARM + 1)
        return FINAL + 0.5 * (1 + math.cos(math.pi * (number - WARM) / (iterations - WARM))) * (RATE - FINAL)

    def step(number: int) -> None:
        windows = train[torch.randint(len(train) - CONTEXT, (BATCH, 1)) + span]
        for group in optimizer.param_groups:
            group["lr"] = rate(number)
        forward(windows[:, :-1], windows[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def loss() -> float:
        total = 0.0
        with torch.no_grad():
            for at in range(0, len(valid) - 1, CONTEXT):
                window = valid[at : at + CONTEXT + 1]
                total += float(model(window[None, :-1], window[None, 1:])) * (len(window) - 1)
        return total / (len(valid) - 1)

    return step, loss


def work(side: str, iterations: int, threads: int, precision: str) -> None:
    """Answers each line on standard input with a number: seconds of the next CHUNK iterations, or the loss."""
    step, loss = ours(iterations, threads, precision) if side == "ours" else torchs(iterations, threads, PEERS[side])
    done = 0

    def chunk() -> float:
        nonlocal done
        start = time.perf_counter()
        for number in range(done, done + CHUNK):
            step(number)
        done += CHUNK
        return time.perf_counter() - start

    commands: dict[str, Callable[[], float]] = {"step": chunk, "loss": loss}
    for line in sys.stdin:
        print(repr(commands[line.strip()]()), flush=True)


def measure(iterations: int, threads: int, peers: tuple[str, ...], precision: str) -> dict[str, Any]:
    """All sides in turns. The fastest of PyTorch's is what `times_torch` compares with."""
    side = partial(Side, workload=iterations, threads=threads, precision=precision, module="benchmarks.character_model")
    sides = {name: side(name) for name in ("ours", *peers)}
    firsts = {name: one.ask("step") for name, one in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(iterations // CHUNK - 1):
        for name, one in sides.items():
            time.sleep(REST if peers else 0)
            seconds[name].append(one.ask("step") / CHUNK)
    found: dict[str, Any] = {}
    for name, one in sides.items():
        found[name] = {"step": spread(seconds[name]), "first_chunk": firsts[name], "loss": one.ask("loss"),
                       "all": spread(seconds[name])["median"] * iterations}  # fmt: skip
        one.close()
    if peers:
        best = min(peers, key=lambda name: float(found[name]["step"]["median"]))
        found["best_peer"] = best
        found["times_torch"] = spread([t / o for o, t in zip(seconds["ours"], seconds[best], strict=True)])
    return found


def command(iterations: int, threads: int, precision: str) -> dict[str, Any]:
    """`handloom pretrain`, from the command line to the saved model."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["pretrain", str(text()), "--steps", str(iterations), "--out", f"{folder}/run", "--json"]
        for name, value in {**RECIPE, "threads": threads, "precision": precision}.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "handloom", *words], env=environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return {"seconds": time.perf_counter() - start, **json.loads(done.stdout)["metrics"]}


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help=f"a multiple of {CHUNK}")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="these of PyTorch's ways")
    parser.add_argument("--no-command", action="store_true")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--side", choices=("ours", *PEERS), help="be one of the processes")
    parser.add_argument("--workloads", type=int, help="iterations of that process")
    given = parser.parse_args()
    if given.side:
        work(given.side, given.workloads, given.threads, given.precision)
        return
    iterations = 2 * CHUNK if given.quick else given.iterations
    title = f"A character model, {iterations:,} iterations of {BATCH} × {CONTEXT} characters, {given.precision}"
    figures = begin(title, given.threads)
    figures |= measure(iterations, given.threads, tuple(given.peers), given.precision)
    for name in ("ours", *PEERS):
        if name in figures:
            one = figures[name]
            print(f"  {name:14} {shown(one['step'], lambda s: f'{s * 1e3:.1f}'):>24} ms an iteration, "
                  f"{one['all']:6.0f} s for all, validation loss {one['loss']:.4f}")  # fmt: skip
    if "times_torch" in figures:
        print(f"  {shown(figures['times_torch'])} × {figures['best_peer']}", flush=True)
    if not given.no_command:
        figures["command"] = command(iterations, given.threads, given.precision)
        one = figures["command"]
        print(f"  the command: {one['seconds']:.0f} s in all, validation loss {one['loss']:.4f}, "
              f"{one['bits_per_byte']:.3f} bits per byte")  # fmt: skip
    keep(figures, given.json)


if __name__ == "__main__":
    main()
