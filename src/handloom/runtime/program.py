"""A compiled program: kernel calls laid out once as a flat table; only pointers and sizes change from run to run."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError
from handloom.runtime import profile
from handloom.runtime.arena import Arena, empty
from handloom.runtime.driver import ARGUMENTS, ENTRY_WORDS, FLAGS, KERNEL, SERIAL, TASKS, WAVE, Linked
from handloom.runtime.pool import Pool, ticks_per_second

Place = Literal["arena", "input", "output", "constant"]


class Sized(Protocol):
    """A size that depends on the batch, as graph.Size."""

    def value(self, env: Mapping[str, int], /) -> int:
        """The number for these symbols."""


Amount = int | Sized | Callable[[Mapping[str, int]], int]
"""A number known when the program is built, or found from a batch's sizes. Hashable; equal ones are computed once."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Where a kernel's argument lives: `index` counts inputs, outputs or constants (0: the arena), `offset` bytes."""

    place: Place
    index: int = 0
    offset: Amount = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call. The kernel sees its arguments as 64-bit words: the buffers' addresses, then the sizes.

    wave: may run at the same time as the call after it. serial: so little work that one thread should do it all.
    name: what profiles call it, else the symbol.
    """

    symbol: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[Amount, ...] = ()
    tasks: Amount = 1
    wave: bool = False
    serial: bool = False
    name: str = ""


def _number(amount: Amount, env: Mapping[str, int]) -> int:
    if isinstance(amount, int):
        return amount
    value = getattr(amount, "value", None)
    return int(value(env)) if value is not None else int(cast("Callable[[Mapping[str, int]], int]", amount)(env))


class _Amounts:
    """The distinct amounts of a program, numbered."""

    def __init__(self) -> None:
        self.all: list[Amount] = []
        self._numbers: dict[Any, int] = {}

    def number(self, amount: Amount) -> int:
        key = (isinstance(amount, int), amount)
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            self.all.append(amount)
        return self._numbers[key]


class Program:
    """Calls bound to code, an arena and constants. Several Python threads may call `run`: one runs, the others wait."""

    def __init__(
        self,
        calls: Sequence[Call],
        library: Linked,
        pool: Pool,
        *,
        arena: Arena | int = 0,
        constants: Sequence[npt.NDArray[Any]] = (),
        inputs: int = 0,
        outputs: int = 0,
        scratch_bytes: int = 0,
    ) -> None:
        """library: has every call's symbol; it is kept alive. arena: bytes, or an Arena shared with other programs.
        inputs, outputs: how many arrays `run` takes. scratch_bytes: the most that any kernel wants for each thread."""
        self.calls = tuple(calls)
        self.pool = pool
        self.arena = Arena(arena) if isinstance(arena, int) else arena
        self.inputs, self.outputs = inputs, outputs
        self.scratch_bytes = scratch_bytes
        self._library = library
        self._constants = list(constants)
        self._names = [call.name or call.symbol for call in self.calls]
        self._known: list[tuple[Callable[[], Any], int] | None] = [None] * (inputs + outputs)
        self._values: dict[tuple[tuple[str, int], ...], npt.NDArray[np.int64]] = {}
        self._lay_out()

    def _lay_out(self) -> None:
        """Builds the table and the slots of arguments, and notes which words are to be filled in at each run."""
        first = {"arena": 0, "input": 1, "output": 1 + self.inputs, "constant": 1 + self.inputs + self.outputs}
        room = {"arena": 1, "input": self.inputs, "output": self.outputs, "constant": len(self._constants)}
        amounts = _Amounts()
        pointers: list[tuple[int, int, int]] = []  # slot, base, amount of the offset
        sizes: list[tuple[int, int]] = []  # slot, amount
        starts: list[int] = []
        at = 0
        for call in self.calls:
            starts.append(at)
            for buffer in call.buffers:
                if not 0 <= buffer.index < room[buffer.place]:
                    raise HandloomError(
                        f"{call.symbol} uses {buffer.place} {buffer.index}, but there are {room[buffer.place]}."
                    )
                pointers.append((at, first[buffer.place] + buffer.index, amounts.number(buffer.offset)))
                at += 1
            for size in call.sizes:
                if isinstance(size, Buffer):
                    pointers.append((at, first[size.place] + size.index, amounts.number(size.offset)))
                else:
                    sizes.append((at, amounts.number(size)))
                at += 1
        tasks = [amounts.number(call.tasks) for call in self.calls]
        self._amounts = amounts.all
        self._bases = np.zeros(1 + self.inputs + self.outputs + len(self._constants), np.int64)
        self._bases[0] = self.arena.address
        self.rebind(self._constants)
        self._pointer_slots, self._pointer_bases, self._pointer_offsets = _columns(pointers, 3)
        self._size_slots, self._size_amounts = _columns(sizes, 2)
        self._tasks = np.array(tasks, np.int64)
        self._slots = cast("npt.NDArray[np.int64]", empty((max(at, 1),), "int64"))
        self._table = cast("npt.NDArray[np.int64]", empty((len(self.calls), ENTRY_WORDS), "int64"))
        self._table[:] = 0
        addresses = {symbol: self._library.address(symbol) for symbol in {call.symbol for call in self.calls}}
        self._table[:, KERNEL] = [addresses[call.symbol] for call in self.calls]
        self._table[:, ARGUMENTS] = self._slots.ctypes.data + 8 * np.array(starts, np.int64)
        self._table[:, FLAGS] = [WAVE * call.wave + SERIAL * call.serial for call in self.calls]

    def rebind(self, constants: Sequence[npt.NDArray[Any]]) -> None:
        """Other arrays in the constants' places, as many as before; they are kept alive."""
        assert len(constants) == len(self._constants)
        self._constants = [_contiguous(array, "constant", i) for i, array in enumerate(constants)]
        self._bases[1 + self.inputs + self.outputs :] = [array.ctypes.data for array in self._constants]

    def run(
        self,
        inputs: Sequence[npt.NDArray[Any]] = (),
        outputs: Sequence[npt.NDArray[Any]] = (),
        env: Mapping[str, int] | None = None,
        *,
        pool: Pool | None = None,
    ) -> None:
        """Runs all calls. Arrays are C-contiguous and as long as the kernels expect for `env`; outputs are overwritten.

        An array may be an input and an output at once (donated state). The threads are `pool`'s, else the program's.
        Raises HandloomError for a wrong count of arrays, one that is not contiguous, or an output that is read-only.
        """
        if (len(inputs), len(outputs)) != (self.inputs, self.outputs):
            raise HandloomError(
                f"The program takes {self.inputs} inputs and {self.outputs} outputs, "
                f"not {len(inputs)} and {len(outputs)}."
            )
        addresses = [self._address(i, array, i) for i, array in enumerate(inputs)]
        addresses += [self._address(self.inputs + i, array, i) for i, array in enumerate(outputs)]
        values = self._evaluate(env or {})
        pool = pool or self.pool
        timings = profile.active()
        with self.arena.lock:
            self._bases[1 : 1 + len(addresses)] = addresses
            self._slots[self._pointer_slots] = self._bases[self._pointer_bases] + values[self._pointer_offsets]
            self._slots[self._size_slots] = values[self._size_amounts]
            self._table[:, TASKS] = values[self._tasks]
            pool.run(self._table, self.scratch_bytes, timing=timings is not None)
            if timings is not None:
                timings.add(self._names, self._table, ticks_per_second(pool.driver))

    def _address(self, slot: int, array: npt.NDArray[Any], number: int) -> int:
        """Where an array lies, checked; remembered while the slot gets the same one, as state does step after step."""
        known = self._known[slot]
        if known is not None and known[0]() is array:
            return known[1]
        if slot < self.inputs:
            _contiguous(array, "input", number)
        else:
            _writable(array, number)
        address = int(array.__array_interface__["data"][0])
        self._known[slot] = (weakref.ref(array), address)
        return address

    def _evaluate(self, env: Mapping[str, int]) -> npt.NDArray[np.int64]:
        """The value of every distinct amount; remembered for sizes that come again."""
        key = tuple(env.items())
        values = self._values.get(key)
        if values is None:
            values = np.array([_number(amount, env) for amount in self._amounts], np.int64)
            negative = [i for i in np.unique(self._tasks) if values[i] < 0]
            if negative:
                raise HandloomError(f"A task count is {values[negative[0]]} for the sizes {dict(env)}.")
            if len(self._values) >= 1024:
                self._values.clear()
            self._values[key] = values
        return values


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[npt.NDArray[np.int64]]:
    return list(np.array(rows, np.int64).reshape(len(rows), width).T.copy())


def _contiguous(array: npt.NDArray[Any], role: str, index: int) -> npt.NDArray[Any]:
    if not array.flags.c_contiguous:
        raise HandloomError(f"The {role} {index} of shape {array.shape} must be C-contiguous (np.ascontiguousarray).")
    return array


def _writable(array: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
    if not array.flags.writeable:
        raise HandloomError(f"The output {index} of shape {array.shape} is read-only.")
    return _contiguous(array, "output", index)
