"""What code generation has to know of a processor: vector width, registers, and the tile of a matrix product."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Target:
    """A processor that code is generated for.

    `lanes` counts f32 in a vector register, `rows` × `vectors` is the accumulator tile of a product: it leaves
    registers for the vectors of the right-hand panel and one broadcast.
    """

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int
    rows: int
    vectors: int
    bf16_dot: bool = False
    amx: bool = False
    """Products of bf16 work on AMX tiles; all else is as without them."""
    fma: bool = True
    """Has fused multiply-adds."""

    @property
    def columns(self) -> int:
        """Columns of a product's tile, and the width of a packed panel."""
        return self.lanes * self.vectors

    def shaped(self, dtype: str) -> Target:
        """The target as products of a dtype see it: on AMX an accumulator tile of bf16 is 2 × 2 tile registers, and
        f32 knows nothing of them."""
        if not self.amx:
            return self
        return replace(self, rows=2 * TILE) if dtype == "bf16" else replace(self, amx=False)


TILE = 16
"""Rows of an AMX tile register, and the numbers or groups of four bytes in a row."""


@dataclass(frozen=True)
class Level:
    """An instruction set that kernels are shaped for, and the features by which a processor is known to have it."""

    name: str
    machine: str  # the first part of the target triple
    needs: frozenset[str]
    lanes: int
    rows: int
    vectors: int
    bf16_dot: bool = False
    amx: bool = False
    fma: bool = True
    asked: bool = False
    """Taken only where it is asked for by name."""


_AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma"})
_BF16 = _AVX512 | {"avx512bf16"}

# best first: the first level whose needs the processor has is taken. AMX has to be asked for until somebody has
# measured it: it is tested against an interpreter of its instructions only.
LEVELS = (
    Level("amx", "x86_64", _BF16 | {"amx-tile", "amx-bf16"}, 16, 14, 2, True, amx=True, asked=True),
    Level("avx512-bf16", "x86_64", _BF16, 16, 14, 2, True),
    Level("avx512", "x86_64", _AVX512, 16, 14, 2),
    Level("avx2", "x86_64", frozenset({"avx2", "fma"}), 8, 6, 2),
    Level("neon", "aarch64", frozenset(), 4, 6, 4),
    Level("neon", "arm64", frozenset(), 4, 6, 4),
    Level("sse2", "x86_64", frozenset(), 4, 6, 2, fma=False),
)

# features that belong to levels above: named off when a lower level is forced, so that nothing of them is used
_ABOVE = {
    "amx": "",
    "avx512-bf16": "-amx-tile,-amx-bf16,-amx-int8",
    "avx512": "-avx512bf16,-avx512fp16,-amx-tile,-amx-bf16,-amx-int8",
    "avx2": "-avx512f,-avx512bw,-avx512vl,-avx512dq,-avx512cd,-avx512bf16,-avx512fp16,-avx512vbmi,-avx512vbmi2,"
    "-avx512vnni,-avx512bitalg,-avx512vpopcntdq,-avx512ifma,-avx512vp2intersect,-amx-tile,-amx-bf16,-amx-int8",
    "sse2": "-avx,-avx2,-fma,-avx512f",
    "neon": "",
}


def lacking(level: str, triple: str, features: str) -> list[str]:
    """What a processor, given by LLVM's names, would have to have for a level: features, or to be another machine.

    Raises ValueError where there is no such level.
    """
    machine = triple.split("-")[0]
    named = [candidate for candidate in LEVELS if candidate.name == level]
    if not named:
        known = ", ".join(dict.fromkeys(candidate.name for candidate in LEVELS))
        raise ValueError(f"no instruction set is called {level!r}; there are {known}")
    for candidate in named:
        if candidate.machine == machine:
            return sorted(candidate.needs - _had(features))
    return [named[0].machine]


def _had(features: str) -> set[str]:
    return {feature[1:] for feature in features.split(",") if feature.startswith("+")}


def choose(triple: str, cpu: str, features: str, level: str | None = None) -> Target:
    """The target of a processor given by LLVM's names; `level` asks for a lower instruction set, or for AMX.

    Raises ValueError where the processor has no such level, and names what it lacks.
    """
    have = _had(features)
    machine = triple.split("-")[0]
    there = [candidate for candidate in LEVELS if candidate.machine == machine and candidate.needs <= have]
    for candidate in there:
        if candidate.name == level if level else not candidate.asked:
            off = _ABOVE[candidate.name] if level else ""
            return Target(
                candidate.name,
                triple,
                cpu,
                ",".join(part for part in (features, off) if part),
                candidate.lanes,
                candidate.rows,
                candidate.vectors,
                candidate.bf16_dot,
                candidate.amx,
                candidate.fma,
            )
    known = ", ".join(dict.fromkeys(candidate.name for candidate in there)) or "none that is known"
    if not level:
        raise ValueError(f"no instruction set for {cpu} ({triple})")
    missing = ", ".join(lacking(level, triple, features))
    raise ValueError(f"{cpu} ({triple}) lacks {missing}; of instruction sets it has {known}")
