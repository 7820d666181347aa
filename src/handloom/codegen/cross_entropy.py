"""A linear layer and the cross-entropy of its logits, some rows at a time, so that the logits are never all there.

For each chunk of rows: logits = x·wᵀ into a buffer that all chunks share; a kernel that adds the bias, if there is
one, and makes of every row its loss and, in place, the gradient of its logits (softmax − the label's one-hot, of
which `smoothing` spreads a share over all classes; zeros where there is no label); dx = gradient·w; dw +=
gradientᵀ·x; dbias += the gradient's columns. The loss's own cotangent is one number, by which all gradients are
multiplied outside.
"""

from __future__ import annotations

from collections.abc import Callable

from handloom.codegen import mathfuns, scalars
from handloom.codegen.emit import Function, Module, Value, integer, number, vector, zero
from handloom.codegen.evaluate import Argument, Computed, Pointer
from handloom.codegen.lower import Env, Lowering, Step
from handloom.codegen.matmul import Product, ProductKernel, StoreEpilogue, emit_product
from handloom.codegen.target import Target
from handloom.graph.access import Access, access_of
from handloom.graph.build import project
from handloom.graph.node import Node, size_value
from handloom.graph.unit import Unit

ROOM = 20 << 20
"""Bytes of logits that are there at once. Every chunk reads and packs the whole weight twice and goes over its gradient
once: small chunks take longer (docs/performance.md)."""
LEAST, MOST = 16, 512
"""Rows of a chunk, a multiple of 16 in any case."""


def chunk_rows(classes: int) -> int:
    """Rows of a chunk: from the number of classes alone, so that bits do not depend on a batch."""
    return max(LEAST, min(MOST, ROOM // (4 * classes) // 16 * 16))


def lower_cross_entropy(low: Lowering, unit: Unit, capacity: Env) -> list[Step]:
    node = unit.anchor
    assert node is not None
    x, w, labels, *rest = map(_access, node.inputs)
    bias = Pointer(rest[0].base, rest[0].offset) if rest else None
    rows, hidden = node.inputs[0].shape
    classes = node.inputs[1].shape[0]
    assert isinstance(hidden, int) and isinstance(classes, int)
    dtype, wide = ("bf16", w.base.dtype == "f32") if node.attrs.narrow else ("f32", False)
    size, smoothing = chunk_rows(classes), node.attrs.smoothing
    buffer = Pointer(project(node, 0), 0, "logits")
    low.sizes[buffer] = lambda env: 4 * size * classes

    def product(label: str, form: Product, *, accumulate: bool = False) -> tuple[str, ProductKernel]:
        epilogue = StoreEpilogue(accumulate=accumulate)
        key = ("cross_entropy", form, accumulate)
        name, kernel = low.named(key, label, lambda name: emit_product(low.module, name, form, low.target, epilogue))
        return name, kernel

    gradients = node.attrs.gradients
    forward = product("dot", Product(False, True, None, classes, hidden, dtype=dtype, wide_b=wide))
    softmax, _ = low.named(
        ("cross_entropy", dtype, gradients, bias is not None, smoothing), "cross_entropy",
        lambda name: emit_softmax(low.module, name, low.target, dtype, gradients, bias is not None, smoothing),
    )  # fmt: skip
    steps: list[Step] = []
    losses = Pointer(project(node, 0))
    for start in range(0, max(size_value(rows, capacity), 1), size):
        count = lambda env, start=start: min(max(size_value(rows, env) - start, 0), size)  # noqa: E731
        here = Computed(count)
        own = Pointer(x.base, x.offset + start * hidden)

        def times(kernel: ProductKernel, first: int, second: int, third: int, count: object = count) -> object:
            """Tasks of a product of these sizes, of which 0 stands for this chunk's rows."""
            return lambda env: kernel.tasks(*(size or count(env) for size in (first, second, third)))  # type: ignore[operator]

        def operations(env: Env, count: object = count) -> int:
            return 2 * count(env) * hidden * classes  # type: ignore[no-any-return, operator]

        name, kernel = forward
        arguments: tuple[Argument, ...] = (
            own, Pointer(w.base, w.offset), here, classes, hidden, hidden, hidden, 0, 0, 0, 1, buffer, classes, 0,
        )  # fmt: skip
        steps.append(_product(name, kernel, arguments, times(kernel, 0, classes, hidden), (0, 1), (11,), operations))
        place = Pointer(labels.base, labels.offset + start)
        given = (buffer, place, Pointer(losses.node, start), classes, node.attrs.ignore, bias or 0)
        reads = (buffer, place, bias) if bias else (buffer, place)
        steps.append(Step(softmax, given, count, reads, (buffer, losses), kind="cross_entropy"))
        if not gradients:
            continue
        dx, dw = (Pointer(project(node, i)) for i in (1, 2))
        # rows of bf16 gradients lie where the f32 logits lay: as far apart, twice as many elements
        stride = classes if dtype == "f32" else 2 * classes
        name, kernel = product("dot", Product(False, False, None, hidden, classes, dtype=dtype, wide_b=wide))
        arguments = (
            buffer, Pointer(w.base, w.offset), here, hidden, classes, stride, hidden, 0, 0, 0, 1,
            Pointer(dx.node, start * hidden), hidden, 0,
        )  # fmt: skip
        steps.append(_product(name, kernel, arguments, times(kernel, 0, hidden, classes), (0, 1), (11,), operations))
        name, kernel = product("dot", Product(True, False, classes, hidden, None, dtype=dtype), accumulate=start > 0)
        arguments = (buffer, own, classes, hidden, here, stride, hidden, 0, 0, 0, 1, dw, hidden, 0)
        tasks = times(kernel, classes, hidden, 0)
        if start > 0:  # nothing to be added; the first chunk writes zeros even where there are no rows
            tasks = lambda env, tasks=tasks, count=count: tasks(env) if count(env) else 0  # noqa: E731
        steps.append(_product(name, kernel, arguments, tasks, (0, 1), (11,), operations))
        if start > 0:
            steps[-1] = _reading(steps[-1], dw)
        if bias:
            steps.append(_column_sums(low, node, buffer, here, stride, dtype, more=start > 0))
    return steps


def _access(operand: Node) -> Access:
    found = access_of(operand)
    assert found is not None
    return found


def _column_sums(low: Lowering, node: Node, buffer: Pointer, count: Computed, stride: int, dtype: str, *,
                 more: bool) -> Step:  # fmt: skip
    """dbias from a chunk's gradients: written from the first chunk, of no rows even, and added to from the others."""
    sums, classes = Pointer(project(node, 3)), node.inputs[1].shape[0]
    assert isinstance(classes, int)
    name, _ = low.named(("column_sums", dtype, more), "column_sums",
                        lambda name: emit_column_sums(low.module, name, low.target, dtype, more))  # fmt: skip
    tasks = -(-classes // (COLUMNS * low.target.lanes))
    given = (buffer, count, stride, sums, classes)
    return Step(name, given, lambda env: tasks, (buffer, sums) if more else (buffer,), (sums,), kind="column_sums")


def _product(
    name: str, kernel: ProductKernel, arguments: tuple[Argument, ...], tasks: object, reads: tuple[int, ...],
    writes: tuple[int, ...], flops: object,
) -> Step:  # fmt: skip
    def pointers(numbers: tuple[int, ...]) -> tuple[Pointer, ...]:
        return tuple(a for a in (arguments[i] for i in numbers) if isinstance(a, Pointer))

    scratch = kernel.scratch
    return Step(
        name, arguments, tasks, pointers(reads), pointers(writes), lambda env: scratch, "dot", flops  # type: ignore[arg-type]
    )


def _reading(step: Step, also: Pointer) -> Step:
    from dataclasses import replace

    return replace(step, reads=(*step.reads, also))


Walker = Callable[[Value, Value | None, list[Value]], list[Value]]


def emit_softmax(module: Module, name: str, target: Target, dtype: str, gradients: bool, biased: bool,
                 smoothing: float) -> None:  # fmt: skip
    """Adds `void @name(ptr args, i64 task, ptr scratch)`, a row a task: slots are the addresses of logits, labels (i32)
    and losses, the number of classes, the label that counts nothing, and the address of the bias."""
    f = Function(module, name, [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")], attributes="nounwind")
    args, row, _ = f.parameters
    logits, labels, losses = (f.load("ptr", f.at(args, i, "i64")) for i in range(3))
    classes, ignored = (f.load("i64", f.at(args, i, "i64")) for i in (3, 4))
    bias = f.load("ptr", f.at(args, 5, "i64"))
    lanes, type = target.lanes, vector("float", target.lanes)
    line = f.at(logits, f.mul(row, classes), "float")
    given = f.cast("sext", f.load("i32", f.at(labels, row, "i32")), "i64")
    counts = f.compare("icmp ne", given, ignored)
    # a label beyond the classes is held within them: nothing outside may be touched
    label = f.smin(given, f.sub(classes, 1))
    label = f.select(f.compare("icmp slt", label, integer(0)), integer(0), label)
    whole = f.mul(f.udiv(classes, lanes), lanes)
    rest = f.below(f.sub(classes, whole), lanes)
    tail = f.compare("icmp slt", whole, classes)
    least = number(float("-inf"), type)

    def larger(a: Value, b: Value) -> Value:
        return f.select(f.compare("fcmp ogt", a, b), a, b)

    def plus(a: Value, b: Value) -> Value:
        return f.binary("fadd", a, b)

    def load(column: Value, mask: Value | None) -> Value:
        address = f.at(line, column, "float")
        return f.masked_load(type, address, mask, least) if mask else f.load(type, address)

    def walk(step: Walker, *start: Value) -> list[Value]:
        """step(column, mask, carried) for each vector of the row."""
        values = f.loop(0, whole, lanes, lambda c, carried: step(c, None, carried), list(start), unroll=False)
        return f.when(tail, lambda: step(whole, rest, values), lambda: values)

    def survey(column: Value, mask: Value | None, carried: list[Value]) -> list[Value]:
        """The greatest logit and, for smoothing, the sum of all; what the bias adds is written down."""
        value, place = load(column, mask), f.at(line, column, "float")
        if biased:
            term = f.at(bias, column, "float")
            value = plus(value, f.masked_load(type, term, mask) if mask else f.load(type, term))
            f.masked_store(value, place, mask) if mask else f.store(value, place)
        found = [larger(value, carried[0])]
        if smoothing:
            found.append(plus(carried[1], f.select(mask, value, zero(type)) if mask else value))
        return found

    surveyed = walk(survey, *([least, zero(type)] if smoothing else [least]))
    top = f.tree(larger, surveyed[0])
    tops = f.splat(top, lanes)
    own = f.load("float", f.at(line, label, "float"))

    def exponential(column: Value, mask: Value | None, carried: list[Value]) -> list[Value]:
        e = mathfuns.exp(f, f.binary("fsub", load(column, mask), tops))
        if mask:
            e = f.select(mask, e, zero(type))
            f.masked_store(e, f.at(line, column, "float"), mask)
        else:
            f.store(e, f.at(line, column, "float"))
        return [plus(carried[0], e)]

    [powers] = walk(exponential, zero(type))
    total = f.tree(plus, powers)
    if smoothing:
        share = f.binary("fdiv", number(smoothing), f.cast("sitofp", classes, "float"))
        own = plus(f.binary("fmul", own, number(1 - smoothing)), f.binary("fmul", f.tree(plus, surveyed[1]), share))
    loss = f.binary("fsub", plus(mathfuns.log(f, total), top), own)
    f.store(f.select(counts, loss, number(0.0)), f.at(losses, row, "float"))
    if gradients:
        nothing = number(0.0)
        scale = f.select(counts, f.binary("fdiv", number(1.0), total), nothing)
        scales = f.splat(scale, lanes)
        hit = f.binary("fmul", f.load("float", f.at(line, label, "float")), scale)
        hit = f.binary("fsub", hit, number(1 - smoothing))
        if smoothing:
            hit = f.binary("fsub", hit, share)
            shares = f.splat(f.select(counts, share, nothing), lanes)
        hit = f.select(counts, hit, nothing)
        memory = scalars.MEMORY[dtype]

        def scaled(column: Value, mask: Value | None, carried: list[Value]) -> list[Value]:
            value = f.binary("fmul", load(column, mask), scales)
            if smoothing:
                value = f.binary("fsub", value, shares)
            scalars.store(f, dtype, value, f.at(line, column, memory), mask)
            return carried

        walk(scaled)
        scalars.store(f, dtype, hit, f.at(line, label, memory))
    f.finish()


COLUMNS = 8
"""Vectors of columns that a task of `emit_column_sums` adds up: a row of them is a few lines of memory."""


def emit_column_sums(module: Module, name: str, target: Target, dtype: str, more: bool) -> None:
    """Adds `void @name(ptr args, i64 task, ptr scratch)`, COLUMNS vectors of columns a task: slots are the address of
    the rows, their number and their stride in elements, the address of the sums (f32), and the number of columns.
    more: what is there already is added to."""
    f = Function(module, name, [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")], attributes="nounwind")
    args, task, _ = f.parameters
    rows, sums = (f.load("ptr", f.at(args, i, "i64")) for i in (0, 3))
    count, stride, columns = (f.load("i64", f.at(args, i, "i64")) for i in (1, 2, 4))
    lanes, type, memory = target.lanes, vector("float", target.lanes), scalars.MEMORY[dtype]
    first = f.mul(task, COLUMNS * lanes)

    def part(column: Value, _: list[Value]) -> None:
        mask = f.below(f.sub(columns, column), lanes)
        place = f.at(sums, column, "float")

        def add(row: Value, carried: list[Value]) -> list[Value]:
            values = scalars.load(f, dtype, lanes, f.at(rows, f.add(f.mul(row, stride), column), memory), mask)
            return [f.binary("fadd", carried[0], values)]

        [total] = f.loop(0, count, 1, add, [zero(type)], unroll=False)
        f.masked_store(f.binary("fadd", f.masked_load(type, place, mask), total) if more else total, place, mask)

    f.loop(first, f.smin(f.add(first, COLUMNS * lanes), columns), lanes, part, unroll=False)
    f.finish()


def products_of(node: Node) -> int:
    """Products of rows × hidden × classes: the logits, and their gradient's two."""
    return 3 if node.attrs.gradients else 1
