"""Functions of tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from handloom.graph import build as b
from handloom.graph.node import Dimension
from handloom.graph.ops import AttentionAttrs
from handloom.tensor import random
from handloom.tensor.tensor import Operand, Tensor, apply, tensor


def _unary(op: str, x: Tensor) -> Tensor:
    return apply(lambda node: b.unary(op, node), x)


def exp(x: Tensor) -> Tensor:
    return _unary("exp", x)


def log(x: Tensor) -> Tensor:
    return _unary("log", x)


def sqrt(x: Tensor) -> Tensor:
    return _unary("sqrt", x)


def rsqrt(x: Tensor) -> Tensor:
    return _unary("rsqrt", x)


def tanh(x: Tensor) -> Tensor:
    return _unary("tanh", x)


def erf(x: Tensor) -> Tensor:
    return _unary("erf", x)


def sigmoid(x: Tensor) -> Tensor:
    return _unary("sigmoid", x)


def sin(x: Tensor) -> Tensor:
    return _unary("sin", x)


def cos(x: Tensor) -> Tensor:
    return _unary("cos", x)


def abs(x: Tensor) -> Tensor:
    return _unary("absolute", x)


def floor(x: Tensor) -> Tensor:
    return _unary("floor", x)


def is_finite(x: Tensor) -> Tensor:
    return _unary("is_finite", x)


def logical_not(x: Tensor) -> Tensor:
    return _unary("logical_not", x)


def logical_and(x: Tensor, y: Tensor) -> Tensor:
    return apply(lambda p, q: b.binary("logical_and", p, q), x, y)


def logical_or(x: Tensor, y: Tensor) -> Tensor:
    return apply(lambda p, q: b.binary("logical_or", p, q), x, y)


def stop_gradient(x: Tensor) -> Tensor:
    """x, taken as a constant by differentiation."""
    return _unary("stop_gradient", x)


def relu(x: Tensor) -> Tensor:
    return where(x > 0.0, x, 0.0)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """x · Φ(x); `approximate` takes the tanh form."""
    return apply(lambda node: b.make("gelu_tanh" if approximate else "gelu", node), x)


def silu(x: Tensor) -> Tensor:
    return apply(lambda node: b.make("silu", node), x)


def maximum(x: Operand, y: Operand) -> Tensor:
    return apply(lambda p, q: b.binary("maximum", p, q), x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    return apply(lambda p, q: b.binary("minimum", p, q), x, y)


def where(condition: Tensor, x: Operand, y: Operand) -> Tensor:
    """x where the condition (bool) holds, else y."""
    return apply(b.where, condition, x, y)


def cast(x: Tensor, dtype: str) -> Tensor:
    return x.astype(dtype)


def softmax(x: Tensor) -> Tensor:
    """Over the last axis."""
    return apply(lambda node: b.make("softmax", node), x)


def log_softmax(x: Tensor) -> Tensor:
    """Over the last axis."""
    return apply(lambda node: b.make("log_softmax", node), x)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float = 1e-12) -> Tensor:
    """x [..., n] normalised over the last axis, weight and (unless None) bias [n]."""
    if bias is None:
        return apply(lambda n, w: b.layer_norm(n, w, b.zeros_like(w), epsilon), x, weight)
    return apply(lambda n, w, c: b.layer_norm(n, w, c, epsilon), x, weight, bias)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x [..., n] divided by its root mean square over the last axis, weight [n]."""
    return apply(lambda n, w: b.rms_norm(n, w, epsilon), x, weight)


def matmul(a: Tensor, c: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Products of the last two axes; the leading axes must be equal."""
    return apply(lambda x, y: b.dot(x, y, transpose_a, transpose_b), a, c)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] · weight [out, in] transposed, plus bias [out]."""

    def build(x: Any, w: Any, *bias: Any) -> Any:
        rows: Dimension = 1
        for size in x.shape[:-1]:
            rows = size * rows
        flat = b.dot(b.reshape(x, (rows, x.shape[-1])), w, False, True)
        if bias:
            flat = b.add(flat, bias[0])
        return b.reshape(flat, (*x.shape[:-1], w.shape[0]))

    return apply(build, x, weight, *([] if bias is None else [bias]))


def take(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of `table` [rows, ...] numbered by ids i32 [n]."""
    return apply(b.take, table, ids)


def scatter_add(ids: Tensor, updates: Tensor, rows: Dimension) -> Tensor:
    """[rows, ...]: row i is the sum of the `updates` [n, ...] whose ids i32 [n] are i, in their order."""
    return apply(lambda i, x: b.scatter_add(i, x, rows), ids, updates)


def concatenate(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    return apply(lambda *nodes: b.concatenate(nodes, axis % len(nodes[0].shape)), *parts)


def flip(x: Tensor, axis: int = 0) -> Tensor:
    """x from the end of an axis to its beginning."""
    return apply(lambda node: b.flip(node, axis % len(node.shape)), x)


def stack(parts: Sequence[Tensor]) -> Tensor:
    """Along a new first axis."""
    return concatenate([part.reshape(1, *part.shape) for part in parts])


def iota(*shape: Dimension, axis: int = -1) -> Tensor:
    """0, 1, 2 … along `axis`, i32; always an array of its own unless the shape holds symbols."""
    if all(isinstance(size, int) for size in shape):
        sizes = [int(size) for size in shape]  # type: ignore[arg-type]
        line = np.arange(sizes[axis], dtype=np.int32)
        return tensor(
            np.broadcast_to(line.reshape([-1 if i == axis % len(sizes) else 1 for i in range(len(sizes))]), sizes)
        )
    return Tensor(b.iota(shape, axis % len(shape)))


def zeros(*shape: Dimension, dtype: str = "f32") -> Tensor:
    """An array, or the nodes of one where the shape holds symbols."""
    if not all(isinstance(size, int) for size in shape):
        return Tensor(b.full(0, shape, dtype))
    return tensor(np.zeros(shape), dtype)


def ones(*shape: int, dtype: str = "f32") -> Tensor:
    return tensor(np.ones(shape), dtype)


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zeroes each element with probability `rate` and scales the others by 1 / (1 − rate).

    Only inside `random.using(state, training=True)`; elsewhere x itself. Srivastava et al. 2014.
    """
    source = random.current()
    if not rate or source is None:
        return x
    site = source.site()

    def build(node: Any, state: Any) -> Any:
        kept = b.binary("less_equal", b.full(rate, node.shape, "f32"), b.random_uniform(state, node.shape, site))
        return b.where(kept, b.multiply(node, 1 / (1 - rate)), b.zeros_like(node))

    return apply(build, x, source.state)


def put(table: Tensor, ids: Tensor, rows: Tensor) -> Tensor:
    """The table [r, …] with its rows `ids` i32 [n], no two of them equal, replaced by `rows` [n, …].

    A compiled function writes into the table itself, where that is donated, returned, and read before by nothing that
    would come after: so a cache grows. Numbers outside of the table are passed over.
    """
    return apply(b.put, table, ids, rows)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    starts: Tensor,
    *,
    heads: int,
    key_value_heads: int | None = None,
    scale: float | None = None,
    causal: bool = False,
    window: int | None = None,
    dropout: float = 0.0,
    key_starts: Tensor | None = None,
    key_ends: Tensor | None = None,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
    longest: int | None = None,
    terms: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Scaled dot-product attention within packed sequences (Vaswani et al. 2017): no padding and no mask.

    q [tokens, heads·size]; k and v [key tokens, key_value_heads·size]; `starts` i32 [sequences + 1] says where each
    sequence begins and where the last one ends; `key_starts` the same for keys where they differ (cross-attention).
    Keys with gaps between sequences (those of a cache) have `key_starts` and `key_ends`, both i32 [sequences]; queries
    stand at the end of their keys. Rows of k and v that are no sequence's get no gradient, and none may be two's.
    `longest` says how many keys a sequence has at most, where that is less than all: scratch is as large.
    `scale` is 1/√size unless given; `window` limits how far back a query looks.
    `bias` f32 [heads, 2·reach + 1] is added to the scaled scores by distance: bias[h, reach + d] for the key d places
    after the query, and the ends of a row for all that is farther (Raffel et al. 2020, with their buckets spread over
    the distances). `terms` (q_terms f32 [heads, tokens, buckets], k_terms f32 [heads, key tokens, buckets], bucket i32
    [2·far + 1]) are added to a product before it is scaled: those of the query and of the key that stand under
    bucket[far + d], and the ends' for all that is farther (He et al. 2021).
    `soft_cap` bends scores s to soft_cap·tanh(s / soft_cap) (Gemma 2, 2024).
    Returns [tokens, heads·size]. Raises ValueError where a bias has an even number of distances, a cap is not > 0,
    or key_ends stand alone.
    """
    if soft_cap is not None and not 0 < soft_cap < math.inf:
        raise ValueError(f"soft_cap must be greater than 0, and is {soft_cap}; without a cap, leave it out")
    if window is not None and window < 1:
        raise ValueError(f"an attention window is at least 1, and is {window}")
    reach = None
    if bias is not None:
        distances = bias.shape[-1]
        if len(bias.shape) != 2 or not isinstance(distances, int) or distances % 2 == 0:
            raise ValueError(f"an attention bias is [heads, 2·reach + 1], and this one is {list(bias.shape)}")
        reach = distances // 2
    buckets, far = None, 0
    if terms is not None:
        width, distances = terms[0].shape[-1], terms[2].shape[-1]
        if not isinstance(width, int) or not isinstance(distances, int) or distances % 2 == 0:
            raise ValueError(f"terms end in a known number of buckets, the table of buckets is [2·far + 1]; these are "
                             f"{list(terms[0].shape)} and {list(terms[2].shape)}")  # fmt: skip
        buckets, far = width, distances // 2
    groups = key_value_heads or heads
    size = q.shape[1] // heads
    assert isinstance(size, int)
    source = random.current() if dropout else None
    attrs = AttentionAttrs(
        heads, groups, size, scale if scale is not None else 1 / math.sqrt(size), causal, window,
        dropout if source else 0.0, source.site() if source else 0, reach, soft_cap, longest, buckets, far,
    )  # fmt: skip
    if key_ends is None:
        edges = starts if key_starts is None else key_starts
        key_starts, key_ends = edges[:-1], edges[1:]
    elif key_starts is None:
        raise ValueError("key_ends say where each sequence's keys end, and key_starts are needed beside them")
    operands = [q, k, v, starts, key_starts, key_ends]
    operands += [*([] if bias is None else [bias]), *(terms or ()), *([source.state] if source else [])]
    return apply(lambda *nodes: b.project(b.make("attention", *nodes, attrs=attrs), 0), *operands)
