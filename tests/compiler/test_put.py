"""Rows put into a donated table: in place where that is right, and only there."""

from __future__ import annotations

import numpy as np
import pytest

import handloom as hl

random = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_DEBUG", "verify")


def test_a_cache_is_written_where_it_lies_and_attended_to_afterwards() -> None:
    """Two sequences in a cache of 40 rows with gaps; three new tokens, of which one sequence takes two."""

    def step(caches: dict[str, hl.Tensor], x: hl.Tensor, slots: hl.Tensor, places: dict[str, hl.Tensor]):
        keys, values = hl.put(caches["k"], slots, x * 2.0), hl.put(caches["v"], slots, x - 1.0)
        seen = hl.attention(
            x, keys, values, places["starts"], key_starts=places["first"], key_ends=places["last"], heads=2, causal=True
        )
        return {"k": keys, "v": values}, seen

    x, slots = normal(3, 16), np.array([12, 13, 31], np.int32)
    places = {
        "starts": np.array([0, 2, 3], np.int32),
        "first": np.array([4, 30], np.int32),
        "last": np.array([14, 32], np.int32),
    }
    before = {"k": normal(40, 16), "v": normal(40, 16)}
    given = {name: value.copy() for name, value in before.items()}
    symbols = {"caches": {"k": ("slots", 16), "v": ("slots", 16)}}
    run = hl.compile(step, donate=("caches",), symbols=symbols)
    caches, seen = run(given, x, slots, places)
    for name, rows in (("k", x * 2), ("v", x - 1)):
        wanted = before[name].copy()
        wanted[slots] = rows
        assert np.shares_memory(caches[name].numpy(), given[name])
        np.testing.assert_array_equal(given[name], wanted)
    whole = [
        hl.attention(
            *(hl.Tensor(a) for a in (x[a:b], given["k"][c:d], given["v"][c:d], np.array([0, b - a], np.int32))),
            key_starts=hl.Tensor(np.array([0, d - c], np.int32)), heads=2, causal=True,
        ).numpy()
        for a, b, c, d in ((0, 2, 4, 14), (2, 3, 30, 32))
    ]  # fmt: skip
    np.testing.assert_allclose(seen.numpy(), np.concatenate(whole), rtol=2e-5, atol=2e-6)


def test_the_old_table_is_read_before_it_is_overwritten() -> None:
    def step(table: hl.Tensor, ids: hl.Tensor, rows: hl.Tensor):
        return hl.put(table, ids, rows), (table * table).sum(axis=1)

    table, ids, rows = normal(50, 8), np.array([3, 49], np.int32), normal(2, 8)
    squares = (table * table).sum(1)
    new, sums = hl.compile(step, donate=("table",))(table, ids, rows)
    np.testing.assert_allclose(sums.numpy(), squares, rtol=1e-6)
    np.testing.assert_array_equal(new.numpy()[ids], rows)


def test_a_table_that_is_needed_afterwards_is_copied() -> None:
    def step(table: hl.Tensor, ids: hl.Tensor, rows: hl.Tensor):
        new = hl.put(table, ids, rows)
        return new, (new @ table.T).sum()

    table, ids, rows = normal(20, 8), np.array([3, 11], np.int32), normal(2, 8)
    kept, wanted = table.copy(), table.copy()
    wanted[ids] = rows
    new, product = hl.compile(step, donate=("table",))(table, ids, rows)
    np.testing.assert_array_equal(new.numpy(), wanted)
    np.testing.assert_array_equal(table, kept)
    assert product.item() == pytest.approx(float((wanted.astype(float) @ kept.T).sum()), rel=1e-4)


def test_each_table_takes_its_own_memory() -> None:
    """Many donated tables of one shape, beside an element-wise result that could take any of them."""

    def step(tables: list[hl.Tensor], x: hl.Tensor, ids: hl.Tensor, rows: hl.Tensor):
        return x * 2.0, [hl.put(table, ids, rows) for table in tables]

    tables = [normal(9, 4) for _ in range(5)]
    run = hl.compile(step, donate=("tables", "x"))
    _, new = run(tables, normal(9, 4), np.array([1, 8], np.int32), normal(2, 4))
    for made, given in zip(new, tables, strict=True):
        assert np.shares_memory(made.numpy(), given)


def test_numbers_outside_of_the_table_are_passed_over() -> None:
    run = hl.compile(hl.put, donate=("table",))
    table = np.zeros((3, 2), np.float32)
    run(table, np.array([-1, 2, 3, 2**31 - 1], np.int32), np.ones((4, 2), np.float32))
    np.testing.assert_array_equal(table, [[0, 0], [0, 0], [1, 1]])


def test_what_does_not_fit_is_refused() -> None:
    ids = hl.Tensor(np.array([0, 1], np.int32))
    with pytest.raises(hl.HandloomError, match=r"the rows must be f32\[2, 4\]"):
        hl.put(hl.Tensor(normal(9, 4)), ids, hl.Tensor(normal(2, 5)))
