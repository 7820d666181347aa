"""Programs compiled once and run at every size: none, one, around a tile, all that there is room for.

Results are those of the reference; a row's bits are those of a program compiled for that very size.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bert_program import assert_agree, batch_of, tiny_bert

import handloom as hl
from handloom.tensor import tree

Array = np.ndarray[Any, Any]
ROOM = 70
SIZES = (0, 1, 13, 14, 15, 16, 17, 33, ROOM)
"""A tile has 14 rows and a vector 16 columns (AVX-512), or 6 and 8 (AVX2)."""

random = np.random.default_rng(3)


def normal(*shape: int) -> Array:
    return random.standard_normal(shape).astype(np.float32)


V, BIAS = normal(20, 24) * 0.3, normal(24)
P = {"w": normal(24, 20) * 0.3, "b": BIAS}


def close(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    for ours, truth in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        a, t = ours.numpy(), truth.numpy()
        assert a.shape == t.shape and a.dtype == t.dtype
        scale = max(float(np.abs(t).max()), 1e-3) if t.size else 1.0
        np.testing.assert_allclose(a, t, rtol=0, atol=tolerance * scale)


def bits(result: Any) -> list[bytes]:
    return [x.numpy().tobytes() for x in tree.flatten(result)]


# --- functions of x [tokens, 20]: (rows that belong to tokens, everything else) --------------------------------------


def chain(x: Any, p: Any) -> Any:
    return hl.exp(hl.tanh(x) * 0.5) + x, ()


def layer(x: Any, p: Any) -> Any:
    def loss(p: Any) -> Any:
        y = hl.gelu(hl.linear(x, p["w"], p["b"]))
        y = hl.layer_norm(y, p["b"], p["b"], 1e-5)
        return (hl.softmax(y) * y).sum()

    return hl.linear(hl.gelu(hl.linear(x, p["w"], p["b"])), V), hl.value_and_grad(loss)(p)


def gradient_of_rows(x: Any, p: Any) -> Any:
    return hl.grad(lambda x: (hl.softmax(hl.linear(x, p["w"])) ** 2).sum())(x), x.sum(0)


def reductions(x: Any, p: Any) -> Any:
    return (x.sum(1), x.max(1), x.mean(-1, keepdims=True)), (x.sum(0), (x * x).sum())


def scores(x: Any, p: Any) -> Any:
    """Tokens × tokens: columns that are a symbol, too."""
    s = hl.matmul(x, x, transpose_b=True)
    return hl.softmax(s) if x.shape[0] != 0 else s, (s.sum(), s.sum(0))


def pieces(x: Any, p: Any) -> Any:
    both = hl.concatenate([x, x * 2.0], 1)
    longer = hl.concatenate([x, x[:, :20] + 1.0, normal_rows], 0)
    return both[:, 5:37], (longer.sum(0), hl.concatenate([x, x], 0) ** 2)


normal_rows = normal(3, 20)


def cubes(x: Any, p: Any) -> Any:
    """Three axes: tokens, 4, 5."""
    c = x.reshape(x.shape[0], 4, 5)
    turned = c.transpose(0, 2, 1)
    norm = hl.layer_norm(c, BIAS[:5], BIAS[5:10], 1e-3)
    return (hl.matmul(c, turned), hl.softmax(turned), norm, c.sum(1), c.max(2)), (c.sum(0), c.sum((0, 2)), c.sum())


def middle(x: Any, p: Any) -> Any:
    """Tokens as the second of three axes, and as the last of two."""
    c = x.reshape(x.shape[0], 4, 5).transpose(1, 0, 2)
    return (), (c * 2.0, c.sum(2), c.sum((0, 2)), x.T * 3.0, hl.matmul(p["w"], x, transpose_b=True))


def dropped(x: Any, p: Any) -> Any:
    with hl.random.using(hl.Tensor(np.array([1, 2, 3, 4], np.uint32))):
        return hl.dropout(x, 0.25) + hl.dropout(x * 2.0, 0.5), ()


FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    f.__name__: f for f in (chain, layer, gradient_of_rows, reductions, scores, pieces, cubes, middle, dropped)
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_program_for_all_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = FUNCTIONS[name]
    run = hl.compile(function, symbols={"x": ("tokens", 20)}, capacity={"tokens": ROOM})
    everything = normal(ROOM, 20)
    program = None
    for size in (ROOM, *SIZES, 5):
        x = everything[:size]
        found = run(x, P)
        program = program or run.program
        assert run.program is program
        monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
        close(found, hl.compile(function)(x, P))
        monkeypatch.delenv("HANDLOOM_BACKEND")
        if size in (15, 33):
            alike = bits(found[0]) == bits(hl.compile(function)(x, P)[0])
            assert alike, "not the bits of a program of this very size"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("middle", "scores")])
def test_a_row_does_not_know_how_many_there_are(name: str) -> None:
    run = hl.compile(FUNCTIONS[name], symbols={"x": ("tokens", 20)}, capacity={"tokens": ROOM})
    x = normal(ROOM, 20)
    whole = [t.numpy().copy() for t in tree.flatten(run(x, P)[0])]
    for size in SIZES:
        for part, all_rows in zip(tree.flatten(run(x[:size], P)[0]), whole, strict=True):
            assert part.numpy().tobytes() == all_rows[:size].tobytes()


def test_sizes_beyond_capacity_are_refused_and_the_program_stays_usable() -> None:
    run = hl.compile(lambda x: x * 2.0, symbols={"x": ("tokens", 3)}, capacity={"tokens": 4})
    with pytest.raises(hl.HandloomError, match="5 tokens are more than this program's capacity of 4"):
        run(normal(5, 3))
    x = normal(4, 3)
    np.testing.assert_array_equal(run(x).numpy(), x * 2)


def test_a_size_without_capacity_grows() -> None:
    run = hl.compile(lambda x: (hl.softmax(x), x.sum(0)), symbols={"x": ("tokens", 20)})
    for size in (3, 40, 2, 300, 0):
        x = normal(size, 20)
        rows, total = run(x)
        np.testing.assert_allclose(rows.numpy().sum(1), np.ones(size), rtol=1e-5)
        np.testing.assert_allclose(total.numpy(), x.sum(0, dtype=np.float64), rtol=1e-4, atol=1e-4)


def test_sizes_that_contradict_each_other_are_refused() -> None:
    run = hl.compile(lambda x, y: x + y, symbols={"x": ("tokens", 3), "y": ("tokens", 3)}, capacity={"tokens": 4})
    with pytest.raises(hl.HandloomError, match=r"\(3, 3\) was given where \(tokens, 3\) was declared"):
        run(normal(2, 3), normal(3, 3))


# --- several symbols at once: tokens, sequences, labelled rows -------------------------------------------------------

SYMBOLS = {
    **dict.fromkeys(("ids", "positions", "types"), ("tokens",)),
    "starts": ("sequences+1",), "rows": ("labelled",), "labels": ("labelled",),
}  # fmt: skip
CAPACITY = {"tokens": 130, "sequences": 9, "labelled": 60}
LENGTHS: tuple[tuple[int, ...], ...] = (
    (1,), (2, 17, 1), (16, 15, 14, 13), (130,), (5, 0, 3), (33, 40, 17, 20, 1, 2, 3, 4, 10), (), (0,),
)  # fmt: skip


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_whole_model_forward_and_backward(lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    step, parameters = tiny_bert()
    batch = batch_of(lengths, labelled=max(sum(lengths) // 3, min(sum(lengths), 1)))
    found = compiled_step()(parameters, batch)
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    assert_agree(found, hl.compile(step)(parameters, batch))


_programs: list[Any] = []


def compiled_step() -> Any:
    """One program for all tests of this file."""
    if not _programs:
        _programs.append(hl.compile(tiny_bert()[0], symbols={"batch": SYMBOLS}, capacity=CAPACITY))
    return _programs[0]


def test_a_batch_gives_the_same_bits_after_any_other() -> None:
    _, parameters = tiny_bert()
    first = batch_of((2, 17, 1), labelled=5)
    before = bits(compiled_step()(parameters, first))
    compiled_step()(parameters, batch_of((64, 40, 3), labelled=40))
    assert bits(compiled_step()(parameters, first)) == before


@pytest.mark.parametrize(
    ("lengths", "labelled", "message"),
    [
        ((131,), 1, "131 tokens are more than this program's capacity of 130"),
        ((1,) * 10, 1, "10 sequences are more than this program's capacity of 9"),
        ((70,), 61, "61 labelled are more than this program's capacity of 60"),
    ],
)
def test_a_batch_beyond_capacity_says_of_what(lengths: tuple[int, ...], labelled: int, message: str) -> None:
    _, parameters = tiny_bert()
    with pytest.raises(hl.HandloomError, match=message):
        compiled_step()(parameters, batch_of(lengths, labelled))


def test_avx2_does_the_same() -> None:
    """Whole programs for the narrower instruction set, in a process of its own."""
    if os.environ.get("HANDLOOM_TARGET") or "avx512" not in hl_target():
        pytest.skip("this run is for one instruction set already")
    names = ["test_a_whole_model", "test_one_program_for_all_sizes", "test_a_row_does_not_know"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", " or ".join(names)]
    result = subprocess.run(
        [*command, str(Path(__file__))], env={**os.environ, "HANDLOOM_TARGET": "avx2"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


def hl_target() -> str:
    from handloom.compiler import target

    return target().name

