"""A translator from nothing: how good is it after half an hour, and how long would PyTorch take for the same?

    python -m benchmarks.translation [--parts speed quality] [--seeds 0 1 2] [--rounds 6] [--keep-in FILE]

Multi30k, English to German: 29,000 pairs, sacreBLEU on the 1,000 of test_2016_flickr. `quality` is one command,
`handloom train translation --model-type marian …`, by the clock, from the file to the scores. `speed` is a step of
that training beside the same model, weights and batches in PyTorch: transformers' MarianMTModel in f32, batches of
like lengths padded to their longest, fused AdamW, clipping, the same label smoothing and dropout, in turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Kept, begin, data, environment, keep, options, shown
from benchmarks.step import Side, answer, in_turns

SHAPE = {"layers": 4, "hidden": 128, "heads": 4, "intermediate": 256, "vocab_size": 6000, "dropout": 0.1}
VALUES = {"attention_dropout": 0.0, "activation_dropout": 0.0}
RECIPE = {"epochs": 15, "lr": 3e-3, "batch_tokens": 4096, "label_smoothing": 0.1, "beta2": 0.98, "warmup": 0.1}
GROUPS, CHUNK = 24, 50
"""Batches that are measured; batches whose pairs are sorted together."""
WANTED, MINUTES, TIMES = 33.0, 30, 2.3


def files(part: str) -> tuple[Path, Path]:
    return data("translation", "multi30k", f"{part}.en"), data("translation", "multi30k", f"{part}.de")


# -- quality


def trained(seed: int, threads: int, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "handloom", "train", "translation", "--model-type", "marian", "--json"]
        asked = {**SHAPE, **RECIPE, "seed": seed, "threads": threads, **({"epochs": 0.02} if quick else {})}
        for name, value in asked.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        for name, value in VALUES.items():
            command += ["--set", f"{name}={value}"]
        for option, part in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
            source, target = files(part)
            command += [f"--{option}", str(source), f"--{option}-targets".replace("--train-", "--"), str(target)]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", f"{folder}/run"], stdout=subprocess.PIPE, text=True, env=environment()
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        metrics = json.loads(done.stdout)["metrics"]
        return {**{name: metrics[name] for name in ("bleu", "chrf")}, "seconds": time.perf_counter() - began}


# -- speed


def beginning() -> tuple[Any, list[list[Any]]]:
    """The new translator, and batches of like lengths for both sides."""
    from handloom import Translator
    from handloom.data.readers import read

    model = Translator.new(files("train"), model_type="marian", seed=0, **SHAPE, **VALUES)
    features = model.task.encode(read(files("train"), "translation").examples, model.tokenizer, 256, "head").features
    rng = np.random.default_rng(0)
    room = int(RECIPE["batch_tokens"])
    order = rng.permutation(len(features))[: CHUNK * room // 30]
    groups: list[list[Any]] = [[]]
    for feature in sorted((features[i] for i in order), key=len):
        if sum(map(len, groups[-1])) + len(feature) > room:
            groups.append([])
        groups[-1].append(feature)
    return model, [groups[i] for i in rng.permutation(len(groups) - 1)[:GROUPS]]


def our_round(threads: int) -> Callable[[], float]:
    from handloom.tasks.rewriting import Rewriting
    from handloom.train import modeling
    from handloom.train.batches import capacity
    from handloom.train.engine import Engine
    from handloom.train.optimisers import optimiser

    start, groups = beginning()
    task = Rewriting("translation", start.task.start, "", float(RECIPE["label_smoothing"]))
    model, _, _ = modeling.build(start.folder, task, 0)
    room = capacity(max(sum(map(len, group)) for group in groups), max(map(len, groups)))
    rule = optimiser("adamw", 0.01, beta2=float(RECIPE["beta2"]))
    engine = Engine(model, task, rule, clip=1.0, threads=threads, capacity=room, precision="f32",
                    owns=True)  # fmt: skip
    number = 0

    def run() -> float:
        nonlocal number
        loss = 0.0
        for group in groups:
            result = engine.step([group], number, 1e-4)
            loss, number = result.loss / result.weight, number + 1
        return loss

    return run


def torch_round(threads: int) -> Callable[[], float]:
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import MarianMTModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    start, groups = beginning()
    model: Any = MarianMTModel.from_pretrained(str(start.folder), attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, float(RECIPE["beta2"])), fused=True)

    def padded(rows: list[Any], fill: int) -> Any:
        found = np.full((len(rows), max(map(len, rows))), fill, np.int64)
        for row, ids in zip(found, rows, strict=True):
            row[: len(ids)] = ids
        return torch.from_numpy(found)

    batches = []
    for group in groups:
        sources, targets = ([f.encoding.ids for f in group], [f.target for f in group])
        shown_ = [np.concatenate([[start.task.start], target[:-1]]) for target in targets]
        mask = padded([np.ones(len(ids)) for ids in sources], 0)
        batches.append((padded(sources, 0), mask, padded(shown_, 0), padded(targets, -100)))

    def run() -> float:
        value = 0.0
        for source, mask, before, labels in batches:
            logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=before).logits
            loss: Any = cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1),
                                 label_smoothing=float(RECIPE["label_smoothing"]))  # fmt: skip
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            value = float(loss.detach())
        return value

    return run


def work(side: str, threads: int) -> None:
    """Answers each line on standard input with the seconds of a round, or the last loss."""
    answer((our_round if side == "ours" else torch_round)(threads), threads)


def speed(rounds: int, threads: int) -> dict[str, Any]:
    make = partial(Side, workload="multi30k", threads=threads, precision="f32", module="benchmarks.translation")
    found = in_turns(make, ("torch",), rounds)
    tokens = sum(len(feature) for group in beginning()[1] for feature in group)
    for name in ("ours", "torch"):
        rate = tokens / found[name]["seconds"]["median"]
        time_ = shown(found[name]["seconds"], lambda s: f"{s / GROUPS * 1e3:.0f}")
        print(f"  {name:6} {time_:>20} ms a step  {rate:8,.0f} tokens/s  loss {found[name]['loss']:.3f}")
    print(f"  PyTorch takes {shown(found['times_torch'])} times as long (at least {TIMES})")
    return {**found, "tokens": tokens}


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--parts", nargs="+", choices=("speed", "quality"), default=["speed", "quality"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=6)
    for name in ("--side", "--workloads", "--precision"):
        parser.add_argument(name, help="to be one of the processes")
    given = parser.parse_args()
    if given.side:
        work(given.side, given.threads)
        return
    figures = begin("A translator from nothing: Multi30k, English to German", given.threads)
    if "speed" in given.parts:
        print("\nspeed")
        figures["speed"] = speed(1 if given.quick else given.rounds, given.threads)
    if "quality" in given.parts:
        print(f"\nquality: {SHAPE} {RECIPE}")
        kept = Kept(given.keep_in)
        for seed in given.seeds[:1] if given.quick else given.seeds:
            key = {"seed": seed, "quick": given.quick, "recipe": {**SHAPE, **VALUES, **RECIPE}}
            row = kept.row(key, partial(trained, seed, given.threads, given.quick))
            bleu, chrf, minutes = 100 * row["bleu"], 100 * row["chrf"], row["seconds"] / 60
            print(f"  seed {seed}: BLEU {bleu:.1f} (at least {WANTED}), chrF {chrf:.1f}, "
                  f"{minutes:.1f} minutes (at most {MINUTES})", flush=True)  # fmt: skip
        figures["quality"] = kept.rows
    keep(figures, given.json)


if __name__ == "__main__":
    main()
