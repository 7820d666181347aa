from __future__ import annotations

import pytest

from handloom.errors import UsageError
from handloom.train.schedules import schedule, warmup_steps


def test_linear_with_warmup_by_hand() -> None:
    rate = schedule("linear", 1.0, total=10, warmup=0.2)
    assert [round(rate(s), 6) for s in range(10)] == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]


def test_cosine_is_half_way_at_half_time() -> None:
    rate = schedule("cosine", 2.0, total=8)
    assert rate(0) == 2.0
    assert rate(4) == pytest.approx(1.0)
    assert rate(7) == pytest.approx(1.0 + __import__("math").cos(3.141592653589793 * 7 / 8))


def test_constant() -> None:
    rate = schedule("constant", 3.0, total=5, warmup=2)
    assert [rate(s) for s in range(5)] == [1.5, 3.0, 3.0, 3.0, 3.0]


def test_warmup_is_a_fraction_or_steps() -> None:
    assert [warmup_steps(w, 50) for w in (0, 0.1, 1, 7, 99)] == [0, 5, 1, 7, 50]


@pytest.mark.parametrize(
    "call",
    [
        lambda: schedule("linaer", 1e-4, 10),
        lambda: schedule("linear", 0.0, 10),
        lambda: schedule("linear", float("nan"), 10),
        lambda: schedule("linear", 1e-4, 10, -1),
    ],
)
def test_wrong_values_are_usage_errors(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        call()
