"""Instruction sets: which one is chosen, and what is said where it is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handloom.codegen import llvm
from handloom.codegen.target import choose, lacking

LINUX = "x86_64-unknown-linux-gnu"
AVX512 = "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+fma"


@pytest.mark.parametrize(
    ("features", "level", "name"),
    [
        ("", None, "sse2"),
        ("+avx2,+fma", None, "avx2"),
        (AVX512, None, "avx512"),
        (AVX512 + ",+avx512bf16", None, "avx512-bf16"),
        (AVX512 + ",+avx512bf16", "avx2", "avx2"),
        (AVX512 + ",-avx512bf16", None, "avx512"),
    ],
)
def test_the_best_level_is_chosen_unless_another_is_asked_for(features: str, level: str | None, name: str) -> None:
    assert choose(LINUX, "some-cpu", features, level).name == name


def test_what_a_level_lacks() -> None:
    assert lacking("avx512", LINUX, "+avx2,+fma,-avx512f") == ["avx512bw", "avx512dq", "avx512f", "avx512vl"]
    assert lacking("avx2", LINUX, AVX512) == []
    assert lacking("neon", LINUX, "") == ["aarch64"]
    assert lacking("neon", "arm64-apple-macosx", "") == []
    with pytest.raises(ValueError, match="'avx3'; there are amx, avx512-bf16, avx512, avx2"):
        lacking("avx3", LINUX, "")


def test_ci_runs_the_levels_below_this_processors_own() -> None:
    script = Path(__file__).parents[2] / ".ci" / "levels.py"
    named = ["avx512", "avx2", "neon", "sse2"]
    done = subprocess.run([sys.executable, str(script), *named], capture_output=True, text=True, check=True)
    cpu, features, triple = llvm.host()
    own = choose(triple, cpu, features).name
    kept = [level for level in named if level != own and not lacking(level, triple, features)]
    assert done.stdout.split() == kept
    assert {line.split()[0] for line in done.stderr.splitlines()} == set(named) - set(kept)
