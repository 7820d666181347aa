"""A compiled program as text: what each kernel computes, the calls in their order, where buffers lie, the LLVM IR and
the assembly that becomes of it.

A line for each call:
    wave 3  dot.5f0c2a77c1d4  12 tasks  [%x@input 0, %weight@input 1] → [%4@arena+64]  38.4 MFLOP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from handloom.codegen.emit import Module
from handloom.codegen.evaluate import Pointer
from handloom.codegen.llvm import assembly
from handloom.codegen.lower import Env, Step
from handloom.codegen.target import Target
from handloom.errors import UsageError
from handloom.graph import show
from handloom.graph.node import DTYPES, Node, volume
from handloom.graph.unit import Unit


class Place(Protocol):
    """Where a buffer lies, as runtime.program.Buffer."""

    @property
    def place(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def offset(self) -> Any: ...


@dataclass(frozen=True)
class Life:
    """A buffer of the arena: where it lies, and the waves of its first and its last use."""

    name: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Look:
    """What there is to see of a program that was planned for the sizes `env`."""

    outputs: Sequence[Node]
    units: Sequence[Unit]
    steps: Sequence[Step]
    wave: Sequence[int]
    env: Env
    places: Mapping[Pointer, Place]
    arena: int
    module: Module
    target: Target

    def text(self, topic: str) -> str:
        """ "graph" (as kernels are made of it), "units", "kernels", "ir" or "assembly". Raises UsageError for another
        topic."""
        try:
            return TEXTS[topic](self)
        except KeyError:
            raise UsageError(f"there is no {topic!r} to show; there are {', '.join(TEXTS)}") from None

    def lives(self) -> list[Life]:
        """The buffers of the arena, each from the first wave that uses it to the last."""
        names = show.names_of(self.outputs)
        found: dict[tuple[int, Node, str], tuple[int, int]] = {}
        for step, wave in zip(self.steps, self.wave, strict=True):
            for pointer in (*step.reads, *step.writes):
                place = self.places.get(pointer) or self.places.get(Pointer(pointer.node, 0, pointer.role))
                if place is None or place.place != "arena" or isinstance(pointer.node.spec, tuple):
                    continue
                key = (place.offset, pointer.node, pointer.role)
                first, last = found.get(key, (wave, wave))
                found[key] = min(first, wave), max(last, wave)
        return [
            Life(names.get(node, role), offset, volume(node.shape, self.env) * DTYPES[node.dtype], first, last)
            for (offset, node, role), (first, last) in found.items()
        ]

    def report(self) -> None:
        """Prints what HANDLOOM_DEBUG asks for."""
        if show.wanted("kernels"):
            show.report("units", self.text("units"))
            show.report("kernels", self.text("kernels"))
        for topic in ("ir", "assembly"):
            if show.wanted(topic):
                show.report(topic, self.text(topic))


def units_text(look: Look) -> str:
    """What each kernel computes, and which of it is stored."""
    names = show.names_of(look.outputs)
    lines = []
    for unit in look.units:
        members = ", ".join(names[node] for node in names if node in unit.members)
        stored = ", ".join(names.get(root, f"<{root.op}>") for root in unit.roots)
        space = f" over [{', '.join(map(str, unit.space))}]" if unit.space else ""
        lines.append(f"{unit.kind}{space}: {members}" + (f" → {stored}" if stored else ""))
    return "\n".join(lines)


def kernels_text(look: Look) -> str:
    """The calls with their tasks, buffers and work; then the buffers in the arena."""
    names = show.names_of(look.outputs)
    sizes = ", ".join(f"{name}={size}" for name, size in look.env.items())
    lines = [f"{len(look.steps)} calls, an arena of {look.arena} bytes" + (f", planned for {sizes}" if sizes else "")]
    for step, number in zip(look.steps, look.wave, strict=True):
        reads, writes = (
            ", ".join(dict.fromkeys(_pointer(p, names, look.places) for p in pointers))
            for pointers in (step.reads, step.writes)
        )
        count, flops = step.tasks(look.env), step.flops(look.env)
        tasks = f"{count} task" if count == 1 else f"{count} tasks"
        work = f"  {flops / 1e6:.3g} MFLOP" if flops else ""
        lines.append(f"wave {number}  {step.kernel}  {tasks}  [{reads}] → [{writes}]{work}")
    for pointer, place in look.places.items():
        if place.place == "arena" and pointer.role == "value":
            size = volume(pointer.node.shape, look.env) * DTYPES[pointer.node.dtype]
            lines.append(f"{_name(pointer, names)} : {pointer.node.spec}, {size} bytes at {place.offset}")
    return "\n".join(lines)


def _pointer(pointer: Pointer, names: Mapping[Node, str], places: Mapping[Pointer, Place]) -> str:
    place = places.get(Pointer(pointer.node, 0, pointer.role))
    offset = "" if pointer.offset == 0 else f"[{pointer.offset}:]"
    if place is None:
        return _name(pointer, names) + offset
    where = f"arena+{place.offset}" if place.place == "arena" else f"{place.place} {place.index}"
    return f"{_name(pointer, names)}{offset}@{where}"


def _name(pointer: Pointer, names: Mapping[Node, str]) -> str:
    name = names.get(pointer.node, f"<{pointer.node.op}>")
    return name if pointer.role == "value" else f"{pointer.role} of {name}"


TEXTS: Mapping[str, Callable[[Look], str]] = {
    "graph": lambda look: show.graph_text(look.outputs),
    "units": units_text,
    "kernels": kernels_text,
    "ir": lambda look: look.module.text(),
    "assembly": lambda look: assembly(
        look.module.text(), look.target.cpu, look.target.features, look.target.triple
    ),
}
