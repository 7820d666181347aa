"""How fast is a training step on real sentences, as they come in a fine-tuning, beside tuned PyTorch?

MiniLM-L6 with a token-classification head on WNUT17's training sentences: batches of like lengths, as the tuned way
makes them; ours packed, PyTorch's padded to their longest with a mask. Both sides take the same batches in turns.
Dropout 0.1, clipping, fused AdamW.

    python -m benchmarks.real_step [--rounds 6] [--batch 32]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.encoders import CLIP, DECAY, RATE
from benchmarks.figures import begin, data, keep, minilm, options, shown
from benchmarks.step import TORCH, Side, answer, in_turns
from handloom.data.examples import TokenExample
from handloom.data.readers import read
from handloom.tasks.task import Feature
from handloom.tasks.token_classification import TokenClassification
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.batches import capacity
from handloom.train.datasets import Sets, labels_of
from handloom.train.engine import Engine
from handloom.train.optimisers import decays, optimiser

GROUPS, CHUNK = 6, 50
"""Batches that are measured; batches that are sorted together."""


def task_and_batches(size: int) -> tuple[TokenClassification, list[list[Feature]]]:
    train = read(data("ner", "wnut17", "train.conll"), "token-classification")
    assert train.scheme is not None
    labels = labels_of(Sets(train, None, None, False), (), train.scheme)
    task = TokenClassification(list(labels), train.scheme)
    examples = [example for example in train.examples if isinstance(example, TokenExample)]
    features = task.encode(examples, Tokenizer.load(minilm(None)), 128, "head").features
    rng = np.random.default_rng(0)
    order = rng.permutation(len(features))[: CHUNK * size]
    ordered = sorted((features[i] for i in order), key=len)
    groups = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    return task, [groups[i] for i in rng.permutation(len(groups))[:GROUPS]]


def our_round(size: int, threads: int, precision: str) -> Callable[[], float]:
    task, groups = task_and_batches(size)
    model, _, _ = modeling.build(minilm(None), task, 0)
    room = capacity(max(sum(map(len, group)) for group in groups), size)
    rule = optimiser("adamw", DECAY)
    engine = Engine(model, task, rule, clip=CLIP, threads=threads, capacity=room, precision=precision, owns=True)
    number = 0

    def run() -> float:
        nonlocal number
        loss = 0.0
        for group in groups:
            result = engine.step([group], number, RATE)
            loss, number = result.loss / result.weight, number + 1
        return loss

    return run


def torch_round(size: int, threads: int, precision: str, compiled: bool) -> Callable[[], float]:
    import torch
    from transformers import AutoModelForTokenClassification

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    task, groups = task_and_batches(size)
    more: dict[str, Any] = {"num_labels": len(task.labels), "attn_implementation": "sdpa"}
    model = AutoModelForTokenClassification.from_pretrained(str(minilm(None)), **more).train()
    named = list(model.named_parameters())
    parts = [
        {"params": [p for n, p in named if decays(n)], "weight_decay": DECAY},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(parts, lr=RATE, fused=True)
    batches = []
    for group in groups:
        longest = max(map(len, group))
        ids = np.zeros((len(group), longest), np.int64)
        mask, labels = np.zeros_like(ids), np.full_like(ids, -100)
        for row, feature in enumerate(group):
            ids[row, : len(feature)], mask[row, : len(feature)] = feature.encoding.ids, 1
            assert feature.rows is not None and feature.label is not None
            labels[row, feature.rows] = feature.label
        batches.append([torch.from_numpy(x) for x in (ids, mask, labels)])
    forward: Any = torch.compile(model, dynamic=True) if compiled else model

    def run() -> float:
        value = 0.0
        for ids, mask, labels in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = forward(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            value = float(loss.detach())
        return value

    return run


def work(side: str, size: int, threads: int, precision: str) -> None:
    """Answers each line on standard input with the seconds of a round, or the last loss."""
    if side == "ours":
        answer(our_round(size, threads, precision), threads)
    else:
        compiled, own = TORCH[side]
        answer(torch_round(size, threads, own or precision, compiled), threads)


def measure(size: int, rounds: int, threads: int, peers: tuple[str, ...], precision: str) -> dict[str, Any]:
    make = partial(Side, workload=size, threads=threads, precision=precision, module="benchmarks.real_step")
    tokens = sum(len(feature) for group in task_and_batches(size)[1] for feature in group)
    return {**in_turns(make, peers, rounds), "tokens": tokens}


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32, help="sentences")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    parser.add_argument("--tuned", action="store_true", help="all of PyTorch's ways, not eager alone")
    parser.add_argument("--side", choices=("ours", *TORCH), help="be one of the processes")
    parser.add_argument("--workloads", type=int, default=32, help="for a side: sentences of a batch")
    given = parser.parse_args()
    if given.side:
        work(given.side, given.workloads, given.threads, given.precision)
        return
    figures = begin("Training steps on WNUT17's sentences", given.threads)
    peers = tuple(TORCH)[1:] if given.tuned else ("torch",)
    found = measure(given.batch, 1 if given.quick else given.rounds, given.threads, peers, given.precision)
    print(f"\n{GROUPS} batches of {given.batch} sentences, {found['tokens'] / GROUPS:,.0f} tokens each in the mean")
    for name in ("ours", *peers):
        one = found[name]
        rate = found["tokens"] / one["seconds"]["median"]
        time_ = shown(one["seconds"], lambda s: f"{s * 1e3:.0f}")
        print(f"  {name:18} {time_:>24} ms  {rate:8,.0f} tokens/s  loss {one['loss']:.3f}")
    print(f"  {shown(found['times_torch'])} × {found['best_peer']}")
    figures["found"] = found
    keep(figures, given.json)


if __name__ == "__main__":
    main()
