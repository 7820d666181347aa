"""Elementary functions against f64, on dense samples and at the edges, for every width."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import numpy as np
import pytest

from handloom.codegen import llvm, mathfuns
from handloom.codegen.emit import Function, Module, Value, vector
from handloom.codegen.target import LEVELS, choose

WIDTHS = (16, 8, 4, 0)
erf64 = np.vectorize(math.erf, otypes=[np.float64])
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "tanh": np.tanh,
    "erf": erf64,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sin": lambda x: np.where(np.abs(x) > 2.0**20, np.nan, np.sin(x)),
    "cos": lambda x: np.where(np.abs(x) > 2.0**20, np.nan, np.cos(x)),
    "negative": np.negative,
    "absolute": np.abs,
}
ULPS = {"exp": 1.1, "log": 1, "sqrt": 0.5, "rsqrt": 1.5, "tanh": 2.5, "erf": 2.5, "sigmoid": 2.5}
ULPS |= {"negative": 0, "absolute": 0}
ABSOLUTE = {"erf": 1e-7, "sin": 1.2e-7, "cos": 1.2e-7}


def emit_map(module: Module, name: str, lanes: int, body: Callable[[Function, Value], Value], returns: str) -> None:
    """void name(ptr in, ptr out, i64 count): `body` over f32, `count` a multiple of the width."""
    f = Function(module, name, [("ptr", "source"), ("ptr", "target"), ("i64", "count")])
    source, target, count = f.parameters

    def step(i: Value, _: list[Value]) -> None:
        f.store(body(f, f.load(vector("float", lanes), f.at(source, i, "float"))), f.at(target, i, returns))

    f.loop(0, count, max(lanes, 1), step)
    f.finish()


def build(module: Module, level: str | None = None) -> llvm.Library:
    target = choose(llvm.host()[2], *llvm.host()[:2], level)
    return llvm.load({"test": llvm.compile_object(module.text(), target.cpu, target.features)})


def apply(library: llvm.Library, name: str, x: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    x = np.ascontiguousarray(x, np.float32)
    padded = np.concatenate([x, np.ones(-len(x) % 16, np.float32)])
    out = np.empty(len(padded), dtype)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(library.address(name))
    kernel(padded.ctypes.data, out.ctypes.data, len(padded))
    return out[: len(x)]


@pytest.fixture(scope="module")
def library() -> llvm.Library:
    module = Module()
    for lanes in WIDTHS:
        for name, body in mathfuns.UNARY.items():
            emit_map(module, f"{name}_{lanes}", lanes, body, "float")
        emit_map(module, f"bf16_{lanes}", lanes, mathfuns.to_bf16, "i16")
        emit_map(module, f"back_{lanes}", lanes, lambda f, x: mathfuns.from_bf16(f, mathfuns.to_bf16(f, x)), "float")
    return build(module)


def samples(count: int = 60_000) -> np.ndarray:
    random = np.random.default_rng(0)
    every_scale = np.exp(random.uniform(-80, 80, count)) * random.choice([-1, 1], count)
    usual = np.concatenate([random.normal(0, s, count) for s in (0.1, 1, 5, 30)])
    near_one = 1 + random.normal(0, 1e-3, count)
    turning = (-87.33654, 88.72283, 88.37, 4, 10, 0.5**0.5)
    bounds = np.concatenate([np.linspace(b - 1e-2, b + 1e-2, 3000) for b in turning])
    return np.concatenate([every_scale, usual, near_one, bounds]).astype(np.float32)


def ulp_errors(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return np.abs(got.astype(np.float64) - exact) / unit


@pytest.mark.parametrize("name", list(mathfuns.UNARY))
def test_accuracy(library: llvm.Library, name: str) -> None:
    x = samples()
    if name in ("log", "sqrt", "rsqrt"):
        x = np.abs(x)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.float64))
    got = apply(library, f"{name}_16", x)
    inside = (np.abs(exact) < float(np.finfo(np.float32).max)) & (np.abs(exact) > 2.0**-125)
    assert inside.mean() > 0.5
    if name in ABSOLUTE:
        assert np.abs(got - exact)[inside].max() <= ABSOLUTE[name]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    if name in ULPS:
        assert ulp_errors(got[inside], exact[inside]).max() <= ULPS[name]
    overflow = exact > float(np.finfo(np.float32).max) * (1 + 2.0**-25)
    assert np.all(np.isposinf(got[overflow]))
    underflow = np.abs(exact) < 2.0**-126
    assert np.all(np.abs(got[underflow]) <= 2.0**-126)


def test_accuracy_without_fused_multiply_adds() -> None:
    """As good, but for sine and cosine, which are half a step of their argument off."""
    module = Module(native_fma=False)
    for name in (*ULPS, "sin", "cos"):
        emit_map(module, name, 16, mathfuns.UNARY[name], "float")
    assert "llvm.fma" not in module.text()
    library = build(module)
    for name in (*ULPS, "sin", "cos"):
        x = samples(6_000)
        x = np.abs(x) if name in ("log", "sqrt", "rsqrt") else x
        with np.errstate(all="ignore"):
            exact, got = EXACT[name](x.astype(np.float64)), apply(library, name, x)
        inside = (np.abs(exact) < float(np.finfo(np.float32).max)) & (np.abs(exact) > 2.0**-125) & (np.abs(x) < 1e4)
        if name in ULPS:
            assert ulp_errors(got[inside], exact[inside]).max() <= ULPS[name], name
        else:
            assert (np.abs(got - exact)[inside] <= ABSOLUTE[name] + 2.0**-24 * np.abs(x[inside])).all(), name


EDGES = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1, -1, 3.4e38, -3.4e38, 2.0**-126, -(2.0**-126), 89, -88, -104],
    np.float32,
)


@pytest.mark.parametrize("name", list(mathfuns.UNARY))
def test_edges(library: llvm.Library, name: str) -> None:
    flushed = np.where(np.abs(EDGES) < 2.0**-126, np.copysign(0.0, EDGES), EDGES) if name != "sqrt" else EDGES
    with np.errstate(all="ignore"):
        exact = EXACT[name](flushed.astype(np.float64)).astype(np.float32)
    if name == "rsqrt":
        exact[np.abs(EDGES) < 2.0**-126] = 0  # not compared: a division by a subnormal's root
    got = apply(library, f"{name}_16", EDGES)
    for value, have, want in zip(EDGES, got, exact, strict=True):
        if name in ("rsqrt", "sqrt", "absolute", "negative") and 0 < abs(value) < 2.0**-126:
            continue
        if name == "rsqrt" and value == 0:
            assert np.isinf(have)
        elif np.isnan(want):
            assert np.isnan(have), value
        elif np.isinf(want) or (want == 0 and name != "exp"):
            # subnormal numbers are flushed by the thread's mode, which is off here
            assert have == want or abs(have) < 2.0**-125, value
            assert np.signbit(have) == np.signbit(want), value
        else:
            assert abs(float(have) - float(want)) <= 4e-7 * abs(want) + 2.0**-126, value


def test_any_nan_stays_nan(library: llvm.Library) -> None:
    odd = np.array([0x7FC00001, 0x7F800001, 0xFFC001FF, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    for name in mathfuns.UNARY:
        assert np.isnan(apply(library, f"{name}_16", odd)).all(), name


@pytest.mark.parametrize("name", list(mathfuns.UNARY))
def test_every_width_gives_the_same_bits(library: llvm.Library, name: str) -> None:
    x = np.concatenate([samples(2000), EDGES])
    want = apply(library, f"{name}_16", x)
    numbers = ~np.isnan(want)
    for lanes in WIDTHS[1:]:
        got = apply(library, f"{name}_{lanes}", x)
        np.testing.assert_array_equal(got.view(np.uint32)[numbers], want.view(np.uint32)[numbers])
        assert np.isnan(got[~numbers]).all()


def nearest_even(x: np.ndarray) -> np.ndarray:
    """bf16 bits by f64 arithmetic: x · 2^(7 − exponent) rounded by NumPy, which rounds ties to even."""
    _, exponent = np.frexp(x.astype(np.float64))
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 8)
    rounded = np.rint(x.astype(np.float64) / unit) * unit
    return (np.asarray(rounded, np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("lanes", WIDTHS)
def test_bf16_rounds_to_nearest_even(library: llvm.Library, lanes: int) -> None:
    ties = (np.arange(1 << 13, dtype=np.uint32) * 0x8000 + 0x3F000000).view(np.float32)
    x = np.concatenate([ties, -ties, samples(5000), np.array([0, -0.0, 1e-40], np.float32)])
    np.testing.assert_array_equal(apply(library, f"bf16_{lanes}", x, np.uint16), nearest_even(x))
    back = apply(library, f"back_{lanes}", x)
    np.testing.assert_array_equal(back.view(np.uint32) >> 16, nearest_even(x))
    special = apply(library, f"back_{lanes}", np.array([np.inf, -np.inf, np.nan, 3.4e38], np.float32))
    assert special[0] == np.inf and special[1] == -np.inf and np.isnan(special[2]) and special[3] == np.inf


def test_native_bf16_agrees() -> None:
    if not choose(llvm.host()[2], *llvm.host()[:2]).bf16_dot:
        pytest.skip("this processor has no bf16 instructions")
    module = Module(native_bf16=True)
    emit_map(module, "native", 16, lambda f, x: mathfuns.to_bf16(f, x), "i16")
    x = samples(20_000)
    np.testing.assert_array_equal(apply(build(module), "native", x, np.uint16), nearest_even(x))


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "lanes"),
    [
        ("x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma", 8),
        ("aarch64-unknown-linux-gnu", "generic", "", 4),
        ("arm64-apple-macosx", "apple-m1", "", 4),
    ],
)
def test_compiles_for_other_processors(triple: str, cpu: str, features: str, lanes: int) -> None:
    assert any(level.lanes == lanes for level in LEVELS)
    module = Module()
    for name, body in mathfuns.UNARY.items():
        emit_map(module, f"f_{name}", lanes, body, "float")
    emit_map(module, "f_bf16", lanes, mathfuns.to_bf16, "i16")
    assert llvm.undefined_symbols(llvm.compile_object(module.text(), cpu, features, triple)) <= llvm.ALLOWED_SYMBOLS
