"""Elementary functions of f32 written out as IR: the same instructions for a vector of any width and for a scalar.

LLVM's own exp, log, tanh and erf become scalar library calls, so these are ours. Each is an argument reduction and a
polynomial. The coefficients are minimax fits (least squares on Chebyshev nodes, reweighted by the error until it is
level, after Lawson 1961), rounded to f32 one by one from the lowest degree, the higher ones fitted again each time.

Errors measured against f64 (tests hold them): exp 1, log 1, rsqrt 1.5, tanh, sigmoid and erf 2.5 units in the
last place; erf 8e-8 absolute. Subnormal numbers count as zero, in and out. NaN comes out where NaN went in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handloom.codegen.emit import Function, Value, number, vector, whole

# exp(r) = 1 + r + r²·Q(r), |r| ≤ ln(2)/2: relative error of expm1 1.4e-8
_EXPM1 = (0.49999997, 0.16666546, 0.041667435, 0.008366272, 0.0013870696)
# log(1 + f) = f − f²/2 + f³·P(f), √½ ≤ 1 + f ≤ √2: relative error 5.9e-9
_LOG1P = (0.3333333, -0.2500082, 0.2000124, -0.16623408, 0.14201628, -0.13159683, 0.12761861, -0.076357506)
# log2(1 − erf(a)) = a·E(a), 0 ≤ a ≤ 4: error of erf 5.6e-9
_ERFC_LOW = (-1.627907, -0.91844743, -0.14827922, 0.027641168, 0.00021286425)
_ERFC = (*_ERFC_LOW, -0.0023852547, 0.00090170954, -0.00016647138, 1.2984947e-05)
# 2^r − 1 = r·G(r), |r| ≤ ½: relative error 1.3e-8
_EXP2M1 = (0.6931472, 0.24022649, 0.055503674, 0.009618311, 0.0013387387, 0.00015382006)
# sin(r) = r + r³·S(r²), cos(r) = 1 − r²/2 + r⁴·C(r²), |r| ≤ π/4: relative errors 4.2e-9 and 1.2e-10
_SIN = (-0.16666654, 0.008332106, -0.00019507874)
_COS = (0.041666646, -0.0013887308, 2.4432109e-05)
_HALF_PI = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)  # in three parts of 24 bits
_LARGEST_ANGLE = 1048576.0

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723212e-6  # the high part has 15 bits: n times it is exact
_ROUNDING = 12582912.0
"""1.5 · 2²³: adding it to |x| < 2²² leaves round(x) in the low bits, in two's complement; subtracting it rounds x."""
_ONE_BITS, _MANTISSA_BITS, _SIGN_BIT = 0x3F800000, 23, -0x80000000
_SMALLEST_NORMAL = 2.0**-126
_SQRT_HALF_BITS = 0x3F3504F3


def exp(f: Function, x: Value) -> Value:
    """e^x; 0 below ln(2⁻¹²⁶) ≈ −87.34, inf above 88.72."""
    n, shifted = _round(f, f.binary("fmul", x, number(_LOG2_E, x.type)))
    r = _less_ln2(f, x, n)
    square = f.binary("fmul", r, r)
    p = f.binary("fadd", f.fma(square, polynomial(f, r, _EXPM1), r), number(1.0, x.type))
    # 2^n · p by adding n to the exponent of p, which reaches 2^128 · p < 1 as well
    bits = f.binary("add", _bits(f, p), f.binary("shl", shifted, whole(_MANTISSA_BITS, shifted.type)))
    y = _floats(f, bits)
    # infinity, and NaN whose payload the shift may have mangled
    high = f.compare("fcmp ugt", x, number(88.72283172607422, x.type))
    y = f.select(high, f.binary("fadd", x, number(float("inf"), x.type)), y)
    low = f.compare("fcmp olt", x, number(-87.33654022216797, x.type))
    return f.select(low, number(0.0, x.type), y)


def log(f: Function, x: Value) -> Value:
    """Natural logarithm; −inf at ±0 and subnormal numbers, NaN below."""
    bits = f.binary("sub", _bits(f, x), whole(_SQRT_HALF_BITS, _integers(x)))
    exponent = f.binary("ashr", bits, whole(_MANTISSA_BITS, bits.type))
    mantissa = f.binary("and", bits, whole((1 << _MANTISSA_BITS) - 1, bits.type))
    mantissa = f.binary("add", mantissa, whole(_SQRT_HALF_BITS, bits.type))
    e = f.cast("sitofp", exponent, x.type)
    t = f.binary("fsub", _floats(f, mantissa), number(1.0, x.type))
    square = f.binary("fmul", t, t)
    tail = f.binary("fmul", f.binary("fmul", square, t), polynomial(f, t, _LOG1P))
    tail = f.fma(e, number(_LN2_LOW, x.type), tail)
    tail = f.fma(square, number(-0.5, x.type), tail)
    y = f.fma(e, number(_LN2_HIGH, x.type), f.binary("fadd", t, tail))
    y = f.select(f.compare("fcmp ueq", x, number(float("inf"), x.type)), x, y)
    tiny = f.compare("fcmp olt", x, number(_SMALLEST_NORMAL, x.type))
    y = f.select(tiny, number(float("-inf"), x.type), y)
    negative = f.compare("fcmp ole", x, number(-_SMALLEST_NORMAL, x.type))
    return f.select(negative, number(float("nan"), x.type), y)


def tanh(f: Function, x: Value) -> Value:
    """(e^2x − 1)/(e^2x + 1) from expm1, so that small x keep their relative accuracy."""
    a = absolute(f, x)
    a = _at_most(f, f.binary("fadd", a, a), 20.0)
    n, shifted = _round(f, f.binary("fmul", a, number(_LOG2_E, x.type)))
    r = _less_ln2(f, a, n)
    p = f.fma(f.binary("fmul", r, r), polynomial(f, r, _EXPM1), r)
    m = _scaled_up(f, p, shifted)
    return copysign(f, f.binary("fdiv", m, f.binary("fadd", m, number(2.0, x.type))), x)


def erf(f: Function, x: Value) -> Value:
    """1 − 2^(a·E(a)) of a = |x|: one smooth polynomial in the exponent, no branch and no division."""
    a = _at_most(f, absolute(f, x), 4.0)
    y = f.binary("fmul", a, polynomial(f, a, _ERFC))
    n, shifted = _round(f, y)
    r = f.binary("fsub", y, n)
    p = f.binary("fmul", r, polynomial(f, r, _EXP2M1))
    return copysign(f, _scaled_up(f, p, shifted), x)


def sigmoid(f: Function, x: Value) -> Value:
    """1/(1 + e^−x)"""
    one = number(1.0, x.type)
    return f.binary("fdiv", one, f.binary("fadd", one, exp(f, negative(f, x))))


def sin(f: Function, x: Value) -> Value:
    """Error 1.2e-7 for |x| ≤ 2²⁰; NaN beyond, where f32 has hardly a digit left after the point."""
    return _wave(f, x, 0)


def cos(f: Function, x: Value) -> Value:
    """As sin."""
    return _wave(f, x, 1)


def sqrt(f: Function, x: Value) -> Value:
    """Correctly rounded."""
    return f.intrinsic("sqrt", x)


def rsqrt(f: Function, x: Value) -> Value:
    """1/√x by square root and division: 1 unit, the same bits on every processor."""
    return f.binary("fdiv", number(1.0, x.type), sqrt(f, x))


def negative(f: Function, x: Value) -> Value:
    return f.op(f"fneg {x}", x.type)


def absolute(f: Function, x: Value) -> Value:
    return f.intrinsic("fabs", x)


def copysign(f: Function, x: Value, sign: Value) -> Value:
    """|x| with the sign of `sign`, by bits."""
    kept = f.binary("and", _bits(f, x), whole(0x7FFFFFFF, _integers(x)))
    taken = f.binary("and", _bits(f, sign), whole(_SIGN_BIT, _integers(x)))
    return _floats(f, f.binary("or", kept, taken))


def polynomial(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule, fused; `coefficients` from the lowest degree."""
    y = number(coefficients[-1], x.type)
    for c in reversed(coefficients[:-1]):
        y = f.fma(y, x, number(c, x.type))
    return y


def to_bf16(f: Function, x: Value) -> Value:
    """The bits (i16) of f32 rounded to the nearest bf16, ties to even; NaN stays a quiet NaN.

    Where the processor has an instruction for it (Module.native_bf16) that one is used; it differs only in flushing
    subnormal numbers to zero.
    """
    half = vector("i16", x.lanes)
    if f.module.native_bf16 and x.lanes:
        return f.cast("bitcast", f.cast("fptrunc", x, vector("bfloat", x.lanes)), half)
    bits = _bits(f, x)
    sixteen, one = whole(16, bits.type), whole(1, bits.type)
    odd = f.binary("and", f.binary("lshr", bits, sixteen), one)
    rounded = f.binary("add", f.binary("add", bits, whole(0x7FFF, bits.type)), odd)
    quiet = f.binary("or", bits, whole(0x400000, bits.type))
    kept = f.select(f.compare("fcmp uno", x, x), quiet, rounded)
    return f.cast("trunc", f.binary("lshr", kept, sixteen), half)


def from_bf16(f: Function, x: Value) -> Value:
    """f32 of the bits (i16) of bf16: exact."""
    wide = f.cast("zext", x, vector("i32", x.lanes))
    return _floats(f, f.binary("shl", wide, whole(16, wide.type)))


UNARY: dict[str, Callable[[Function, Value], Value]] = {
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "rsqrt": rsqrt,
    "tanh": tanh,
    "erf": erf,
    "sigmoid": sigmoid,
    "sin": sin,
    "cos": cos,
    "negative": negative,
    "absolute": absolute,
}
"""By the name of the graph's op."""


def _integers(x: Value) -> str:
    return vector("i32", x.lanes)


def _bits(f: Function, x: Value) -> Value:
    return f.cast("bitcast", x, _integers(x))


def _floats(f: Function, bits: Value) -> Value:
    return f.cast("bitcast", bits, vector("float", bits.lanes))


def _at_most(f: Function, x: Value, limit: float) -> Value:
    """min(x, limit) that keeps NaN."""
    bound = number(limit, x.type)
    return f.select(f.compare("fcmp ogt", x, bound), bound, x)


def _round(f: Function, y: Value) -> tuple[Value, Value]:
    """The whole number n nearest to y, as a float, and bits (i32) whose lowest ten are n's in two's complement."""
    shifted = f.binary("fadd", y, number(_ROUNDING, y.type))
    return f.binary("fsub", shifted, number(_ROUNDING, y.type)), _bits(f, shifted)


def _less_ln2(f: Function, x: Value, n: Value) -> Value:
    """x − n·ln(2), exact to some 40 bits."""
    r = f.fma(n, number(-_LN2_HIGH, x.type), x)
    return f.fma(n, number(-_LN2_LOW, x.type), r)


def _wave(f: Function, x: Value, quarters: int) -> Value:
    """sin(x + quarters · π/2), by the nearest multiple n of π/2."""
    n, shifted = _round(f, f.binary("fmul", x, number(0.6366197723675814, x.type)))
    r = x
    for part in _HALF_PI:
        r = f.fma(n, number(-part, x.type), r)
    quadrant = f.add(shifted, quarters)
    square = f.binary("fmul", r, r)
    odd = f.fma(f.binary("fmul", square, r), polynomial(f, square, _SIN), r)
    even = f.fma(square, number(-0.5, x.type), number(1.0, x.type))
    even = f.fma(f.binary("fmul", square, square), polynomial(f, square, _COS), even)
    one, two = whole(1, quadrant.type), whole(2, quadrant.type)
    swapped = f.compare("icmp ne", f.binary("and", quadrant, one), whole(0, quadrant.type))
    y = _bits(f, f.select(swapped, even, odd))
    sign = f.binary("shl", f.binary("and", quadrant, two), whole(30, quadrant.type))
    y = _floats(f, f.binary("xor", y, sign))
    if not quarters:
        y = f.select(f.compare("fcmp oeq", x, number(0.0, x.type)), x, y)  # −0 stays
    far = f.compare("fcmp ugt", absolute(f, x), number(_LARGEST_ANGLE, x.type))
    return f.select(far, number(float("nan"), x.type), y)


def _scaled_up(f: Function, p: Value, shifted: Value) -> Value:
    """2^n · (1 + p) − 1, without losing a small p where n is 0. `shifted` is _round's."""
    bits = f.binary("shl", shifted, whole(_MANTISSA_BITS, shifted.type))
    scale = _floats(f, f.binary("add", bits, whole(_ONE_BITS, bits.type)))
    return f.fma(scale, p, f.binary("fsub", scale, number(1.0, p.type)))
