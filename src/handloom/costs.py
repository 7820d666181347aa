"""What each kernel of a compiled program has to do: operations, and bytes of the distinct buffers that it touches.

Operations are counted from the code that is generated for an element: a multiply-add is two, any other arithmetic on
32 bits one, whole numbers (the random bits of dropout) included. Products and attention are counted by their sizes.
Nothing is counted twice that a kernel could keep; a value that two kernels compute counts in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from handloom.codegen import philox, scalars
from handloom.codegen.emit import SIZES, Function, Module, Value
from handloom.codegen.evaluate import Pointer
from handloom.codegen.lower import Step
from handloom.compiler import CompiledProgram
from handloom.graph.access import VIEWS, base_of
from handloom.graph.build import constant, project
from handloom.graph.node import DTYPES, Node, Size, intern, size_value, volume
from handloom.graph.ops import OPS
from handloom.graph.unit import Unit
from handloom.runtime.program import Amount, Buffer, Call

LANES = 16
PRODUCTS = {"attention": 2, "attention_backward": 5}
"""Matrix products of queries × keys × head size."""
PER_SCORE = 4
"""Operations on a score beside its exponential: scale, maximum or difference, sum, product."""
PLAIN = frozenset({"add", "subtract", "multiply", "where", "cast", "stop_gradient", "less", "less_equal", "iota"})
"""Operations that tell little about a kernel, left out of its label where there are others."""
FREE = frozenset({*VIEWS, "constant", "input", "project", "stop_gradient"})
ARITHMETIC = re.compile(r" = (?:tail )?(call|[a-z]+) (?:[a-z]+ )?(<(\d+) x (\w+)>)")
MOVES = frozenset({"insertelement", "shufflevector", "extractelement", "bitcast", "load", "store", "getelementptr"})


Lengths = Mapping[str, Sequence[int]]
"""The lengths of sequences by the symbol of their tokens: those of an encoder differ from its decoder's."""


@dataclass(frozen=True)
class Range:
    """Bytes of one buffer that a kernel reads or writes: `memory` names the arena, an input or an output."""

    memory: tuple[str, int]
    start: int
    size: int


@dataclass(frozen=True)
class Work:
    """One call of a kernel."""

    kernel: str
    label: str
    flops: int
    reads: tuple[Range, ...]
    writes: tuple[Range, ...]

    @property
    def bytes(self) -> int:
        return sum(part.size for part in (*self.reads, *self.writes))


def works(program: CompiledProgram, lengths: Lengths) -> list[Work]:
    """The calls of a program that has run, for the sizes of its last call and sequences of these lengths."""
    assert program.plan is not None
    sizes = program.sizes
    owner = {node: unit for unit in program.units for node in _made(unit)}
    calls = program.plan.program.calls
    return [
        _work(program, step, call, _owners(step, owner), sizes, lengths)
        for step, call in zip(program.steps, calls, strict=True)
    ]


def _made(unit: Unit) -> Iterator[Node]:
    yield from unit.roots
    if unit.row_sums is not None:
        yield unit.row_sums
    if unit.anchor is not None:
        yield unit.anchor
        if isinstance(unit.anchor.spec, tuple):
            yield from (project(unit.anchor, i) for i in range(len(unit.anchor.spec)))


def _owners(step: Step, owner: Mapping[Node, Unit]) -> list[Unit]:
    return list(dict.fromkeys(owner[pointer.node] for pointer in step.writes if pointer.node in owner))


def _work(
    program: CompiledProgram,
    step: Step,
    call: Call,
    units: Sequence[Unit],
    env: dict[str, int],
    lengths: Lengths,
) -> Work:
    outside = program.lowering.materialised
    computed = [computed_in(unit, outside) for unit in units]
    flops = step.flops(env)
    if step.kind == "finish":
        flops += sum(_bytes(program, p, env) // DTYPES[p.node.dtype] for p in step.reads)
    else:
        flops += sum(operations(node, env, lengths) for nodes in computed for node in nodes)
    taken = {base_of(node.inputs[0]): node for nodes in computed for node in nodes if node.op == "take"}
    taken |= {node: node.inputs[2] for nodes in computed for node in nodes if node.op == "put"}
    given: Sequence[object] = call.sizes
    places = {
        argument: place
        for argument, place in zip(step.arguments, given, strict=True)
        if isinstance(argument, Pointer) and isinstance(place, Buffer)
    }

    def ranges(pointers: Sequence[Pointer]) -> tuple[Range, ...]:
        found: dict[tuple[Node, str], Range] = {}
        for pointer in pointers:
            place = places.get(pointer)
            if place is None or (pointer.node, pointer.role) in found:
                continue
            size = _bytes(program, pointer, env)
            if pointer.node in taken:
                size = volume(taken[pointer.node].shape, env) * DTYPES[pointer.node.dtype]
            start = amount(place.offset, env)
            found[pointer.node, pointer.role] = Range(_memory(program, place), start, size)
        return tuple(found.values())

    label = describe(step, units, computed, env)
    return Work(step.kernel, label, flops, ranges(step.reads), ranges(step.writes))


def _memory(program: CompiledProgram, place: Buffer) -> tuple[str, int]:
    """An output that takes a donated input's memory is that input."""
    if place.place == "output" and place.index in program.reuse:
        return "input", program.reuse[place.index]
    return place.place, place.index


def amount(size: Amount, env: dict[str, int]) -> int:
    """A number that may depend on a batch's sizes."""
    if isinstance(size, int):
        return size
    return size(env) if callable(size) else size.value(env)


def _bytes(program: CompiledProgram, pointer: Pointer, env: dict[str, int]) -> int:
    if pointer in program.lowering.sizes:
        return program.lowering.sizes[pointer](env)
    return volume(pointer.node.shape, env) * DTYPES[pointer.node.dtype]


def computed_in(unit: Unit, outside: object) -> list[Node]:
    """The nodes that a unit's kernel computes, inputs before users; views and constants left out."""
    assert callable(outside)
    found: list[Node] = []
    seen: set[Node] = set()

    def visit(node: Node) -> None:
        if node in seen or (outside(node) and node not in unit.members):
            return
        seen.add(node)
        if node is not unit.anchor:
            hidden = node.op == "random_uniform"
            for x in () if hidden else node.inputs[1:] if node.op == "take" else node.inputs:
                visit(x)
        if node.op not in FREE:
            found.append(node)

    for root in (*unit.roots, *([unit.row_sums] if unit.row_sums is not None else [])):
        visit(root)
    if unit.anchor is not None:
        visit(unit.anchor)
    return found


# --- operations -----------------------------------------------------------------------------------------------------


def operations(node: Node, env: dict[str, int], lengths: Lengths) -> int:
    """Operations of one node; those of a product are the step's own. None of a replay: they depend on the past."""
    if node.op in PRODUCTS:
        queries, keys = (lengths[_symbol(side)] for side in node.inputs[:2])
        pairs = sum(q * k for q, k in zip(queries, keys, strict=True)) * node.attrs.heads
        score = PER_SCORE + elementwise("exp") + (random_bits() if node.attrs.dropout else 0)
        return int(pairs * (2 * PRODUCTS[node.op] * node.attrs.head_size + score))
    if node.op == "random_uniform":
        return int(volume(node.shape, env) * (random_bits() + 3))  # shift, convert, scale
    if node.op == "scatter_add":
        return volume(node.inputs[1].shape, env)
    if OPS[node.op].kind == "reduce":
        return volume(node.inputs[0].shape, env)
    if OPS[node.op].kind == "elementwise":
        return int(volume(node.shape, env) * elementwise(node.op, node))
    return 0


def _symbol(x: Node) -> str:
    """What the rows of packed sequences are called."""
    rows = x.shape[0]
    assert isinstance(rows, Size)
    (name,) = rows.symbols
    return name


@lru_cache(maxsize=256)
def elementwise(op: str, node: Node | None = None) -> float:
    """Operations that an element-wise operation takes for an element; without a node, of f32."""
    if node is None:
        x = constant(0.0, "f32")
        node = intern(op, (x,) * (OPS[op].arity or 1), None, x.spec)
    f = Function(Module(), "counted", [])
    given = [Value(f"%x{i}", scalars.type_of(x.dtype, LANES)) for i, x in enumerate(node.inputs)]
    scalars.SCALARS[op](f, given, node)
    return _counted(f) / LANES


@lru_cache(maxsize=1)
def random_bits() -> float:
    """Operations that 32 random bits take."""
    f = Function(Module(), "counted", [("ptr", "state"), ("i32", "site"), ("i32", "row"), ("i32", "first")])
    state, site, row, first = f.parameters
    words = philox.philox_words(f, philox.load_state(f, state), LANES, site, row, first)
    return _counted(f) / (LANES * len(words))


def _counted(f: Function) -> int:
    """Vector arithmetic of a function, in operations on 32 bits."""
    total = 0
    for line in f._lines:
        found = ARITHMETIC.search(line)
        if found is None or found[1] in MOVES:
            continue
        wide = max(SIZES.get(found[4], 4) // 4, 1)
        total += int(found[3]) * wide * (2 if "@llvm.fma" in line or "@llvm.fmuladd" in line else 1)
    return total


# --- labels ---------------------------------------------------------------------------------------------------------


def describe(step: Step, units: Sequence[Unit], computed: Sequence[Sequence[Node]], env: dict[str, int]) -> str:
    """What a kernel does, for people: kind, sizes, and the operations that are worth a name."""
    times = f" ×{len(units)}" if len(units) > 1 else ""
    if not units or step.kind == "finish":
        return f"{step.kind}{times}"
    unit, nodes = units[0], computed[0]
    ops = list(dict.fromkeys(node.op for node in nodes if node is not unit.anchor and node is not unit.row_sums))
    telling = [op for op in ops if op not in PLAIN] or ops
    if unit.anchor is not None and unit.anchor.op == "dot":
        a = unit.anchor.inputs[0]
        m, n = (size_value(size, env) for size in unit.anchor.shape[-2:])
        k = size_value(a.shape[-2 if unit.anchor.attrs.transpose_a else -1], env)
        form = ("Aᵀ" if unit.anchor.attrs.transpose_a else "A") + ("Bᵀ" if unit.anchor.attrs.transpose_b else "B")
        more = telling + (["sums of rows"] if unit.row_sums is not None else [])
        return f"product {form} {m}×{n}×{k}{times}" + (f" + {', '.join(more)}" if more else "")
    if unit.anchor is not None:
        return f"{unit.anchor.op}{times}"
    space = "×".join(str(size_value(size, env)) for size in unit.space) or "1"
    return f"loop {space}{times}: {', '.join(telling)}"
