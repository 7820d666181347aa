"""Calls of one kernel that do not wait for each other become one call: the grouped product of a layer's Q, K and V.

Needs: steps and their waves. Promises: the same tasks on the same arguments, in fewer calls.

The wrapper's arguments are a head (how many words a part's arguments have; then, for each part but the last, the number
of the first task after it) and the parts' arguments, one after another. A task finds its part by walking the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, groupby

from handloom.codegen.emit import Module
from handloom.codegen.evaluate import Argument, Computed
from handloom.codegen.lower import Count, Env, Step


def grouped(module: Module, steps: Sequence[Step], wave: Sequence[int]) -> tuple[list[Step], list[int]]:
    """The steps with those of one kernel in one wave joined, each group in the place of its first; and their waves."""
    result: list[Step] = []
    numbers: list[int] = []
    known: dict[tuple[Count, ...], _Sums] = {}  # one object for equal counts, as layers have them
    for number, indices in groupby(range(len(steps)), key=lambda i: wave[i]):
        by_kernel: dict[tuple[str, int], list[Step]] = {}
        for i in indices:
            by_kernel.setdefault((steps[i].kernel, len(steps[i].arguments)), []).append(steps[i])
        for parts in by_kernel.values():
            result.append(parts[0] if len(parts) == 1 else _joined(module, parts, known))
            numbers.append(number)
    return result, numbers


def _joined(module: Module, parts: Sequence[Step], known: dict[tuple[Count, ...], _Sums]) -> Step:
    first = parts[0]
    name = f"{first.kernel}.x{len(parts)}"
    text = _wrapper(name, first.kernel, len(parts))
    if text not in module.functions:
        module.functions.append(text)
    counts = tuple(part.tasks for part in parts)
    tasks = known.setdefault(counts, _Sums(counts))
    arguments: tuple[Argument, ...] = (len(first.arguments), *(Computed(tasks.to(end)) for end in range(1, len(parts))))
    return replace(
        first,
        kernel=name,
        arguments=arguments + tuple(argument for part in parts for argument in part.arguments),
        tasks=tasks.to(len(parts)),
        reads=tuple(pointer for part in parts for pointer in part.reads),
        writes=tuple(pointer for part in parts for pointer in part.writes),
        scratch=lambda env: max(part.scratch(env) for part in parts),
        flops=_Sums([part.flops for part in parts]).to(len(parts)),
    )


class _Sums:
    """Counts added up, worked out once for a batch's sizes, however many of the sums are asked for."""

    def __init__(self, counts: Sequence[Count]) -> None:
        self._counts = counts
        self._last: tuple[Env, list[int]] = {}, []
        self._ends: dict[int, Count] = {}

    def to(self, end: int) -> Count:
        """The sum of the first so many: the same object each time."""
        return self._ends.setdefault(end, lambda env: self._of(env)[end - 1])

    def _of(self, env: Env) -> list[int]:
        known, sums = self._last
        if not sums or known != env:
            sums = list(accumulate(count(env) for count in self._counts))
            self._last = dict(env), sums
        return sums


def _wrapper(name: str, kernel: str, parts: int) -> str:
    return f"""
define void @{name}(ptr %args, i64 %task, ptr %scratch) {{
entry:
  %words = load i64, ptr %args
  %first = getelementptr i64, ptr %args, i64 {parts}
  br label %look
look:
  %part = phi i64 [0, %entry], [%next, %on]
  %start = phi i64 [0, %entry], [%end, %on]
  %at = phi ptr [%first, %entry], [%after, %on]
  %next = add i64 %part, 1
  %last = icmp eq i64 %next, {parts}
  br i1 %last, label %found, label %compare
compare:
  %where = getelementptr i64, ptr %args, i64 %next
  %end = load i64, ptr %where
  %inside = icmp slt i64 %task, %end
  br i1 %inside, label %found, label %on
on:
  %after = getelementptr i64, ptr %at, i64 %words
  br label %look
found:
  %own = sub i64 %task, %start
  call void @{kernel}(ptr %at, i64 %own, ptr %scratch)
  ret void
}}
"""
