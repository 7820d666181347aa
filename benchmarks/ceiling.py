"""The machine that benchmarks run on: its target and driver, and the ceiling that products are measured against."""

from __future__ import annotations

from handloom.ceilings import Ceiling, rates, table_of
from handloom.codegen import llvm
from handloom.codegen.target import Target
from handloom.compiler import target
from handloom.runtime import driver as native
from handloom.runtime import tiles

__all__ = ["Ceiling", "host_driver", "host_target", "rates", "table_of"]


def host_target(level: str | None = None) -> Target:
    """The target that kernels are generated for on this machine, by HANDLOOM_TARGET where no level is named; kernels of
    it may run."""
    found = target(level)
    if found.amx:
        tiles.permit()
    return found


def host_driver() -> native.Driver:
    """The runtime's driver, compiled for this machine."""
    cpu, features, triple = llvm.host()
    return native.build(lambda text: llvm.compile_object(text, cpu, features), llvm.load, triple)
