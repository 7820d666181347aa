"""Units turned into kernels and the steps that call them. One function a kind of unit, in one table.

Kernels whose text is the same are one kernel: a layer's code serves all layers, since everything that differs is an
argument.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handloom.codegen.attention import emit_attention
from handloom.codegen.attention_backward import emit_attention_backward
from handloom.codegen.attention_parts import AttentionKernel
from handloom.codegen.emit import Module
from handloom.codegen.epilogue import UnitEpilogue
from handloom.codegen.evaluate import Argument, Computed, Pointer, Site
from handloom.codegen.matmul import (
    PANELS_PER_TASK,
    Product,
    ProductKernel,
    StoreEpilogue,
    emit_panels,
    emit_product,
)
from handloom.codegen.moves import (
    COPY_ROWS,
    PUT_ROWS,
    SCATTER_PARTS,
    ZERO_BYTES,
    emit_copy,
    emit_places,
    emit_put,
    emit_scatter_add,
    emit_zero,
)
from handloom.codegen.replay import REPLAY_ROWS, emit_replay
from handloom.codegen.rows import FINISH_COLUMNS, LoopKernel, _Graph, emit_finish, emit_loop
from handloom.codegen.scalars import MEMORY
from handloom.codegen.signature import Signature
from handloom.codegen.target import Target
from handloom.errors import HandloomError
from handloom.graph.access import Access, access_of, base_of, dense_strides, stored_transposed, times
from handloom.graph.build import project
from handloom.graph.node import DTYPES, Dimension, Node, size_value, volume
from handloom.graph.unit import Unit

Env = dict[str, int]
Count = Callable[[Env], int]
PENDING = "kernel.pending"


@dataclass(frozen=True)
class Step:
    """One kernel call of a program, before memory is planned. `flops` and `kind` are for profiles."""

    kernel: str
    arguments: tuple[Argument, ...]
    tasks: Count
    reads: tuple[Pointer, ...]
    writes: tuple[Pointer, ...]
    scratch: Count = lambda env: 0
    kind: str = ""
    flops: Count = lambda env: 0


@dataclass(frozen=True)
class Tasks:
    """A kernel's own count of tasks, for a batch. Those of equal layers are equal, and counted once."""

    count: Callable[..., int]
    sizes: tuple[Dimension, ...]

    def __call__(self, env: Env) -> int:
        return self.count(*(size_value(size, env) for size in self.sizes))


class Lowering:
    """The module that a program's kernels are written into, and what lies in memory."""

    def __init__(self, target: Target, materialised: Callable[[Node], bool]) -> None:
        self.target = target
        self.materialised = materialised
        self.module = Module(native_bf16=target.bf16_dot, native_fma=target.fma)
        self._names: dict[str, str] = {}
        self._known: dict[Any, tuple[str, Any, Any]] = {}
        self.aliases: dict[Node, tuple[Node, Dimension]] = {}
        self.in_place: set[Node] = set()  # what is written over the donated input that it is made of
        self.sizes: dict[Pointer, Count] = {}  # bytes of buffers that are no node's: partial sums, stacks

    def kernel(self, label: str, emit: Callable[[str], Any]) -> tuple[str, Any]:
        """Emits a kernel under a name that its text decides; the one that exists, if the text is known."""
        functions = self.module.functions
        before = len(functions)
        result = emit(PENDING)
        # functions that several kernels share stay; the kernel and its own helpers carry its name
        own = [text for text in functions[before:] if f"@{PENDING}" in text.split("{", 1)[0]]
        functions[before:] = [text for text in functions[before:] if text not in own]
        name = f"{label}.{hashlib.sha256(chr(10).join(own).encode()).hexdigest()[:12]}"
        if name not in self._names:
            self._names[name] = name
            functions.extend(text.replace(f"@{PENDING}", f"@{name}") for text in own)
        return name, result

    def named(self, key: Any, label: str, emit: Callable[[str], object]) -> tuple[str, Any]:
        """The kernel known by `key`, emitted if it is new."""
        if key not in self._known:
            self._known[key] = (*self.kernel(label, emit), None)
        return self._known[key][:2]

    def unit_kernel(
        self, unit: Unit, nodes: Sequence[Node], emit: Callable[[str], tuple[object, Sequence[Argument]]]
    ) -> tuple[str, Any, tuple[Argument, ...]]:
        """(name, what `emit` gave, arguments) of a unit's kernel: emitted, or that of a unit of its signature."""
        signature = Signature(unit, nodes, lambda x: self.materialised(x) and x not in unit.members)
        if signature.key not in self._known:
            name, (kernel, arguments) = self.kernel(unit.kind, emit)
            self._known[signature.key] = name, kernel, signature.template(arguments)
        known = self._known[signature.key]
        return known[0], known[1], signature.arguments(known[2])

    def lower(self, unit: Unit) -> list[Step]:
        return LOWERINGS[unit.kind](self, unit)


# --- loops ----------------------------------------------------------------------------------------------------------


def _loop(low: Lowering, unit: Unit) -> list[Step]:
    def emit(name: str) -> tuple[LoopKernel, tuple[Argument, ...]]:
        kernel = emit_loop(low.module, name, unit, low.target, low.materialised)
        return kernel, kernel.arguments

    nodes = _Graph(unit, low.materialised).nodes
    name, kernel, arguments = low.unit_kernel(unit, nodes, emit)
    assert isinstance(kernel, LoopKernel)
    pointers = [a for a in arguments if isinstance(a, Pointer)]
    writes = tuple(p for p in pointers if p.role == "partial" or (p.node in unit.roots and p.offset == 0))
    reads = tuple(p for p in pointers if p not in writes)
    tasks: Count = kernel.tasks
    steps = [Step(name, arguments, tasks, reads, writes, kernel.scratch, "loop")]
    for width, sums in _by_width([p.node for p in pointers if p.role == "partial"]).items():
        partials = [Pointer(s, role="partial") for s in sums]
        for partial in partials:
            low.sizes[partial] = _partial_bytes(tasks, width, DTYPES[partial.node.dtype])
        steps.append(_finish(low, sums, partials, tasks, width))
    return steps


def _partial_bytes(tasks: Count, width: Dimension, size: int) -> Count:
    return lambda env: tasks(env) * size_value(width, env) * size


def _finish(low: Lowering, sums: Sequence[Node], partials: Sequence[Pointer], tasks: Count, width: Dimension) -> Step:
    """The step that adds up partial sums of one width."""
    element = MEMORY[sums[0].dtype]
    name, _ = low.kernel("finish", lambda name: emit_finish(low.module, name, len(sums), low.target, element))
    results = tuple(Pointer(s) for s in sums)
    arguments = (*partials, *results, Computed(tasks), width)
    return Step(
        name,
        arguments,
        lambda env: -(-size_value(width, env) // FINISH_COLUMNS),
        tuple(partials),
        results,
        kind="finish",
    )


def _by_width(sums: Sequence[Node]) -> dict[Dimension, list[Node]]:
    groups: dict[Dimension, list[Node]] = {}
    for node in sums:
        groups.setdefault(node.shape[-1], []).append(node)
    return groups


# --- products -------------------------------------------------------------------------------------------------------


def _matrix(x: Node, transposed: bool) -> tuple[Access, Dimension, bool]:
    """(access, row stride, whether it is stored transposed) of an operand."""
    access = access_of(x)
    assert access is not None
    rows, columns = access.shape[-2:]
    row_stride, column_stride = access.strides[-2:]
    flipped = stored_transposed(access, transposed)
    if flipped == transposed:  # one row may have any stride, one column needs its rows' stride
        return access, row_stride if rows != 1 else columns, flipped
    return access, column_stride, flipped


def _known(size: Dimension) -> int | None:
    return size if isinstance(size, int) else None


def _dot(low: Lowering, unit: Unit) -> list[Step]:
    dot = unit.anchor
    assert dot is not None
    a, a_stride, ta = _matrix(dot.inputs[0], dot.attrs.transpose_a)
    w, w_stride, tw = _matrix(dot.inputs[1], dot.attrs.transpose_b)
    if dot.attrs.panels is not None:
        w_stride, tw = 0, False
    m, n = dot.shape[-2:]
    k = dot.inputs[0].shape[-2 if dot.attrs.transpose_a else -1]
    batch: Dimension = 1
    for size in dot.shape[:-2]:
        batch = product_of(size, batch)
    dtype = "bf16" if dot.attrs.narrow else "f32"
    laid_out = dot.attrs.panels is not None
    wide_b = dot.attrs.narrow and w.base.dtype == "f32"
    product = Product(ta, tw, _known(m), _known(n), _known(k), unit.row_sums is not None, dtype, wide_b, laid_out,
                      w.base.dtype if laid_out and not dot.attrs.narrow else "f32")  # fmt: skip
    batched = len(dot.shape) > 2

    def outside(x: Node) -> bool:
        return low.materialised(x) and x not in unit.members

    if batched:
        name, kernel = low.kernel(
            "dot", lambda name: emit_product(low.module, name, product, low.target, StoreEpilogue())
        )
        tail: tuple[Argument, ...] = (Pointer(dot), n, m * n if isinstance(n, int) else n * m)  # type: ignore[operator]
        roots: tuple[Pointer, ...] = (Pointer(dot),)
    else:
        nodes = [x for x in _Graph(unit, low.materialised).nodes if x is not unit.row_sums]

        def emit(name: str) -> tuple[ProductKernel, list[Argument]]:
            epilogue = UnitEpilogue(unit, nodes, low.target, outside)
            return emit_product(low.module, name, product, low.target, epilogue), epilogue.arguments

        name, kernel, tail = low.unit_kernel(unit, nodes, emit)
        roots = tuple(Pointer(root) for root in unit.roots if root is not unit.row_sums)
    assert isinstance(kernel, ProductKernel)
    strides = [product_of(x.shape[-2], x.shape[-1]) if batched else 0 for x in dot.inputs]
    sums: Argument = Pointer(unit.row_sums) if unit.row_sums is not None else 0
    first = Pointer(a.base, a.offset)
    second = Pointer(w.base, w.offset)
    arguments = (first, second, m, n, k, a_stride, w_stride, *strides, sums, batch, *tail)
    writes = (*roots, *([sums] if isinstance(sums, Pointer) else []))
    reads = tuple(p for p in (first, second, *tail) if isinstance(p, Pointer) and p not in writes)
    sizes = (m, n, k, batch)

    def flops(env: Env) -> int:
        return 2 * volume(sizes, env)

    return [Step(name, arguments, Tasks(kernel.tasks, sizes), reads, writes, lambda env: kernel.scratch, "dot", flops)]


def _panels(low: Lowering, unit: Unit) -> list[Step]:
    node = unit.anchor
    assert node is not None
    w, stride, transposed = _matrix(node.inputs[0], node.attrs.transposed)
    k, n = reversed(node.inputs[0].shape) if node.attrs.transposed else node.inputs[0].shape
    assert isinstance(k, int) and isinstance(n, int)
    form = Product(False, transposed, None, n, k, False, "bf16" if node.attrs.narrow else "f32", w.base.dtype == "f32")
    key = ("panels", form)
    name, _ = low.named(key, "panels", lambda name: emit_panels(low.module, name, form, low.target))
    arguments = (Pointer(w.base, w.offset), stride, Pointer(node))
    tasks = -(-node.shape[0] // PANELS_PER_TASK)  # type: ignore[operator]
    return [Step(name, arguments, lambda env: tasks, arguments[:1], arguments[2:], kind="panels")]


def product_of(a: Dimension, b: Dimension) -> Dimension:
    """a · b. Raises HandloomError where neither is known when the program is compiled."""
    product = times(a, b)
    if product is None:
        raise HandloomError(f"the sizes {a} and {b} would be multiplied, but both are symbols: one must be fixed")
    return product


# --- moves ----------------------------------------------------------------------------------------------------------


def copy_step(low: Lowering, source: Access, goal: Pointer, to_strides: tuple[Dimension, ...], dtype: str) -> Step:
    """A strided copy of an access into a buffer."""
    shape, strides = source.shape or (1,), source.strides or (0,)
    to_strides = to_strides or (0,)
    name, _ = low.kernel("copy", lambda name: emit_copy(low.module, name, MEMORY[dtype], len(shape)))
    origin = Pointer(source.base, source.offset)
    return Step(
        name,
        (origin, goal, *shape, *strides, *to_strides),
        lambda env: -(-volume(shape[:-1], env) // COPY_ROWS),
        (origin,),
        (goal,),
        kind="copy",
    )


def _concatenate(low: Lowering, unit: Unit) -> list[Step]:
    node = unit.anchor
    assert node is not None
    strides = dense_strides(node.shape)
    start: Dimension = 0
    steps = []
    for part in node.inputs:
        access = access_of(part)
        assert access is not None
        stride = strides[node.attrs.axis]
        offset = product_of(start, stride) if stride != 0 else 0
        steps.append(copy_step(low, access, Pointer(node, offset), strides, node.dtype))
        start = start + part.shape[node.attrs.axis]
    return steps


def zero_step(low: Lowering, goal: Pointer, shape: tuple[Dimension, ...], dtype: str) -> Step:
    name, _ = low.kernel("zero", lambda name: emit_zero(low.module, name, low.target))
    count: Count = lambda env: volume(shape, env) * DTYPES[dtype]  # noqa: E731
    return Step(name, (goal, Computed(count)), lambda env: -(-count(env) // ZERO_BYTES), (), (goal,), kind="zero")


def _pad(low: Lowering, unit: Unit) -> list[Step]:
    node = unit.anchor
    assert node is not None
    access = access_of(node.inputs[0])
    assert access is not None
    strides = dense_strides(node.shape)
    stride = strides[node.attrs.axis]
    offset = product_of(node.attrs.low, stride) if stride != 0 else 0
    return [
        zero_step(low, Pointer(node), node.shape, node.dtype),
        copy_step(low, access, Pointer(node, offset), strides, node.dtype),
    ]


def _scatter_add(low: Lowering, unit: Unit) -> list[Step]:
    node = unit.anchor
    assert node is not None
    ids, updates = (Pointer(base_of(x)) for x in node.inputs)
    columns: Dimension = 1
    for size in node.shape[1:]:
        columns = product_of(size, columns)
    name, _ = low.kernel("scatter", lambda name: emit_scatter_add(low.module, name, low.target))
    arguments = (ids, updates, Pointer(node), node.inputs[0].shape[0], columns, node.shape[0])
    return [Step(name, arguments, lambda env: SCATTER_PARTS, (ids, updates), (Pointer(node),), kind="scatter")]


def _put(low: Lowering, unit: Unit) -> list[Step]:
    """Into the table itself where that is donated, else into a copy of it."""
    node = unit.anchor
    assert node is not None
    table, ids, rows = (Pointer(base_of(x)) for x in node.inputs)
    steps = []
    if node not in low.in_place:
        access = access_of(node.inputs[0])
        assert access is not None
        steps.append(copy_step(low, access, Pointer(node), dense_strides(node.shape), node.dtype))
    row_bytes: Dimension = DTYPES[node.dtype]
    for size in node.shape[1:]:
        row_bytes = product_of(size, row_bytes)
    name, _ = low.kernel("put", lambda name: emit_put(low.module, name))
    count = node.inputs[1].shape[0]
    arguments = (ids, rows, Pointer(node), count, row_bytes, node.shape[0])
    tasks: Count = lambda env: -(-size_value(count, env) // PUT_ROWS)  # noqa: E731
    return [*steps, Step(name, arguments, tasks, (table, ids, rows), (Pointer(node),), kind="put")]


def _replay(low: Lowering, unit: Unit) -> list[Step]:
    node = unit.anchor
    assert node is not None
    operands = [Pointer(base_of(x)) for x in node.inputs]
    results = [Pointer(project(node, i)) for i in range(len(node.spec))]
    rows, columns = node.inputs[0].shape
    name, _ = low.kernel("replay", lambda name: emit_replay(low.module, name, node.attrs, low.target))
    tasks: Count = lambda env: -(-size_value(rows, env) // REPLAY_ROWS)  # noqa: E731
    arguments = (*operands, *results, rows, columns)
    return [Step(name, arguments, tasks, tuple(operands), tuple(results), kind="replay")]


def _places(low: Lowering, unit: Unit) -> list[Step]:
    node = unit.anchor
    assert node is not None
    ids = Pointer(base_of(node.inputs[0]))
    name, _ = low.kernel("places", lambda name: emit_places(low.module, name, low.target))
    arguments = (ids, Pointer(node), node.inputs[0].shape[0], node.shape[0])
    return [Step(name, arguments, lambda env: 1, (ids,), (Pointer(node),), kind="scatter")]


# --- attention ------------------------------------------------------------------------------------------------------


def _attention(low: Lowering, unit: Unit) -> list[Step]:
    """Forward and backward alike: slots are named, operands and results stand in the order of the names."""
    node = unit.anchor
    assert node is not None
    backward = node.op == "attention_backward"
    emit, given, made = (
        (emit_attention_backward, BACKWARD_READS, BACKWARD_WRITES)
        if backward
        else (emit_attention, FORWARD_READS, FORWARD_WRITES)
    )
    options = replace(node.attrs, site=0, longest=None)  # the site is an argument
    dtype = node.inputs[0].dtype

    def emitted(name: str) -> AttentionKernel:
        return emit(low.module, name, options, low.target, dtype=dtype)

    name, kernel = low.named((node.op, options, dtype), node.op, emitted)
    assert isinstance(kernel, AttentionKernel)
    values: dict[str, Argument] = {"site": Site(node)}
    reads, writes = [], []
    absent = (OF_BIAS if options.reach is None else set()) | (OF_TERMS if options.buckets is None else set())
    given, made = (tuple(label for label in labels if label not in absent) for labels in (given, made))
    for label, x in zip(given, node.inputs, strict=False):
        access = access_of(x)
        assert access is not None
        values[label] = Pointer(access.base, access.offset)
        reads.append(values[label])
        if len(access.shape) == 2:
            values[f"{label}_stride"] = access.strides[0] if access.shape[0] != 1 else access.shape[1]
        elif len(access.shape) == 3:
            values |= _by_heads(label, x)
    for i, label in enumerate(made):
        result = project(node, i)
        values[label] = Pointer(result)
        writes.append(values[label])
        values |= {f"{label}_stride": result.shape[1]} if len(result.shape) == 2 else _by_heads(label, result)
    queries = node.inputs[0].shape[0]
    keys = node.inputs[1].shape[0]
    sequences = node.inputs[given.index("starts")].shape[0] - 1

    def scratch(env: Env) -> int:
        most = size_value(keys, env)
        return kernel.scratch_bytes(size_value(queries, env), min(most, node.attrs.longest or most))

    arguments = tuple(values[label] for label in kernel.slots)
    cleared = []
    if backward and not _side_by_side(*(node.inputs[given.index(label)] for label in ("key_starts", "key_ends"))):
        of_keys = [project(node, made.index(label)) for label in ("dk", "dv", "dk_terms") if label in made]
        cleared = [zero_step(low, Pointer(x), x.shape, x.dtype) for x in of_keys]
    tasks = Tasks(kernel.tasks, (sequences,))
    return [*cleared, Step(name, arguments, tasks, tuple(reads), tuple(writes), scratch, node.op)]  # type: ignore[arg-type]


def _by_heads(label: str, x: Node) -> dict[str, Argument]:
    """The strides of terms [heads, tokens, buckets], which lie side by side."""
    return {f"{label}_stride": x.shape[2], f"{label}_heads": product_of(x.shape[1], x.shape[2])}


def _side_by_side(first: Node, last: Node) -> bool:
    """Whether the starts and ends of sequences are one array's, so that each begins where the one before it ends."""
    begin, end = access_of(first), access_of(last)
    return begin is not None and end is not None and begin.base is end.base and end.offset == begin.offset + 1


_REST = ("starts", "key_starts", "key_ends", "bias", "q_terms", "k_terms", "buckets", "state")
FORWARD_READS: tuple[str, ...] = ("q", "k", "v", *_REST)
FORWARD_WRITES: tuple[str, ...] = ("out", "log_sum")
BACKWARD_READS: tuple[str, ...] = ("q", "k", "v", "out", "log_sum", "dout", *_REST)
BACKWARD_WRITES: tuple[str, ...] = ("dq", "dk", "dv", "dbias", "dq_terms", "dk_terms")
OF_BIAS, OF_TERMS = {"bias", "dbias"}, {"q_terms", "k_terms", "buckets", "dq_terms", "dk_terms"}

LOWERINGS: dict[str, Callable[[Lowering, Unit], list[Step]]] = {
    "loop": _loop,
    "dot": _dot,
    "panels": _panels,
    "concatenate": _concatenate,
    "pad": _pad,
    "scatter_add": _scatter_add,
    "put": _put,
    "replay": _replay,
    "places": _places,
    "attention": _attention,
    "attention_backward": _attention,
}

__all__ = ["LOWERINGS", "Lowering", "Step", "copy_step", "replace"]
