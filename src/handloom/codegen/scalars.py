"""What every element-wise operation becomes, for a vector of any width or a scalar: one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handloom.codegen import mathfuns
from handloom.codegen.emit import Function, Value, number, vector, whole, zero
from handloom.errors import HandloomError
from handloom.graph.node import Node

ELEMENT = {"f32": "float", "f64": "double", "bf16": "float", "i32": "i32", "u32": "i32", "i8": "i32", "bool": "i1"}
"""A dtype in registers."""

MEMORY = {"f32": "float", "f64": "double", "bf16": "i16", "i32": "i32", "u32": "i32", "i8": "i8", "bool": "i8"}
"""A dtype in memory."""

Emit = Callable[[Function, Sequence[Value], Node], Value]


def type_of(dtype: str, lanes: int) -> str:
    return vector(ELEMENT[dtype], lanes)


def _floating(node: Node) -> bool:
    return node.inputs[0].dtype in ("f32", "f64", "bf16")


def _math(name: str) -> Emit:
    def emit(f: Function, x: Sequence[Value], node: Node) -> Value:
        if x[0].element != "float":
            raise HandloomError(
                f"{name} of {node.spec} is computed on the reference backend only (HANDLOOM_BACKEND=reference)"
            )
        return mathfuns.UNARY[name](f, x[0])

    return emit


def _arithmetic(floating: str, integer: str) -> Emit:
    return lambda f, x, node: f.binary(floating if _floating(node) else integer, x[0], x[1])


def _divide(f: Function, x: Sequence[Value], node: Node) -> Value:
    """Whole numbers are divided towards minus infinity; by zero they give themselves (hardware would trap)."""
    if _floating(node):
        return f.binary("fdiv", x[0], x[1])
    type = x[0].type
    divisor = f.select(f.compare("icmp eq", x[1], zero(type)), whole(1, type), x[1])
    if node.dtype == "u32":
        return f.binary("udiv", x[0], divisor)
    lowest = f.compare("icmp eq", x[0], whole(-(2**31), type))
    minus_one = f.compare("icmp eq", divisor, whole(-1, type))
    divisor = f.select(f.binary("and", lowest, minus_one), whole(1, type), divisor)
    quotient = f.binary("sdiv", x[0], divisor)
    inexact = f.compare("icmp ne", f.binary("mul", quotient, divisor), x[0])
    apart = f.compare("icmp slt", f.binary("xor", x[0], divisor), zero(type))
    return f.select(f.binary("and", inexact, apart), f.binary("sub", quotient, whole(1, type)), quotient)


def _negative(f: Function, x: Sequence[Value], node: Node) -> Value:
    return f.op(f"fneg {x[0]}", x[0].type) if _floating(node) else f.binary("sub", zero(x[0].type), x[0])


def _compare(ordered: str, signed: str, unsigned: str) -> Emit:
    def emit(f: Function, x: Sequence[Value], node: Node) -> Value:
        dtype = node.inputs[0].dtype
        predicate = f"fcmp {ordered}" if _floating(node) else f"icmp {unsigned if dtype in ('u32', 'bool') else signed}"
        return f.compare(predicate, x[0], x[1])

    return emit


def _extreme(floating: str, signed: str, unsigned: str) -> Emit:
    """The larger or smaller; NaN where either is NaN, as NumPy's."""

    def emit(f: Function, x: Sequence[Value], node: Node) -> Value:
        if not _floating(node):
            return f.select(f.compare(f"icmp {unsigned if node.dtype == 'u32' else signed}", x[0], x[1]), x[0], x[1])
        better = f.select(f.compare(f"fcmp {floating}", x[0], x[1]), x[0], x[1])  # the first where either is NaN
        return f.select(f.compare("fcmp uno", x[1], x[1]), x[1], better)

    return emit


def _sign(f: Function, x: Sequence[Value], node: Node) -> Value:
    if not _floating(node):
        below = f.select(f.compare("icmp slt", x[0], zero(x[0].type)), whole(-1, x[0].type), zero(x[0].type))
        return f.select(f.compare("icmp sgt", x[0], zero(x[0].type)), whole(1, x[0].type), below)
    one = number(1.0, x[0].type)
    signed = mathfuns.copysign(f, one, x[0])
    nothing = f.compare("fcmp oeq", x[0], number(0.0, x[0].type))
    return f.select(nothing, number(0.0, x[0].type), signed)


def _is_finite(f: Function, x: Sequence[Value], node: Node) -> Value:
    return f.compare("fcmp olt", f.intrinsic("fabs", x[0]), number(float("inf"), x[0].type))


def convert(f: Function, x: Value, source: str, target: str) -> Value:
    """A value of one dtype as another, as NumPy's astype does it."""
    type = vector(ELEMENT[target], x.lanes)
    if source == target:
        return x
    real = {"f32", "f64", "bf16"}
    if target == "bf16":
        single = convert(f, x, source, "f32")
        return mathfuns.from_bf16(f, mathfuns.to_bf16(f, single))
    if source in real and target in real:
        return x if x.type == type else f.cast("fpext" if target == "f64" else "fptrunc", x, type)
    if target == "bool":
        return f.compare(
            "fcmp une" if source in real else "icmp ne", x, number(0.0, x.type) if source in real else zero(x.type)
        )
    if source in real:
        return f.cast("fptoui" if target == "u32" else "fptosi", x, type)
    if target in real:
        return f.cast("sitofp" if source in ("i32", "i8") else "uitofp", x, type)
    return f.cast("zext", x, type) if source == "bool" else x


def constant(value: float | int | bool, dtype: str, lanes: int) -> Value:
    type = type_of(dtype, lanes)
    if dtype in ("f32", "f64", "bf16"):
        return number(float(value), type)
    return whole(int(value) if int(value) < 2**31 else int(value) - 2**32, type)


SCALARS: dict[str, Emit] = {
    **{name: _math(name) for name in ("exp", "log", "sqrt", "rsqrt", "tanh", "erf", "sigmoid")},
    **{name: _math(name) for name in ("sin", "cos") if name in mathfuns.UNARY},
    "negative": _negative,
    "absolute": lambda f, x, node: f.intrinsic("fabs", x[0]) if _floating(node) else f.select(
        f.compare("icmp slt", x[0], zero(x[0].type)), f.binary("sub", zero(x[0].type), x[0]), x[0]
    ),
    "sign": _sign,
    "floor": lambda f, x, node: f.intrinsic("floor", x[0]),
    "is_finite": _is_finite,
    "logical_not": lambda f, x, node: f.binary("xor", x[0], whole(1, x[0].type)),
    "stop_gradient": lambda f, x, node: x[0],
    "after": lambda f, x, node: x[0],
    "add": _arithmetic("fadd", "add"),
    "subtract": _arithmetic("fsub", "sub"),
    "multiply": _arithmetic("fmul", "mul"),
    "divide": _divide,
    "maximum": _extreme("ugt", "sgt", "ugt"),
    "minimum": _extreme("ult", "slt", "ult"),
    "less": _compare("olt", "slt", "ult"),
    "less_equal": _compare("ole", "sle", "ule"),
    "equal": _compare("oeq", "eq", "eq"),
    "logical_and": lambda f, x, node: f.binary("and", x[0], x[1]),
    "logical_or": lambda f, x, node: f.binary("or", x[0], x[1]),
    "where": lambda f, x, node: f.select(x[0], x[1], x[2]),
    "cast": lambda f, x, node: convert(f, x[0], node.inputs[0].dtype, node.dtype),
}  # fmt: skip


def load(f: Function, dtype: str, lanes: int, address: Value, mask: Value | None = None) -> Value:
    """From memory into registers."""
    type = vector(MEMORY[dtype], lanes)
    raw = f.masked_load(type, address, mask) if mask is not None else f.load(type, address)
    return from_memory(f, dtype, raw)


def from_memory(f: Function, dtype: str, raw: Value) -> Value:
    if dtype == "bool":
        return f.compare("icmp ne", raw, zero(raw.type))
    if dtype == "i8":
        return f.cast("sext", raw, vector("i32", raw.lanes))
    return mathfuns.from_bf16(f, raw) if dtype == "bf16" else raw


def store(f: Function, dtype: str, value: Value, address: Value, mask: Value | None = None) -> None:
    """From registers into memory; bf16 is rounded to nearest even."""
    if dtype == "bool":
        value = f.cast("zext", value, vector("i8", value.lanes))
    elif dtype == "i8":
        value = f.cast("trunc", value, vector("i8", value.lanes))
    elif dtype == "bf16":
        value = mathfuns.to_bf16(f, value)
    if mask is not None:
        f.masked_store(value, address, mask)
    else:
        f.store(value, address)
