"""Sizes of memory, as the system tells them and as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from handloom.errors import UsageError
from handloom.runtime import memory


def test_memory_that_is_touched_is_seen() -> None:
    before = memory.resident_bytes()
    block = np.ones(40_000_000, np.uint8)
    grown = memory.resident_bytes() - before
    assert 30e6 < grown < 60e6 and block[-1] == 1
    assert memory.peak_bytes() >= memory.resident_bytes() - 5_000_000


@pytest.mark.parametrize(
    ("written", "size"),
    [("4GB", 4 * 10**9), ("4 gb", 4 * 10**9), ("1.5GiB", 3 << 29), ("512m", 512 * 10**6), ("123", 123), (77, 77)],
)
def test_sizes(written: str | int, size: int) -> None:
    assert memory.size_of(written) == size


@pytest.mark.parametrize("written", ["", "GB", "-4GB", "0", "4 XB", "4GBs", "1e9", "four"])
def test_what_is_no_size(written: str) -> None:
    with pytest.raises(UsageError, match="such as 4GB or 512MiB"):
        memory.size_of(written)


def test_for_people() -> None:
    assert (memory.shown(2_148_724_736), memory.shown(640e6), memory.shown(0)) == ("2.15 GB", "640 MB", "0 MB")
