"""LLVM wrapped: code runs, errors name their line, unresolved symbols are refused, other targets compile."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from handloom.codegen import llvm
from handloom.codegen.objects import symbols
from handloom.errors import HandloomError

ADD = """
define double @add(double %x, double %y) {
  %s = fadd double %x, %y
  ret double %s
}
"""
CALLS = """
declare double @exp(double)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define internal void @hidden() noinline {
  ret void
}
define double @calls(double %x, ptr %p, i64 %n) {
  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 %n, i1 false)
  call void @hidden()
  %y = call double @exp(double %x)
  ret double %y
}
"""
TRIPLES = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-macosx13.0.0"]


def compiled(ir: str, **options) -> bytes:
    cpu, features, _ = llvm.host()
    return llvm.compile_object(ir, cpu, features, **options)


@pytest.mark.parametrize("optimise", [True, False])
def test_code_runs(optimise):
    library = llvm.load({"add": compiled(ADD, optimise=optimise)})
    add = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)(library.address("add"))
    assert add(1.5, 2.25) == 3.75
    with pytest.raises(llvm.LLVMError, match="defines no 'sub'; it has add"):
        library.address("sub")


def test_objects_are_linked_with_each_other_and_with_the_allowed_symbols():
    fill = """
    declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
    define void @fill(ptr %p, i64 %n) {
      call void @llvm.memset.p0.i64(ptr %p, i8 7, i64 %n, i1 false)
      ret void
    }"""
    twice = """
    declare void @fill(ptr, i64)
    define void @outer(ptr %p, i64 %n) {
      call void @fill(ptr %p, i64 %n)
      ret void
    }"""
    library = llvm.load({"fill": compiled(fill), "outer": compiled(twice)})
    memory = np.zeros(1000, np.uint8)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address("outer"))(memory.ctypes.data, 999)
    assert (memory[:999] == 7).all() and memory[999] == 0
    assert library.symbols == {"fill", "outer"}


@pytest.mark.parametrize("triple", TRIPLES)
def test_symbols_of_every_object_format(triple):
    code = llvm.compile_object(CALLS, "", "", triple)
    table = symbols(code)
    assert table.defined == {"calls"}
    assert table.undefined - {"memset", "bzero"} == {"exp"} == llvm.undefined_symbols(code) - {"memset", "bzero"}


def test_other_bytes_are_not_object_code():
    with pytest.raises(HandloomError, match="Not object code"):
        symbols(b"MZ\0\0\0\0\0\0")


def test_what_nobody_defines_is_refused_before_linking():
    with pytest.raises(llvm.LLVMError, match="'gelu' calls what nobody defines: exp"):
        llvm.load({"add": compiled(ADD), "gelu": compiled(CALLS)})


def test_a_symbol_defined_twice_is_refused():
    with pytest.raises(llvm.LLVMError, match="Both 'one' and 'two' define the symbol 'add'"):
        llvm.load({"one": compiled(ADD), "two": compiled(ADD)})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%s = fadd i32 1, 2", r"line 3 of the IR: .*: %s = fadd i32 1, 2"),
        ("%s = fadd double %x, %nothing", r"line 3 of the IR: .*undefined.*: %s = fadd double %x, %nothing"),
        ("%s = fadd double %x, %s", r"line 3 of the IR: .*%s = fadd double %x, %s"),
    ],
)
def test_errors_name_the_line(line, message):
    with pytest.raises(llvm.LLVMError, match=message):
        compiled(ADD.replace("%s = fadd double %x, %y", line))


def test_vectors_and_loops_stay_as_they_were_written():
    """A scalar loop is not vectorised, and a multiply and an add are not fused, unless the IR says so."""
    dot = """
    define float @dot(ptr %x, ptr %y, i64 %n) {
    entry:
      br label %loop
    loop:
      %i = phi i64 [0, %entry], [%i1, %loop]
      %s = phi float [0.0, %entry], [%s1, %loop]
      %p = getelementptr float, ptr %x, i64 %i
      %q = getelementptr float, ptr %y, i64 %i
      %a = load float, ptr %p
      %b = load float, ptr %q
      %m = fmul float %a, %b
      %s1 = fadd float %s, %m
      %i1 = add i64 %i, 1
      %end = icmp eq i64 %i1, %n
      br i1 %end, label %out, label %loop
    out:
      ret float %s1
    }"""
    text = llvm.assembly(dot, "x86-64-v4", "", "x86_64-unknown-linux-gnu")
    assert "vmulss" in text and "vfmadd" not in text and "vmulps" not in text


@pytest.mark.parametrize(
    ("triple", "cpu", "register"),
    [
        ("x86_64-unknown-linux-gnu", "x86-64-v4", "zmm"),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", "zmm"),
        ("x86_64-unknown-linux-gnu", "x86-64-v3", "ymm"),
        ("aarch64-unknown-linux-gnu", "neoverse-v1", "fmla"),
        ("arm64-apple-macosx13.0.0", "apple-m1", "fmla"),
    ],
)
def test_wide_vectors_use_the_registers_of_the_target(triple, cpu, register):
    fma = """
    declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
    define void @axpy(ptr %x, ptr %y, ptr %z) {
      %a = load <16 x float>, ptr %x, align 4
      %b = load <16 x float>, ptr %y, align 4
      %c = load <16 x float>, ptr %z, align 4
      %d = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
      store <16 x float> %d, ptr %z, align 4
      ret void
    }"""
    assert register in llvm.assembly(fma, cpu, "", triple)
    assert llvm.undefined_symbols(llvm.compile_object(fma, cpu, "", triple)) == set()


def test_an_unknown_target_is_refused():
    with pytest.raises(llvm.LLVMError, match="no target 'abacus'"):
        llvm.target_machine("", "", "abacus")


def test_compilation_is_deterministic():
    assert compiled(CALLS) == compiled(CALLS)


def test_llvmlite_is_loaded_only_when_something_is_compiled():
    script = "import sys, handloom.codegen.llvm; print('llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_version_names_what_decides_the_code():
    assert "LLVM 2" in llvm.version() and "recipe" in llvm.version()
