"""Small kernels in LLVM IR, linked once, and the driver: what the runtime's tests run."""

from __future__ import annotations

import pytest

from handloom.codegen import llvm
from handloom.runtime import driver as native

KERNELS = """
; arguments x, step: x[task] += step, atomically, so that a task run twice shows
define void @count(ptr %args, i64 %task, ptr %scratch) {
  %x = load ptr, ptr %args
  %sp = getelementptr i64, ptr %args, i64 1
  %step = load i64, ptr %sp
  %p = getelementptr i64, ptr %x, i64 %task
  %old = atomicrmw add ptr %p, i64 %step seq_cst
  ret void
}
; arguments x, y, n: y[task] = x[(task + 1) mod n] + 1, which is wrong if the x before it was not finished
define void @shift(ptr %args, i64 %task, ptr %scratch) {
  %x = load ptr, ptr %args
  %yp = getelementptr ptr, ptr %args, i64 1
  %y = load ptr, ptr %yp
  %np = getelementptr i64, ptr %args, i64 2
  %n = load i64, ptr %np
  %t1 = add i64 %task, 1
  %m = urem i64 %t1, %n
  %p = getelementptr i64, ptr %x, i64 %m
  %v = load i64, ptr %p
  %w = add i64 %v, 1
  %q = getelementptr i64, ptr %y, i64 %task
  store i64 %w, ptr %q
  ret void
}
; arguments x, y, n: y[0] = sum of x, in order
define void @total(ptr %args, i64 %task, ptr %scratch) {
entry:
  %x = load ptr, ptr %args
  %yp = getelementptr ptr, ptr %args, i64 1
  %y = load ptr, ptr %yp
  %np = getelementptr i64, ptr %args, i64 2
  %n = load i64, ptr %np
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i1, %loop]
  %s = phi i64 [0, %entry], [%s1, %loop]
  %p = getelementptr i64, ptr %x, i64 %i
  %v = load i64, ptr %p
  %s1 = add i64 %s, %v
  %i1 = add i64 %i, 1
  %end = icmp sge i64 %i1, %n
  br i1 %end, label %out, label %loop
out:
  store i64 %s1, ptr %y
  ret void
}
; arguments y: writes task all over 4 KiB of scratch, reads it back and stores the sum in y[task]
define void @scribble(ptr %args, i64 %task, ptr %scratch) {
entry:
  br label %write
write:
  %i = phi i64 [0, %entry], [%i1, %write]
  %p = getelementptr i64, ptr %scratch, i64 %i
  store volatile i64 %task, ptr %p
  %i1 = add i64 %i, 1
  %written = icmp eq i64 %i1, 512
  br i1 %written, label %read, label %write
read:
  %j = phi i64 [0, %write], [%j1, %read]
  %s = phi i64 [0, %write], [%s1, %read]
  %q = getelementptr i64, ptr %scratch, i64 %j
  %v = load volatile i64, ptr %q
  %s1 = add i64 %s, %v
  %j1 = add i64 %j, 1
  %end = icmp eq i64 %j1, 512
  br i1 %end, label %out, label %read
out:
  %low = ptrtoint ptr %scratch to i64
  %odd = and i64 %low, 63
  %sum = add i64 %s1, %odd
  %y = load ptr, ptr %args
  %yp = getelementptr i64, ptr %y, i64 %task
  store i64 %sum, ptr %yp
  ret void
}
; arguments x, y (f32): y[task] = x[task] / 2
define void @halve(ptr %args, i64 %task, ptr %scratch) {
  %x = load ptr, ptr %args
  %yp = getelementptr ptr, ptr %args, i64 1
  %y = load ptr, ptr %yp
  %p = getelementptr float, ptr %x, i64 %task
  %v = load float, ptr %p
  %h = fmul float %v, 0.5
  %q = getelementptr float, ptr %y, i64 %task
  store float %h, ptr %q
  ret void
}
"""


@pytest.fixture(scope="session")
def driver() -> native.Driver:
    cpu, features, triple = llvm.host()
    return native.build(lambda ir: llvm.compile_object(ir, cpu, features), llvm.load, triple)


@pytest.fixture(scope="session")
def kernels() -> llvm.Library:
    cpu, features, _ = llvm.host()
    return llvm.load({"kernels": llvm.compile_object(KERNELS, cpu, features)})
