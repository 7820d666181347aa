"""Products against float64, the same bits for a row wherever it stands, and no access outside the matrices."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from tile_registers import TileRegisters

from handloom.codegen import llvm
from handloom.codegen.emit import Function, Module, Value
from handloom.codegen.matmul import EPILOGUE, Product, ProductKernel, StoreEpilogue, emit_product
from handloom.codegen.target import Target, choose, lacking
from handloom.graph.reference import round_bf16
from handloom.runtime import tiles

FORMS = {"forward": (False, True), "dX": (False, False), "dW": (True, False), "both": (True, True)}
PAGE = 4096
rng = np.random.default_rng(7)


def host_levels() -> list[str]:
    found = []
    for level in ("avx512-bf16", "avx512", "avx2", "sse2", "neon"):
        try:
            target(level)
            found.append(level)
        except ValueError:
            continue
    return found


@cache
def target(level: str | None = None) -> Target:
    """What the host has; AMX where it lacks that, with instructions that are interpreted."""
    cpu, features, triple = llvm.host()
    if level == "amx" and interpreted():
        return Target("amx", triple, cpu, features, 16, 14, 2, amx=True)
    return choose(triple, cpu, features, level)


@cache
def interpreted() -> bool:
    _, features, triple = llvm.host()
    return bool(lacking("amx", triple, features))


class BiasEpilogue(StoreEpilogue):
    """Adds a vector over the columns (slot EPILOGUE + 3), loaded once a panel."""

    def prepare(self, f: Function, args: Value, batch: Value) -> None:
        super().prepare(f, args, batch)
        self.bias = f.load("ptr", f.at(args, EPILOGUE + 3, "i64"))

    def columns(self, f: Function, column: Value, masks: Sequence[Value | None]) -> None:
        self.loaded = []
        here, type = target(self.level), f"<{target(self.level).lanes} x float>"
        for j, mask in enumerate(masks):
            address = f.at(self.bias, f.add(column, j * here.lanes), "float")
            self.loaded.append(f.masked_load(type, address, mask) if mask else f.load(type, address))

    def store(
        self, f: Function, row: Value, column: Value, vectors: list[Value], masks: Sequence[Value | None]
    ) -> None:
        added = [f.binary("fadd", value, bias) for value, bias in zip(vectors, self.loaded, strict=True)]
        super().store(f, row, column, added, masks)

    level: str | None = None


Compiled = tuple[ProductKernel, Any, Any, TileRegisters | None]


@cache
def compiled(product: Product, level: str | None = None, epilogue: str = "store") -> Compiled:
    here = target(level)
    module = Module(native_bf16=here.bf16_dot)
    made: StoreEpilogue = {"store": StoreEpilogue, "bias": BiasEpilogue}.get(
        epilogue, lambda: StoreEpilogue(accumulate=True)
    )()
    if isinstance(made, BiasEpilogue):
        made.level = level
    kernel = emit_product(module, "product", product, here, made)
    registers = TileRegisters() if level == "amx" and interpreted() else None
    if here.amx and not registers:
        tiles.permit()
    text = registers.interpreted(module.text()) if registers else module.text()
    library = llvm.load({"product": llvm.compile_object(text, here.cpu, here.features)})
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)(library.address("product"))
    return kernel, entry, library, registers


def guarded(array: np.ndarray, *, front: bool = False) -> np.ndarray:
    """A copy that ends (or begins) at a page that may not be touched, where the system allows that."""
    array = np.ascontiguousarray(array)
    size = max(array.nbytes, 4)
    room = -(-size // PAGE) * PAGE
    pages = mmap.mmap(-1, room + 2 * PAGE)
    raw = np.frombuffer(pages, np.uint8)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for edge in (0, room + PAGE):
            assert libc.mprotect(ctypes.c_void_p(raw.ctypes.data + edge), PAGE, 0) == 0
    start = PAGE if front else PAGE + room - size
    out = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


def run(
    product: Product,
    a: np.ndarray,
    b: np.ndarray,
    *,
    level: str | None = None,
    epilogue: str = "store",
    bias: np.ndarray | None = None,
    sums: np.ndarray | None = None,
    c: np.ndarray | None = None,
    order: int = 1,
) -> np.ndarray:
    """C of the product of a and b as they are stored, with an optional leading batch axis."""
    kernel, entry, _, registers = compiled(product, level, epilogue)
    m, k = a.shape[-2:][::-1] if product.transpose_a else a.shape[-2:]
    n = b.shape[-2] if product.transpose_b else b.shape[-1]
    batch = a.shape[0] if a.ndim == 3 else 1
    if c is None:
        c = guarded(np.full((*a.shape[:-2], m, n), np.nan, np.float32))
    raw = np.full(kernel.scratch + 192, 0xAB, np.uint8)
    begin = -raw.ctypes.data % 64 + 64
    steps = [x[0].size if x.ndim == 3 else 0 for x in (a, b)]
    slots = [a.ctypes.data, b.ctypes.data, m, n, k, a.shape[-1], b.shape[-1], *steps]
    slots += [sums.ctypes.data if sums is not None else 0, batch, c.ctypes.data, n, m * n]
    slots += [bias.ctypes.data if bias is not None else 0]
    args = np.array(slots, np.int64)
    tasks = range(kernel.tasks(m, n, k, batch))
    for task in tasks[::order]:
        entry(args.ctypes.data, task, raw.ctypes.data + begin)
    outside = np.concatenate([raw[:begin], raw[begin + kernel.scratch :]])
    assert (outside == 0xAB).all(), "scratch was written outside"
    if registers:
        registers.check()
    return c


def operands(product: Product, m: int, n: int, k: int, batch: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    a = rng.standard_normal((*batch, k, m) if product.transpose_a else (*batch, m, k)).astype(np.float32)
    b = rng.standard_normal((*batch, n, k) if product.transpose_b else (*batch, k, n)).astype(np.float32)
    return a, b


def expected(product: Product, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The product in float64, and the scale of its rounding: |A| · |B|."""
    left = (np.swapaxes(a, -1, -2) if product.transpose_a else a).astype(np.float64)
    right = (np.swapaxes(b, -1, -2) if product.transpose_b else b).astype(np.float64)
    return left @ right, np.abs(left) @ np.abs(right)


def check(product: Product, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    exact, scale = expected(product, a, b)
    k = a.shape[-2] if product.transpose_a else a.shape[-1]
    assert (np.abs(c - exact) <= 2.0**-24 * (2 * k**0.5 + 4) * scale).all()


def sizes(here: Target) -> list[tuple[int, int, int]]:
    rows, columns = here.rows, here.columns
    return [
        (1, 1, 1),
        (rows - 1, columns - 1, 15),
        (rows, columns, 16),
        (rows + 1, columns + 1, 17),
        (37, 7, 100),
        (500, 2 * columns + 5, 37),
        (3 * rows + 2, 200, 401),
        (61, 50, 1024),  # rows 4 KB apart
        (1, 300, 2),
        (900, 3, 1),
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", host_levels())
def test_values_and_bounds(form: str, level: str) -> None:
    product = Product(*FORMS[form])
    for number, (m, n, k) in enumerate(sizes(target(level))):
        a, b = (guarded(x, front=number % 2 == 1) for x in operands(product, m, n, k))
        check(product, a, b, run(product, a, b, level=level))


@pytest.mark.parametrize("form", FORMS)
def test_known_sizes_are_the_same_product(form: str) -> None:
    for m, n, k in [(29, 64, 96), (29, 70, 500)]:
        a, b = operands(Product(*FORMS[form]), m, n, k)
        open_sizes = run(Product(*FORMS[form]), a, b)
        for known in [Product(*FORMS[form], n=n, k=k), Product(*FORMS[form], m=m, n=n), Product(*FORMS[form], m, n, k)]:
            np.testing.assert_array_equal(run(known, a, b), open_sizes)


@pytest.mark.parametrize("level", host_levels())
@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_row_has_the_same_bits_anywhere(level: str, transpose_b: bool) -> None:
    product = Product(False, transpose_b)
    for n, k in [(40, 70), (130, 1024), (33, 900)]:
        a, b = operands(product, 150, n, k)
        together = run(product, a, b, level=level)
        for rows in [slice(0, 1), slice(77, 78), slice(3, 16), slice(13, 27), slice(100, 150)]:
            alone = run(product, np.ascontiguousarray(a[rows]), b, level=level)
            np.testing.assert_array_equal(alone, together[rows])


def test_all_forms_and_levels_have_the_same_bits() -> None:
    """One chain of fused multiply-adds for each element, whatever the blocks are."""
    a, b = operands(Product(), 45, 67, 700)
    reference = run(Product(), a, b)
    chain = np.zeros((45, 67), np.float32)
    for k in range(700):  # a · b is exact in float64; the sum is rounded to 53 bits before 24, which seldom shows
        chain = (a[:, k, None].astype(np.float64) * b[None, k] + chain).astype(np.float32)
    assert (chain == reference).mean() > 0.99 or target().name == "sse2"
    for level in host_levels():
        if level == "sse2":  # no fused multiply-add
            continue
        for form in FORMS.values():
            stored = [np.ascontiguousarray(x.T if t else x) for x, t in zip((a, b), form, strict=True)]
            np.testing.assert_array_equal(run(Product(*form), *stored, level=level), reference)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("level", host_levels())
def test_row_sums(transpose_a: bool, level: str) -> None:
    product = Product(transpose_a, False, row_sums=True)
    for m, n, k in [(40, 20, 50), (520, 300, 700), (3, 1, 1)]:
        a, b = operands(product, m, n, k)
        sums = guarded(np.full(m, np.nan, np.float32))
        check(product, a, b, run(product, a, b, sums=sums, level=level))
        stored = (a.T if transpose_a else a).astype(np.float64)
        assert (np.abs(sums - stored.sum(1)) <= 2.0**-24 * 2 * k**0.5 * np.abs(stored).sum(1)).all()
        check(product, a, b, run(product, a, b, level=level))  # slot 0: nobody wants them


@pytest.mark.parametrize("form", FORMS)
def test_batches(form: str) -> None:
    product = Product(*FORMS[form], row_sums=True)
    a, b = operands(product, 30, 45, 21, (5,))
    sums = np.full((5, 30), np.nan, np.float32)
    together = run(product, a, b, sums=sums)
    check(product, a, b, together)
    for i in range(5):
        alone = np.full(30, np.nan, np.float32)
        np.testing.assert_array_equal(run(product, a[i], b[i], sums=alone), together[i])
        np.testing.assert_array_equal(alone, sums[i])


@pytest.mark.parametrize("level", host_levels())
@pytest.mark.parametrize("n", [7, 64, 67, 30])
def test_an_epilogue_with_column_vectors(level: str, n: int) -> None:
    bias = guarded(rng.standard_normal(n).astype(np.float32))
    a, b = operands(Product(False, True), 50, n, 40)
    for product in (Product(False, True), Product(False, True, n=n)):
        plain = run(product, a, b, level=level)
        np.testing.assert_array_equal(run(product, a, b, level=level, epilogue="bias", bias=bias), plain + bias)


def test_accumulating() -> None:
    a, b = operands(Product(True, False), 31, 33, 64)
    plain = run(Product(True, False), a, b)
    before = rng.standard_normal(plain.shape).astype(np.float32)
    after = run(Product(True, False), a, b, epilogue="accumulate", c=before.copy())
    np.testing.assert_array_equal(after, before + plain)


def test_tasks_in_any_order() -> None:
    product = Product(True, False, row_sums=True)
    a, b = operands(product, 700, 300, 390)
    assert compiled(product)[0].tasks(700, 300, 390) > 4
    sums = [np.full(700, np.nan, np.float32) for _ in range(2)]
    first, second = (run(product, a, b, sums=s, order=order) for s, order in zip(sums, (1, -1), strict=True))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(*sums)


def test_the_grid_is_balanced_and_covers_large_products() -> None:
    kernel = compiled(Product())[0]
    for m, n, k in [(512, 384, 384), (2048, 1536, 384), (4096, 3072, 768), (16, 3072, 768), (1000, 30522, 384)]:
        assert 8 <= kernel.tasks(m, n, k) <= 400
    assert kernel.tasks(16, 7, 384) == 1
    assert kernel.tasks(0, 7, 384) == kernel.tasks(7, 0, 384) == kernel.tasks(7, 7, 7, 0) == 0
    assert kernel.tasks(16, 7, 384, 12) == 12
    assert kernel.tasks(3, 3, 0) == 1  # zeros
    with pytest.raises(ValueError, match="at least one k"):
        compiled(Product(k=5))[0].tasks(3, 3, 0)


@pytest.mark.parametrize(
    ("triple", "cpu", "features"),
    [
        ("aarch64-unknown-linux-gnu", "neoverse-n1", "+neon"),
        ("arm64-apple-macosx", "apple-m1", "+neon"),
        ("x86_64-unknown-linux-gnu", "x86-64", ""),
        ("x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma"),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+fma"),
        (
            "x86_64-unknown-linux-gnu",
            "sapphirerapids",
            "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512bf16,+amx-tile,+amx-bf16,+avx2,+fma",
        ),
    ],
)
def test_compiles_for_other_processors(triple: str, cpu: str, features: str) -> None:
    here = choose(triple, cpu, features)
    assert here.bf16_dot == ("avx512bf16" in features)
    module = Module(native_bf16=here.bf16_dot)
    for name, form in FORMS.items():
        emit_product(module, name, Product(*form, row_sums=True), here, StoreEpilogue())
        emit_product(module, name + ".bf16", Product(*form, k=64, dtype="bf16", wide_b=True), here, StoreEpilogue())
    code = llvm.compile_object(module.text(), here.cpu, here.features, triple)
    assert llvm.undefined_symbols(code) <= llvm.ALLOWED_SYMBOLS


def test_unknown_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match="no product for f64"):
        emit_product(Module(), "product", Product(dtype="f64"), target(), StoreEpilogue())


# --- bf16 ---------------------------------------------------------------------------------------------------------

BF16_LEVELS = [*host_levels(), "amx"]


def bits(x: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16)


def narrow_sizes(here: Target, form: tuple[bool, bool]) -> list[tuple[int, int, int]]:
    """The same sizes; rows of k's are read two by two, so their number is even."""
    return [(m, n, k if form == (True, False) else k + k % 2) for m, n, k in sizes(here)]


def narrow_run(product: Product, a: np.ndarray, b: np.ndarray, front: bool = False, **given: Any) -> np.ndarray:
    """C of operands whose values are bf16 (of a wide B: any f32)."""
    stored = (bits(a), b if product.wide_b else bits(b))
    return run(product, *(guarded(x, front=front) for x in stored), **given)


@pytest.mark.parametrize("wide_b", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", BF16_LEVELS)
def test_bf16_values_and_bounds(form: str, level: str, wide_b: bool) -> None:
    """Against float64 on the rounded operands: only the sums are rounded, once for each k."""
    several = slice(5, 8) if level == "amx" else slice(None)  # the others are among those around its tiles, below
    for number, (m, n, k) in enumerate(narrow_sizes(target(level).shaped("bf16"), FORMS[form])[several]):
        product = Product(*FORMS[form], k=None if FORMS[form] == (True, False) else k, dtype="bf16", wide_b=wide_b)
        a, b = operands(product, m, n, k)
        a = round_bf16(a)
        c = narrow_run(product, a, b if wide_b else round_bf16(b), number % 2 == 1, level=level)
        check(product, a, round_bf16(b), c)


@pytest.mark.parametrize("level", BF16_LEVELS)
def test_a_bf16_row_has_the_same_bits_anywhere(level: str) -> None:
    for n, k in [(40, 70), (130, 2048), (33, 900)]:
        product = Product(False, True, k=k, dtype="bf16")
        a, b = (round_bf16(x) for x in operands(product, 150, n, k))
        together = narrow_run(product, a, b, level=level)
        for rows in [slice(0, 1), slice(77, 78), slice(13, 30), slice(100, 150)]:
            np.testing.assert_array_equal(narrow_run(product, a[rows], b, level=level), together[rows])


def test_all_bf16_forms_have_the_same_bits() -> None:
    a, b = (round_bf16(x) for x in operands(Product(), 45, 67, 1400))
    by_chains = narrow_run(Product(k=1400, dtype="bf16"), a, b)
    by_tiles = narrow_run(Product(k=1400, dtype="bf16"), a, b, level="amx")
    assert (by_chains != by_tiles).any(), "AMX adds in another order"
    for level in BF16_LEVELS:
        reference = by_tiles if level == "amx" else by_chains
        if level == "sse2":  # no fused multiply-add
            continue
        for form in FORMS.values():
            stored = [np.ascontiguousarray(x.T if t else x) for x, t in zip((a, b), form, strict=True)]
            for wide_b in (False, True):
                product = Product(*form, k=1400, dtype="bf16", wide_b=wide_b)
                np.testing.assert_array_equal(narrow_run(product, *stored, level=level), reference)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("level", BF16_LEVELS)
def test_bf16_row_sums(transpose_a: bool, level: str) -> None:
    for m, n, k in [(40, 20, 50), (520, 300, 1500), (3, 1, 2), (33, 5, 7)]:
        if not transpose_a and k % 2:
            continue
        product = Product(transpose_a, False, k=k, row_sums=True, dtype="bf16")
        a, b = (round_bf16(x) for x in operands(product, m, n, k))
        sums = guarded(np.full(m, np.nan, np.float32))
        check(product, a, b, narrow_run(product, a, b, sums=sums, level=level))
        stored = (a.T if transpose_a else a).astype(np.float64)
        assert (np.abs(sums - stored.sum(1)) <= 2.0**-24 * 2 * k**0.5 * np.abs(stored).sum(1)).all()


def test_rows_of_bf16_need_an_even_number() -> None:
    for k in (None, 7):
        for form in ((False, False), (False, True), (True, True)):
            with pytest.raises(ValueError, match="even number of k's"):
                emit_product(Module(), "product", Product(*form, k=k, dtype="bf16"), target(), StoreEpilogue())
