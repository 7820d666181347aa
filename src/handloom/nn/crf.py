"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001) over the scores of a tagger, as Lample
and others (2016) put one on a network: a path of tags scores what its rows give its tags, what each tag gives the next,
and what its first and last tag give the ends.

Sequences of unequal length are walked in lanes (nn/lanes.py). What depends on labels and lengths alone, such as how
often each tag follows each other in the true paths, is counted on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import handloom.tensor as ht
from handloom.nn.lanes import layout
from handloom.nn.module import Array, Module, Seed, generator, zeros
from handloom.tensor import Tensor

WIDTH = 32
"""Lanes. A step of a lane costs labels² operations, so that idle ones cost nothing beside one more step."""
INSIDE, CUT, WHOLE = 0, 1, 2
"""What begins in a cell: nothing; a sequence that is cut off there from what precedes it; one that begins there."""


class CRF(Module):
    """labels: how many. The parameters are named and oriented as in the package pytorch-crf: transitions [from, to],
    start_transitions and end_transitions [labels]; drawn within ±0.1, or zeros that wait for `load` (`rng=None`)."""

    def __init__(self, labels: int, *, rng: Seed = None) -> None:
        self.transitions = zeros(labels, labels)
        self.start_transitions, self.end_transitions = zeros(labels), zeros(labels)
        if (drawn := generator(rng)) is not None:
            self.load(self.initial(drawn, 0.0))

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        """As pytorch-crf draws them: `std` is not asked."""
        return {
            name: np.asarray(rng.uniform(-0.1, 0.1, value.numpy().shape), np.float32)
            for name, value in self.parameters().items()
        }

    def forward(self, scores: Tensor, labels: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(sum, weight) of the negative log-likelihood of labels i32 [rows] given scores f32 [rows, labels]; the weight
        is the number of rows with a label. `batch` holds what `arranged` made of the same rows."""
        count = self.start_transitions.shape[0]
        # of a row, only differences count; near 0, the sums of paths lose fewer digits
        scores = ht.log_softmax(scores)
        hit = labels.reshape(-1, 1).equal(ht.iota(count).reshape(1, -1))
        everything = [self.transitions, self.start_transitions.reshape(1, -1), self.end_transitions.reshape(1, -1)]
        true = ht.where(hit, scores, 0.0).sum() + (batch["crf_counts"] * ht.concatenate(everything)).sum()
        real = ht.logical_not(labels.equal(-100)).astype("f32").sum()
        return self.partition(scores, batch).sum() - true, real

    def partition(self, scores: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The logarithm of the sum over all paths of exp(score), f32 [sequences]; 0 where a sequence does not count.

        One step of the forward algorithm is a product with exp(transitions), around the greatest score of each side:
        what is then too small for f32 is e^−87 of the rest.
        """
        count = self.start_transitions.shape[0]
        rows = ht.take(scores, batch["crf_cells"]).reshape(-1, WIDTH, count)
        marks = batch["crf_marks"].reshape(-1, WIDTH)
        peak = ht.stop_gradient(self.transitions.max())
        growth = ht.exp(self.transitions - peak)

        def step(before: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            row, mark = given
            top = ht.stop_gradient(before.max(1, keepdims=True))
            sums = ht.matmul(ht.exp(before - top), growth)
            going_on = ht.log(ht.maximum(sums, _LEAST)) + (top + peak)
            fresh = ht.where(mark[:, None] > CUT, self.start_transitions, 0.0)
            after = row + ht.where(mark[:, None] > INSIDE, fresh, going_on)
            return after, after

        _, walked = ht.scan(step, ht.zeros(WIDTH, count), (rows, marks))
        last = ht.take(walked.reshape(-1, count), batch["crf_lasts"])
        last = last + ht.where(batch["crf_ends"][:, None] > CUT, self.end_transitions, 0.0)
        top = ht.stop_gradient(last.max(1, keepdims=True))
        total = ht.log(ht.exp(last - top).sum(1)) + top.reshape(-1)
        return ht.where(batch["crf_ends"] > INSIDE, total, 0.0)


_LEAST = 1e-30
"""Less than any sum that matters: the greatest of its terms is exp(transition − the greatest transition)."""


def arranged(labels: Sequence[Array], opens: Sequence[bool], closes: Sequence[bool], count: int) -> dict[str, Array]:
    """What `CRF` wants to know of sequences that lie one behind the other, from their labels, i32 each; `opens` and
    `closes` say which of them begin and end a text, and are not cut off there. Sequences without rows or without labels
    (−100) do not count.

    crf_cells, crf_marks i32 [steps · WIDTH], crf_lasts i32 [sequences], the cell of each one's last row, crf_ends i32
    [sequences], and crf_counts f32 [count + 2, count]: how often a tag follows a tag, how often each is first and last.
    """
    starts = np.concatenate([[0], np.cumsum([len(own) for own in labels])]).astype(np.int64)
    counted = [i for i, own in enumerate(labels) if len(own) and own[0] >= 0]
    counts = np.zeros((count + 2, count), np.float32)
    if not counted:  # a program wants something to walk
        nothing = np.zeros(WIDTH, np.int32)
        return {"crf_cells": nothing, "crf_marks": nothing, "crf_lasts": nothing[:1], "crf_ends": nothing[:1],
                "crf_counts": counts}  # fmt: skip
    lanes = layout([len(labels[i]) for i in counted], WIDTH)
    row = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in counted])
    mark = np.array([0, *(WHOLE if opens[i] else CUT for i in counted)], np.int32)
    for i in counted:
        np.add.at(counts, (labels[i][:-1], labels[i][1:]), 1)
        counts[count, labels[i][0]] += opens[i]
        counts[count + 1, labels[i][-1]] += closes[i]
    lasts = np.cumsum([len(labels[i]) for i in counted]) - 1
    return {
        "crf_cells": row[lanes["cells"]].astype(np.int32),
        "crf_marks": mark[lanes["begins"][:-WIDTH]],
        "crf_lasts": lanes["places"][lasts],
        "crf_ends": np.array([WHOLE if closes[i] else CUT for i in counted], np.int32),
        "crf_counts": counts,
    }


def shapes(count: int) -> dict[str, tuple[int | str, ...]]:
    """The symbolic shapes of what `arranged` gives, as `compile` takes them."""
    cells = f"{WIDTH}*crf_steps"
    return {"crf_cells": (cells,), "crf_marks": (cells,), "crf_lasts": ("crf_sequences",),
            "crf_ends": ("crf_sequences",), "crf_counts": (count + 2, count)}  # fmt: skip
