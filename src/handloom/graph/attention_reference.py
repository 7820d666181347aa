"""What attention means, in NumPy: softmax(scale · q·kᵀ + mask)·v for each sequence and head of a packed batch.

Query i of a sequence of n queries and m keys stands at key position i + m − n: sequences are aligned at their ends, so
that n new queries after a cache of m − n keys are causal without more ado. A query without any visible key gives zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handloom.graph import philox

Floats = NDArray[Any]


class AttentionLike(Protocol):
    """What says how to attend; the attributes of the graph's op say it, too."""

    @property
    def heads(self) -> int: ...
    @property
    def key_value_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def causal(self) -> bool: ...
    @property
    def window(self) -> int | None: ...
    @property
    def dropout(self) -> float: ...
    @property
    def site(self) -> int: ...
    @property
    def reach(self) -> int | None: ...
    @property
    def soft_cap(self) -> float | None: ...
    @property
    def buckets(self) -> int | None: ...
    @property
    def far(self) -> int: ...


Terms = tuple[Floats, Floats, NDArray[Any]]
"""Of queries [heads, T, buckets], of keys [heads, U, buckets], and the bucket of each distance, [2·far + 1]."""


class _Head(NamedTuple):
    """One head of one sequence: where it lies, its probabilities [n, m], what dropout multiplies them with, the places
    of the bias [n, m], the derivative of the soft cap and, with terms, their buckets [n, m]."""

    queries: slice
    keys: slice
    columns: slice
    key_columns: slice
    head: int
    probabilities: Floats
    log_sum: Floats
    factor: Floats | float
    sequence: int
    places: NDArray[np.intp]
    bend: Floats | float
    terms: NDArray[np.intp] | None


def attention(
    q: Floats,
    k: Floats,
    v: Floats,
    starts: ArrayLike,
    key_starts: ArrayLike,
    key_ends: ArrayLike,
    options: AttentionLike,
    bias: Floats | None = None,
    state: ArrayLike | None = None,
    terms: Terms | None = None,
) -> tuple[Floats, Floats]:
    """(out [T, heads·head_size], log-sum-exp of the scaled scores [T, heads]) in q's dtype.

    q: [T, heads·head_size]; k, v: [U, key_value_heads·head_size]; starts: i32[sequences + 1];
    key_starts, key_ends: i32[sequences], a sequence's first key and one past its last (a cache has gaps between them);
    bias: [heads, 2·reach + 1], needed with `reach` only; state: the random state u32[4], with dropout only; terms: with
    `buckets` only.
    The log-sum-exp of no visible key is −inf.
    """
    out = np.zeros_like(q)
    log_sums = np.full((len(q), options.heads), -np.inf, q.dtype)
    for h in _heads(q, k, starts, key_starts, key_ends, options, bias, state, terms):
        out[h.queries, h.columns] = (h.probabilities * h.factor) @ v[h.keys, h.key_columns]
        log_sums[h.queries, h.head] = h.log_sum
    return out, log_sums


def attention_backward(
    q: Floats,
    k: Floats,
    v: Floats,
    out: Floats,
    log_sums: Floats,
    gradient: Floats,
    starts: ArrayLike,
    key_starts: ArrayLike,
    key_ends: ArrayLike,
    options: AttentionLike,
    bias: Floats | None = None,
    state: ArrayLike | None = None,
    terms: Terms | None = None,
) -> tuple[Floats, ...]:
    """Gradients of q, k and v from that of `out`; with a bias its own for each sequence: [sequences,
    heads·(2·reach + 1)]; with terms those of the queries' and of the keys'. `log_sums` is not needed here: the
    probabilities are made anew."""
    distances = 0 if bias is None else bias.shape[1]
    by_sequence = np.zeros((np.size(starts) - 1, options.heads, distances), q.dtype)
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    by_term = [np.zeros(x.shape, q.dtype) for x in terms[:2]] if terms else []
    for h in _heads(q, k, starts, key_starts, key_ends, options, bias, state, terms):
        g = gradient[h.queries, h.columns]
        delta = (g * out[h.queries, h.columns]).sum(1, keepdims=True)
        slope = h.probabilities * (g @ v[h.keys, h.key_columns].T * h.factor - delta) * h.bend
        if bias is not None:
            np.add.at(by_sequence[h.sequence, h.head], h.places, slope)
        slope = slope * _like(q, options.scale)
        if h.terms is not None:
            n, m = slope.shape
            np.add.at(by_term[0][h.head, h.queries], (np.arange(n)[:, None], h.terms), slope)
            np.add.at(by_term[1][h.head, h.keys], (np.arange(m)[None, :], h.terms), slope)
        dq[h.queries, h.columns] = slope @ k[h.keys, h.key_columns]
        dk[h.keys, h.key_columns] += slope.T @ q[h.queries, h.columns]
        dv[h.keys, h.key_columns] += (h.probabilities * h.factor).T @ g
    return (dq, dk, dv, *([] if bias is None else [by_sequence.reshape(len(by_sequence), -1)]), *by_term)


def visible(queries: int, keys: int, options: AttentionLike) -> NDArray[np.bool_]:
    """bool[queries, keys]: which keys of its sequence a query sees."""
    distance = np.arange(queries)[:, None] + (keys - queries) - np.arange(keys)[None, :]
    seen = distance >= 0 if options.causal else np.ones_like(distance, np.bool_)
    if options.window is not None:
        seen = seen & (np.abs(distance) < options.window)
    return seen


def _heads(
    q: Floats,
    k: Floats,
    starts: ArrayLike,
    key_starts: ArrayLike,
    key_ends: ArrayLike,
    options: AttentionLike,
    bias: Floats | None,
    state: ArrayLike | None,
    terms: Terms | None,
) -> Iterator[_Head]:
    queries = pairwise(np.asarray(starts).tolist())
    keys = zip(np.asarray(key_starts).tolist(), np.asarray(key_ends).tolist(), strict=True)
    size, group = options.head_size, options.heads // options.key_value_heads
    for sequence, ((begin, end), (key_begin, key_end)) in enumerate(zip(queries, keys, strict=True)):
        n, m = end - begin, key_end - key_begin
        if not n or not m:
            continue
        seen = visible(n, m, options)
        distances = np.arange(m)[None, :] - (np.arange(n)[:, None] + (m - n))
        places = np.clip(distances, -(options.reach or 0), options.reach or 0) + (options.reach or 0)
        for head in range(options.heads):
            columns = slice(head * size, head * size + size)
            key_columns = slice(head // group * size, head // group * size + size)
            scores = q[begin:end, columns] @ k[key_begin:key_end, key_columns].T
            chosen = None
            if terms is not None:
                bucket_of = np.asarray(terms[2]).astype(np.intp)
                chosen = bucket_of[np.clip(distances, -options.far, options.far) + options.far]
                of_queries, of_keys = terms[0][head, begin:end], terms[1][head, key_begin:key_end]
                scores = scores + np.take_along_axis(of_queries, chosen, 1).astype(q.dtype)
                scores = scores + np.take_along_axis(of_keys, chosen.T, 1).T.astype(q.dtype)
            scores = scores * _like(q, options.scale)
            if bias is not None:
                scores = scores + bias[head][places]
            bend: Floats | float = _like(q, 1)
            if options.soft_cap is not None:
                bent = np.tanh(scores / _like(q, options.soft_cap))
                scores, bend = bent * _like(q, options.soft_cap), _like(q, 1) - bent * bent
            scores = np.where(seen, scores, _like(q, -np.inf))
            probabilities, log_sum = _softmax(scores)
            factor: Floats | float = 1.0
            if options.dropout:
                assert state is not None, "dropout needs the random state"
                rows = np.arange(begin, end) * options.heads + head
                kept = philox.keep(state, options.site, rows, m, options.dropout)
                factor = kept * _like(q, philox.keep_scale(options.dropout))
            rows_of = (slice(begin, end), slice(key_begin, key_end))
            where = (*rows_of, columns, key_columns, head)
            yield _Head(*where, probabilities, log_sum, factor, sequence, places, bend, chosen)


def _softmax(scores: Floats) -> tuple[Floats, Floats]:
    """Of each row, with its log-sum-exp; a row of −inf gives zeros."""
    top = scores.max(1, keepdims=True)
    top = np.where(np.isneginf(top), _like(scores, 0), top)
    e = np.exp(scores - top)
    total = e.sum(1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_sum = top[:, 0] + np.log(total[:, 0])
    return e / np.where(total == 0, _like(scores, 1), total), log_sum


def _like(x: Floats, value: float) -> Any:
    return x.dtype.type(value)
