"""A training step, lowered and compiled for processors that are not here."""

from __future__ import annotations

import pytest
from bert_program import batch_of, bert_step

import handloom as hl
from handloom import compiler
from handloom.codegen import llvm
from handloom.codegen.target import Target, choose

AVX512 = "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+fma"
PROCESSORS = {
    "avx512": ("x86_64-unknown-linux-gnu", "skylake-avx512", AVX512),
    "amx": ("x86_64-unknown-linux-gnu", "sapphirerapids", AVX512 + ",+avx512bf16,+amx-tile,+amx-bf16"),
    "sse2": ("x86_64-unknown-linux-gnu", "x86-64", ""),
    "neon": ("aarch64-unknown-linux-gnu", "neoverse-n1", "+neon"),
}


class Compiled(Exception):
    """Carries object code out of the compiler, which would go on to link it."""


@pytest.mark.parametrize("level", PROCESSORS)
def test_a_training_step_is_compiled(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = choose(*PROCESSORS[level], level)

    def compiled(text: str, chosen: Target) -> bytes:
        assert chosen is there
        raise Compiled(llvm.compile_object(text, chosen.cpu, chosen.features, chosen.triple))

    monkeypatch.setattr(compiler, "target", lambda: there)
    monkeypatch.setattr(compiler, "compile_object", compiled)
    step, parameters = bert_step(32, 1, 4, 48, 0.0)
    with pytest.raises(Compiled) as caught:
        hl.compile(step, precision="bf16")(parameters, batch_of((5, 30), labelled=20))
    assert llvm.undefined_symbols(caught.value.args[0]) <= llvm.ALLOWED_SYMBOLS
