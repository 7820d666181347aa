"""Splits: stratified, seeded, and blind to order and repetition."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.data.examples import TOKEN
from handloom.data.readers import read
from handloom.data.split import split
from handloom.data.texts import text_key
from handloom.errors import HandloomError, UsageError

ROWS = [(f"text number {number}", "abc"[number % 10 % 3]) for number in range(200)]


def test_labels_keep_their_shares() -> None:
    parts = split(read(ROWS), [0.8, 0.1, 0.1], seed=3)
    assert [len(part) for part in parts] == [160, 20, 20]
    for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        for label in "abc":
            whole = sum(row[1] == label for row in ROWS)
            assert abs(sum(one.label == label for one in part) - share * whole) <= 1
    assert sorted(one.text for part in parts for one in part) == sorted(text for text, _ in ROWS)


def test_the_seed_decides() -> None:
    first = split(read(ROWS), [0.5, 0.5], seed=1)
    assert first[0].texts == split(read(ROWS), [0.5, 0.5], seed=1)[0].texts
    assert first[0].texts != split(read(ROWS), [0.5, 0.5], seed=2)[0].texts


texts = st.lists(
    st.tuples(st.sampled_from([f"t{i}" for i in range(12)] + ["T1 ", "É", "E\u0301"]), st.sampled_from("xyz")),
    min_size=1,
)


@given(texts, st.integers(0, 5), st.randoms(use_true_random=False))
def test_order_and_repetition_move_nothing(rows: list[tuple[str, str]], seed: int, shuffler: random.Random) -> None:
    rows = [*rows, *((f"more {number}", "xyz"[number % 3]) for number in range(12))]
    again = rows + rows[:3]
    shuffler.shuffle(again)
    sides = []
    for version in (rows, again):
        parts = split(read(version), [0.6, 0.4], seed)
        keys = [{text_key(one) for one in part} for part in parts]
        assert not keys[0] & keys[1]
        assert sum(map(len, parts)) == len(version)
        assert set(parts[0].labels) == {label for _, label in version}
        sides.append(keys)
    assert sides[0] == sides[1]


def test_rare_labels_go_to_training() -> None:
    rows = [*ROWS, ("the only one", "rare")]
    train, valid = split(read(rows), [0.5, 0.5])
    assert "rare" in train.labels and "rare" not in valid.labels


def test_many_small_labels_still_fill_every_side() -> None:
    rows = [(f"{label} {number}", f"label {label}") for label in range(50) for number in range(3)]
    assert [len(part) for part in split(read(rows), [0.8, 0.1, 0.1])] == [120, 15, 15]


def test_tagged_texts_count_under_their_rarest_label() -> None:
    rows = [([f"w{n}", "x"], ["B-A", "B-R" if n % 10 == 0 else "O"]) for n in range(100)]
    train, valid = split(read(rows, TOKEN), [0.8, 0.2])
    assert [sum("R" in one.labels for one in part) for part in (train, valid)] == [8, 2]


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        split(read(ROWS), [0.5, 0.6])
    with pytest.raises(HandloomError, match=r"one text .* is too few"):
        split(read([("a", "x"), ("A", "x")]), [0.9, 0.1])


def test_a_label_for_each_text_is_named() -> None:
    for labels, right in ((range(48), r"'0' and '1'.*--problem number \(problem=\"number\""),
                          ([f"t{i}" for i in range(48)], "--label-column")):  # fmt: skip
        rows = read([(f"text {i}", str(label)) for i, label in enumerate(labels)])
        with pytest.raises(HandloomError, match=f"each of the 48 texts has a label of its own, such as .*{right}"):
            split(rows, (0.9, 0.1))
