"""Packing: batches that fit, orders that need no memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.data.packing import Feature, batches, capacity, order, pack
from handloom.errors import HandloomError, UsageError


def feature(length: int, label: int = 0) -> Feature:
    ids = np.arange(length, dtype=np.int64) + 100 * length
    return Feature(ids, ids % 2, {"labels": ids - 1}, {"label": label, "weight": 0.5})


def test_a_packed_batch() -> None:
    batch = pack([feature(2, 4), feature(3, 5)])
    assert {name: values.tolist() for name, values in batch.items()} == {
        "ids": [200, 201, 300, 301, 302],
        "positions": [0, 1, 0, 1, 2],
        "types": [0, 1, 0, 1, 0],
        "starts": [0, 2, 5],
        "labels": [199, 200, 299, 300, 301],
        "label": [4, 5],
        "weight": [0.5, 0.5],
    }
    assert {name: str(values.dtype) for name, values in batch.items()} == {
        **dict.fromkeys(["ids", "positions", "types", "starts", "labels", "label"], "int32"),
        "weight": "float32",
    }


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@given(LENGTHS, st.none() | st.integers(1, 9), st.none() | st.integers(30, 90), st.integers(0, 9), st.booleans())
def test_batches_hold_everything_once_and_fit(
    lengths: list[int], size: int | None, tokens: int | None, seed: int, shuffle: bool
) -> None:
    if size is None and tokens is None:
        return
    bound = capacity(lengths, batch_size=size, batch_tokens=tokens)
    for epoch in range(3):
        found = batches(lengths, batch_size=size, batch_tokens=tokens, seed=seed, epoch=epoch, shuffle=shuffle)
        assert found == batches(lengths, batch_size=size, batch_tokens=tokens, seed=seed, epoch=epoch, shuffle=shuffle)
        assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
        for batch in found:
            total = sum(lengths[index] for index in batch)
            assert 1 <= len(batch) <= bound.sequences and total <= bound.tokens
            assert size is None or len(batch) <= size
            assert tokens is None or total <= tokens
        if not shuffle:
            assert [index for batch in found for index in batch] == list(range(len(lengths)))
        if size is not None and tokens is None:
            assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1)


@given(LENGTHS)
def test_packing_is_undone_by_its_starts(lengths: list[int]) -> None:
    features = [feature(length, number) for number, length in enumerate(lengths)]
    batch = pack(features)
    for number, one in enumerate(features):
        start, end = batch["starts"][number], batch["starts"][number + 1]
        assert batch["ids"][start:end].tolist() == one.ids.tolist()
        assert batch["positions"][start:end].tolist() == list(range(len(one)))
        assert batch["labels"][start:end].tolist() == one.per_token["labels"].tolist()


def test_orders_are_fixed_for_good() -> None:
    assert order(8, seed=0, epoch=0).tolist() == FIRST
    assert order(8, seed=0, epoch=1).tolist() != FIRST != order(8, seed=1, epoch=0).tolist()
    positions = np.mean([np.argsort(order(50, 7, epoch)) for epoch in range(400)], axis=0)
    assert abs(positions - 24.5).max() < 3.5  # no sequence prefers a place; the deviation of each mean is 0.7


FIRST = [0, 2, 1, 5, 4, 3, 6, 7]


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(UsageError, match="--batch-tokens 20 is less than the longest sequence has"):
        batches([5, 21], batch_tokens=20)
    with pytest.raises(UsageError, match="Give --batch-size"):
        batches([5])
    with pytest.raises(UsageError, match="--batch-size must be at least 1, not 0"):
        capacity([5], batch_size=0)
    with pytest.raises(HandloomError, match="no sequences"):
        batches([], batch_size=2)
    with pytest.raises(HandloomError, match="at least one sequence"):
        pack([])
