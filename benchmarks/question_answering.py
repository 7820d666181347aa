"""Does a reader trained here answer as well as one trained by PyTorch? The same data, weights, settings and seeds.

    python -m benchmarks.question_answering [--seeds 0 1 2] [--epochs 2] [--share 1] [--keep-in FILE]

MiniLM-L6 on the subset of SQuAD, the weights after the last epoch, exact match and F1 on XQuAD's English questions.
Ours is `handloom train question-answering`; theirs a twin in PyTorch and transformers, trained by the recipe of the
reference script's tuned way (fused AdamW, batches of like lengths padded to their longest, a linear schedule with 10 %
of warm-up, clipping at 1; bf16 or f32), with windows of 384 tokens that have a quarter of their room in common. Both
are scored by the official formulas. Results are kept as JSON lines in --keep-in as soon as they are there, and are not
computed again.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Kept, begin, data, environment, keep, minilm, options, shown, spread
from handloom.tasks.answers import best

RATE, BATCH, MAX_LENGTH, LONGEST = 1e-4, 16, 384, 30
MOST_BELOW = 0.005
"""How far our means may lie below the twin's."""
Row = dict[str, Any]


def squad(path: Path, share: float) -> Row:
    """SQuAD's JSON, or the first part of its paragraphs."""
    found: Row = json.loads(path.read_text(encoding="utf-8"))
    paragraphs = [paragraph for article in found["data"] for paragraph in article["paragraphs"]]
    return {"data": [{"title": "", "paragraphs": paragraphs[: max(1, round(share * len(paragraphs)))]}]}


def questions(found: Row) -> list[Row]:
    return [{**question, "context": paragraph["context"]} for article in found["data"]
            for paragraph in article["paragraphs"] for question in paragraph["qas"]]  # fmt: skip


def ours(model: Path, files: dict[str, Path], seed: int, epochs: int, threads: int, precision: str) -> dict[str, float]:
    """One training by the command line: scores on the test set, seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "handloom", "train", "question-answering", "--model", str(model), "--json"]
        command += ["--out", f"{folder}/run", "--train", str(files["train"]), "--test", str(files["test"])]
        command += ["--valid", str(files["valid"]), "--keep", "last"]  # what validates does not matter to the last
        command += ["--epochs", str(epochs), "--lr", str(RATE), "--batch-size", str(BATCH), "--seed", str(seed)]
        command += ["--max-length", str(MAX_LENGTH), "--threads", str(threads), "--precision", precision]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment())
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        found = json.loads(done.stdout)["metrics"]
        return {**{name: found[name] for name in ("exact_match", "f1")}, "seconds": time.perf_counter() - began}


# --- the twin -------------------------------------------------------------------------------------------------------


def windows(tokenizer: Any, rows: list[Row]) -> list[Row]:
    """ids, types, offsets (None outside of the context), question, label."""
    found = []
    for number, row in enumerate(rows):
        beside = len(tokenizer(row["question"])["input_ids"]) + 1
        coded = tokenizer(row["question"], row["context"], truncation="only_second", max_length=MAX_LENGTH,
                          stride=(MAX_LENGTH - beside) // 4, return_overflowing_tokens=True,
                          return_offsets_mapping=True)  # fmt: skip
        answer = row["answers"][0]
        begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        for at, ids in enumerate(coded["input_ids"]):
            kinds, places = coded.sequence_ids(at), coded["offset_mapping"][at]
            inside = [place if kind == 1 else None for place, kind in zip(places, kinds, strict=True)]
            held = [i for i, place in enumerate(inside) if place and place[0] < end and place[1] > begin]
            known = [place for place in inside if place]
            whole = held and known[0][0] <= begin and end <= known[-1][1]
            label = (held[0], held[-1]) if whole else (0, 0)
            found.append({"ids": ids, "types": coded["token_type_ids"][at], "offsets": inside, "question": number,
                          "label": label})  # fmt: skip
    return found


def collated(rows: list[Row]) -> Row:
    import torch

    longest = max(len(row["ids"]) for row in rows)

    def padded(name: str) -> Any:
        return torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])

    lengths = torch.tensor([len(row["ids"]) for row in rows])
    return {"input_ids": padded("ids"), "token_type_ids": padded("types"),
            "attention_mask": (torch.arange(longest)[None] < lengths[:, None]).long()}  # fmt: skip


def batches(rows: list[Row]) -> Iterator[list[Row]]:
    """Shuffled; sorted by length inside chunks of fifty batches."""
    order = random.sample(rows, len(rows))
    chunk = 50 * BATCH
    ranked = [sorted(order[at : at + chunk], key=lambda row: len(row["ids"])) for at in range(0, len(order), chunk)]
    parts = [part[at : at + BATCH] for part in ranked for at in range(0, len(part), BATCH)]
    yield from random.sample(parts, len(parts))


def theirs(
    model: Path, files: dict[str, Path], seed: int, epochs: int, threads: int, precision: str
) -> dict[str, float]:
    """The same by the twin."""
    import torch
    import transformers
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    began = time.perf_counter()
    torch.set_num_threads(threads)
    random.seed(seed)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    train, test = (questions(squad(files[name], 1)) for name in ("train", "test"))
    rows = windows(tokenizer, train)
    network: Any = AutoModelForQuestionAnswering.from_pretrained(str(model)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    steps = epochs * -(-len(rows) // BATCH)
    scheduled: Any = transformers.get_linear_schedule_with_warmup
    schedule = scheduled(optimizer, steps // 10, steps)
    for _ in range(epochs):
        for group in batches(rows):
            begins, ends = (torch.tensor([row["label"][side] for row in group]) for side in (0, 1))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = network(**collated(group), start_positions=begins, end_positions=ends).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    said = answers(network.eval(), windows(tokenizer, test), test)
    judged = [best([a["text"] for a in row["answers"]], text) for row, text in zip(test, said, strict=True)]
    exact, f1 = (sum(float(one[side]) for one in judged) / len(judged) for side in (0, 1))
    return {"exact_match": exact, "f1": f1, "seconds": time.perf_counter() - began}


def answers(network: Any, rows: list[Row], test: list[Row]) -> list[str]:
    """The place with the greatest sum of two logits over the windows of a question."""
    import torch

    found = [(float("-inf"), "")] * len(test)
    for at in range(0, len(rows), 32):
        with torch.no_grad():
            out = network(**collated(rows[at : at + 32]))
        for row, begins, ends in zip(rows[at : at + 32], out.start_logits, out.end_logits, strict=True):
            size, places = len(row["ids"]), row["offsets"]
            own = torch.tensor([place is not None for place in places])
            sums = begins[:size, None].float() + ends[None, :size].float()
            allowed = own[:, None] & own[None] & torch.ones(size, size).triu().tril(LONGEST - 1).bool()
            top = int(sums.masked_fill(~allowed, float("-inf")).argmax())
            first, last = divmod(top, size)
            score = float(sums[first, last])
            if places[first] and places[last] and score > found[row["question"]][0]:
                context = test[row["question"]]["context"]
                found[row["question"]] = score, context[places[first][0] : places[last][1]]
    return [text for _, text in found]


# --- both -----------------------------------------------------------------------------------------------------------

SIDES: dict[str, Callable[..., dict[str, float]]] = {
    f"{name} {precision}": partial(run, precision=precision)
    for precision in ("f32", "bf16") for name, run in (("Handloom", ours), ("PyTorch", theirs))
}  # fmt: skip


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--share", type=float, default=1.0, help="of the paragraphs of both files, the first")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.epochs, given.share = given.seeds[:1], 1, 0.02
    figures = begin(f"Question answering after {given.epochs} epochs, weights of the last", given.threads)
    kept, model, means = Kept(given.keep_in), minilm(given.model), {}
    with tempfile.TemporaryDirectory() as folder:
        learnt, asked = data("qa", "squad_subset", "train.json"), data("qa", "xquad", "xquad.en.json")
        parts = {"train": (learnt, given.share), "test": (asked, given.share), "valid": (asked, given.share / 20)}
        files = {name: Path(folder) / f"{name}.json" for name in parts}
        for name, part in parts.items():
            files[name].write_text(json.dumps(squad(*part)), encoding="utf-8")
        for side in given.sides:
            chosen = []
            for seed in given.seeds:
                key = {"side": side, "seed": seed, "epochs": given.epochs, "share": given.share}
                chosen.append(kept.row(key, partial(SIDES[side], model, files, seed, given.epochs, given.threads)))
            means[side] = {name: sum(row[name] for row in chosen) / len(chosen) for name in ("exact_match", "f1")}
            seconds = shown(spread([row["seconds"] for row in chosen]), "{:.0f}".format)
            exact, f1 = means[side].values()
            print(f"  {side}: exact match {exact:.4f}, F1 {f1:.4f}; seconds {seconds}", flush=True)
    for precision in ("f32", "bf16"):
        pair = [means.get(f"{name} {precision}") for name in ("Handloom", "PyTorch")]
        if pair[0] and pair[1]:
            apart = ", ".join(f"{name} {100 * (pair[0][name] - pair[1][name]):+.2f}" for name in pair[0])
            print(f"  {precision}, Handloom − PyTorch in points: {apart} (at least {-100 * MOST_BELOW})")
    figures |= {"means": means, "rows": kept.rows}
    keep(figures, given.json)


if __name__ == "__main__":
    main()
