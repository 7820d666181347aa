"""What a conditional random field says of texts, on the host: the best path of tags, and how likely each tag is.

All texts are walked side by side, those of like length together. Scores are f64: [rows, labels] of one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.text.schemes import Scheme

Floats = NDArray[np.float64]
AT_ONCE = 1 << 16  #: rows, with the padding of shorter texts


@dataclass(frozen=True, eq=False)
class Judged:
    """A text of at least one row: its best path, i64 [rows]; the scores of all paths up to a row, of all from it on
    (without its own score), and of all; and the scores of the rows themselves."""

    path: NDArray[np.int64]
    before: Floats
    after: Floats
    total: float
    scores: Floats

    @property
    def shares(self) -> Floats:
        """The probability of each tag of each row, [rows, labels]."""
        return np.exp(self.before + self.after - self.total)


@dataclass(frozen=True, eq=False)
class Chain:
    """transitions [from, to], start and end [labels], −inf where a tag may not follow; joins [from, to]: whether two
    neighbouring tags are of one span."""

    transitions: Floats
    start: Floats
    end: Floats
    joins: NDArray[np.bool_]

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[Any]], labels: Sequence[str], scheme: Scheme) -> Chain:
        """From the weights of `nn.crf.CRF`; what the scheme does not allow is forbidden."""
        legal = np.array([[scheme.follows(a, b) for b in labels] for a in labels])
        opens = np.array([scheme.follows(None, tag) for tag in labels])
        closes = np.array([scheme.follows(tag, None) for tag in labels])
        joins = np.array([[scheme.joins(a, b) for b in labels] for a in labels])
        return cls(
            np.where(legal, weights["transitions"].astype(np.float64), -np.inf),
            np.where(opens, weights["start_transitions"].astype(np.float64), -np.inf),
            np.where(closes, weights["end_transitions"].astype(np.float64), -np.inf),
            joins,
        )

    def judge(self, texts: Sequence[Floats]) -> list[Judged]:
        """Viterbi's algorithm, and the forward–backward algorithm (Rabiner 1989)."""
        lengths = np.array([len(text) for text in texts], np.int64)
        ranked = np.argsort(-lengths, kind="stable")
        found: dict[int, Judged] = {}
        at = 0
        while at < len(ranked):
            end = at + max(1, AT_ONCE // int(lengths[ranked[at]]))
            group = ranked[at:end].tolist()
            found.update(zip(group, self._judge([texts[i] for i in group]), strict=True))
            at = end
        return [found[i] for i in range(len(texts))]

    def _judge(self, texts: list[Floats]) -> list[Judged]:
        """Of texts that stand in the order of their lengths, the longest first: `live` of them have a row at a step."""
        lengths = np.array([len(text) for text in texts])
        steps, labels = int(lengths[0]), len(self.start)
        rows = np.zeros((steps, len(texts), labels))
        for i, text in enumerate(texts):
            rows[: len(text), i] = text
        live = [int((lengths > step).sum()) for step in range(steps)]
        best, before, after = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
        came = np.zeros(rows.shape, np.int64)
        best[0] = before[0] = self.start + rows[0]
        with np.errstate(divide="ignore"):
            for step in range(1, steps):
                n = live[step]
                ways = best[step - 1, :n, :, None] + self.transitions
                came[step, :n] = ways.argmax(1)
                best[step, :n] = np.take_along_axis(ways, came[step, :n, None], 1)[:, 0] + rows[step, :n]
                before[step, :n] = _sums(before[step - 1, :n], self.transitions) + rows[step, :n]
            after[:] = self.end
            for step in range(steps - 1, 0, -1):
                n = live[step]
                after[step - 1, :n] = _sums(after[step, :n] + rows[step, :n], self.transitions.T)
        tags = np.zeros((steps, len(texts)), np.int64)
        for step in range(steps - 1, -1, -1):
            ends = lengths == step + 1
            tags[step, ends] = (best[step, ends] + self.end).argmax(-1)
            if step:
                n = live[step]
                tags[step - 1, :n] = np.take_along_axis(came[step, :n], tags[step, :n, None], 1)[:, 0]
        judged = []
        for i, text in enumerate(texts):
            n = len(text)
            total = float(np.logaddexp.reduce(before[n - 1, i] + self.end))
            judged.append(Judged(tags[:n, i], before[:n, i], after[:n, i], total, text))
        return judged

    def span(self, judged: Judged, first: int, end: int) -> float:
        """The probability that the rows from `first` to `end` have the tags of the best path and that their neighbours'
        are no part of the same span (constrained forward–backward: Culotta and McCallum 2004)."""
        path, scores = judged.path, judged.scores
        left, right = path[first], path[end - 1]
        if first == 0:
            total = judged.before[0, left]
        else:
            come = judged.before[first - 1] + self.transitions[:, left]
            total = _sum(come[~self.joins[:, left]]) + scores[first, left]
        inner = path[first:end]
        total += self.transitions[inner[:-1], inner[1:]].sum() + scores[np.arange(first + 1, end), inner[1:]].sum()
        if end == len(path):
            total += self.end[right]
        else:
            go = self.transitions[right] + scores[end] + judged.after[end]
            total += _sum(go[~self.joins[right]])
        return float(np.exp(min(total - judged.total, 0.0)))


def _sums(before: Floats, transitions: Floats) -> Floats:
    """log Σ exp over what comes before: [n, from] with [from, to] -> [n, to]."""
    top = before.max(1, keepdims=True)
    peak = transitions.max()
    found: Floats = np.log(np.exp(before - top) @ np.exp(transitions - peak)) + top + peak
    return found


def _sum(scores: Floats) -> float:
    return float(np.logaddexp.reduce(scores)) if len(scores) else -np.inf
