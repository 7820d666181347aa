"""Rows brought up to date: the steps that each has missed, made up for while a row lies in registers.

A task owns 8 rows. Of a row that has missed something, some vectors of columns at a time are loaded, moved through all
missed steps by the body's arithmetic, and stored. A row whose states but the first are zero (its moments: it has never
had a gradient) takes the shorter body. Where the results take the operands' memory, rows that missed nothing are passed
over, and so are states that stay zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handloom.codegen import scalars
from handloom.codegen.emit import Function, Module, Value, integer, vector, whole, zero
from handloom.codegen.target import Target
from handloom.graph.build import scalar_value
from handloom.graph.node import Node, walk
from handloom.graph.ops import Body, ReplayAttrs

REPLAY_ROWS = 8
UNROLL, UNROLL_REST = 2, 8
"""Vectors at a time: a division and a root for each are enough to be kept busy; a product alone waits for the last."""


def emit_replay(module: Module, name: str, attrs: ReplayAttrs, target: Target) -> None:
    """Slots: the states, past, first, count, the results, rows, columns."""
    f = Function(module, name, [("ptr noalias", "args"), ("i64", "task"), ("ptr noalias", "scratch")])
    args, task, _ = f.parameters
    states = len(attrs.body.outputs)
    pointers = [f.load("ptr", f.at(args, i, "i64")) for i in range(2 * states + 3)]
    given, (past, first, steps), made = pointers[:states], pointers[states : states + 3], pointers[states + 3 :]
    rows, columns = (f.load("i64", f.at(args, 2 * states + 3 + i, "i64")) for i in range(2))
    count = f.cast("sext", f.load("i32", steps), "i64")
    numbers = len(attrs.body.inputs) - states
    lanes, type = target.lanes, vector("float", target.lanes)
    apart = f.compare("icmp ne", given[0], made[0])

    def row(number: Value, _: list[Value]) -> None:
        begin = f.cast("sext", f.load("i32", f.at(first, number, "i32")), "i64")
        offset = f.mul(number, columns)
        here, there = ([f.at(base, offset, "float") for base in bases] for bases in (given, made))

        def moved(body: Body, kept: int, unroll: int) -> None:
            """The first `kept` states through the steps from `begin`."""

            def block(column: Value, vectors: int, mask: Value | None) -> None:
                places = [f.add(column, u * lanes) for u in range(vectors)]
                initial = [
                    scalars.load(f, "f32", lanes, f.at(base, place, "float"), mask)
                    for base in here[:kept]
                    for place in places
                ]

                def step(t: Value, values: list[Value]) -> list[Value]:
                    line = f.at(past, f.mul(t, numbers), "float")
                    given = [f.splat(f.load("float", f.at(line, i, "float")), lanes) for i in range(numbers)]
                    after = [evaluated(f, body, [*values[u::vectors], *given], lanes) for u in range(vectors)]
                    return [after[u][i] for i in range(kept) for u in range(vectors)]

                final = f.loop(begin, count, 1, step, initial, unroll=False)
                for i, base in enumerate(there[:kept]):
                    for u, place in enumerate(places):
                        scalars.store(f, "f32", final[i * vectors + u], f.at(base, place, "float"), mask)

            over(lambda column, mask: block(column, 1 if mask else unroll, mask), unroll)

        def over(block: Callable[[Value, Value | None], None], unroll: int) -> None:
            wide = f.sub(columns, f.urem(columns, unroll * lanes))
            f.loop(0, wide, unroll * lanes, lambda column, _: block(column, None))
            f.loop(wide, columns, lanes, lambda column, _: block(column, f.below(f.sub(columns, column), lanes)))

        def rest() -> None:
            moved(attrs.rest, 1, UNROLL_REST)

            def clear(column: Value, mask: Value | None) -> None:
                for base in there[1:]:
                    scalars.store(f, "f32", zero(type), f.at(base, column, "float"), mask)

            if states > 1:
                f.when(apart, lambda: over(clear, 1))

        def walk_through() -> None:
            f.when(_all_zero(f, here[1:], columns, target), rest, lambda: moved(attrs.body, states, UNROLL))

        f.when(f.binary("or", apart, f.compare("icmp slt", begin, count)), walk_through)

    start = f.mul(task, REPLAY_ROWS)
    f.loop(start, f.smin(f.add(start, REPLAY_ROWS), rows), 1, row)
    f.finish()


def evaluated(f: Function, body: Body, inputs: Sequence[Value], lanes: int) -> list[Value]:
    """The results of a body of scalars, for vectors in their places."""
    values: dict[Node, Value] = dict(zip(body.inputs, inputs, strict=True))
    for node in walk(body.outputs):
        number = scalar_value(node)
        if number is not None:
            values[node] = scalars.constant(number, node.dtype, lanes)
        elif node not in values:
            values[node] = scalars.SCALARS[node.op](f, [values[x] for x in node.inputs], node)
    return [values[output] for output in body.outputs]


def _all_zero(f: Function, bases: Sequence[Value], columns: Value, target: Target) -> Value:
    """Whether all bits of some rows are zero."""
    type = vector("i32", target.lanes)

    def body(column: Value, bits: list[Value]) -> list[Value]:
        mask = f.below(f.sub(columns, column), target.lanes)
        loads = [f.masked_load(type, f.at(base, column, "i32"), mask) for base in bases]
        return [f.binary("or", one, new) for one, new in zip(bits, loads, strict=True)]

    found = whole(0, "i32")
    for bits in f.loop(0, columns, target.lanes, body, [zero(type)] * len(bases)):
        found = f.binary("or", found, f.tree(lambda x, y: f.binary("or", x, y), bits))
    return f.compare("icmp eq", found, integer(0, "i32"))
