"""What the driver needs from a processor and an operating system, as LLVM IR: clock, pause, float mode, sleep, wake.

Two tables, one by architecture and one by operating system; the driver itself is the same text everywhere.
"""

from __future__ import annotations

from handloom.errors import HandloomError

_X86 = """
declare i64 @llvm.readcyclecounter()
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define internal i64 @ticks() alwaysinline {
  %now = call i64 @llvm.readcyclecounter()
  ret i64 %now
}
define internal void @relax() alwaysinline {
  call void @llvm.x86.sse2.pause()
  ret void
}
; round to nearest, no traps, results and operands that are denormal are zero (FTZ, DAZ)
define internal i64 @float_mode_enter() {
  %word = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %word)
  %old = load i32, ptr %word, align 4
  store i32 40896, ptr %word, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  %wide = zext i32 %old to i64
  ret i64 %wide
}
define internal void @float_mode_leave(i64 %old) {
  %word = alloca i32, align 4
  %narrow = trunc i64 %old to i32
  store i32 %narrow, ptr %word, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  ret void
}
"""

_ARM64 = """
declare i64 @llvm.readcyclecounter()
declare void @llvm.aarch64.isb(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)

define internal i64 @ticks() alwaysinline {
  %now = call i64 @llvm.readcyclecounter()
  ret i64 %now
}
define internal void @relax() alwaysinline {
  call void @llvm.aarch64.isb(i32 15)
  ret void
}
; round to nearest, no traps, denormals are zero (FZ)
define internal i64 @float_mode_enter() {
  %old = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 16777216)
  ret i64 %old
}
define internal void @float_mode_leave(i64 %old) {
  call void @llvm.aarch64.set.fpcr(i64 %old)
  ret void
}
"""

# FUTEX_WAIT_PRIVATE returns at once if the word has changed, after `nap` nanoseconds (0: never), and sometimes for no
# reason: callers look again.
_FUTEX = """
declare i64 @syscall(i64, ...)

define internal void @sleep_while(ptr %word, i32 %old, i64 %attempt, i64 %nap) {{
  %time = alloca [2 x i64], align 8
  store i64 0, ptr %time, align 8
  %low = getelementptr i64, ptr %time, i64 1
  store i64 %nap, ptr %low, align 8
  %forever = icmp eq i64 %nap, 0
  %limit = select i1 %forever, ptr null, ptr %time
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 128, i32 %old, ptr %limit, ptr null, i32 0)
  ret void
}}
define internal void @wake(ptr %word, i32 %most) {{
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 129, i32 %most, ptr null, ptr null, i32 0)
  ret void
}}
"""

# No futex: yield 64 times, then look every 0.1 ms, and every millisecond after some 0.1 s.
_POLLING = """
declare i32 @sched_yield()
declare i32 @nanosleep(ptr, ptr)

define internal void @sleep_while(ptr %word, i32 %old, i64 %attempt, i64 %limit) {
entry:
  %time = alloca [2 x i64], align 8
  %soon = icmp ult i64 %attempt, 64
  br i1 %soon, label %yield, label %nap
yield:
  %y = call i32 @sched_yield()
  ret void
nap:
  %early = icmp ult i64 %attempt, 1064
  %ns = select i1 %early, i64 100000, i64 1000000
  store i64 0, ptr %time, align 8
  %low = getelementptr i64, ptr %time, i64 1
  store i64 %ns, ptr %low, align 8
  %n = call i32 @nanosleep(ptr %time, ptr null)
  ret void
}
define internal void @wake(ptr %word, i32 %most) {
  ret void
}
"""

_PROCESSORS = {"x86_64": _X86, "aarch64": _ARM64, "arm64": _ARM64}
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "arm64": 98}


def primitives(triple: str) -> str:
    """IR of ticks, relax, float_mode_enter/leave, sleep_while and wake for a triple ("x86_64-unknown-linux").

    Raises HandloomError for another processor than x86-64 and 64-bit ARM.
    """
    processor = triple.split("-", 1)[0]
    if processor not in _PROCESSORS:
        raise HandloomError(f"No driver for {triple!r}: Handloom runs on {', '.join(sorted(_PROCESSORS))}.")
    waiting = _FUTEX.format(number=_FUTEX_NUMBERS[processor]) if "linux" in triple else _POLLING
    return _PROCESSORS[processor] + waiting
