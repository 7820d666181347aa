"""The conditional random field: its loss and gradients are those of enumerating all paths, and of PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.nn.crf import CRF, WIDTH, arranged, shapes

COUNT = 4
LENGTHS = [3, 1, 5, 0, 2]
OPENS = [True, False, True, True, True]
CLOSES = [True, True, False, True, True]


def drawn(scale: float = 1.0, seed: int = 0) -> tuple[CRF, np.ndarray, list[np.ndarray]]:
    """A field, scores of all rows, and labels; the last sequence has none."""
    rng = np.random.default_rng(seed)
    crf = CRF(COUNT, rng=rng)
    crf.load({name: rng.standard_normal(value.numpy().shape) for name, value in crf.parameters().items()})
    labels = [rng.integers(0, COUNT, length).astype(np.int32) for length in LENGTHS]
    labels[-1][:] = -100
    scores = rng.standard_normal((sum(LENGTHS), COUNT)).astype(np.float32) * np.float32(scale)
    return crf, scores, labels


def evaluated(crf: CRF, scores: np.ndarray, labels: list[np.ndarray], compiled: bool) -> Any:
    """((loss, weight), (gradients of the parameters, of the scores))."""

    def function(params: Any, scores: Any, labels: Any, batch: Any) -> Any:
        def loss(chosen: Any) -> Any:
            with crf.bound(chosen[0]):
                return crf.forward(chosen[1], labels, batch)

        return ht.value_and_grad(loss, has_aux=True)((params, scores))

    batch = {name: ht.tensor(value) for name, value in arranged(labels, OPENS, CLOSES, COUNT).items()}
    symbols = {"scores": ("rows", COUNT), "labels": ("rows",), "batch": shapes(COUNT)}
    run = ht.compile(function, symbols=symbols) if compiled else function
    return run(crf.parameters(), ht.tensor(scores), ht.tensor(np.concatenate(labels)), batch)


def enumerated(crf: CRF, scores: np.ndarray, labels: list[np.ndarray]) -> float:
    """The loss by the score of every path there is, in f64."""
    given = {name: value.numpy().astype(np.float64) for name, value in crf.parameters().items()}
    total, at = 0.0, 0
    for own, opens, closes in zip(labels, OPENS, CLOSES, strict=True):
        rows = scores[at : at + len(own)].astype(np.float64)
        at += len(own)
        if not len(own) or own[0] < 0:
            continue

        def score(path: Any, rows: Any = rows, opens: bool = opens, closes: bool = closes) -> float:
            steps = sum(given["transitions"][a, b] for a, b in itertools.pairwise(path))
            ends = opens * given["start_transitions"][path[0]] + closes * given["end_transitions"][path[-1]]
            return float(sum(rows[i, tag] for i, tag in enumerate(path)) + steps + ends)

        everything = [score(path) for path in itertools.product(range(COUNT), repeat=len(own))]
        total += float(np.logaddexp.reduce(everything)) - score(own)
    return total


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_the_loss_is_that_of_all_paths_enumerated(compiled: bool, scale: float) -> None:
    crf, scores, labels = drawn(scale)
    (loss, weight), (params, rows) = evaluated(crf, scores, labels, compiled)
    assert float(weight) == sum(LENGTHS[:-1])
    assert float(loss) == pytest.approx(enumerated(crf, scores, labels), rel=1e-5, abs=1e-4)
    assert all(np.isfinite(value.numpy()).all() for value in (*params.values(), rows))
    assert not rows.numpy()[-2:].any()  # what has no label


def test_gradients_are_differences_of_the_loss() -> None:
    crf, scores, labels = drawn(seed=3)
    _, (params, rows) = evaluated(crf, scores, labels, compiled=True)
    step = 1e-3
    for i, j in [(0, 1), (3, 0), (5, 2), (8, 3)]:
        more, less = scores.copy(), scores.copy()
        more[i, j] += step
        less[i, j] -= step
        width = float(more[i, j]) - float(less[i, j])
        slope = (enumerated(crf, more, labels) - enumerated(crf, less, labels)) / width
        assert float(rows.numpy()[i, j]) == pytest.approx(slope, abs=1e-4)
    for name, value in crf.parameters().items():
        place = (1, 2)[: value.ndim]
        sides = []
        for sign in (1, -1):
            moved = value.numpy().copy()
            moved[place] += sign * step
            other = CRF(COUNT)
            other.load({**crf.parameters(), name: moved})
            sides.append(enumerated(other, scores, labels))
        assert float(params[name].numpy()[place]) == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-3)


def test_more_sequences_than_lanes_and_none_at_all() -> None:
    rng = np.random.default_rng(0)
    crf = CRF(2, rng=0)
    labels = [rng.integers(0, 2, 1 + i % 3).astype(np.int32) for i in range(2 * WIDTH + 1)]
    scores = rng.standard_normal((sum(map(len, labels)), 2)).astype(np.float32)

    def loss_of(chosen: list[int]) -> float:
        starts = np.cumsum([0, *map(len, labels)])
        own = [labels[i] for i in chosen]
        rows = np.concatenate([scores[starts[i] : starts[i + 1]] for i in chosen] or [scores[:0]])
        whole = [True] * len(own)
        batch = {name: ht.tensor(value) for name, value in arranged(own, whole, whole, 2).items()}
        return float(crf.forward(ht.tensor(rows), ht.tensor(np.concatenate(own)), batch)[0])

    alone = sum(loss_of([i]) for i in range(len(labels)))
    assert loss_of(list(range(len(labels)))) == pytest.approx(alone, rel=1e-5)
    missing = [np.full(3, -100, np.int32)]
    batch = {name: ht.tensor(value) for name, value in arranged(missing, [True], [True], 2).items()}
    loss, weight = crf.forward(ht.tensor(scores[:3]), ht.tensor(missing[0]), batch)
    assert float(loss) == 0 and float(weight) == 0


@pytest.mark.parity
def test_loss_and_gradients_are_those_of_torch() -> None:
    """A field written out in PyTorch, sequence by sequence and step by step."""
    torch = pytest.importorskip("torch")
    crf, scores, labels = drawn(3.0, seed=5)
    theirs = {n: torch.tensor(v.numpy().astype(np.float64), requires_grad=True) for n, v in crf.parameters().items()}
    rows = torch.tensor(scores.astype(np.float64), requires_grad=True)
    total, at = torch.zeros((), dtype=torch.float64), 0
    for own, opens, closes in zip(labels, OPENS, CLOSES, strict=True):
        mine = rows[at : at + len(own)]
        at += len(own)
        if not len(own) or own[0] < 0:
            continue
        start, end = opens * theirs["start_transitions"], closes * theirs["end_transitions"]
        before = start + mine[0]
        true = start[own[0]] + mine[0, own[0]] + end[own[-1]]
        for row, a, b in zip(mine[1:], own[:-1], own[1:], strict=True):
            before = torch.logsumexp(before[:, None] + theirs["transitions"], 0) + row
            true = true + theirs["transitions"][a, b] + row[b]
        total = total + torch.logsumexp(before + end, 0) - true
    total.backward()
    (loss, _), (params, own_rows) = evaluated(crf, scores, labels, compiled=True)
    assert float(loss) == pytest.approx(total.item(), rel=1e-5)
    np.testing.assert_allclose(own_rows.numpy(), rows.grad.numpy(), atol=1e-5)
    for name, value in theirs.items():
        np.testing.assert_allclose(params[name].numpy(), value.grad.numpy(), atol=1e-5)
