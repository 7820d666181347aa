"""Is a GGUF model the same model here as in transformers? Perplexity, and what it goes on with.

SmolLM2-135M-Instruct in 4 bits, taken apart to f32 by both sides: the perplexity of the first tokens of
tinyshakespeare in windows that know nothing of each other, and eight greedy words after a prompt. transformers reads
the file by its own reader (which needs accelerate).

    python -m benchmarks.smollm2 [--tokens 20000] [--window 1000] [--model FILE.gguf]
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import handloom.tensor as ht
from benchmarks.figures import begin, data, keep, options
from handloom.gguf_file import within
from handloom.models.language_model import LanguageModel
from handloom.models.registry import load_model
from handloom.models.resolve import model_folder
from handloom.text.tokenizer import Tokenizer

NAME = "smollm2-135m-instruct"
PROMPT = "The capital of France is"
Ids = np.ndarray[Any, np.dtype[np.int32]]
Scores = tuple[Callable[[Ids], float], Callable[[Ids], Ids]]
"""Of a window of tokens: the summed negative log-likelihood of all but the first, and the likeliest next of each."""


def ours(path: Path, window: int, threads: int) -> Scores:
    model, _, _ = load_model(path, "text-generation")
    assert isinstance(model, LanguageModel)
    parameters = {name: value.numpy() for name, value in model.parameters().items()}

    def batch_of(ids: Ids) -> dict[str, Any]:
        return {"ids": ids, "positions": np.arange(len(ids), dtype=np.int32),
                "starts": np.array([0, len(ids)], np.int32)}

    def loss(parameters: Any, batch: Any, labels: Any) -> Any:
        with model.bound(parameters):
            return model.loss(model.encode(batch), labels)[0]

    def best(parameters: Any, batch: Any) -> Any:
        with model.bound(parameters):
            return model(batch)

    symbols: dict[str, Any] = {"batch": {"ids": ("tokens",), "positions": ("tokens",), "starts": (2,)}}
    run = ht.compile(loss, symbols={**symbols, "labels": ("tokens",)}, capacity={"tokens": window}, threads=threads)
    ask = ht.compile(best, symbols=symbols, capacity={"tokens": 64}, threads=threads)

    def summed(ids: Ids) -> float:
        return float(run(parameters, batch_of(ids), np.append(ids[1:], -100).astype(np.int32)))

    return summed, lambda ids: ask(parameters, batch_of(ids)).numpy().argmax(-1)


def transformers_(path: Path, threads: int) -> Scores:
    import torch
    import transformers

    torch.set_num_threads(threads)
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()

    def logits(ids: Ids) -> Any:
        with torch.no_grad():
            return model(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits[0]

    def summed(ids: Ids) -> float:
        labels = torch.from_numpy(ids[1:].astype(np.int64))
        return float(torch.nn.functional.cross_entropy(logits(ids)[:-1], labels, reduction="sum"))

    return summed, lambda ids: logits(ids).numpy().argmax(-1)


def continued(ids: Ids, best: Callable[[Ids], Ids], words: int = 8) -> Ids:
    """Greedy."""
    for _ in range(words):
        ids = np.append(ids, best(ids)[-1]).astype(np.int32)
    return ids


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=1_000)
    parser.add_argument("--model", default=NAME, help="a GGUF file; default: the catalogue's")
    given = parser.parse_args()
    tokens = 2 * given.window if given.quick else given.tokens
    path = within(model_folder(given.model))
    if path is None:
        raise SystemExit(f"{given.model} is no GGUF file")
    figures = begin(f"{path.name}: perplexity of {tokens:,} tokens in windows of {given.window:,}, f32", given.threads)
    tokenizer = Tokenizer.load(path)
    ids = tokenizer.encode(data("lm", "tinyshakespeare.txt").read_text("utf-8")[: 8 * tokens]).ids[:tokens]
    windows = [ids[begin : begin + given.window] for begin in range(0, len(ids), given.window)]
    prompt = tokenizer.encode(PROMPT).ids
    for name, (summed, best) in (("ours", ours(path, given.window, given.threads)),
                                 ("transformers", transformers_(path, given.threads))):
        summed(windows[0])  # compiles
        start = time.perf_counter()
        total = sum(summed(window) for window in windows)
        seconds = time.perf_counter() - start
        text = "".join(tokenizer.token(number) for number in continued(prompt, best).tolist()).replace("Ġ", " ")
        perplexity = math.exp(total / sum(len(window) - 1 for window in windows))
        figures[name] = {"perplexity": perplexity, "seconds": seconds, "text": text}
        print(f"{name:13} perplexity {perplexity:.4f}  {len(ids) / seconds:8,.0f} tokens/s  {text!r}")
    ratio = figures["ours"]["perplexity"] / figures["transformers"]["perplexity"]
    print(f"ours / transformers: {ratio:.6f}")
    keep({**figures, "ratio": ratio}, given.json)


if __name__ == "__main__":
    main()
