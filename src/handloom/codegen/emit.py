"""A small writer of LLVM IR: typed values, structured loops, vectors of any width.

A `Value` is a piece of IR text with its type. A `Function` appends instructions; control flow is given by Python
callables, so that loops nest as they read. Vector constants are splats written by their bits; no instruction carries
a fast-math flag.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SIZES = {"float": 4, "double": 8, "i32": 4, "i64": 8, "i16": 2, "bfloat": 2, "i8": 1, "i1": 1, "ptr": 8}


@dataclass(frozen=True)
class Value:
    text: str
    type: str

    @property
    def lanes(self) -> int:
        """Elements of a vector; 0 for a scalar."""
        return int(self.type[1:].split(" x ")[0]) if self.type.startswith("<") else 0

    @property
    def element(self) -> str:
        return self.type[1:-1].split(" x ")[1] if self.type.startswith("<") else self.type

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def vector(element: str, lanes: int) -> str:
    """The type of `lanes` elements; a scalar for 0 lanes."""
    return f"<{lanes} x {element}>" if lanes else element


def integer(value: int, type: str = "i64") -> Value:
    return Value(str(int(value)), type)


def number(value: float, like: str = "float") -> Value:
    """A floating-point constant of type `like`, splatted where that is a vector."""
    probe = Value("", like)
    if probe.element == "float":
        narrowed = struct.unpack("<f", struct.pack("<f", value))[0]
        bits = struct.unpack("<Q", struct.pack("<d", narrowed))[0]
    else:
        bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    return splat_constant(f"0x{bits:016X}", like)


def splat_constant(text: str, like: str) -> Value:
    probe = Value("", like)
    if not probe.lanes:
        return Value(text, like)
    return Value("<" + ", ".join([f"{probe.element} {text}"] * probe.lanes) + ">", like)


def whole(value: int, like: str) -> Value:
    """An integer constant of type `like`, splatted where that is a vector."""
    return splat_constant(str(int(value)), like)


def iota(lanes: int, element: str = "i32") -> Value:
    return Value("<" + ", ".join(f"{element} {i}" for i in range(lanes)) + ">", vector(element, lanes))


def zero(type: str) -> Value:
    return Value(
        "zeroinitializer"
        if type.startswith("<")
        else "0"
        if type.startswith("i")
        else "null"
        if type == "ptr"
        else "0.0",
        type,
    )


@dataclass
class Module:
    """Functions and the declarations that they need; `text()` is the IR.

    native_bf16: the processor rounds to bf16 by an instruction of its own.
    native_fma: it has fused multiply-adds; without them a product is rounded before it is added (LLVM would call a
    library function instead).
    """

    functions: list[str] = field(default_factory=list)
    declarations: dict[str, str] = field(default_factory=dict)
    native_bf16: bool = False
    native_fma: bool = True

    def declare(self, name: str, returns: str, arguments: Sequence[str]) -> None:
        self.declarations[name] = f"declare {returns} @{name}({', '.join(arguments)})"

    def text(self) -> str:
        return "\n".join([*self.declarations.values(), *self.functions]) + "\n"


class Function:
    """One function being written. Close it with `finish()`, which adds it to the module."""

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[tuple[str, str]],
        *,
        returns: str = "void",
        attributes: str = "",
        linkage: str = "",
    ) -> None:
        """`parameters`: (type with attributes, name), for example ("ptr noalias", "args")."""
        self.module, self.name, self.returns = module, name, returns
        self.parameters = [
            Value(f"%{label}", type.split()[0] if not type.startswith("<") else type) for type, label in parameters
        ]
        signature = ", ".join(f"{type} %{label}" for type, label in parameters)
        self._head = f"define {linkage + ' ' if linkage else ''}{returns} @{name}({signature}) {attributes} {{"
        self._lines: list[str] = ["entry:"]
        self._count = 0
        self._block = "entry"

    # --- instructions -------------------------------------------------------------------------------------------

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def line(self, text: str) -> None:
        self._lines.append("  " + text)

    def op(self, text: str, type: str) -> Value:
        """Any instruction that yields a value of `type`."""
        name = "%" + self.fresh()
        self.line(f"{name} = {text}")
        return Value(name, type)

    def binary(self, opcode: str, x: Value, y: Value) -> Value:
        if x.type != y.type:
            raise TypeError(f"{opcode} of {x} and {y}")
        return self.op(f"{opcode} {x.type} {x.text}, {y.text}", x.type)

    def compare(self, predicate: str, x: Value, y: Value) -> Value:
        """`predicate` as in "icmp slt" or "fcmp oge"."""
        return self.op(f"{predicate} {x.type} {x.text}, {y.text}", vector("i1", x.lanes))

    def select(self, condition: Value, x: Value, y: Value) -> Value:
        return self.op(f"select {condition}, {x}, {y}", x.type)

    def cast(self, opcode: str, x: Value, type: str) -> Value:
        return x if x.type == type else self.op(f"{opcode} {x} to {type}", type)

    def call(self, name: str, returns: str, *arguments: Value) -> Value:
        """A call of an external or intrinsic function, declared by its use. Void calls return an empty value."""
        self.module.declare(name, returns, [a.type for a in arguments])
        text = f"call {returns} @{name}({', '.join(str(a) for a in arguments)})"
        if returns == "void":
            self.line(text)
            return Value("", "void")
        return self.op(text, returns)

    def intrinsic(self, stem: str, *arguments: Value) -> Value:
        """An intrinsic overloaded on the type of its first argument, which it also returns: fma, sqrt, maxnum …"""
        first = arguments[0]
        letter = {"float": "f32", "double": "f64", "bfloat": "bf16"}.get(first.element, first.element)
        suffix = f"v{first.lanes}{letter}" if first.lanes else letter
        return self.call(f"llvm.{stem}.{suffix}", first.type, *arguments)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x · y + z, rounded once where the processor can do that."""
        if not self.module.native_fma:
            return self.binary("fadd", self.binary("fmul", x, y), z)
        return self.intrinsic("fma", x, y, z)

    def splat(self, x: Value, lanes: int) -> Value:
        """`x` in every lane; `x` itself for 0 lanes."""
        if not lanes:
            return x
        type = vector(x.element, lanes)
        one = self.op(f"insertelement {type} poison, {x}, i32 0", type)
        return self.op(f"shufflevector {one}, {type} poison, <{lanes} x i32> zeroinitializer", type)

    def extract(self, x: Value, lane: int) -> Value:
        return self.op(f"extractelement {x}, i32 {lane}", x.element)

    def shuffle(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.op(f"shufflevector {x}, {y}, <{len(lanes)} x i32> <{mask}>", vector(x.element, len(lanes)))

    def tree(self, combine: Callable[[Value, Value], Value], x: Value) -> Value:
        """All lanes of `x` combined by halves, in one fixed order."""
        lanes = x.lanes
        while lanes > 1:
            lanes //= 2
            low = self.shuffle(x, x, range(lanes))
            high = self.shuffle(x, x, range(lanes, 2 * lanes))
            x = combine(low, high)
        return self.extract(x, 0)

    # --- whole numbers ------------------------------------------------------------------------------------------

    def add(self, x: Value, y: Value | int) -> Value:
        return self._whole("add", x, y)

    def sub(self, x: Value, y: Value | int) -> Value:
        return self._whole("sub", x, y)

    def mul(self, x: Value, y: Value | int) -> Value:
        return self._whole("mul", x, y)

    def udiv(self, x: Value, y: Value | int) -> Value:
        return self._whole("udiv", x, y)

    def urem(self, x: Value, y: Value | int) -> Value:
        return self._whole("urem", x, y)

    def smin(self, x: Value, y: Value | int) -> Value:
        y = whole(y, x.type) if isinstance(y, int) else y
        return self.select(self.compare("icmp slt", x, y), x, y)

    def _whole(self, opcode: str, x: Value, y: Value | int) -> Value:
        y = whole(y, x.type) if isinstance(y, int) else y
        constants = [v.text.lstrip("-").isdigit() for v in (x, y)]
        if constants[1] and not x.lanes:
            if (opcode, y.text) in (("add", "0"), ("sub", "0"), ("mul", "1"), ("udiv", "1")):
                return x
            if constants[0]:
                a, b = int(x.text), int(y.text)
                return integer(
                    {"add": a + b, "sub": a - b, "mul": a * b, "udiv": a // max(b, 1), "urem": a % max(b, 1)}[opcode],
                    x.type,
                )
        return self.binary(opcode, x, y)

    # --- memory -------------------------------------------------------------------------------------------------

    def at(self, base: Value, index: Value | int, element: str) -> Value:
        """Address of `base[index]`, counted in elements of type `element`."""
        index = integer(index) if isinstance(index, int) else index
        if index.text == "0":
            return base
        return self.op(f"getelementptr {element}, {base}, {index}", "ptr")

    def load(self, type: str, address: Value, align: int | None = None) -> Value:
        return self.op(f"load {type}, {address}, align {align or SIZES[Value('', type).element]}", type)

    def store(self, value: Value, address: Value, align: int | None = None) -> None:
        self.line(f"store {value}, {address}, align {align or SIZES[value.element]}")

    def masked_load(
        self, type: str, address: Value, mask: Value, other: Value | None = None, *, align: int | None = None
    ) -> Value:
        probe = Value("", type)
        other = other or zero(type)
        letter = {"float": "f32", "double": "f64", "bfloat": "bf16"}.get(probe.element, probe.element)
        name = f"llvm.masked.load.v{probe.lanes}{letter}.p0"
        return self.call(name, type, address, integer(align or SIZES[probe.element], "i32"), mask, other)

    def masked_store(self, value: Value, address: Value, mask: Value) -> None:
        letter = {"float": "f32", "double": "f64", "bfloat": "bf16"}.get(value.element, value.element)
        name = f"llvm.masked.store.v{value.lanes}{letter}.p0"
        self.call(name, "void", value, address, integer(SIZES[value.element], "i32"), mask)

    def below(self, count: Value, lanes: int) -> Value:
        """The mask of the lanes numbered below `count` (i64)."""
        narrow = self.cast("trunc", count, "i32")
        return self.compare("icmp slt", iota(lanes), self.splat(narrow, lanes))

    # --- control ------------------------------------------------------------------------------------------------

    def label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self._block = name

    def branch(self, name: str) -> None:
        self.line(f"br label %{name}")

    def loop(
        self,
        start: Value | int,
        stop: Value | int,
        step: Value | int,
        body: Callable[[Value, list[Value]], Sequence[Value] | None],
        carried: Sequence[Value] = (),
        *,
        nonempty: bool = False,
        unroll: bool = True,
    ) -> list[Value]:
        """for (i = start; i < stop; i += step): `carried = body(i, carried)`; returns what is carried out.

        `nonempty` promises that the loop runs at least once and saves the first test. Without `unroll` LLVM leaves the
        loop as it is written: kernels with many variants compile in a third of the time.
        """
        start = integer(start) if isinstance(start, int) else start
        stop = integer(stop) if isinstance(stop, int) else stop
        head, after = self.fresh("loop"), self.fresh("after")
        before = self._block
        index = Value("%" + self.fresh("i"), start.type)
        phis = [Value("%" + self.fresh("c"), value.type) for value in carried]
        if not nonempty:
            enter = self.compare("icmp slt", start, stop)
            self.line(f"br {enter}, label %{head}, label %{after}")
        else:
            self.branch(head)
        self.label(head)
        position = len(self._lines)
        produced = list(body(index, phis) or ())
        if len(produced) != len(phis):
            raise ValueError(f"a loop of {self.name} carries {len(phis)} values and got {len(produced)} back")
        following = self.add(index, step)
        again = self.compare("icmp slt", following, stop)
        latch = self._block
        self.line(f"br {again}, label %{head}, label %{after}{'' if unroll else self._rolled()}")
        entries = [(index, start, following), *zip(phis, carried, produced, strict=True)]
        self._lines[position:position] = [
            f"  {phi.text} = phi {phi.type} [ {initial.text}, %{before} ], [ {final.text}, %{latch} ]"
            for phi, initial, final in entries
        ]
        self.label(after)
        if nonempty:
            return produced
        results = []
        for value, initial in zip(produced, carried, strict=True):
            results.append(
                self.op(f"phi {value.type} [ {initial.text}, %{before} ], [ {value.text}, %{latch} ]", value.type)
            )
        return results

    def _rolled(self) -> str:
        self.module.declarations["!0"] = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}'
        return ", !llvm.loop !0"

    def when(
        self,
        condition: Value,
        then: Callable[[], Sequence[Value] | None],
        otherwise: Callable[[], Sequence[Value] | None] | None = None,
    ) -> list[Value]:
        """Runs `then` or `otherwise`; both give the same number of values (none, where there is no `otherwise`)."""
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.line(f"br {condition}, label %{yes}, label %{no if otherwise else end}")
        self.label(yes)
        first = list(then() or ())
        first_block = self._block
        self.branch(end)
        second: list[Value] = []
        second_block = first_block
        if otherwise:
            self.label(no)
            second = list(otherwise() or ())
            second_block = self._block
            self.branch(end)
        self.label(end)
        return [
            self.op(f"phi {a.type} [ {a.text}, %{first_block} ], [ {b.text}, %{second_block} ]", a.type)
            for a, b in zip(first, second, strict=True)
        ]

    def finish(self, result: Value | None = None) -> None:
        self.line(f"ret {result}" if result else "ret void")
        self.module.functions.append("\n".join([self._head, *self._lines, "}"]))
