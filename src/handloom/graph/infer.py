"""Shape and dtype of every operation's result. A rule raises ShapeError, which says what the operands were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from handloom.errors import HandloomError
from handloom.graph.node import DTYPES, FLOATS, Dimension, Size, Spec, same_volume
from handloom.graph.ops import COMPARISONS, OPS, PanelsAttrs


class ShapeError(HandloomError):
    """Operands whose shapes or dtypes an operation does not take."""


Rule = Callable[[Sequence[Spec], Any], "Spec | tuple[Spec, ...]"]


def _fail(op: str, specs: Sequence[Spec], why: str) -> ShapeError:
    return ShapeError(f"{op}({', '.join(map(str, specs))}): {why}")


def _equal_shapes(op: str, specs: Sequence[Spec]) -> tuple[Dimension, ...]:
    if any(spec.shape != specs[0].shape for spec in specs):
        raise _fail(op, specs, "the shapes must be equal (broadcast first)")
    return specs[0].shape


def _elementwise(op: str) -> Rule:
    def rule(specs: Sequence[Spec], attrs: Any) -> Spec:
        shape = _equal_shapes(op, specs)
        if any(spec.dtype != specs[0].dtype for spec in specs):
            raise _fail(op, specs, "the dtypes must be equal (cast one of them)")
        if op in COMPARISONS or op == "is_finite":
            return Spec(shape, "bool")
        if op.startswith("logical"):
            if specs[0].dtype != "bool":
                raise _fail(op, specs, "needs bool")
            return Spec(shape, "bool")
        if (
            OPS[op].arity == 1
            and op not in ("negative", "absolute", "sign", "stop_gradient")
            and specs[0].dtype not in FLOATS
        ):
            raise _fail(op, specs, "needs a floating-point operand")
        return Spec(shape, specs[0].dtype)

    return rule


def _where(specs: Sequence[Spec], attrs: Any) -> Spec:
    shape = _equal_shapes("where", specs)
    if specs[0].dtype != "bool" or specs[1].dtype != specs[2].dtype:
        raise _fail("where", specs, "needs a bool condition and two operands of one dtype")
    return Spec(shape, specs[1].dtype)


def _cast(specs: Sequence[Spec], attrs: Any) -> Spec:
    if attrs.dtype not in DTYPES:
        raise _fail("cast", specs, f"unknown dtype {attrs.dtype!r}; there are {', '.join(DTYPES)}")
    return Spec(specs[0].shape, attrs.dtype)


def _broadcast(specs: Sequence[Spec], attrs: Any) -> Spec:
    old, new = specs[0].shape, attrs.shape
    if len(old) != len(new) or any(a not in (1, b) for a, b in zip(old, new, strict=True)):
        raise _fail("broadcast", specs, f"does not fit {new}")
    return Spec(new, specs[0].dtype)


def _reshape(specs: Sequence[Spec], attrs: Any) -> Spec:
    if not same_volume(specs[0].shape, attrs.shape):
        raise _fail("reshape", specs, f"{attrs.shape} holds another number of elements")
    return Spec(attrs.shape, specs[0].dtype)


def _transpose(specs: Sequence[Spec], attrs: Any) -> Spec:
    if sorted(attrs.axes) != list(range(len(specs[0].shape))):
        raise _fail("transpose", specs, f"{attrs.axes} is no permutation of its axes")
    return Spec(tuple(specs[0].shape[axis] for axis in attrs.axes), specs[0].dtype)


def _at(shape: tuple[Dimension, ...], axis: int, size: Dimension) -> tuple[Dimension, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _slice(specs: Sequence[Spec], attrs: Any) -> Spec:
    whole = specs[0].shape[attrs.axis]
    known = all(isinstance(x, int) for x in (whole, attrs.start, attrs.size))
    if known and not 0 <= attrs.start <= attrs.start + attrs.size <= whole:
        raise _fail("slice", specs, f"axis {attrs.axis} has no elements {attrs.start} … {attrs.start + attrs.size - 1}")
    return Spec(_at(specs[0].shape, attrs.axis, attrs.size), specs[0].dtype)


def _flip(specs: Sequence[Spec], attrs: Any) -> Spec:
    if not 0 <= attrs.axis < len(specs[0].shape):
        raise _fail("flip", specs, f"there is no axis {attrs.axis}")
    return specs[0]


def _pad(specs: Sequence[Spec], attrs: Any) -> Spec:
    return Spec(_at(specs[0].shape, attrs.axis, attrs.size), specs[0].dtype)


def _concatenate(specs: Sequence[Spec], attrs: Any) -> Spec:
    others = {(_at(spec.shape, attrs.axis, 0), spec.dtype) for spec in specs}
    if len(others) != 1:
        raise _fail("concatenate", specs, f"only axis {attrs.axis} may differ")
    total: Dimension = 0
    for spec in specs:
        total = total + spec.shape[attrs.axis]
    return Spec(_at(specs[0].shape, attrs.axis, total), specs[0].dtype)


def _reduce(specs: Sequence[Spec], attrs: Any) -> Spec:
    rank = len(specs[0].shape)
    if any(not 0 <= axis < rank for axis in attrs.axes):
        raise _fail("reduce", specs, f"no axis {attrs.axes}")
    return Spec(tuple(1 if i in attrs.axes else size for i, size in enumerate(specs[0].shape)), specs[0].dtype)


def _panels(specs: Sequence[Spec], attrs: Any) -> Spec:
    sizes = specs[0].shape
    if len(sizes) != 2 or not all(isinstance(size, int) for size in sizes) or specs[0].dtype not in ("f32", "bf16"):
        raise _fail("panels", specs, "needs a matrix of f32 or bf16 and of known sizes")
    k, n = reversed(sizes) if attrs.transposed else sizes
    return Spec(attrs.shape(k, n), "u32" if attrs.narrow else specs[0].dtype)


def _dot(specs: Sequence[Spec], attrs: Any) -> Spec:
    a, b = specs
    if attrs.panels is not None:
        m, k = a.shape[-2:] if not attrs.transpose_a else a.shape[:-3:-1]
        layout = PanelsAttrs(b.shape[-1] if b.shape else 0, narrow=attrs.narrow)  # type: ignore[arg-type]
        if len(a.shape) != 2 or b.shape != layout.shape(k, attrs.panels):  # type: ignore[arg-type]
            raise _fail("dot", specs, f"the panels are not those of {k} × {attrs.panels}")
        if b.dtype not in (("u32",) if attrs.narrow else ("f32", "bf16", "i8")):
            raise _fail("dot", specs, f"no product reads panels of {b.dtype}")
        return Spec((m, attrs.panels), "f32")
    alike = {a.dtype, b.dtype} <= {"f32", "bf16"} if attrs.narrow else a.dtype == b.dtype
    if min(len(a.shape), len(b.shape)) < 2 or a.shape[:-2] != b.shape[:-2] or not alike:
        raise _fail("dot", specs, "needs two operands of at least 2 axes, equal leading axes and one dtype")
    m, k = a.shape[-2:] if not attrs.transpose_a else a.shape[:-3:-1]
    k2, n = b.shape[-2:] if not attrs.transpose_b else b.shape[:-3:-1]
    if k != k2:
        raise _fail("dot", specs, f"the inner sizes {k} and {k2} differ")
    return Spec((*a.shape[:-2], m, n), "f32" if attrs.narrow else a.dtype)


def _take(specs: Sequence[Spec], attrs: Any) -> Spec:
    table, ids = specs
    if ids.dtype != "i32" or len(ids.shape) != 1 or not table.shape:
        raise _fail("take", specs, "needs a table and i32 row numbers [n]")
    return Spec((ids.shape[0], *table.shape[1:]), table.dtype)


def _scatter_add(specs: Sequence[Spec], attrs: Any) -> Spec:
    ids, updates = specs
    if ids.dtype != "i32" or ids.shape != updates.shape[:1]:
        raise _fail("scatter_add", specs, "needs i32 row numbers [n] and updates [n, …]")
    return Spec((attrs.rows, *updates.shape[1:]), updates.dtype)


def _put(specs: Sequence[Spec], attrs: Any) -> Spec:
    table, ids, rows = specs
    if ids.dtype != "i32" or len(ids.shape) != 1 or not table.shape:
        raise _fail("put", specs, "needs a table, i32 row numbers [n] and the rows [n, …]")
    if rows != Spec((ids.shape[0], *table.shape[1:]), table.dtype):
        raise _fail("put", specs, f"the rows must be {Spec((ids.shape[0], *table.shape[1:]), table.dtype)}")
    return table


def _replay(specs: Sequence[Spec], attrs: Any) -> tuple[Spec, ...]:
    *states, past, first, count = specs
    if len(states) != len(attrs.body.outputs) or any(s != states[0] for s in states) or len(states[0].shape) != 2:
        raise _fail("replay", specs, f"needs {len(attrs.body.outputs)} states of one shape [rows, columns]")
    if states[0].dtype != "f32" or past.dtype != "f32" or len(past.shape) != 2:
        raise _fail("replay", specs, "the states and the past [steps, numbers] must be f32")
    if past.shape[1] != len(attrs.body.inputs) - len(states):
        raise _fail("replay", specs, f"the body takes {len(attrs.body.inputs) - len(states)} numbers a step")
    if first != Spec(states[0].shape[:1], "i32") or count != Spec((), "i32"):
        raise _fail("replay", specs, "the steps must be i32: the first one of each row [rows], and how many there are")
    return tuple(states)


def _places(specs: Sequence[Spec], attrs: Any) -> Spec:
    if specs[0].dtype != "i32" or len(specs[0].shape) != 1:
        raise _fail("places", specs, "needs i32 row numbers [n]")
    return Spec((attrs.rows,), "i32")


def _random(specs: Sequence[Spec], attrs: Any) -> Spec:
    if specs[0] != Spec((4,), "u32"):
        raise _fail("random_uniform", specs, "needs the random state, u32[4]")
    return Spec(attrs.shape, "f32")


def _same(specs: Sequence[Spec], attrs: Any) -> Spec:
    return specs[0]


def _norm(specs: Sequence[Spec], attrs: Any) -> Spec:
    x = specs[0]
    if not x.shape or any(spec.shape != x.shape[-1:] for spec in specs[1:]):
        raise _fail("norm", specs, "weight and bias must have the length of the last axis")
    return x


def _attention(specs: Sequence[Spec], attrs: Any) -> tuple[Spec, ...]:
    q, k, v, starts, key_starts, key_ends = specs[:6]
    if len(q.shape) != 2 or q.shape[1] != attrs.heads * attrs.head_size:
        raise _fail("attention", specs, f"queries must be [tokens, {attrs.heads}·{attrs.head_size}]")
    if k.shape[1] != attrs.key_value_heads * attrs.head_size or k.shape != v.shape:
        raise _fail("attention", specs, f"keys and values must be [tokens, {attrs.key_value_heads}·{attrs.head_size}]")
    if not q.dtype == k.dtype == v.dtype:
        raise _fail("attention", specs, "queries, keys and values must be of one dtype")
    if starts.dtype != "i32" or len(starts.shape) != 1:
        raise _fail("attention", specs, "the starts must be i32 [sequences + 1]")
    if key_starts != Spec((starts.shape[0] - 1,), "i32") or key_ends != key_starts:
        raise _fail("attention", specs, "the keys' starts and ends must be i32 [sequences]")
    if attrs.reach is not None and specs[6] != Spec((attrs.heads, 2 * attrs.reach + 1), "f32"):
        raise _fail("attention", specs, f"the bias must be f32 [{attrs.heads}, {2 * attrs.reach + 1}]")
    if attrs.buckets is not None:
        at = 6 + (attrs.reach is not None)
        sides = (Spec((attrs.heads, side.shape[0], attrs.buckets), "f32") for side in (q, k))
        wanted = (*sides, Spec((2 * attrs.far + 1,), "i32"))
        if tuple(specs[at : at + 3]) != wanted:
            raise _fail("attention", specs, f"the terms must be {wanted[0]} and {wanted[1]}, the buckets {wanted[2]}")
    return Spec(q.shape, q.dtype), Spec((q.shape[0], attrs.heads), "f32")


def _attention_backward(specs: Sequence[Spec], attrs: Any) -> tuple[Spec, ...]:
    found, extras = [*specs[:3]], [*specs[9:]]
    if attrs.reach is not None:
        found.append(Spec((specs[6].shape[0] - 1, attrs.heads * (2 * attrs.reach + 1)), "f32"))
        extras.pop(0)
    return (*found, *(extras[:2] if attrs.buckets is not None else []))


def _linear_cross_entropy(specs: Sequence[Spec], attrs: Any) -> tuple[Spec, ...]:
    x, w, labels, *bias = specs
    if len(x.shape) != 2 or len(w.shape) != 2 or x.shape[1] != w.shape[1]:
        raise _fail("linear_cross_entropy", specs, "needs x [rows, hidden] and w [classes, hidden]")
    if not isinstance(x.shape[1], int) or not isinstance(w.shape[0], int) or not w.shape[0]:
        raise _fail("linear_cross_entropy", specs, "hidden and classes must be known")
    if labels.dtype != "i32" or labels.shape != x.shape[:1]:
        raise _fail("linear_cross_entropy", specs, "the labels must be i32 [rows]")
    if bias not in ([], [Spec(w.shape[:1], "f32")]):
        raise _fail("linear_cross_entropy", specs, "the bias must be f32 [classes]")
    losses = Spec(labels.shape, "f32")
    return (losses, Spec(x.shape, "f32"), Spec(w.shape, "f32"), *bias) if attrs.gradients else (losses,)


def _scan(specs: Sequence[Spec], attrs: Any) -> tuple[Spec, ...]:
    body, carried = attrs.body, attrs.carried
    expected = [node.spec for node in body.inputs]
    given = [Spec(s.shape[1:], s.dtype) if carried <= i < carried + attrs.scanned else s for i, s in enumerate(specs)]
    if given != expected:
        raise _fail("scan", specs, f"the body takes {', '.join(map(str, expected))}")
    if any(s.shape[0] != attrs.length for s in specs[carried : carried + attrs.scanned]):
        raise _fail("scan", specs, f"every scanned value needs a first axis of {attrs.length}")
    outputs = [node.spec for node in body.outputs]
    if outputs[:carried] != expected[:carried]:
        raise _fail("scan", specs, f"the body turns carried {expected[:carried]} into {outputs[:carried]}")
    return (*outputs[:carried], *(Spec((attrs.length, *s.shape), s.dtype) for s in outputs[carried:]))


INFER: dict[str, Rule] = {
    "input": lambda specs, attrs: Spec(attrs.shape, attrs.dtype),
    "constant": lambda specs, attrs: Spec((), attrs.dtype),
    "iota": lambda specs, attrs: Spec(attrs.shape, "i32"),
    **{name: _elementwise(name) for name, op in OPS.items() if op.kind == "elementwise"},
    "where": _where,
    "cast": _cast,
    "broadcast": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "flip": _flip,
    "pad": _pad,
    "concatenate": _concatenate,
    "sum": _reduce,
    "max": _reduce,
    "dot": _dot,
    "panels": _panels,
    "take": _take,
    "scatter_add": _scatter_add,
    "put": _put,
    "replay": _replay,
    "places": _places,
    "random_uniform": _random,
    **{name: _same for name in ("softmax", "log_softmax", "gelu", "gelu_tanh", "silu")},
    "layer_norm": _norm,
    "rms_norm": _norm,
    "attention": _attention,
    "attention_backward": _attention_backward,
    "linear_cross_entropy": _linear_cross_entropy,
    "scan": _scan,
    "project": lambda specs, attrs: specs[0][attrs.index],  # type: ignore[index]
}


def infer(op: str, specs: Sequence[Any], attrs: Any) -> Spec | tuple[Spec, ...]:
    known = OPS[op]
    if known.arity is not None and len(specs) != known.arity:
        raise ShapeError(f"{op} takes {known.arity} operands and got {len(specs)}")
    return INFER[op](specs, attrs)


__all__ = ["INFER", "ShapeError", "Size", "infer"]
