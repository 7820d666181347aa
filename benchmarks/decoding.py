"""How fast does a language model go on with a text, beside transformers? One stream, SmolLM2-135M by default.

Two questions: 256 new tokens after a short prompt, and reading a prompt of 1,024 tokens. Ours holds its matrices in
f32, bf16 and int8; theirs runs in f32 and in bf16, attention by scaled-dot-product; the best of theirs counts. The
sides take turns in one process. What int8 and bf16 cost is the perplexity on tinyshakespeare.

    python -m benchmarks.decoding [--model NAME] [--new 256] [--prompt 1024] [--rounds 3] [--loss 20000]
    python -m benchmarks.decoding --peers float32    where the processor has no bf16: it takes minutes a round
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figures import begin, data, keep, options, seconds_of, shown, spread
from handloom.generate.decoder import CachedDecoder, Ids
from handloom.generate.sampling import log_probabilities
from handloom.models.language_model import LanguageModel
from handloom.models.registry import load_model
from handloom.models.resolve import model_folder
from handloom.passes.prepack import WEIGHTS
from handloom.text.tokenizer import Tokenizer

WINDOW = 1024
"""Tokens of a text that perplexity is measured on at once."""


def go_on(decoder: CachedDecoder, prompt: Ids, count: int) -> list[int]:
    state, logits = decoder.start([prompt])
    found = [int(logits[0].argmax())]
    while len(found) < count:
        found.append(int(state.step(np.array(found[-1:], np.int32))[0].argmax()))
    return found


def theirs(model: LanguageModel, dtype: str, threads: int) -> Any:
    """transformers' model with the very weights of ours."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    source = {**model.config.source, "torch_dtype": "float32"}
    family: Any = transformers.AutoModelForCausalLM
    made = family.from_config(transformers.AutoConfig.for_model(**source), attn_implementation="sdpa")
    weights = {name: torch.from_numpy(np.array(value.numpy())) for name, value in model.parameters().items()}
    missing = made.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}, missing
    made.tie_weights()
    return made.to(getattr(torch, dtype)).eval()


def their_sides(model: Any, prompt: Ids, long: Ids, count: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch

    short, whole = (torch.from_numpy(ids[None].astype(np.int64)) for ids in (prompt, long))

    def go_on() -> list[int]:
        with torch.inference_mode():
            out = model.generate(short, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)
        return [int(token) for token in out[0, len(prompt) :]]

    def read() -> Any:
        with torch.inference_mode():
            return model(whole, use_cache=True, logits_to_keep=1).logits.float().numpy()

    return go_on, read


def perplexity(decoder: CachedDecoder, ids: Ids) -> float:
    """Of windows side by side, the first token of each uncounted."""
    total, count = 0.0, 0
    for begin_at in range(0, len(ids) - 1, WINDOW):
        window = ids[begin_at : begin_at + WINDOW]
        at = 0
        for rows in decoder.logits(window):
            following = window[at + 1 : at + 1 + len(rows)]
            total -= float(log_probabilities(rows)[np.arange(len(following)), following].sum())
            at, count = at + len(rows), count + len(following)
    return math.exp(total / max(count, 1))


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--new", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16"))
    parser.add_argument("--loss", type=int, default=20_000, help="tokens for the perplexity; 0: none")
    given = parser.parse_args()
    figures = begin("Decoding, one stream", given.threads)
    folder = model_folder(given.model)
    model, _, _ = load_model(folder, "text-generation", dropout=0.0)
    assert isinstance(model, LanguageModel)
    ids = Tokenizer.load(folder).ids(data("lm", "tinyshakespeare.txt").read_text("utf-8")[: 8 * 20_000 + 100_000])
    prompt, long = ids[:16], ids[: given.prompt]
    decoders = {f"Handloom {w}": CachedDecoder(model, given.threads, "f32", w) for w in WEIGHTS}
    going: dict[str, Callable[[], Any]] = {}
    reading: dict[str, Callable[[], Any]] = {}
    for name, decoder in decoders.items():
        going[name] = partial(go_on, decoder, prompt, given.new)
        reading[name] = partial(decoder.start, [long])
    for dtype in given.peers:
        name = f"transformers {dtype}"
        going[name], reading[name] = their_sides(theirs(model, dtype, given.threads), prompt, long, given.new)
    for question, sides in (("going on", going), ("reading", reading)):
        first = {name: run() for name, run in sides.items()}
        if question == "going on" and "float32" in given.peers:
            pairs = enumerate(zip(first["Handloom f32"], first["transformers float32"], strict=True))
            same = next((i for i, pair in pairs if pair[0] != pair[1]), given.new)
            print(f"f32 on both sides: the first {same} of {given.new} tokens are equal")
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(1 if given.quick else given.rounds):
            for name, run in sides.items():
                seconds[name].append(seconds_of(run))
        tokens = given.new if question == "going on" else given.prompt
        print(f"\n{question}: {tokens} tokens")
        best = min((name for name in seconds if name.startswith("transf")), key=lambda n: median(seconds[n]))
        times = {}
        for name, values in seconds.items():
            ratio = spread([b / a for a, b in zip(values, seconds[best], strict=True)])
            times[name] = ratio
            rate = shown(spread([tokens / s for s in values]), lambda r: f"{r:.1f}")
            print(f"  {name:24} {rate} tokens/s   {shown(ratio)} × {best}")
        figures[question] = {"seconds": {k: spread(v) for k, v in seconds.items()}, "times": times, "peer": best}
    if given.loss:
        found = {name: perplexity(decoder, ids[: given.loss]) for name, decoder in decoders.items()}
        print(f"\nperplexity on {given.loss:,} tokens of tinyshakespeare")
        for name, value in found.items():
            print(f"  {name:24} {value:.3f}   {value / found['Handloom f32'] - 1:+.2%}")
        figures["perplexity"] = found
    keep(figures, given.json)


if __name__ == "__main__":
    main()
