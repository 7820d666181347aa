"""The compiler on one page: graph in, program out.

prepare (passes) → partition → lower (codegen) → waves → memory plan → groups of calls → program (runtime)
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from handloom.codegen import llvm
from handloom.codegen.cross_entropy import lower_cross_entropy
from handloom.codegen.evaluate import Argument, Pointer
from handloom.codegen.group import grouped
from handloom.codegen.lower import Lowering, Step
from handloom.codegen.scan import lower_scan
from handloom.codegen.show import Look
from handloom.codegen.target import Target, choose
from handloom.errors import UsageError
from handloom.graph import build as b
from handloom.graph.access import base_of
from handloom.graph.build import project
from handloom.graph.node import DTYPES, Node, size_value, volume, walk
from handloom.graph.ops import InputAttrs
from handloom.graph.reference import NUMPY, evaluate
from handloom.graph.rewrite import substitute
from handloom.graph.show import graph_text, topics
from handloom.graph.unit import Unit
from handloom.graph.verify import verify_schedule
from handloom.passes.expand import expand
from handloom.passes.legalise import legalise
from handloom.passes.narrow import narrow
from handloom.passes.partition import partition
from handloom.passes.pipeline import Options, prepare
from handloom.passes.prepack import constant_part, prepack
from handloom.passes.prune import prune
from handloom.passes.schedule import waves
from handloom.runtime import arena, cache, driver, pool, tiles
from handloom.runtime.program import Amount, Buffer, Call, Program
from handloom.split import SplitProgram

Array = np.ndarray[Any, Any]
Env = dict[str, int]


class Executable(Protocol):
    def __call__(self, arrays: Sequence[Array], env: Mapping[str, int], /) -> list[Array]: ...

    def show(self, topic: str) -> str:
        """The program as text, to look inside; topics are those of codegen.show."""

    def reserve(self, env: Mapping[str, int], /) -> int:
        """Makes ready for such sizes; gives the bytes that a run will take beside its inputs."""


IN_PLACE = frozenset({"put", "replay"})
"""Operations whose result i may take the memory of their operand i."""

GROWTH = 1.25
"""How much more room is planned than asked for, where a size has no declared capacity."""


def build(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    capacity: Mapping[str, int],
    donated: Sequence[int] = (),
    threads: int | None = None,
    precision: str = "f32",
    constant: Sequence[int] = (),
    weights: str = "f32",
) -> Executable:
    """The program that computes `outputs`; HANDLOOM_BACKEND=reference runs the graph on NumPy instead.

    constant: numbers of inputs whose arrays stay the same from run to run; weights: how products of f32 store them.
    """
    options = Options(precision, target().columns, frozenset(inputs[i] for i in constant), weights)
    if backend() == "reference":
        if precision == weights == "f32":
            return ReferenceProgram(inputs, outputs)
        plain = expand(prune(outputs))
        plain = narrow(plain) if precision == "bf16" else plain
        return ReferenceProgram(inputs, prepack(plain, options.constants, options.columns, weights))
    ready = prepare(outputs, options)
    part = constant_part(ready, options.constants)
    if not part:
        return CompiledProgram(inputs, ready, capacity, donated, threads)
    first = CompiledProgram([inputs[i] for i in constant], legalise(part), {}, (), threads)
    count = len(inputs)
    made = [b.make("input", attrs=InputAttrs(count + i, "made", x.shape, x.dtype)) for i, x in enumerate(part)]
    ready = substitute(ready, dict(zip(part, made, strict=True)))
    used = set(walk(ready))
    varying = [i for i in range(count) if i not in set(constant)]
    kept = [i for i in constant if inputs[i] in used]
    fixed, again = [*(inputs[i] for i in kept), *made], [varying.index(i) for i in donated]
    rest = CompiledProgram([inputs[i] for i in varying], ready, capacity, again, threads, fixed)
    return SplitProgram(first, rest, constant, varying, kept)


def backend() -> str:
    """ "compiled" or "reference", by the environment variable HANDLOOM_BACKEND. Raises UsageError for another name."""
    name = os.environ.get("HANDLOOM_BACKEND") or "compiled"
    if name not in ("compiled", "reference"):
        raise UsageError(f"HANDLOOM_BACKEND is {name!r}; it must be compiled or reference")
    return name


class ReferenceProgram:
    """The graph itself, run by NumPy."""

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)

    def __call__(self, arrays: Sequence[Array], env: Mapping[str, int]) -> list[Array]:
        values = evaluate(self.outputs, dict(zip(self.inputs, arrays, strict=True)), env)
        return [np.array(value, order="C") for value in values]

    def reserve(self, env: Mapping[str, int]) -> int:
        return 0  # nobody knows beforehand

    def show(self, topic: str) -> str:
        if topic != "graph":
            raise UsageError(f"the reference backend has no {topic!r} to show, only the graph")
        return graph_text(self.outputs)


@lru_cache(maxsize=8)
def target(level: str | None = None) -> Target:
    """The processor at hand; HANDLOOM_TARGET forces a lower instruction set (avx512, avx2), or asks for AMX (amx).

    Raises UsageError for an instruction set that the processor has not.
    """
    cpu, features, triple = llvm.host()
    asked = level or os.environ.get("HANDLOOM_TARGET")
    try:
        return choose(triple, cpu, features, asked)
    except ValueError as error:
        raise UsageError(f"HANDLOOM_TARGET is {asked!r}: {error}" if asked else str(error)) from None


@lru_cache(maxsize=1)
def kernel_cache() -> cache.Cache:
    return cache.Cache()


def compile_object(text: str, chosen: Target) -> bytes:
    """Object code for a module, from the cache where it has been compiled before."""
    cpu, features, triple = chosen.cpu, chosen.features, chosen.triple
    make = lambda: llvm.compile_object(text, cpu, features, triple)  # noqa: E731
    return kernel_cache().object_code(text, cpu, features, triple, llvm.version(), make)


@lru_cache(maxsize=1)
def native_driver() -> driver.Driver:
    chosen = target()
    if chosen.amx:
        tiles.permit()
    return driver.build(lambda text: compile_object(text, chosen), llvm.load, chosen.triple)


@dataclass(frozen=True)
class Plan:
    """Memory for sizes up to `env`: a program, and how many bytes its arena has."""

    env: Env
    program: Program
    bytes: int


class CompiledProgram:
    """Kernels, the steps that call them, and a plan of memory that grows where a size was declared without a limit."""

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Node],
        capacity: Mapping[str, int],
        donated: Sequence[int],
        threads: int | None,
        fixed: Sequence[Node] = (),
    ) -> None:
        """outputs: as `prepare` leaves them. fixed: inputs whose arrays are given by `fix`, not with every call."""
        self.inputs, self.capacity, self.threads = list(inputs), dict(capacity), threads
        self.fixed, self._constants = list(fixed), [np.empty(0)] * len(fixed)
        self.outputs = list(outputs)
        self.units = partition(self.outputs)
        materialised = _materialised(self.units)
        self.lowering = Lowering(target(), lambda node: node in materialised or node.op == "input")
        self.reuse = self._donations(donated)
        self.lowering.in_place = {base_of(self.outputs[j]) for j in self.reuse}
        self._taken = {Pointer(base_of(self.outputs[j])): Pointer(self.inputs[i]) for j, i in self.reuse.items()}
        self.sizes: Env = {}  # of the last call
        self.plan: Plan | None = None
        self.steps: list[Step] = []
        self.look: Look | None = None  # of the last plan
        self._kept: list[Array | None] = [None] * len(self.outputs)

    def __call__(self, arrays: Sequence[Array], env: Mapping[str, int]) -> list[Array]:
        plan = self._planned(env)
        self.sizes = dict(env)
        given = [array if array.flags.c_contiguous else np.ascontiguousarray(array) for array in arrays]
        results: list[Array] = []
        for i, node in enumerate(self.outputs):
            source = self.reuse.get(i)
            if source is not None:
                if not given[source].flags.writeable:
                    given[source] = given[source].copy()
                results.append(given[source])
            else:
                results.append(self._room(i, node.spec.concrete(env), NUMPY[node.dtype]))
        plan.program.run(given, results, env)
        return results

    def fix(self, arrays: Sequence[Array]) -> None:
        """Takes the arrays of what is fixed; none at all gives up those that there were."""
        given = arrays or [np.empty(0)] * len(self.fixed)
        self._constants = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in given]
        if self.plan is not None:
            self.plan.program.rebind(self._constants)

    def shrink(self, bytes: int) -> None:
        """Gives up its memory if that is more than so many bytes; it would be planned again."""
        if self.plan is not None and self.plan.bytes > bytes:
            self.plan = None

    def _room(self, i: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array for a result: last time's, if nobody holds it any more."""
        kept = self._kept[i]
        # two references: the list's and this one's, and the argument's
        if kept is not None and kept.shape == shape and sys.getrefcount(kept) <= 3:
            return kept
        fresh: Array = arena.empty(shape, np.dtype(dtype).name)
        self._kept[i] = fresh
        return fresh

    # --- planning -------------------------------------------------------------------------------------------------

    def _planned(self, env: Mapping[str, int]) -> Plan:
        plan = self.plan
        if plan is None or any(size > plan.env[name] for name, size in env.items()):
            roomy = {name: self.capacity.get(name, math.ceil(size * GROWTH)) for name, size in env.items()}
            if plan is not None:
                roomy = {name: max(size, plan.env[name]) for name, size in roomy.items()}
            self.plan = plan = self._make_plan(roomy)
        return plan

    def _make_plan(self, env: Env) -> Plan:
        low = self.lowering
        self.steps = [step for unit in self.units for step in self._lower(unit, env)]
        keys = [([self._key(p) for p in s.reads], [self._key(p) for p in s.writes]) for s in self.steps]
        numbers = waves([reads for reads, _ in keys], [writes for _, writes in keys])
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        wave = [numbers[i] for i in order]
        keys = [keys[i] for i in order]
        self.steps = [self.steps[i] for i in order]
        buffers = self._place(keys, wave, env)
        if topics():
            self._verify(wave)
        self.steps, wave = grouped(low.module, self.steps, wave)
        self.look = Look(self.outputs, self.units, self.steps, wave, env, buffers, self._bytes, low.module, low.target)
        self.look.report()
        calls = []
        for i, step in enumerate(self.steps):
            together = i + 1 < len(wave) and wave[i + 1] == wave[i]
            arguments = tuple(self._argument(a, buffers) for a in step.arguments)
            calls.append(Call(step.kernel, (), arguments, step.tasks, wave=together))  # type: ignore[arg-type]
        scratch = max((step.scratch(env) for step in self.steps), default=0)
        library = llvm.load({"program": compile_object(low.module.text(), low.target)})
        workers = pool.shared(native_driver(), self.threads)
        program = Program(
            calls,
            library,
            workers,
            arena=self._bytes,
            constants=self._constants,
            inputs=len(self.inputs),
            outputs=len(self.outputs),
            scratch_bytes=scratch,
        )
        return Plan(env, program, self._bytes)

    def reserve(self, env: Mapping[str, int]) -> int:
        plan = self._planned(env)
        own = [node for i, node in enumerate(self.outputs) if i not in self.reuse]
        results = sum(volume(node.shape, dict(env)) * DTYPES[node.dtype] for node in own)
        return plan.bytes + results + plan.program.scratch_bytes * plan.program.pool.threads

    def show(self, topic: str) -> str:
        if self.look is None:
            raise UsageError("nothing to show yet: memory is planned and kernels are made at the first call")
        return self.look.text(topic)

    def _verify(self, wave: Sequence[int]) -> None:
        reads, writes = (
            [[_resolved(self.lowering, p)[0] for p in pointers] for pointers in sides]
            for sides in ([s.reads for s in self.steps], [s.writes for s in self.steps])
        )
        verify_schedule(reads, writes, wave, self._taken)

    def _lower(self, unit: Unit, env: Env) -> list[Step]:
        if unit.kind == "scan":
            return lower_scan(self.lowering, unit, _prepared, env)
        if unit.kind == "linear_cross_entropy":
            return lower_cross_entropy(self.lowering, unit, env)
        return self.lowering.lower(unit)

    def _key(self, pointer: Pointer) -> Pointer:
        """The memory that a pointer points into: an output that takes a donated input's is that input."""
        key = _resolved(self.lowering, pointer)[0]
        return self._taken.get(key, key)

    def _place(
        self, keys: Sequence[tuple[list[Pointer], list[Pointer]]], wave: Sequence[int], env: Env
    ) -> dict[Pointer, Buffer]:
        """Every buffer's place: inputs and outputs where they are given, all else in the arena while it lives."""
        places: dict[Pointer, Buffer] = {Pointer(x): Buffer("input", i) for i, x in enumerate(self.inputs)}
        places.update({Pointer(x): Buffer("constant", i) for i, x in enumerate(self.fixed)})
        for i, output in enumerate(self.outputs):
            places[Pointer(base_of(output))] = Buffer("output", i)
        first: dict[Pointer, int] = {}
        last: dict[Pointer, int] = {}
        for (reads, writes), number in zip(keys, wave, strict=True):
            for pointer in (*writes, *reads):
                if pointer not in places:
                    if pointer not in first and pointer not in writes and self._size(pointer, env):
                        raise AssertionError(f"{pointer} is read before anything writes it")
                    first.setdefault(pointer, number)
                    last[pointer] = number
        order = list(first)
        sizes = [max(self._size(pointer, env), 1) for pointer in order]
        offsets, self._bytes = arena.plan([(size, first[p], last[p]) for p, size in zip(order, sizes, strict=True)])
        places.update({pointer: Buffer("arena", 0, offset) for pointer, offset in zip(order, offsets, strict=True)})
        return places

    def _size(self, pointer: Pointer, env: Env) -> int:
        if pointer in self.lowering.sizes:
            return self.lowering.sizes[pointer](env)
        return volume(pointer.node.shape, env) * DTYPES[pointer.node.dtype]

    def _argument(self, argument: Argument, places: Mapping[Pointer, Buffer]) -> Buffer | Amount:
        if not isinstance(argument, Pointer):
            return argument  # type: ignore[return-value]
        key, offset = _resolved(self.lowering, argument)
        place = places[key]
        step = DTYPES[argument.node.dtype]
        start = place.offset
        if isinstance(offset, int) and isinstance(start, int):
            return Buffer(place.place, place.index, start + offset * step)
        return Buffer(place.place, place.index, offset * step + start)

    # --- donated state ----------------------------------------------------------------------------------------------

    def _donations(self, donated: Sequence[int]) -> dict[int, int]:
        """Output → input whose memory it may take: the unit that makes the output goes through it element by element,
        or replaces rows of that very input, and is the last to read the input."""
        from handloom.graph.unit import operands

        position = {root: i for i, unit in enumerate(self.units) for root in unit.roots}
        readers: dict[Node, list[int]] = {}
        askew: set[tuple[Node, int]] = set()  # an input that a unit reads at other places than it writes
        for i, unit in enumerate(self.units):
            for member in unit.members:
                for x, direct in operands(member, self.lowering.materialised):
                    if x.op == "input":
                        readers.setdefault(x, []).append(i)
                        if not direct:
                            askew.add((x, i))
        free = {i: self.inputs[i] for i in donated}
        found: dict[int, int] = {}
        # what replaces rows of an input takes that memory; what is left is for anybody
        for j, output in sorted(enumerate(self.outputs), key=lambda pair: _replaced(base_of(pair[1])) is None):
            base = base_of(output)
            own = _replaced(base)
            maker = position.get(base.inputs[0] if base.op == "project" else base)
            if maker is None or not (own is not None or _elementwise(self.units[maker])):
                continue
            for i, x in free.items():
                reads = readers.get(x, [])
                if own is not None and own is not x:
                    continue
                if x.spec == output.spec == base.spec and all(at <= maker for at in reads) and (x, maker) not in askew:
                    found[j] = i
                    del free[i]
                    break
        return found


def _elementwise(unit: Unit) -> bool:
    from handloom.graph.ops import OPS

    return unit.anchor is None and all(OPS[m.op].kind == "elementwise" and m.shape == unit.space for m in unit.members)


def _replaced(made: Node) -> Node | None:
    """The operand of which a result is a version with some rows replaced."""
    node, place = (made.inputs[0], made.attrs.index) if made.op == "project" else (made, 0)
    if node.op not in IN_PLACE:
        return None
    bases = [base_of(x) for x in node.inputs]
    return bases[place] if bases.count(bases[place]) == 1 else None


def _prepared(outputs: Sequence[Node]) -> tuple[list[Node], list[Unit]]:
    ready = prepare(outputs, Options(columns=target().columns))
    return ready, partition(ready)


def _materialised(units: Sequence[Unit]) -> set[Node]:
    found = {root for unit in units for root in unit.roots}
    for unit in units:
        if unit.anchor is not None and isinstance(unit.anchor.spec, tuple):
            found |= {project(unit.anchor, i) for i in range(len(unit.anchor.spec))}
    return found


def _resolved(low: Lowering, pointer: Pointer) -> tuple[Pointer, Any]:
    """(the buffer that a pointer points into, its offset in elements)."""
    if pointer.role == "value" and pointer.node in low.aliases:
        node, offset = low.aliases[pointer.node]
        return Pointer(node, 0, "stack"), offset + pointer.offset
    return Pointer(pointer.node, 0, pointer.role), pointer.offset


__all__ = [
    "CompiledProgram",
    "Executable",
    "ReferenceProgram",
    "build",
    "compile_object",
    "native_driver",
    "size_value",
    "target",
]
