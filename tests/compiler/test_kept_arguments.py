"""Arguments that come again: known by their identity only where they are what runs."""

from __future__ import annotations

import numpy as np

import handloom as hl


def test_a_number_that_is_donated_is_itself_at_every_call() -> None:
    step = hl.compile(lambda state: {"n": state["n"] + 1.0}, donate=("state",))
    zero = 0.0
    assert [float(step({"n": zero})["n"]) for _ in range(3)] == [1.0, 1.0, 1.0]


def test_an_array_that_is_converted_and_donated_is_read_anew() -> None:
    step = hl.compile(lambda state: {"n": state["n"] + 1.0}, donate=("state",))
    state = {"n": np.zeros(4)}  # f64: what runs is a copy in f32
    step(state)
    state["n"][:] = 10
    np.testing.assert_array_equal(step(state)["n"].numpy(), np.full(4, 11, np.float32))


def test_constants_inside_a_tuple_may_be_others() -> None:
    f = hl.compile(lambda p, x: hl.matmul(x, p["a"][0]["w"]), constant=("p",))
    inner, x = {"w": np.ones((4, 4), np.float32)}, np.ones((1, 4), np.float32)
    p = {"a": (inner,)}
    assert float(f(p, x)[0, 0]) == 4
    inner["w"] = np.full((4, 4), 2, np.float32)
    assert float(f(p, x)[0, 0]) == 8


def test_a_single_name_may_stand_alone() -> None:
    f = hl.compile(lambda w, x: hl.matmul(x, w), constant="w")
    assert float(f(np.ones((2, 2), np.float32), np.ones((1, 2), np.float32))[0, 0]) == 2
