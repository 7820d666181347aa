"""Attention over packed sequences, forward: a kernel with one (sequence, head) a task.

Keys are transposed into scratch once. Then, a few query rows at a time: scores (wide tile), softmax in scratch, values
(narrow tile). Scratch grows with the longest sequence, not with its square. graph.attention_reference says what is
computed; a row's bits depend on its own sequence alone (with dropout, on the row's number as well).
"""

from __future__ import annotations

from handloom.codegen import mathfuns
from handloom.codegen.attention_parts import (
    AttentionKernel,
    Distances,
    Extent,
    Row,
    Slots,
    Stage,
    check,
    distance_floats,
    head_rows,
    load_extent,
    prefetch,
    random_source,
    round_up,
    row_stride,
    staged_bytes,
    tile_range,
    whole_vectors,
)
from handloom.codegen.attention_terms import TERM_SLOTS, Terms, term_floats
from handloom.codegen.attention_tiles import (
    ROWS,
    Shape,
    by_rows,
    call,
    emit_narrow,
    emit_transpose,
    emit_wide,
    even_tiles,
    shape_for,
)
from handloom.codegen.emit import Function, Module, Value, integer, number, vector
from handloom.codegen.target import Target
from handloom.graph import philox as random
from handloom.graph.attention_reference import AttentionLike

FORWARD_SLOTS = (
    *("q", "k", "v", "starts", "key_starts", "key_ends", "out", "log_sum"),
    *("q_stride", "k_stride", "v_stride", "out_stride"),
)


def emit_attention(
    module: Module,
    name: str,
    options: AttentionLike,
    target: Target,
    dtype: str = "f32",
) -> AttentionKernel:
    """Adds `void @name(ptr args, i64 task, ptr scratch)` to the module; task = sequence · heads + head.

    dtype: of q, k, v and the result in memory; the arithmetic is f32's.
    """
    check(options)
    shape = shape_for(name, options.head_size, target)
    transpose, wide = emit_transpose(module, shape), emit_wide(module, shape)
    narrow = emit_narrow(module, shape, "values", scaled=True)
    names = FORWARD_SLOTS + ("state", "site") * bool(options.dropout)
    names += ("bias", "bias_stride") * (options.reach is not None) + TERM_SLOTS * (options.buckets is not None)
    f = Function(module, name, [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")], attributes="nounwind")
    args, task, scratch = f.parameters
    slots = Slots(f, args, names)
    head = f.urem(task, options.heads)
    extent = load_extent(f, slots, f.udiv(task, options.heads), shape.lanes)
    key_head = f.udiv(head, options.heads // options.key_value_heads)
    size = options.head_size
    q, out = (head_rows(f, slots, n, extent.first_query, head, size, dtype) for n in ("q", "out"))
    k, v = (head_rows(f, slots, n, extent.first_key, key_head, size, dtype) for n in ("k", "v"))
    source = random_source(f, slots) if options.dropout else None

    # scratch: random words[64], factors[16], tops[n], totals[n], scores[ROWS][stride], panels, bias, buckets,
    # staged rows
    line = round_up(f, extent.n, 16)
    factors = f.at(scratch, random.BLOCK, "i32")
    tops = f.at(factors, 16, "float")
    totals = f.at(tops, line, "float")
    scores = f.at(totals, line, "float")
    panels = f.at(scores, f.mul(extent.stride, ROWS), "float")
    prefetch(f, shape, extent.m, [k, v], [])
    prefetch(f, shape, extent.n, [q], [out])
    rest, bias = f.at(panels, f.mul(extent.padded, size), "float"), None
    if options.reach is not None:
        bias = Distances(f, extent, options.reach, rest)
        bias.spread(f.at(slots.pointer("bias"), f.mul(head, slots.size("bias_stride")), "float"))
        rest = f.at(rest, f.add(round_up(f, extent.m, 16), round_up(f, extent.n, 16)), "float")
    terms = None
    if options.buckets is not None:
        terms = Terms(f, slots, options, extent, rest)
        terms.head(head)
        rest = f.at(rest, f.add(round_up(f, extent.m, 16), round_up(f, extent.n, 16)), "float")
    stage = Stage(f, shape, dtype, rest)
    k, v, q = (stage.rows(x, count) for x, count in ((k, extent.m), (v, extent.m), (q, extent.n)))
    result, out = out, stage.rows(out, extent.n, read=False)
    call(f, transpose, k.base, k.stride, extent.m, extent.padded, panels)

    def tile(start: Value, rows: Value) -> None:
        first, high, last = tile_range(f, options, extent, start, rows, shape.lanes)
        wide_arguments = (q.at(start), q.stride, panels, scores, extent.stride, first, last, extent.padded)
        by_rows(f, rows, lambda r: call(f, f"{wide}{r}", *wide_arguments))

        def softmax(index: Value, _: list[Value]) -> None:
            query = f.add(start, index)
            row = Row(f, shape, options, extent, head, query, bias, source, scratch)
            line = f.at(scores, f.mul(index, extent.stride), "float")
            if terms:
                terms.add(row, query, line)
            top, total = _softmax(f, row, line, first, last)
            quotient = f.binary("fdiv", number(random.keep_scale(options.dropout)), total)
            nothing = f.compare("fcmp oeq", total, number(0.0))
            f.store(f.select(nothing, number(0.0), quotient), f.at(factors, index, "float"))
            f.store(top, f.at(tops, query, "float"))
            f.store(total, f.at(totals, query, "float"))

        f.loop(0, rows, 1, softmax, unroll=False)
        probabilities, count = f.at(scores, first, "float"), f.sub(high, first)
        matrices = (probabilities, extent.stride, v.at(first), v.stride, out.at(start), out.stride)
        by_rows(f, rows, lambda r: call(f, f"{narrow}{r}", *matrices, count, factors))

    even_tiles(f, extent.n, ROWS, tile)
    stage.put_back(out, result, extent.n)
    _store_log_sums(f, shape, options, extent, slots.pointer("log_sum"), head, tops, totals)
    f.finish()

    def scratch_bytes(queries: int, keys: int) -> int:
        panel_floats = whole_vectors(keys, shape.lanes) * options.head_size
        own = random.BLOCK + 16 + 2 * whole_vectors(queries) + ROWS * row_stride(keys) + panel_floats
        own += distance_floats(options, queries, keys) + term_floats(options, queries, keys)
        return 4 * own + staged_bytes(dtype, shape, keys, keys, queries, queries)

    return AttentionKernel(name, names, options, options.heads, 2, scratch_bytes)


def _softmax(f: Function, row: Row, line: Value, first: Value, last: Value) -> tuple[Value, Value]:
    """Turns a row of products into exp(score − top), zero where dropped; returns (top, sum of what was before)."""
    type = vector("float", row.shape.lanes)

    def larger(x: Value, y: Value) -> Value:
        return f.select(f.compare("fcmp ogt", x, y), x, y)

    def find_top(column: Value, carried: list[Value]) -> list[Value]:
        scores, _ = row.scores(line, column, float("-inf"))
        f.store(scores, f.at(line, column, "float"))
        return [larger(scores, carried[0])]

    [tops] = f.loop(first, last, row.shape.lanes, find_top, [number(float("-inf"), type)], unroll=False)
    top = f.tree(larger, tops)
    # nothing seen: exp(−inf − 0) = 0
    top = f.select(f.compare("fcmp oeq", top, number(float("-inf"))), number(0.0), top)
    subtracted = f.splat(top, row.shape.lanes)

    def exponential(column: Value, carried: list[Value], kept: Value | None) -> list[Value]:
        place = f.at(line, column, "float")
        e = mathfuns.exp(f, f.binary("fsub", f.load(type, place), subtracted))
        f.store(f.select(kept, e, number(0.0, type)) if kept else e, place)
        return [f.binary("fadd", carried[0], e)]

    [totals] = row.walk(first, last, exponential, [number(0.0, type)])
    return top, f.tree(lambda x, y: f.binary("fadd", x, y), totals)


def _store_log_sums(
    f: Function,
    shape: Shape,
    options: AttentionLike,
    extent: Extent,
    target: Value,
    head: Value,
    tops: Value,
    totals: Value,
) -> None:
    """top + log(total) of all rows, a vector at a time, then spread over [tokens, heads]."""
    type = vector("float", shape.lanes)

    def logarithm(i: Value, _: list[Value]) -> None:
        total = mathfuns.log(f, f.load(type, f.at(totals, i, "float")))
        f.store(f.binary("fadd", f.load(type, f.at(tops, i, "float")), total), f.at(totals, i, "float"))

    f.loop(0, extent.n, shape.lanes, logarithm, unroll=False)
    base = f.at(target, f.add(f.mul(extent.first_query, options.heads), head), "float")

    def spread(i: Value, _: list[Value]) -> None:
        f.store(f.load("float", f.at(totals, i, "float")), f.at(base, f.mul(i, options.heads), "float"))

    f.loop(integer(0), extent.n, 1, spread, unroll=False)
