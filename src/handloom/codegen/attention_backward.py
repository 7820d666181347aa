"""The gradient of attention: a kernel with one (sequence, key head) a task, which owns its rows of dk and dv.

Probabilities are made again from the scores and the log-sum-exp that forward kept. Blocks of query rows go through
scratch, so that it grows with the longest sequence only; dk and dv are added up block after block, then head after
head of the group. As Σ_j P·dP, the term that softmax subtracts is Σ_d dout·out, with dropout as well.
"""

from __future__ import annotations

from handloom.codegen import mathfuns
from handloom.codegen.attention_parts import (
    AttentionKernel,
    Distances,
    Row,
    Rows,
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
from handloom.codegen.attention_terms import TERM_SLOPE_SLOTS, TERM_SLOTS, Terms, term_floats
from handloom.codegen.attention_tiles import (
    ROWS,
    Shape,
    by_rows,
    call,
    emit_narrow,
    emit_transpose,
    emit_wide,
    even_tiles,
    load_part,
    shape_for,
    store_part,
)
from handloom.codegen.emit import Function, Module, Value, number, vector, zero
from handloom.codegen.target import Target
from handloom.graph import philox as random
from handloom.graph.attention_reference import AttentionLike

QUERIES = 64
"""Query rows of a block: two blocks of scores for 128 keys fit the second-level cache many times over."""

BACKWARD_SLOTS = (
    *("q", "k", "v", "out", "log_sum", "dout", "starts", "key_starts", "key_ends", "dq", "dk", "dv"),
    *("q_stride", "k_stride", "v_stride", "out_stride", "dout_stride", "dq_stride", "dk_stride", "dv_stride"),
)


def emit_attention_backward(
    module: Module,
    name: str,
    options: AttentionLike,
    target: Target,
    dtype: str = "f32",
) -> AttentionKernel:
    """Adds `void @name(ptr args, i64 task, ptr scratch)`; task = sequence · key_value_heads + key head.

    Every row of dq, dk and dv that belongs to a sequence is written; what was there does not matter. dtype: of all
    operands and results but log_sum in memory; the arithmetic is f32's.
    """
    check(options)
    shape, size = shape_for(name, options.head_size, target), options.head_size
    transpose, wide = emit_transpose(module, shape), emit_wide(module, shape)
    by_key = emit_narrow(module, shape, "keys")
    by_query = emit_narrow(module, shape, "queries", columns=True, accumulate=True)
    names = BACKWARD_SLOTS + ("state", "site") * bool(options.dropout)
    names += ("bias", "bias_stride", "dbias", "dbias_stride") * (options.reach is not None)
    names += (*TERM_SLOTS, *TERM_SLOPE_SLOTS) * (options.buckets is not None)
    f = Function(module, name, [("ptr", "args"), ("i64", "task"), ("ptr", "scratch")], attributes="nounwind")
    args, task, scratch = f.parameters
    slots = Slots(f, args, names)
    key_head = f.urem(task, options.key_value_heads)
    sequence = f.udiv(task, options.key_value_heads)
    extent = load_extent(f, slots, sequence, shape.lanes)
    k, v, dk, dv = (head_rows(f, slots, n, extent.first_key, key_head, size, dtype) for n in ("k", "v", "dk", "dv"))
    log_sum = slots.pointer("log_sum")
    source = random_source(f, slots) if options.dropout else None

    # scratch: random words[64], probabilities[QUERIES][stride], slopes[QUERIES][stride], panels of k, panels of v,
    # bias, its gradient, buckets, staged rows
    probabilities = f.at(scratch, random.BLOCK, "i32")
    slopes = f.at(probabilities, f.mul(extent.stride, QUERIES), "float")
    key_panels = f.at(slopes, f.mul(extent.stride, QUERIES), "float")
    value_panels = f.at(key_panels, f.mul(extent.padded, size), "float")
    prefetch(f, shape, extent.m, [k, v], [dk, dv])
    rest = f.at(value_panels, f.mul(extent.padded, size), "float")
    bias = bias_slopes = None
    if options.reach is not None:
        floats = f.add(round_up(f, extent.m, 16), round_up(f, extent.n, 16))
        bias, bias_slopes = (Distances(f, extent, options.reach, f.at(rest, f.mul(floats, i), "float")) for i in (0, 1))
        rest = f.at(rest, f.mul(floats, 2), "float")
    terms = None
    if options.buckets is not None:
        terms = Terms(f, slots, options, extent, rest)
        rest = f.at(rest, f.add(round_up(f, extent.m, 16), round_up(f, extent.n, 16)), "float")
    stage = Stage(f, shape, dtype, rest)
    results = (dk, dv)
    k, v = (stage.rows(x, extent.m) for x in (k, v))
    dk, dv = (stage.rows(x, extent.m, read=False) for x in results)
    call(f, transpose, k.base, k.stride, extent.m, extent.padded, key_panels)
    call(f, transpose, v.base, v.stride, extent.m, extent.padded, value_panels)
    for rows in (dk, dv):
        _clear(f, shape, rows, extent.m)

    def one_head(index: Value, _: list[Value]) -> None:
        head = f.add(f.mul(key_head, options.heads // options.key_value_heads), index)
        if bias and bias_slopes:
            bias.spread(f.at(slots.pointer("bias"), f.mul(head, slots.size("bias_stride")), "float"))
            bias_slopes.clear()
        if terms:
            terms.head(head)
            terms.slopes_of(head, shape.lanes)
        names = ("q", "out", "dout", "dq")
        given = [head_rows(f, slots, n, extent.first_query, head, size, dtype) for n in names]
        prefetch(f, shape, extent.n, given[:3], given[3:])
        own = stage.fork()  # the next head takes the same room
        q, out, dout = (own.rows(x, extent.n) for x in given[:3])
        dq = own.rows(given[3], extent.n, read=False)

        def block(begin: Value, length: Value) -> None:
            first, high, last = tile_range(f, options, extent, begin, length, shape.lanes)
            bounds = (extent.stride, first, last, extent.padded)

            def tile(offset: Value, rows: Value) -> None:
                start = f.add(begin, offset)
                place = f.mul(offset, extent.stride)
                scores, slope = f.at(probabilities, place, "float"), f.at(slopes, place, "float")

                def products(r: int) -> None:
                    call(f, f"{wide}{r}", q.at(start), q.stride, key_panels, scores, *bounds)
                    call(f, f"{wide}{r}", dout.at(start), dout.stride, value_panels, slope, *bounds)

                by_rows(f, rows, products)

                def softmax(i: Value, _: list[Value]) -> None:
                    query = f.add(start, i)
                    row = Row(f, shape, options, extent, head, query, bias, source, scratch)
                    token = f.mul(f.add(extent.first_query, query), options.heads)
                    kept_sum = f.load("float", f.at(log_sum, f.add(token, head), "float"))
                    delta = _dot(f, shape, out.at(query), dout.at(query))
                    line = f.mul(i, extent.stride)
                    lines = (f.at(scores, line, "float"), f.at(slope, line, "float"))
                    if terms:
                        terms.add(row, query, lines[0])
                    _slopes(f, row, *lines, first, last, kept_sum, delta, bias_slopes)
                    if terms:
                        terms.scatter(row, query, lines[1])

                f.loop(0, rows, 1, softmax, unroll=False)
                left, count = f.at(slope, first, "float"), f.sub(high, first)
                arguments = (left, extent.stride, k.at(first), k.stride, dq.at(start), dq.stride, count)
                by_rows(f, rows, lambda r: call(f, f"{by_key}{r}", *arguments))

            even_tiles(f, length, ROWS, tile)

            def keys(offset: Value, rows: Value) -> None:
                key = f.add(first, offset)

                def sums(r: int) -> None:
                    for weights, right, target in ((probabilities, dout, dv), (slopes, q, dk)):
                        left = f.at(weights, key, "float")
                        arguments = (left, extent.stride, right.at(begin), right.stride, target.at(key), target.stride)
                        call(f, f"{by_query}{r}", *arguments, length)

                by_rows(f, rows, sums)

            even_tiles(f, f.sub(high, first), ROWS, keys)

        even_tiles(f, extent.n, QUERIES, block)
        own.put_back(dq, given[3], extent.n)
        if bias_slopes:
            place = f.add(f.mul(sequence, slots.size("dbias_stride")), f.mul(head, 2 * bias_slopes.reach + 1))
            bias_slopes.gather(f.at(slots.pointer("dbias"), place, "float"))

    f.loop(0, options.heads // options.key_value_heads, 1, one_head, unroll=False)
    for rows, result in zip((dk, dv), results, strict=True):
        stage.put_back(rows, result, extent.m)
    f.finish()

    def scratch_bytes(queries: int, keys: int) -> int:
        own = random.BLOCK + 2 * QUERIES * row_stride(keys) + 2 * whole_vectors(keys, shape.lanes) * size
        own += 2 * distance_floats(options, queries, keys) + term_floats(options, queries, keys)
        return 4 * own + staged_bytes(dtype, shape, *[keys] * 4, *[queries] * 4)

    return AttentionKernel(name, names, options, options.key_value_heads, 5, scratch_bytes)


def _clear(f: Function, shape: Shape, rows: Rows, count: Value) -> None:
    def row(i: Value, _: list[Value]) -> None:
        for start in range(0, shape.head_size, shape.lanes):
            store_part(f, shape, zero(vector("float", shape.lanes)), rows.at(i), start)

    f.loop(0, count, 1, row, unroll=False)


def _dot(f: Function, shape: Shape, x: Value, y: Value) -> Value:
    """Σ x·y of two rows of a head."""
    total = zero(vector("float", shape.lanes))
    for start in range(0, shape.head_size, shape.lanes):
        total = f.fma(load_part(f, shape, x, start), load_part(f, shape, y, start), total)
    return f.tree(lambda a, b: f.binary("fadd", a, b), total)


def _slopes(
    f: Function,
    row: Row,
    scores: Value,
    slopes: Value,
    first: Value,
    last: Value,
    log_sum: Value,
    delta: Value,
    bias_slopes: Distances | None,
) -> None:
    """A row of products becomes probabilities (as dropout left them); one of dout·v becomes the products' gradient."""
    lanes, options = row.shape.lanes, row.options
    type = vector("float", lanes)
    none, keep_scale = number(0.0, type), number(random.keep_scale(options.dropout), type)
    log_sums, deltas = f.splat(log_sum, lanes), f.splat(delta, lanes)

    def step(column: Value, _: list[Value], kept: Value | None) -> list[Value]:
        value, seen = row.scores(scores, column, 0.0)
        p = f.select(seen, mathfuns.exp(f, f.binary("fsub", value, log_sums)), none)
        place = f.at(slopes, column, "float")
        dp, dropped = f.load(type, place), p
        if kept:
            dp = f.select(kept, f.binary("fmul", dp, keep_scale), none)
            dropped = f.select(kept, f.binary("fmul", p, keep_scale), none)
        f.store(dropped, f.at(scores, column, "float"))
        slope = f.binary("fmul", p, f.binary("fsub", dp, deltas))
        if options.soft_cap is not None:
            bent = f.binary("fdiv", value, number(options.soft_cap, type))
            slope = f.binary("fmul", slope, f.binary("fsub", number(1.0, type), f.binary("fmul", bent, bent)))
        if bias_slopes:
            sums = bias_slopes.at(row.position, column)
            f.store(f.binary("fadd", f.load(type, sums), slope), sums)
        f.store(f.binary("fmul", slope, number(options.scale, type)), place)
        return []

    row.walk(first, last, step, [])
