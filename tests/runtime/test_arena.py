"""The memory plan and aligned arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.runtime.arena import Arena, allocate, empty, lower_bound, plan

lives = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 30)).map(
        lambda b: (b[0], min(b[1:]), max(b[1:]))
    ),
    max_size=60,
)


@given(lives, st.sampled_from([64, 256, 4096]))
def test_no_two_live_buffers_overlap(buffers, alignment):
    offsets, total = plan(buffers, alignment)
    assert all(offset % alignment == 0 for offset in offsets) and total % alignment == 0
    for i, (size, first, last) in enumerate(buffers):
        assert offsets[i] >= 0 and offsets[i] + size <= total
        for j in range(i):
            other, begin, end = buffers[j]
            if size and other and begin <= last and first <= end:
                assert offsets[i] + size <= offsets[j] or offsets[j] + other <= offsets[i]
    assert lower_bound(buffers, alignment) <= total <= sum(-(-size // alignment) * alignment for size, _, _ in buffers)


@given(lives)
def test_a_plan_is_a_function_of_its_input(buffers):
    assert plan(buffers) == plan(buffers)


def test_lives_that_follow_each_other_share_memory():
    chain = [(1000, i, i + 1) for i in range(100)]  # each is read while the next is written
    assert plan(chain)[1] == 2 * 1024 == lower_bound(chain)


def test_forward_and_backward_of_a_network_come_near_the_bound():
    """Activations live until their mirror step; scratch of each layer is shared."""
    layers = 24
    buffers = []
    for i in range(layers):
        buffers += [(4096, i, 2 * layers - i), (16384, i, 2 * layers - i), (8192, i, i), (4096, i, i + 1)]
        buffers += [(16384, 2 * layers - i, 2 * layers - i), (4096, 2 * layers - i, 2 * layers - i + 1)]
    assert plan(buffers)[1] <= 1.05 * lower_bound(buffers)


def test_a_life_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="buffer 1 is last used at step 2, before its first use at step 3"):
        plan([(8, 0, 1), (8, 3, 2)])


@pytest.mark.parametrize("size", [0, 1, 100, 4 << 20, (9 << 20) + 5])
def test_memory_is_aligned_zero_and_writable(size):
    memory = allocate(size)
    assert memory.nbytes == size and not memory.any()
    assert size == 0 or memory.ctypes.data % 64 == 0
    memory[:] = 7
    assert (memory == 7).all()


def test_large_memory_begins_a_huge_page():
    assert allocate(8 << 20).ctypes.data % (2 << 20) == 0


def test_arrays_of_any_kind():
    array = empty((3, 5), "float32", alignment=4096)
    assert array.shape == (3, 5) and array.dtype == np.float32 and array.ctypes.data % 4096 == 0
    assert array.flags.c_contiguous


def test_a_view_reads_and_writes_the_arena_and_stays_inside():
    arena = Arena(1024)
    arena.view(64, (4, 4), "float32")[:] = 2.0
    assert arena.bytes[64:128].view(np.float32).sum() == 32 and arena.address == arena.bytes.ctypes.data
    with pytest.raises(ValueError, match="outside the arena of 1024"):
        arena.view(1000, (8,), "float32")
