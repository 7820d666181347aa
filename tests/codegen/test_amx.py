"""AMX: kernels on tile registers, interpreted where the processor has none, and compiled for one that does.

`test_matmul` holds the level to what all others must do as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_matmul import FORMS, bits, check, compiled, expected, interpreted, narrow_run, operands, rng, target
from tile_registers import TileRegisters

import handloom as hl
from handloom import ceilings, compiler
from handloom.codegen import llvm
from handloom.codegen.emit import Module
from handloom.codegen.matmul import Product, StoreEpilogue, emit_product
from handloom.codegen.target import Target, choose
from handloom.errors import HandloomError, UsageError
from handloom.graph.reference import round_bf16
from handloom.runtime import tiles
from handloom.tensor import tree

SAPPHIRE_RAPIDS = (
    "x86_64-unknown-linux-gnu",
    "sapphirerapids",
    "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512bf16,+amx-tile,+amx-bf16,+avx2,+fma",
)
TILE_INSTRUCTIONS = {"ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored", "tdpbf16ps"}
AROUND = [1, 15, 16, 17, 31, 32, 33, 65]
"""Rows, columns and groups of k's beside the edges of tile registers, and of the four of an accumulator."""


@pytest.mark.parametrize("form", FORMS)
def test_every_size_around_amx_tiles(form: str) -> None:
    """Values that are whole numbers, so that every order of sums has one result; NaN lies around what may be read."""
    columns = FORMS[form] == (True, False)
    for number, groups in enumerate([*AROUND, 191, 192, 193] if columns else [1, 15, 17, 32, 193]):
        k = 2 * groups - columns
        for m, n in zip(AROUND, [*AROUND[number % 8 :], *AROUND[: number % 8]], strict=True):
            product = Product(*FORMS[form], k=None if columns else k, row_sums=True, dtype="bf16")
            a, b = (np.float32(rng.integers(-8, 9, x.shape)) for x in operands(product, m, n, k))
            sums = np.full(m, np.nan, np.float32)
            exact, _ = expected(product, a, b)
            np.testing.assert_array_equal(narrow_run(product, a, b, level="amx", sums=sums), exact)
            np.testing.assert_array_equal(sums, (a.T if product.transpose_a else a).sum(1))


def test_amx_adds_as_its_manual_says() -> None:
    """Two chains over 16 groups from zero, their sum, and then the accumulator; 230 groups, in two blocks of K."""
    m, n, k = 33, 34, 460
    a, b = (round_bf16(x) for x in operands(Product(), m, n, k))
    total = np.zeros((m, n), np.float32)
    for start in range(0, k, 32):
        chains = np.zeros((2, m, n), np.float32)
        for i in range(start, min(start + 32, k)):
            exact = a[:, i, None].astype(np.float64) * b[None, i]
            chains[i % 2] = exact + chains[i % 2]
        total += chains[0] + chains[1]
    np.testing.assert_array_equal(narrow_run(Product(k=k, dtype="bf16"), a, b, level="amx"), total)


def test_amx_products_of_no_k_are_zeros() -> None:
    product = Product(True, False, row_sums=True, dtype="bf16")
    a, b = operands(product, 5, 7, 0)
    sums = np.full(5, np.nan, np.float32)
    assert not narrow_run(product, a, b, level="amx", sums=sums).any() and not sums.any()


def test_amx_sees_zeros_beyond_the_last_k() -> None:
    """What lies beside an operand is not multiplied: the rows of A and of B go on behind k in memory, with NaN."""
    for form in FORMS.values():
        product = Product(*form, k=34, dtype="bf16")
        a, b = (round_bf16(x) for x in operands(product, 40, 50, 34))
        kernel, entry, _, registers = compiled(product, "amx")
        wide = [np.full((x.shape[0] + 2, x.shape[1] + 40), 0x7FC0, np.uint16) for x in (a, b)]
        for x, around in zip((a, b), wide, strict=True):
            around[1:-1, : x.shape[1]] = bits(x)
        c = np.full((40, 50), np.nan, np.float32)
        starts = [x[1:].ctypes.data for x in wide]
        strides = [x.shape[1] for x in wide]
        args = np.array([*starts, 40, 50, 34, *strides, 0, 0, 0, 1, c.ctypes.data, 50, 0], np.int64)
        raw = np.full(kernel.scratch + 64, 0xFF, np.uint8)  # NaN, in f32 and in bf16
        for task in range(kernel.tasks(40, 50, 34)):
            entry(args.ctypes.data, task, raw.ctypes.data + -raw.ctypes.data % 64)
        check(product, a, b, c)
        if registers:
            registers.check()


# --- compiled for Sapphire Rapids ---------------------------------------------------------------------------------


def ir_of(here: Target, product: Product) -> str:
    module = Module(native_bf16=here.bf16_dot)
    emit_product(module, "product", product, here, StoreEpilogue())
    return module.text()


def instructions(assembly: str) -> set[str]:
    return set(re.findall(r"^\t([a-z]\w*)", assembly, re.MULTILINE))


@pytest.mark.parametrize("form", FORMS)
def test_bf16_products_are_tile_instructions(form: str) -> None:
    here = choose(*SAPPHIRE_RAPIDS, "amx")
    text = ir_of(here, Product(*FORMS[form], k=96, row_sums=True, dtype="bf16", wide_b=True))
    assembly = llvm.assembly(text, here.cpu, here.features, here.triple)
    assert instructions(assembly) >= TILE_INSTRUCTIONS and "vdpbf16ps" not in assembly
    # eight registers, and nothing that LLVM would have to save of them
    assert set(re.findall(r"%tmm(\d)", assembly)) == set("01234567")
    code = llvm.compile_object(text, here.cpu, here.features, here.triple)
    assert llvm.undefined_symbols(code) <= llvm.ALLOWED_SYMBOLS


def test_tile_instructions_stay_in_their_order() -> None:
    """LLVM sees registers that IR names by numbers alone: it has to keep what is interpreted here as it is written."""
    here = choose(*SAPPHIRE_RAPIDS, "amx")
    text = ir_of(here, Product(False, True, k=96, dtype="bf16"))
    assembly = llvm.assembly(text, here.cpu, here.features, here.triple)
    for rows, count in ((32, 4 + 4 + 4 + 4 + 4), (16, 2 + 2 + 3 + 2 + 2)):  # cleared, resumed, read, multiplied, stored
        written = re.search(rf"define internal void @product\.tiles\.{rows}\S*\(.*?\n}}", text, re.DOTALL)
        emitted = re.search(rf"^product\.tiles\.{rows}\S*:.*?^\.Lfunc_end", assembly, re.DOTALL | re.MULTILINE)
        assert written and emitted
        calls = re.findall(r"@llvm\.x86\.(tile\w+?|tdp\w+?)(?:64)?\((.*)\)", written[0])
        asked = [(name, re.findall(r"i8 (\d)", given)) for name, given in calls]
        lines = re.findall(r"^\t(tile\w+|tdp\w+)\t(.*)", emitted[0], re.MULTILINE)
        assert [(name, re.findall(r"%tmm(\d)", given)[::-1]) for name, given in lines] == asked
        assert len(asked) == count


def test_f32_products_are_as_without_amx() -> None:
    product = Product(False, True, row_sums=True)
    assert ir_of(choose(*SAPPHIRE_RAPIDS, "amx"), product) == ir_of(choose(*SAPPHIRE_RAPIDS), product)


def test_the_ceiling_is_that_of_tiles() -> None:
    here = choose(*SAPPHIRE_RAPIDS, "amx")
    text, chains, operations = ceilings.ceiling_ir(here.shaped("bf16"), "bf16")
    assert (chains, operations) == (4, 2 * 16 * 16 * 32)
    assembly = llvm.assembly(text, here.cpu, here.features, here.triple)
    assert instructions(assembly) >= {"ldtilecfg", "tdpbf16ps", "tilerelease"}
    assert ceilings.ceiling_ir(here.shaped("f32"), "f32")[1] == 28


# --- asked for ------------------------------------------------------------------------------------------------------


def test_amx_is_chosen_only_where_it_is_asked_for() -> None:
    assert choose(*SAPPHIRE_RAPIDS).name == "avx512-bf16"
    here = choose(*SAPPHIRE_RAPIDS, "amx")
    assert (here.name, here.amx, here.shaped("bf16").rows, here.shaped("f32").rows) == ("amx", True, 32, 14)
    off = choose(*SAPPHIRE_RAPIDS, "avx512-bf16").features
    assert off.endswith("-amx-tile,-amx-bf16,-amx-int8")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without = SAPPHIRE_RAPIDS[2].replace("+amx-bf16", "-amx-bf16")
    with pytest.raises(ValueError, match=r"lacks amx-bf16; of instruction sets it has avx512-bf16, avx512, avx2, sse2"):
        choose(*SAPPHIRE_RAPIDS[:2], without, "amx")
    monkeypatch.setattr(llvm, "host", lambda: ("znver3", "+avx2,+fma", "x86_64-unknown-linux-gnu"))
    monkeypatch.setenv("HANDLOOM_TARGET", "amx")
    with pytest.raises(UsageError, match=r"HANDLOOM_TARGET is 'amx': znver3 .* lacks amx-bf16, amx-tile, avx512bf16"):
        compiler.target.__wrapped__()
    monkeypatch.setenv("HANDLOOM_TARGET", "avx3")
    with pytest.raises(UsageError, match="no instruction set is called 'avx3'; there are amx, avx512-bf16"):
        compiler.target.__wrapped__()


def test_leave_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the numbers of the kernel's documentation; a refusal says why."""
    asked: list[tuple[int, ...]] = []

    class Library:
        answer = 0

        def syscall(self, *numbers: Any) -> int:
            asked.append(tuple(number.value for number in numbers))
            return self.answer

    monkeypatch.setattr(tiles.sys, "platform", "linux")
    monkeypatch.setattr(tiles.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(tiles.ctypes, "CDLL", lambda name, use_errno: Library())
    tiles.permit()
    assert asked == [(158, 0x1023, 18)]
    monkeypatch.setattr(Library, "answer", -1)
    with pytest.raises(HandloomError, match=r"does not permit this process to use AMX's tile registers \("):
        tiles.permit()
    monkeypatch.setattr(tiles.platform, "machine", lambda: "aarch64")
    with pytest.raises(HandloomError, match="Linux on x86-64 only, not on linux on aarch64"):
        tiles.permit()


# --- whole programs -------------------------------------------------------------------------------------------------


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Programs are compiled for AMX: their IR, as they are. On one thread, because there is one set of registers."""
    compiler.native_driver()  # of the processor at hand
    registers, seen = TileRegisters(), []

    def interpreting(text: str, chosen: Target) -> bytes:
        seen.append(text)
        return llvm.compile_object(registers.interpreted(text), chosen.cpu, chosen.features)

    if interpreted():
        monkeypatch.setattr(compiler, "compile_object", interpreting)
    else:
        tiles.permit()
    monkeypatch.setattr(compiler, "target", lambda: target("amx"))
    yield seen
    registers.check()
    assert not interpreted() or any("call void @llvm.x86.tdpbf16ps" in text for text in seen)


ON_TILES: dict[str, Any] = {"precision": "bf16", "threads": 1}


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def test_a_training_step_agrees_with_the_reference(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, dX and dW with their epilogues, and row sums."""
    p = {"u": normal(70, 40), "b": normal(70), "v": normal(40, 70) / 8}
    x = normal(75, 40)

    def step(p: Any, x: Any) -> Any:
        def loss(p: Any) -> Any:
            y = hl.linear(hl.gelu(hl.linear(x, p["u"], p["b"])), p["v"]) + x
            return (hl.softmax(y) * y).sum()

        return hl.value_and_grad(loss)(p)

    found = tree.flatten(hl.compile(step, **ON_TILES)(p, x))
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    for ours, truth in zip(found, tree.flatten(hl.compile(step, **ON_TILES)(p, x)), strict=True):
        a, t = ours.numpy(), truth.numpy()
        assert np.linalg.norm(a - t) <= 0.01 * np.linalg.norm(t)


def test_panels_that_stay_have_the_same_bits(texts: list[str]) -> None:
    """Weights that are laid out once, 17 and 65 groups deep, zeros up to 32 and 80; the last tile has one row."""

    def model(weights: dict[str, hl.Tensor], x: hl.Tensor) -> tuple[hl.Tensor, hl.Tensor]:
        hidden = hl.linear(x, weights["w"], weights["b"])
        return hl.matmul(hl.gelu(hidden), weights["v"]), hidden

    weights, x = {"w": normal(130, 34), "b": normal(130), "v": normal(130, 34)}, normal(33, 34)
    usual = hl.compile(model, **ON_TILES)(weights, x)
    laid_out = hl.compile(model, constant=("weights",), **ON_TILES)(weights, x)
    for ours, same in zip(laid_out, usual, strict=True):
        np.testing.assert_array_equal(ours.numpy(), same.numpy())
    assert len(texts) in (0, 3)  # the second is two programs
