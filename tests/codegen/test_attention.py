"""Attention kernels against the NumPy reference in f64; the reference against finite differences."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from handloom.codegen import llvm
from handloom.codegen.attention import emit_attention
from handloom.codegen.attention_backward import emit_attention_backward
from handloom.codegen.attention_parts import AttentionKernel
from handloom.codegen.emit import Module
from handloom.codegen.target import Target, choose
from handloom.graph.attention_reference import attention, attention_backward, visible
from handloom.graph.ops import AttentionAttrs
from handloom.graph.reference import round_bf16

LENGTHS = (1, 2, 15, 16, 17, 0, 40, 130)
STATE = np.array([11, 22, 33, 44], np.uint32)
GUARD = np.float32(123456.0)
PAD = 37
EXACT = ("log_sum", "bias", "dbias", "q_terms", "k_terms", "dq_terms", "dk_terms")
"""What lies in memory as f32 in any case."""


def options(heads: int, key_value_heads: int, size: int, **more: object) -> AttentionAttrs:
    return AttentionAttrs(heads, key_value_heads, size, size**-0.5, **more)  # type: ignore[arg-type]


CASES = {
    "7": options(2, 2, 7),
    "32": options(2, 2, 32),
    "64": options(1, 1, 64),
    "96": options(1, 1, 96),
    "128": options(1, 1, 128),
    "1": options(1, 1, 1),
    "causal": options(2, 2, 32, causal=True),
    "window": options(1, 1, 32, window=20),
    "causal window": options(1, 1, 7, causal=True, window=5),
    "grouped": options(4, 2, 32),
    "one key head": options(3, 1, 7, causal=True),
    "dropout": options(2, 2, 32, dropout=0.3, site=7),
    "everything": options(4, 2, 64, causal=True, window=70, dropout=0.1, site=2, reach=9, soft_cap=3.0),
    "bias": options(2, 2, 32, reach=16),
    "bias for all": options(3, 1, 7, causal=True, reach=0),
    "far bias": options(1, 1, 7, window=20, reach=200),
    "soft cap": options(2, 1, 32, soft_cap=1.5),
    "terms": options(2, 2, 32, buckets=9, far=20),
    "terms for all": options(3, 1, 7, causal=True, buckets=1, far=0),
    "terms and all": options(4, 2, 64, window=40, dropout=0.2, site=3, reach=4, soft_cap=2.0, buckets=40, far=33),
}


def host(level: str | None = None) -> Target:
    try:
        return choose(llvm.host()[2], *llvm.host()[:2], level)
    except ValueError:
        pytest.skip(f"this processor has no {level}")


@dataclass
class Compiled:
    forward: AttentionKernel
    backward: AttentionKernel
    library: llvm.Library


@cache
def compiled(case: AttentionAttrs, level: str | None = None, dtype: str = "f32") -> Compiled:
    target = host(level)
    module = Module(native_bf16=target.bf16_dot)
    forward = emit_attention(module, "forward", case, target, dtype)
    backward = emit_attention_backward(module, "backward", case, target, dtype)
    code = llvm.compile_object(module.text(), target.cpu, target.features)
    return Compiled(forward, backward, llvm.load({"attention": code}))


class Guarded:
    """A matrix [rows, columns] inside a larger buffer: guards before and after, and between its rows."""

    def __init__(self, values: np.ndarray, gap: int) -> None:
        rows, columns = values.shape
        self.flat = np.full(2 * PAD + rows * (columns + gap), GUARD if values.dtype == np.float32 else 77, values.dtype)
        inner = self.flat[PAD : PAD + rows * (columns + gap)].reshape(rows, columns + gap)
        self.view, self.stride = inner[:, :columns], columns + gap
        self.view[:] = values

    def check(self) -> None:
        copy, guard = self.flat.copy(), self.flat[0]
        rows = copy[PAD : len(copy) - PAD].reshape(self.view.shape[0], -1)
        rows[:, : self.view.shape[1]] = guard
        assert np.all(copy == guard) and guard in (GUARD, 77), "written outside of the result"


def run(
    kernel: AttentionKernel,
    library: llvm.Library,
    arrays: dict[str, np.ndarray],
    results: Sequence[str],
    gap: int = 5,
    dtype: str = "f32",
) -> None:
    """Runs all tasks, the last one first; `results` are overwritten in `arrays`. Guards are checked."""
    starts, key_lengths = arrays["starts"], arrays["key_ends"] - arrays["key_starts"]
    given = {n: a for n, a in arrays.items() if a.dtype == np.float32}
    narrow = {n for n in given if dtype == "bf16" and n not in EXACT}
    held = {n: Guarded(bits(a) if n in narrow else a, 0 if n == "log_sum" else gap) for n, a in given.items()}
    slots = []
    for name in kernel.slots:
        if name == "site":
            slots.append(kernel.options.site)
        elif name.endswith("_heads"):
            terms = held[name.removesuffix("_heads")]
            slots.append(len(terms.view) // kernel.options.heads * terms.stride)
        elif name.endswith("_stride"):
            slots.append(held[name.removesuffix("_stride")].stride)
        else:
            slots.append(held[name].view.ctypes.data if name in held else arrays[name].ctypes.data)
    most = int(np.diff(starts).max()), int(key_lengths.max())
    size = kernel.scratch_bytes(*most) // 4
    scratch = np.full(size + 64, np.nan, np.float32)
    offset = -(scratch.ctypes.data // 4) % 16
    arguments = np.array(slots, np.int64)
    code = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)(library.address(kernel.name))
    for task in reversed(range(kernel.tasks(len(starts) - 1))):
        code(arguments.ctypes.data, task, scratch.ctypes.data + 4 * offset)
    assert np.isnan(scratch[:offset]).all() and np.isnan(scratch[offset + size :]).all(), "scratch is too small"
    for name, guarded in held.items():
        guarded.check()
        if name in results:
            arrays[name][:] = values(guarded.view) if name in narrow else guarded.view


def bits(x: np.ndarray) -> np.ndarray:
    """Of rounded values."""
    return (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16)


def values(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def problem(
    case: AttentionAttrs, lengths: Sequence[int], key_lengths: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(len(lengths))
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    edges = np.cumsum([0, *(key_lengths or lengths)]).astype(np.int32)
    tokens, keys = int(starts[-1]), int(edges[-1])
    shapes = {"q": (tokens, case.heads), "k": (keys, case.key_value_heads), "v": (keys, case.key_value_heads)}
    shapes |= {"dout": shapes["q"], "out": shapes["q"], "dq": shapes["q"], "dk": shapes["k"], "dv": shapes["v"]}
    arrays = {
        n: random.normal(size=(rows, heads * case.head_size)).astype(np.float32) for n, (rows, heads) in shapes.items()
    }
    arrays["log_sum"] = random.normal(size=(tokens, case.heads)).astype(np.float32)
    if case.reach is not None:
        arrays["bias"] = random.normal(size=(case.heads, 2 * case.reach + 1)).astype(np.float32)
        arrays["dbias"] = np.full((len(lengths), arrays["bias"].size), 9, np.float32)
    if case.buckets is not None:
        for side, rows in (("q", tokens), ("k", keys)):
            arrays[f"{side}_terms"] = random.normal(size=(case.heads * rows, case.buckets)).astype(np.float32)
            arrays[f"d{side}_terms"] = np.full_like(arrays[f"{side}_terms"], 9)
        arrays["buckets"] = random.integers(0, case.buckets, 2 * case.far + 1).astype(np.int32)
    return arrays | {"starts": starts, "key_starts": edges[:-1], "key_ends": edges[1:], "state": STATE}


def backward_names(case: AttentionAttrs) -> list[str]:
    """What the gradient makes, in its order."""
    terms = ["dq_terms", "dk_terms"] if case.buckets is not None else []
    return ["dq", "dk", "dv", *(["dbias"] if case.reach is not None else []), *terms]


def both(case: AttentionAttrs, arrays: dict[str, np.ndarray], level: str | None = None, dtype: str = "f32") -> None:
    code = compiled(case, level, dtype=dtype)
    run(code.forward, code.library, arrays, ("out", "log_sum"), dtype=dtype)
    run(code.backward, code.library, arrays, backward_names(case), dtype=dtype)


def truth(case: AttentionAttrs, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    q, k, v, dout = (arrays[n].astype(np.float64) for n in ("q", "k", "v", "dout"))
    terms = None
    if case.buckets is not None:
        sides = (arrays[f"{side}_terms"].reshape(case.heads, -1, case.buckets) for side in ("q", "k"))
        terms = (*sides, arrays["buckets"])
    places = (arrays["starts"], arrays["key_starts"], arrays["key_ends"], case, arrays.get("bias"), STATE, terms)
    out, log_sum = attention(q, k, v, *places)
    gradients = attention_backward(q, k, v, out, log_sum, dout, *places)
    found = {"out": out, "log_sum": log_sum, **dict(zip(backward_names(case), gradients, strict=True))}
    return {name: value.reshape(arrays[name].shape) for name, value in found.items()}


def close(arrays: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> None:
    for name, want in exact.items():
        np.testing.assert_allclose(arrays[name], want, rtol=2e-5, atol=6e-6, err_msg=name)


@pytest.mark.parametrize("name", list(CASES))
def test_values_and_gradients(name: str) -> None:
    arrays = problem(CASES[name], LENGTHS)
    both(CASES[name], arrays)
    close(arrays, truth(CASES[name], arrays))


@pytest.mark.parametrize("name", ["7", "64", "everything"])
def test_narrower_vectors(name: str) -> None:
    arrays = problem(CASES[name], LENGTHS)
    both(CASES[name], arrays, "avx2")
    close(arrays, truth(CASES[name], arrays))


@pytest.mark.parametrize("level", [None, "avx2"])
@pytest.mark.parametrize("name", list(CASES))
def test_operands_and_results_in_bf16(name: str, level: str | None) -> None:
    """Against float64 on the rounded operands: the results are rounded once, and `out` once more for the gradients."""
    if level and name not in ("7", "64", "everything"):
        return
    arrays = problem(CASES[name], LENGTHS)
    for operand in ("q", "k", "v", "dout"):
        arrays[operand] = round_bf16(arrays[operand])
    both(CASES[name], arrays, level, dtype="bf16")
    for result, want in truth(CASES[name], arrays).items():
        rough = 2.0**-8 if result != "log_sum" else 2e-5
        atol = 6e-6 if result in ("out", "log_sum") else 2.0**-7 * float(np.abs(want).max()) + 6e-6
        if result in ("dbias", "dq_terms", "dk_terms"):
            # slopes of many queries or keys added up, which may cancel: the rounding of `out` is left
            atol += 0.03
        np.testing.assert_allclose(arrays[result], want, rtol=rough, atol=atol, err_msg=result)


@pytest.mark.parametrize("name", ["32", "causal", "causal window", "dropout", "bias", "bias for all", "terms"])
def test_cross_attention(name: str) -> None:
    """Other numbers of keys than of queries, none of either included: those rows become zero."""
    arrays = problem(CASES[name], (5, 20, 0, 7, 1, 33), (17, 3, 4, 0, 129, 33))
    both(CASES[name], arrays)
    close(arrays, truth(CASES[name], arrays))
    assert np.all(arrays["out"][25:32] == 0) and np.all(np.isneginf(arrays["log_sum"][25:32]))
    assert np.all(arrays["dk"][20:24] == 0) and np.all(arrays["dv"][20:24] == 0)


@pytest.mark.parametrize("name", ["7", "32", "causal", "window", "grouped", "bias", "soft cap", "terms"])
def test_a_sequence_alone_gives_the_same_bits(name: str) -> None:
    case = CASES[name]
    packed = problem(case, LENGTHS)
    both(case, packed)
    for index, (begin, end) in enumerate(zip(packed["starts"], packed["starts"][1:], strict=False)):
        if begin == end:
            continue
        own = {n: packed[n] for n in ("bias", "dbias") if n in packed}
        alone = {n: rows_of(case, n, a, begin, end).copy() for n, a in packed.items()
                 if a.dtype == np.float32 and n not in own}  # fmt: skip
        alone |= {n: a.copy() if n == "bias" else a[index : index + 1].copy() for n, a in own.items()}
        results = ["out", "log_sum", *(name for name in backward_names(case) if name != "dbias")]
        for result in results:
            alone[result][:] = 5
        bounds = np.array([0, end - begin], np.int32)
        alone |= {"starts": bounds, "key_starts": bounds[:1], "key_ends": bounds[1:], "state": STATE}
        alone |= {"buckets": packed["buckets"]} if "buckets" in packed else {}
        both(case, alone)
        for result in results:
            here = rows_of(case, result, packed[result], begin, end)
            np.testing.assert_array_equal(alone[result], here, err_msg=result)
        if own:
            np.testing.assert_array_equal(alone["dbias"][0], packed["dbias"][index])


def rows_of(case: AttentionAttrs, name: str, array: np.ndarray, begin: int, end: int) -> np.ndarray:
    """A sequence's rows, of every head where those lie one behind the other."""
    if not name.endswith("_terms"):
        return array[begin:end]
    return array.reshape(case.heads, -1, array.shape[1])[:, begin:end].reshape(-1, array.shape[1])


def test_extreme_scores() -> None:
    """Scores of ±3000 neither overflow nor vanish, and a NaN stays in its own rows."""
    case = CASES["32"]
    arrays = problem(case, (20, 20))
    arrays["q"] *= 40
    arrays["k"] *= 40
    both(case, arrays)
    exact = truth(case, arrays)
    np.testing.assert_allclose(arrays["out"], exact["out"], rtol=1e-3, atol=2e-3)
    arrays["q"][3, 0] = np.nan
    both(case, arrays)
    assert np.isnan(arrays["out"][3, :32]).all() and np.isfinite(arrays["out"][:3]).all()
    assert np.isfinite(arrays["dk"][20:]).all() and np.isnan(arrays["dk"][:20, :32]).all()


BENT = options(2, 1, 3, reach=2, soft_cap=0.7)


@pytest.mark.parametrize("case", [options(2, 1, 3, causal=True, window=4), options(2, 2, 3, dropout=0.4, site=1), BENT,
                                  options(2, 1, 3, buckets=3, far=2, soft_cap=0.9)])  # fmt: skip
def test_reference_gradient_is_the_finite_difference(case: AttentionAttrs) -> None:
    arrays = problem(case, (5, 1, 8), (6, 2, 7))
    names = ["q", "k", "v", *(["bias"] if case.reach is not None else [])]
    names += ["q_terms", "k_terms"] if case.buckets is not None else []
    wide = {n: arrays[n].astype(np.float64) for n in ("dout", *names)}
    terms = None
    if case.buckets is not None:
        for name in ("q_terms", "k_terms"):
            wide[name] = wide[name].reshape(case.heads, -1, case.buckets)
        terms = (wide["q_terms"], wide["k_terms"], arrays["buckets"])
    places = (arrays["starts"], arrays["key_starts"], arrays["key_ends"], case, wide.get("bias"), STATE, terms)

    def loss() -> float:
        return float((attention(wide["q"], wide["k"], wide["v"], *places)[0] * wide["dout"]).sum())

    out, log_sum = attention(wide["q"], wide["k"], wide["v"], *places)
    gradients = list(attention_backward(wide["q"], wide["k"], wide["v"], out, log_sum, wide["dout"], *places))
    if "bias" in wide:
        gradients[3] = gradients[3].sum(0).reshape(wide["bias"].shape)
    for name, gradient in zip(names, gradients, strict=True):
        for place in np.ndindex(wide[name].shape):
            kept, step = wide[name][place], 1e-5
            wide[name][place] = kept + step
            above = loss()
            wide[name][place] = kept - step
            numeric = (above - loss()) / (2 * step)
            wide[name][place] = kept
            assert numeric == pytest.approx(gradient[place], abs=2e-8, rel=1e-6)


def test_visible_keys() -> None:
    causal = options(1, 1, 1, causal=True)
    np.testing.assert_array_equal(visible(2, 4, causal), [[1, 1, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(visible(2, 4, replace(causal, window=2)), [[0, 1, 1, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(visible(2, 2, options(1, 1, 1, window=1)), [[1, 0], [0, 1]])


def test_scratch_grows_with_the_length_only() -> None:
    for kernel in (compiled(CASES["64"]).forward, compiled(CASES["64"]).backward):
        assert kernel.scratch_bytes(8192) < 2.1 * kernel.scratch_bytes(4096)


@pytest.mark.parametrize(
    "bad",
    [
        options(3, 2, 8),
        AttentionAttrs(1, 1, 0, 1.0),
        options(1, 1, 8, window=0),
        options(1, 1, 8, dropout=1.0),
        options(1, 1, 8, reach=-1),
        options(1, 1, 8, soft_cap=0.0),
        options(1, 1, 8, buckets=0),
    ],
)
def test_refuses(bad: AttentionAttrs) -> None:
    with pytest.raises(ValueError):
        emit_attention(Module(), "bad", bad, host())


@pytest.mark.parametrize(
    ("triple", "cpu", "features"),
    [
        ("x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma"),
        ("aarch64-unknown-linux-gnu", "generic", ""),
        ("arm64-apple-macosx", "apple-m1", ""),
        (
            "x86_64-unknown-linux-gnu",
            "sapphirerapids",
            "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512bf16,+avx2,+fma",
        ),
    ],
)
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_compiles_for_other_processors(triple: str, cpu: str, features: str, dtype: str) -> None:
    target = choose(triple, cpu, features)
    module = Module(native_bf16=target.bf16_dot)
    emit_attention(module, "forward", CASES["everything"], target, dtype)
    emit_attention_backward(module, "backward", CASES["everything"], target, dtype)
    code = llvm.compile_object(module.text(), cpu, features, triple)
    assert llvm.undefined_symbols(code) <= llvm.ALLOWED_SYMBOLS


@pytest.mark.parity
@pytest.mark.parametrize("causal", [False, True])
def test_parity_with_pytorch(causal: bool) -> None:
    torch = pytest.importorskip("torch")
    case = options(3, 3, 64, causal=causal)
    arrays = problem(case, (37, 20))
    both(case, arrays)
    for begin, end in ((0, 37), (37, 57)):
        q, k, v, g = (
            torch.tensor(arrays[n][begin:end]).reshape(-1, 3, 64).transpose(0, 1) for n in ("q", "k", "v", "dout")
        )
        for x in (q, k, v):
            x.requires_grad_(True)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        gradients = torch.autograd.grad(out, (q, k, v), g)
        for name, want in zip(("out", "dq", "dk", "dv"), (out, *gradients), strict=True):
            flat = want.detach().transpose(0, 1).reshape(end - begin, -1).numpy()
            np.testing.assert_allclose(arrays[name][begin:end], flat, atol=5e-6, rtol=2e-5, err_msg=name)
