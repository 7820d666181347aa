"""AMX's tile registers in memory, and its instructions as plain vector code, for machines that have none.

`interpreted` gives a module's IR in which every AMX intrinsic is a call of a function written here; all else stays as
it was emitted, is compiled for the processor at hand, and runs there. The arithmetic is that of Intel's manual, in its
order (a product of two bf16 is exact in f32, so that it needs no fused multiply-add to be rounded once).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable

import numpy as np

from handloom.codegen.emit import Function, Module, Value, integer, vector, whole, zero

TILE, ROW = 16, vector("i32", 16)


class TileRegisters:
    """Eight registers of 16 rows × 64 bytes, used by one thread. They hold NaN while nothing configures them."""

    def __init__(self) -> None:
        self.tiles = np.full((8, TILE, TILE), -1, np.int32)
        self.errors: list[str] = []
        self.configured = False
        # the functions must live as long as the code that calls them
        self._configure = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.configure)
        self._release = ctypes.CFUNCTYPE(None)(self.release)

    def configure(self, address: int) -> None:
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * 64).from_address(address))
        whole_tiles = bytes([1, *[0] * 15, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8])
        if raw.tobytes() != whole_tiles or self.configured:
            self.errors.append(f"configured twice, or for other than eight whole registers: {raw}")
        self.configured = True
        self.tiles[:] = 0

    def release(self) -> None:
        self.configured = False
        self.tiles[:] = -1

    def check(self) -> None:
        assert not self.errors and not self.configured, self.errors

    def interpreted(self, text: str) -> str:
        """A module's IR with calls of functions for AMX's intrinsics."""
        declared = re.findall(r"^declare void @llvm\.x86\.(\w+)\(.*\n", text, re.MULTILINE)
        own = Module()
        for name in declared:
            self._write(own, name)
        text = re.sub(r"^declare void @llvm\.x86\..*\n", "", text, flags=re.MULTILINE)
        return text.replace("@llvm.x86.", "@interpreted.") + "\n".join(own.functions)

    def _write(self, module: Module, name: str) -> None:
        """Writes the function that stands for an intrinsic. Raises KeyError for one that is not known."""
        number, tile, address = ("i8", "number"), ("ptr", "address"), ("i64", "stride")
        parameters, body = {
            "ldtilecfg": ([tile], lambda f: self._call(f, self._configure)),
            "tilerelease": ([], lambda f: self._call(f, self._release)),
            "tilezero": ([number], self._clear),
            "tileloadd64": ([number, tile, address], self._load),
            "tilestored64": ([number, tile, address], self._store),
            "tdpbf16ps": ([("i8", "total"), ("i8", "left"), ("i8", "right")], self._multiply_add),
        }[name]
        f = Function(module, f"interpreted.{name}", parameters, linkage="internal", attributes="noinline nounwind")
        body(f)
        f.finish()

    def _call(self, f: Function, function: Callable[..., None]) -> None:
        where = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
        f.line(f"call void inttoptr (i64 {where} to ptr)({', '.join(str(x) for x in f.parameters)})")

    def _row(self, f: Function, number: Value, row: Value) -> Value:
        base = f.op(f"inttoptr i64 {self.tiles.ctypes.data} to ptr", "ptr")
        return f.at(base, f.mul(f.add(f.mul(f.cast("zext", number, "i64"), TILE), row), TILE), "i32")

    def _each_row(self, f: Function, body: Callable[[Value], None]) -> None:
        f.loop(0, TILE, 1, lambda row, _: body(row), nonempty=True, unroll=False)

    def _clear(self, f: Function) -> None:
        self._each_row(f, lambda row: f.store(zero(ROW), self._row(f, f.parameters[0], row)))

    def _load(self, f: Function) -> None:
        number, address, stride = f.parameters
        memory = lambda row: f.at(address, f.mul(row, stride), "i8")  # noqa: E731
        self._each_row(f, lambda row: f.store(f.load(ROW, memory(row), 1), self._row(f, number, row)))

    def _store(self, f: Function) -> None:
        number, address, stride = f.parameters
        memory = lambda row: f.at(address, f.mul(row, stride), "i8")  # noqa: E731
        self._each_row(f, lambda row: f.store(f.load(ROW, self._row(f, number, row)), memory(row), 1))

    def _multiply_add(self, f: Function) -> None:
        total, left, right = f.parameters
        floats = vector("float", TILE)

        def k_of(groups: Value, which: int) -> Value:
            """The first or the second k of 16 groups, as f32."""
            opcode, operand = ("and", -65536) if which else ("shl", 16)
            return f.cast("bitcast", f.binary(opcode, groups, whole(operand, ROW)), floats)

        def row(m: Value) -> None:
            def add(k: Value, chains: list[Value]) -> list[Value]:
                a = f.splat(f.load("i32", f.at(self._row(f, left, m), k, "i32")), TILE)
                b = f.load(ROW, self._row(f, right, k))
                products = [f.binary("fmul", k_of(a, i), k_of(b, i)) for i in (0, 1)]
                return [f.binary("fadd", x, y) for x, y in zip(chains, products, strict=True)]

            first, second = f.loop(integer(0), TILE, 1, add, [zero(floats)] * 2, nonempty=True, unroll=False)
            place = self._row(f, total, m)
            f.store(f.binary("fadd", f.load(floats, place), f.binary("fadd", first, second)), place)

        self._each_row(f, row)
