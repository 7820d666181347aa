"""How fast is an encoder that is only asked, beside PyTorch and ONNX Runtime? MiniLM-L6 with a classification head on
WNUT17's sentences, 1 and 64 at a time.

Ours packs a batch; theirs is padded to its longest: PyTorch in inference mode, eager and with scaled-dot-product
attention, f32 and, on a processor that is faster in it, bf16 autocast; ONNX Runtime (where it is installed, with
`onnx`) in f32, all graph optimisations on. The best of theirs counts. The sides take turns in one process. Tokenising
is in none.

    python -m benchmarks.inference [--batches 1 64] [--rounds 5]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figures import begin, data, keep, minilm, options, seconds_of, shown, spread
from handloom.ceilings import choose
from handloom.data.readers import read
from handloom.tasks.task import Feature
from handloom.tasks.text_classification import TextClassification
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.engine import Engine

TEXTS = 256
LABELS = ("a", "b")


def features() -> list[Feature]:
    """The first sentences, encoded for a classifier."""
    rows = read(data("ner", "wnut17", "train.conll"), "token-classification").examples[:TEXTS]
    tokenizer = Tokenizer.load(minilm(None))
    codes = tokenizer.encode_batch([row.text for row in rows])
    found = []
    for index, coded in enumerate(codes):
        places = np.arange(min(len(coded), 128), dtype=np.int32)
        found.append(Feature(coded.take(places), index, None, places, len(coded)))
    return found


def ours(groups: Sequence[Sequence[Feature]], threads: int, precision: str) -> Callable[[], object]:
    task = TextClassification(list(LABELS))
    model, _, _ = modeling.build(minilm(None), task, 0)
    engine = Engine(model, task, threads=threads, precision=precision)
    largest = max(groups, key=lambda group: sum(map(len, group)))
    engine.ask(largest)  # the program is made for the largest batch
    return lambda: [engine.ask(group) for group in groups]


def theirs(groups: Sequence[Sequence[Feature]], threads: int, precision: str) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    model = torch_model("sdpa")
    batches = [(torch.from_numpy(ids), torch.from_numpy(mask)) for ids, mask in padded(groups)]

    def run() -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return [model(input_ids=ids, attention_mask=mask).logits.float().numpy() for ids, mask in batches]

    return run


def torch_model(attention: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    more: dict[str, Any] = {"num_labels": len(LABELS), "attn_implementation": attention}
    return AutoModelForSequenceClassification.from_pretrained(str(minilm(None)), **more).eval()


def padded(groups: Sequence[Sequence[Feature]]) -> list[tuple[Any, Any]]:
    """(ids, mask) of each group, i64 [texts, longest]."""
    batches = []
    for group in groups:
        longest = max(map(len, group))
        ids, mask = np.zeros((len(group), longest), np.int64), np.zeros((len(group), longest), np.int64)
        for row, feature in enumerate(group):
            ids[row, : len(feature)], mask[row, : len(feature)] = feature.encoding.ids, 1
        batches.append((ids, mask))
    return batches


def onnx(groups: Sequence[Sequence[Feature]], threads: int, folder: str) -> Callable[[], object] | None:
    """ONNX Runtime's side; None where it is not installed."""
    try:
        import onnx as _onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return None
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch_model("eager")

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.model(input_ids=ids, attention_mask=mask).logits

    batches = padded(groups)
    file = f"{folder}/model.onnx"
    axes = {name: {0: "texts", 1: "tokens"} for name in ("ids", "mask")}
    example = tuple(torch.from_numpy(x) for x in batches[0])
    torch.onnx.export(
        Logits(), example, file, input_names=["ids", "mask"], output_names=["logits"], dynamic_axes=axes, dynamo=False
    )
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, chosen, providers=["CPUExecutionProvider"])
    return lambda: [session.run(None, {"ids": ids, "mask": mask}) for ids, mask in batches]


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], help="texts at a time")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    figures = begin("Inference on WNUT17's sentences", given.threads)
    found = features()
    ordered = sorted(found, key=len)
    for size in given.batches:
        # one by one as they come; many at a time with others of like length, on both sides
        order = found if size == 1 else ordered
        groups = [order[at : at + size] for at in range(0, len(order), size)]
        sides: dict[str, Callable[[], object]] = {
            f"Handloom {precision}": ours(groups, given.threads, precision) for precision in {"f32", choose("auto")}
        }
        sides |= {f"PyTorch {p}": theirs(groups, given.threads, p) for p in {"f32", choose("auto")}}
        with tempfile.TemporaryDirectory() as folder:
            runtime = onnx(groups, given.threads, folder)
        if runtime is not None:
            sides["ONNX Runtime"] = runtime
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for run in sides.values():
            run()
        for _ in range(1 if given.quick else given.rounds):
            for name, run in sides.items():
                seconds[name].append(seconds_of(run))
        print(f"\n{size} at a time, {sum(map(len, found)) / len(found):.0f} tokens in the mean")
        for name, values in seconds.items():
            print(f"  {name:14} {shown(spread(values), lambda s: f'{s / TEXTS * 1e3:.2f}')} ms a text")
        mine, peer = (
            min((name for name in seconds if name.startswith("Handloom") == own), key=lambda n: median(seconds[n]))
            for own in (True, False)
        )
        times = spread([b / a for a, b in zip(seconds[mine], seconds[peer], strict=True)])
        print(f"  {shown(times)} × {peer}")
        figures[str(size)] = {"seconds": {k: spread(v) for k, v in seconds.items()}, "times": times, "peer": peer}
    keep(figures, given.json)


if __name__ == "__main__":
    main()
