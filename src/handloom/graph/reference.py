"""What every operation means, in NumPy: the slow truth that kernels are tested against, and a backend of its own.

bf16 values are f32 arrays rounded to bf16. With `double`, all floating-point values are f64: for finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from handloom.errors import HandloomError
from handloom.graph import philox
from handloom.graph.composites import EXPANSIONS
from handloom.graph.node import Node, size_value, walk
from handloom.graph.ops import OPS

Array = np.ndarray[Any, Any]
Env = Mapping[str, int]

NUMPY = {"f32": np.float32, "f64": np.float64, "bf16": np.float32, "i32": np.int32, "u32": np.uint32,
         "i8": np.int8, "bool": np.bool_}  # fmt: skip


def numpy_dtype(dtype: str, double: bool = False) -> Any:
    return np.float64 if double and dtype in ("f32", "bf16") else NUMPY[dtype]


def round_bf16(x: Array) -> Array:
    """To the nearest bf16, ties to even, kept as f32. NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(x), np.float32(np.nan), rounded)


_ERF_STEP = 1 / 64
_ERF_TABLE = np.array([math.erf(i * _ERF_STEP) for i in range(7 * 64)])


def _erf(x: Array) -> Array:
    """In f64 element by element; in f32 by a fourth-order Taylor step from a table, error below 1e-10."""
    if x.dtype == np.float64:
        return np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x
    size = np.abs(np.clip(np.nan_to_num(x, nan=0.0), -6.9, 6.9)).astype(np.float64)
    index = np.rint(size / _ERF_STEP).astype(np.int64)
    at = index * _ERF_STEP
    h = size - at
    slope = (2 / math.sqrt(math.pi)) * np.exp(-at * at)
    value = _ERF_TABLE[index] + slope * h * (1 + h * (-at + h * ((4 * at**2 - 2) / 6 + h * (12 * at - 8 * at**3) / 24)))
    return np.where(np.isnan(x), x, np.copysign(value, x)).astype(x.dtype)


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-x))).astype(x.dtype)


def _scan(inputs: Sequence[Array], node: Node, env: Env, double: bool) -> tuple[Array, ...]:
    attrs = node.attrs
    n, s = attrs.carried, attrs.scanned
    carried, scanned, rest = list(inputs[:n]), inputs[n : n + s], inputs[n + s :]
    length = size_value(attrs.length, env)
    stacked: list[Array] = [
        np.zeros((length, *x.spec.concrete(env)), numpy_dtype(x.dtype, double)) for x in attrs.body.outputs[n:]
    ]
    for step in range(length - 1, -1, -1) if attrs.reverse else range(length):
        values = dict(zip(attrs.body.inputs, [*carried, *(x[step] for x in scanned), *rest], strict=True))
        results = evaluate(attrs.body.outputs, values, env, double)
        carried = results[:n]
        for target, value in zip(stacked, results[n:], strict=True):
            target[step] = value
    return (*carried, *stacked)


def _pad(x: Array, node: Node, env: Env) -> Array:
    low = size_value(node.attrs.low, env)
    high = size_value(node.attrs.size, env) - low - x.shape[node.attrs.axis]
    return np.pad(x, [(low, high) if axis == node.attrs.axis else (0, 0) for axis in range(x.ndim)])


def _slice(x: Array, node: Node, env: Env) -> Array:
    start, size = size_value(node.attrs.start, env), size_value(node.attrs.size, env)
    part: Array = x[(slice(None),) * node.attrs.axis + (slice(start, start + size),)]
    return part


def _take(table: Array, ids: Array) -> Array:
    if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
        raise HandloomError(f"take: row {ids.min() if ids.min() < 0 else ids.max()} of a table with {len(table)} rows")
    return table[ids]


def _scatter_add(ids: Array, updates: Array, rows: int) -> Array:
    result = np.zeros((rows, *updates.shape[1:]), updates.dtype)
    np.add.at(result, ids, updates)
    return result


def _put(table: Array, ids: Array, rows: Array) -> Array:
    result: Array = table.copy()
    inside = (ids >= 0) & (ids < len(table))
    result[ids[inside]] = rows[inside]
    return result


def _replay(x: Sequence[Array], node: Node, env: Env, double: bool) -> tuple[Array, ...]:
    *states, past, first, count = x
    body = node.attrs.body
    for step in range(min([int(count), *first.tolist()]), int(count)):
        given = dict(zip(body.inputs, [*states, *past[step]], strict=True))
        behind = (first <= step)[:, None]
        after = evaluate(body.outputs, given, env, double)
        states = [np.where(behind, new, old) for new, old in zip(after, states, strict=True)]
    return tuple(states)


def _places(ids: Array, rows: int) -> Array:
    result = np.full(rows, len(ids), np.int32)
    found, first = np.unique(ids, return_index=True)
    result[found] = first
    return result


def _panels(w: Array, node: Node) -> Array:
    attrs = node.attrs
    w = w.T if attrs.transposed else w
    count, rows, columns = attrs.shape(*w.shape)
    group = 2 if attrs.narrow else 1
    whole = np.zeros((rows * group, count * columns), w.dtype)
    whole[: w.shape[0], : w.shape[1]] = w
    laid = np.moveaxis(whole.reshape(rows, group, count, columns), (2, 0, 3, 1), (0, 1, 2, 3))
    if not attrs.narrow:
        return np.ascontiguousarray(laid[..., 0])
    bits = np.ascontiguousarray(round_bf16(laid)).view(np.uint32)
    return np.asarray(bits[..., 0] >> 16 | bits[..., 1] & 0xFFFF0000)


def _unpanelled(laid: Array, k: int, n: int, narrow: bool) -> Array:
    """The matrix [K, N] out of its panels."""
    if laid.dtype == np.int8:
        laid = laid.astype(np.float32)
    pairs = np.stack([laid << 16, laid & 0xFFFF0000], -1).view(np.float32) if narrow else laid[..., None]
    count, rows, columns, group = pairs.shape
    whole: Array = pairs.transpose(1, 3, 0, 2).reshape(rows * group, count * columns)
    return whole[:k, :n]


def _dot(a: Array, b: Array, node: Node, double: bool) -> Array:
    if node.attrs.panels is not None:
        b = _unpanelled(b, a.shape[0 if node.attrs.transpose_a else 1], node.attrs.panels, node.attrs.narrow)
    if node.attrs.narrow and not double:
        a, b = round_bf16(a), round_bf16(b)
    a = np.swapaxes(a, -1, -2) if node.attrs.transpose_a else a
    b = np.swapaxes(b, -1, -2) if node.attrs.transpose_b else b
    return np.asarray(a @ b)


def _linear_cross_entropy(given: Sequence[Array], node: Node, double: bool) -> tuple[Array, ...]:
    """Losses [rows], and with gradients those of their sum by x, by w and by the bias, if there is one."""
    x, w, labels, *bias = given
    narrow = node.attrs.narrow and not double
    if narrow:
        x, w = round_bf16(x), round_bf16(w)
    logits = x @ w.T + bias[0] if bias else x @ w.T
    counts = (labels != node.attrs.ignore)[:, None]
    rows, held = np.arange(len(labels)), np.clip(labels, 0, len(w) - 1)
    top = logits.max(1, keepdims=True)
    powers = np.exp(logits - top)
    total = powers.sum(1, keepdims=True)
    own = logits[rows, held][:, None]
    even = node.attrs.smoothing
    aimed = (1 - even) * own + even * logits.mean(1, keepdims=True) if even else own
    losses = np.where(counts, np.log(total) + top - aimed, 0)[:, 0].astype(x.dtype)
    if not node.attrs.gradients:
        return (losses,)
    slopes = powers / total - even / len(w)
    slopes[rows, held] -= 1 - even
    slopes = np.where(counts, slopes, 0).astype(x.dtype)
    slopes = round_bf16(slopes) if narrow else slopes
    return losses, slopes @ w, slopes.T @ x, *([slopes.sum(0)] if bias else [])


def _random(state: Array, node: Node, env: Env) -> Array:
    shape = node.spec.concrete(env)
    columns = shape[-1] if shape else 1
    rows = math.prod(shape[:-1])
    drawn: Array = philox.uniform(state, node.attrs.site, rows, columns).reshape(shape)
    return drawn


def _iota(node: Node, env: Env) -> Array:
    shape = node.spec.concrete(env)
    line = np.arange(shape[node.attrs.axis], dtype=np.int32)
    return np.broadcast_to(line.reshape([-1 if i == node.attrs.axis else 1 for i in range(len(shape))]), shape)


def _attention(x: Sequence[Array], node: Node, env: Env, double: bool) -> Any:
    from handloom.graph.attention_reference import attention

    q, k, v, starts, key_starts, key_ends, *rest = x
    return attention(q, k, v, starts, key_starts, key_ends, node.attrs, *_extras(rest, node))


def _attention_backward(x: Sequence[Array], node: Node, env: Env, double: bool) -> Any:
    from handloom.graph.attention_reference import attention_backward

    q, k, v, out, log_sum, g, starts, key_starts, key_ends, *rest = x
    given = _extras(rest, node)
    return attention_backward(q, k, v, out, log_sum, g, starts, key_starts, key_ends, node.attrs, *given)


def _extras(rest: list[Array], node: Node) -> tuple[Array | None, Array | None, Any]:
    """Bias, random state and terms."""
    bias = rest.pop(0) if node.attrs.reach is not None else None
    terms = tuple(rest.pop(0) for _ in range(3)) if node.attrs.buckets is not None else None
    return bias, rest[0] if rest else None, terms


# name → f(inputs, node, env, double)
REFERENCE: dict[str, Callable[[Sequence[Array], Node, Env, bool], Any]] = {
    "constant": lambda x, node, env, double: np.asarray(node.attrs.value, numpy_dtype(node.dtype, double)),
    "iota": lambda x, node, env, double: _iota(node, env),
    "negative": lambda x, *_: -x[0],
    "exp": lambda x, *_: np.exp(x[0]),
    "log": lambda x, *_: np.log(x[0]),
    "sqrt": lambda x, *_: np.sqrt(x[0]),
    "rsqrt": lambda x, *_: (1 / np.sqrt(x[0])).astype(x[0].dtype),
    "tanh": lambda x, *_: np.tanh(x[0]),
    "erf": lambda x, *_: _erf(x[0]),
    "sigmoid": lambda x, *_: _sigmoid(x[0]),
    "absolute": lambda x, *_: np.abs(x[0]),
    "sin": lambda x, *_: np.sin(x[0]),
    "cos": lambda x, *_: np.cos(x[0]),
    "sign": lambda x, *_: np.sign(x[0]),
    "floor": lambda x, *_: np.floor(x[0]),
    "is_finite": lambda x, *_: np.isfinite(x[0]),
    "logical_not": lambda x, *_: ~x[0],
    "stop_gradient": lambda x, *_: x[0],
    "add": lambda x, *_: x[0] + x[1],
    "subtract": lambda x, *_: x[0] - x[1],
    "multiply": lambda x, *_: x[0] * x[1],
    "divide": lambda x, *_: x[0] / x[1] if x[0].dtype.kind == "f" else x[0] // x[1],
    "maximum": lambda x, *_: np.maximum(x[0], x[1]),
    "minimum": lambda x, *_: np.minimum(x[0], x[1]),
    "less": lambda x, *_: x[0] < x[1],
    "less_equal": lambda x, *_: x[0] <= x[1],
    "equal": lambda x, *_: x[0] == x[1],
    "logical_and": lambda x, *_: x[0] & x[1],
    "logical_or": lambda x, *_: x[0] | x[1],
    "where": lambda x, *_: np.where(x[0], x[1], x[2]),
    "cast": lambda x, node, env, double: x[0].astype(numpy_dtype(node.dtype, double)),
    "broadcast": lambda x, node, env, double: np.broadcast_to(x[0], node.spec.concrete(env)),
    "reshape": lambda x, node, env, double: x[0].reshape(node.spec.concrete(env)),
    "transpose": lambda x, node, env, double: x[0].transpose(node.attrs.axes),
    "slice": lambda x, node, env, double: _slice(x[0], node, env),
    "flip": lambda x, node, env, double: np.flip(x[0], node.attrs.axis),
    "pad": lambda x, node, env, double: _pad(x[0], node, env),
    "concatenate": lambda x, node, env, double: np.concatenate(x, node.attrs.axis),
    "sum": lambda x, node, env, double: x[0].sum(node.attrs.axes, keepdims=True, dtype=x[0].dtype),
    "max": lambda x, node, env, double: x[0].max(node.attrs.axes, keepdims=True),
    "linear_cross_entropy": lambda x, node, env, double: _linear_cross_entropy(x, node, double),
    "after": lambda x, node, env, double: x[0],
    "dot": lambda x, node, env, double: _dot(x[0], x[1], node, double),
    "panels": lambda x, node, env, double: _panels(x[0], node),
    "take": lambda x, *_: _take(x[0], x[1]),
    "put": lambda x, *_: _put(x[0], x[1], x[2]),
    "replay": _replay,
    "places": lambda x, node, env, double: _places(x[0], size_value(node.attrs.rows, env)),
    "scatter_add": lambda x, node, env, double: _scatter_add(x[0], x[1], size_value(node.attrs.rows, env)),
    "random_uniform": lambda x, node, env, double: _random(x[0], node, env).astype(numpy_dtype("f32", double)),
    "attention": _attention,
    "attention_backward": _attention_backward,
    "scan": _scan,
    "project": lambda x, node, env, double: x[0][node.attrs.index],
}


def evaluate(
    outputs: Sequence[Node], inputs: Mapping[Node, Array], env: Env | None = None, double: bool = False
) -> list[Array]:
    """The values of `outputs`. `inputs` gives every input node's array, `env` the sizes that symbols stand for."""
    env = env or {}
    values: dict[Node, Any] = {
        node: np.asarray(array, numpy_dtype(node.dtype, double)) for node, array in inputs.items()
    }
    for node in walk(outputs):
        if node in values:
            continue
        if node.op == "input":
            raise KeyError(f"no value for the input {node.attrs.name}")
        given = [values[x] for x in node.inputs]
        if node.op in EXPANSIONS:
            stand_ins = _stand_ins(node)
            expanded = EXPANSIONS[node.op](stand_ins, node.attrs)
            values[node] = evaluate([expanded], dict(zip(stand_ins, given, strict=True)), env, double)[0]
            continue
        with np.errstate(all="ignore"):
            result = REFERENCE[node.op](given, node, env, double)
        values[node] = result if double else _rounded(result, node.spec)
    return [values[node] for node in outputs]


def _rounded(result: Any, spec: Any) -> Any:
    """bf16 values, rounded."""
    if isinstance(spec, tuple):
        return tuple(_rounded(part, own) for part, own in zip(result, spec, strict=True))
    return round_bf16(result) if spec.dtype == "bf16" else result


def _stand_ins(node: Node) -> list[Node]:
    """Input nodes in place of a composite's operands, so that its definition is evaluated once, on values."""
    from handloom.graph.build import make
    from handloom.graph.ops import InputAttrs

    return [make("input", attrs=InputAttrs(i, "operand", x.shape, x.dtype)) for i, x in enumerate(node.inputs)]


def missing() -> set[str]:
    """Operations without a meaning here: none but the program's inputs."""
    return set(OPS) - set(REFERENCE) - set(EXPANSIONS) - {"input"}
