"""How far is bf16 from exact arithmetic on the rounded operands, beside PyTorch's autocast?

Products forward, dX and dW of a layer of BERT-base, and attention with its gradients: the same operands, rounded to
bf16 before anything happens, on both sides and in NumPy's float64, which is the truth. An error is the norm of the
difference by the norm of the truth. What autocast gives is bf16 again, gradients included; our products give f32.

    python -m benchmarks.accuracy [--tokens 512]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import handloom as hl
from benchmarks.figures import begin, keep, options
from handloom.graph.attention_reference import attention, attention_backward
from handloom.graph.ops import AttentionAttrs
from handloom.graph.reference import round_bf16

MOST = 2.0
"""How many times autocast's error ours may be."""
HEADS, SIZE, LENGTH, SHAPES = 12, 64, 128, ((768, 3072), (3072, 768))
Arrays = dict[str, np.ndarray[Any, Any]]


def rounded(generator: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return round_bf16(generator.normal(size=shape).astype(np.float32))


def exact_product(x: Arrays) -> Arrays:
    a, w, g = (x[name].astype(np.float64) for name in ("a", "w", "g"))
    return {"forward": a @ w.T, "dX": g @ w, "dW": g.T @ a}


def exact_attention(x: Arrays) -> Arrays:
    q, k, v, g = (x[name].astype(np.float64) for name in ("q", "k", "v", "g"))
    attrs = AttentionAttrs(HEADS, HEADS, SIZE, SIZE**-0.5)
    out, log_sum = attention(q, k, v, x["starts"], x["starts"][:-1], x["starts"][1:], attrs)
    gradients = attention_backward(q, k, v, out, log_sum, g, x["starts"], x["starts"][:-1], x["starts"][1:], attrs)
    return dict(zip(("forward", "dQ", "dK", "dV"), (out, *gradients), strict=True))


def ours(
    function: Callable[..., Any], names: tuple[str, ...], results: tuple[str, ...], x: Arrays, threads: int
) -> Arrays:
    """function(operands by name, the rest) gives what the cotangent `g` is for."""

    def weighted(operands: dict[str, Any], rest: dict[str, Any]) -> tuple[Any, Any]:
        out = function(operands, rest)
        return (out * rest["g"]).sum(), out

    def both(operands: dict[str, Any], rest: dict[str, Any]) -> tuple[Any, Any]:
        (_, out), gradients = hl.value_and_grad(weighted, has_aux=True)(operands, rest)
        return out, gradients

    run = hl.compile(both, precision="bf16", threads=threads)
    out, gradients = run({name: x[name] for name in names}, {name: x[name] for name in x if name not in names})
    found = [out.numpy(), *(gradients[name].numpy() for name in names)]
    return dict(zip(("forward", *results), found, strict=True))


def theirs(function: Callable[..., Any], names: tuple[str, ...], results: tuple[str, ...], x: Arrays) -> Arrays:
    import torch

    operands = [torch.tensor(x[name], requires_grad=True) for name in names]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = function(*operands)
    out.backward(torch.tensor(x["g"]).to(out.dtype))
    found = [out.detach(), *(operand.grad for operand in operands)]
    return {name: value.float().numpy() for name, value in zip(("forward", *results), found, strict=True)}


def torch_attention(q: Any, k: Any, v: Any) -> Any:
    import torch

    def heads(x: Any) -> Any:
        return x.reshape(-1, LENGTH, HEADS, SIZE).transpose(1, 2)

    # as autocast's own linear layers hand it on
    q, k, v = (heads(x.to(torch.bfloat16)) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).reshape(-1, HEADS * SIZE)


def error(found: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def measure(tokens: int, threads: int) -> list[dict[str, Any]]:
    import torch

    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []

    def compare(name: str, exact: Arrays, mine: Arrays, peer: Arrays) -> None:
        for part, truth in exact.items():
            errors = {"ours": error(mine[part], truth), "autocast": error(peer[part], truth)}
            rows.append({"name": f"{name} {part}", **errors, "times": errors["ours"] / errors["autocast"]})

    for inputs, outputs in SHAPES:
        x = {"a": rounded(generator, tokens, inputs), "w": rounded(generator, outputs, inputs)}
        x["g"] = rounded(generator, tokens, outputs)
        mine = ours(lambda p, _: hl.linear(p["a"], p["w"]), ("a", "w"), ("dX", "dW"), x, threads)
        peer = theirs(torch.nn.functional.linear, ("a", "w"), ("dX", "dW"), x)
        compare(f"{inputs} → {outputs}", exact_product(x), mine, peer)
    x = {name: rounded(generator, tokens, HEADS * SIZE) for name in "qkvg"}
    x["starts"] = np.arange(0, tokens + 1, LENGTH, dtype=np.int32)
    names, results = ("q", "k", "v"), ("dQ", "dK", "dV")
    mine = ours(lambda p, r: hl.attention(p["q"], p["k"], p["v"], r["starts"], heads=HEADS), names, results, x, threads)
    compare("attention", exact_attention(x), mine, theirs(torch_attention, names, results, x))
    return rows


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--tokens", type=int, default=512, help="a multiple of 128")
    given = parser.parse_args()
    figures = begin("bf16 against float64 on the rounded operands", given.threads)
    figures["rows"] = measure(128 if given.quick else given.tokens, given.threads)
    print(f"\n{'':22} {'ours':>10} {'autocast':>10} {'times':>7}")
    for row in figures["rows"]:
        print(f"{row['name']:22} {row['ours']:10.1e} {row['autocast']:10.1e} {row['times']:7.3f}")
    worst = max(row["times"] for row in figures["rows"])
    figures["worst"] = worst
    print(f"at worst {worst:.2f} of autocast's error (at most {MOST:g})")
    keep(figures, given.json)


if __name__ == "__main__":
    main()
