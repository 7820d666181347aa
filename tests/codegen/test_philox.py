"""Random numbers: the published answers, the layout, and compiled code against NumPy, bit for bit."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from handloom.codegen import llvm
from handloom.codegen.emit import Function, Module, Value, integer
from handloom.codegen.philox import keep_mask, load_state, philox_words
from handloom.codegen.target import choose
from handloom.graph import philox

# The known-answer vectors of the Random123 library (philox4x32, 10 rounds): counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
STATE = np.array([0x12345678, 0x9ABCDEF0, 7, 3], np.uint32)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], result: tuple[int, ...]) -> None:
    words = philox.philox4x32(counter, key)  # type: ignore[arg-type]
    assert tuple(int(word) for word in words) == result


def test_layout_is_the_documented_one() -> None:
    bits = philox.uniform_bits(STATE, 5, 3, 200)
    assert bits.shape == (3, 200) and bits.dtype == np.uint32
    for row, column in [(0, 0), (1, 15), (1, 16), (2, 63), (2, 64), (0, 199)]:
        counter = (column // 64 * 16 + column % 16, row, 5 + (3 << 16), 7)
        words = philox.philox4x32(counter, (int(STATE[0]), int(STATE[1])))
        assert bits[row, column] == words[column % 64 // 16]


def test_rows_by_number_and_shorter_rows() -> None:
    whole = philox.uniform_bits(STATE, 5, 10, 100)
    np.testing.assert_array_equal(philox.uniform_bits(STATE, 5, np.array([7, 2]), 70), whole[[7, 2], :70])
    assert philox.uniform_bits(STATE, 5, 0, 4).shape == (0, 4)


def test_every_part_of_the_state_matters() -> None:
    base = philox.uniform_bits(STATE, 5, 4, 64)
    for part in range(4):
        other = STATE.copy()
        other[part] += 1
        assert (philox.uniform_bits(other, 5, 4, 64) == base).mean() < 0.02
    assert (philox.uniform_bits(STATE, 6, 4, 64) == base).mean() < 0.02


def test_uniform_is_uniform() -> None:
    values = philox.uniform(STATE, 0, 1000, 300)
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 3 * (1 / 12 / values.size) ** 0.5
    counts = np.histogram(values, 64, (0, 1))[0]
    expected = values.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 4 * (2 * 63) ** 0.5
    assert abs(np.corrcoef(values[:, 0], values[:, 16])[0, 1]) < 0.1


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_keep(rate: float) -> None:
    kept = philox.keep(STATE, 1, 500, 400, rate)
    values = philox.uniform(STATE, 1, 500, 400).astype(np.float64)
    np.testing.assert_array_equal(kept, values >= np.rint(rate * 2**24) / 2**24)
    assert abs(kept.mean() - (1 - rate)) < 0.005
    assert philox.keep_scale(rate) == pytest.approx(1 / (1 - rate))


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_keep_refuses(rate: float) -> None:
    with pytest.raises(ValueError, match="dropout rate"):
        philox.threshold(rate)


def emit(module: Module, lanes: int, rate: float | None) -> None:
    """void rows_L(ptr state, ptr out [rows][64·blocks] i32, i64 row, i64 site, i64 blocks)"""
    parameters = [("ptr", "state"), ("ptr", "out"), ("i64", "row"), ("i64", "site"), ("i64", "blocks")]
    f = Function(module, f"rows_{lanes}_{int(rate is not None)}", parameters)
    pointer, out, row, site, blocks = f.parameters
    state = load_state(f, pointer)

    def body(block: Value, _: list[Value]) -> None:
        for part in range(16 // lanes):
            first = f.cast("trunc", f.add(f.mul(block, 16), part * lanes), "i32")
            words = philox_words(f, state, lanes, f.cast("trunc", site, "i32"), f.cast("trunc", row, "i32"), first)
            for number, word in enumerate(words):
                if rate is not None:
                    word = f.cast("zext", keep_mask(f, word, rate), word.type)
                f.store(word, f.at(out, f.add(f.mul(block, 64), integer(16 * number + part * lanes)), "i32"))

    f.loop(0, blocks, 1, body)
    f.finish()


@pytest.mark.parametrize("level", [None, "avx2"])
def test_compiled_bits_are_the_same(level: str | None) -> None:
    try:
        target = choose(llvm.host()[2], *llvm.host()[:2], level)
    except ValueError:
        pytest.skip(f"this processor has no {level}")
    module = Module()
    for lanes in (16, 8, 4):
        emit(module, lanes, None)
        emit(module, lanes, 0.6)
    library = llvm.load({"philox": llvm.compile_object(module.text(), target.cpu, target.features)})
    for lanes in (16, 8, 4):
        for kept in (0, 1):
            prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3)
            kernel = prototype(library.address(f"rows_{lanes}_{kept}"))
            out = np.zeros(64 * 3, np.uint32)
            for row, site in [(0, 0), (9, 123), (0xFFFFFFFF, 65535)]:
                kernel(STATE.ctypes.data, out.ctypes.data, row, site, 3)
                bits = philox.uniform_bits(STATE, site, np.array([row]), 192)[0]
                want = philox.keep(STATE, site, np.array([row]), 192, 0.6)[0] if kept else bits
                np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-macosx"])
def test_compiles_for_arm(triple: str) -> None:
    module = Module()
    emit(module, 4, 0.1)
    assert llvm.undefined_symbols(llvm.compile_object(module.text(), "generic", "", triple)) <= llvm.ALLOWED_SYMBOLS
