"""The driver: one small native program, the same for every model, that walks a table of kernels on all threads.

How a run goes. The table is cut into *waves*: an entry whose flag says WAVE may run together with the next one.
Thread 0 (the caller's) resets the claim counters and *advances*: it runs waves of one task, or flagged SERIAL, by
itself, wakes nobody for them, and stops at the first wave worth sharing. It publishes that wave's position and
wakes the workers. Everybody claims tasks of the wave's entries by their counters. Whoever finishes the wave's last
task advances, publishes the next position, and so on to the end. A thread that finds nothing left to claim spins
for some 20 µs, then sleeps until the position changes.

So a wave ends when its *tasks* are done, not when every *thread* has shown up: a worker that the operating system
has put aside holds nobody back unless it holds a task. Workers join at whatever position they find (`active` counts
them, and its CLOSED bit keeps late ones out of a finished run; that is the only time that a run waits for threads).

A kernel is `void (ptr arguments, i64 task, ptr scratch)`: arguments is an array of 64-bit pointers and integers,
scratch belongs to the thread and is aligned to 64 bytes.

Results do not depend on who ran which task, nor on how many threads there are: the tasks are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, c_int64, c_void_p
from typing import Protocol

from handloom.runtime.machine import primitives

# An entry of the table: 8 words of 64 bits, one cache line, because `claim` is written by all threads.
KERNEL, ARGUMENTS, TASKS, FLAGS, CLAIM, START, END, BUSY = range(8)
ENTRY_WORDS = 8

WAVE = 1
"""Flag: this entry may run together with the next one."""
SERIAL = 2
"""Flag: so little work that one thread does all of it; ignored in a wave with entries that are not SERIAL."""

# The state of a pool, in 64-bit words; groups written by different threads lie 128 bytes apart.
THREADS, SPIN, TABLE, COUNT, SCRATCH, STRIDE, TIMING, EXIT = range(8)
GENERATION, PARKED = 16, 17
ACTIVE, CLOSING = 32, 33
POSITION, SLEEPERS = 48, 49
REMAINING = 64
STATE_WORDS = 80

CLOSED = 1 << 30
NAP = 50_000
"""Nanoseconds that a thread sleeps at most within a run. Each time that a processor falls idle, Linux looks for a
thread that queues elsewhere: where one of ours was put aside with a task in its hands, this fetches it."""


class Linked(Protocol):
    """Loaded code, as codegen.llvm.load gives it."""

    def address(self, symbol: str) -> int:
        """Where a symbol's code begins."""


class Driver:
    """The native entry points, callable without the interpreter lock. Holds the library that they live in."""

    def __init__(self, library: Linked) -> None:
        self._library = library
        self.run = CFUNCTYPE(None, c_void_p)(library.address("handloom_run"))
        self.work = CFUNCTYPE(None, c_void_p, c_int64)(library.address("handloom_work"))
        self.release = CFUNCTYPE(None, c_void_p)(library.address("handloom_release"))
        self.clock = CFUNCTYPE(c_int64)(library.address("handloom_clock"))
        self.float_mode = CFUNCTYPE(c_int64)(library.address("handloom_float_mode"))


def build(compile_object: Callable[[str], bytes], load: Callable[[Mapping[str, bytes]], Linked], triple: str) -> Driver:
    """Compiles and links the driver with the functions given: this package does not know LLVM."""
    return Driver(load({"driver": compile_object(driver_ir(triple))}))


def driver_ir(triple: str) -> str:
    """The driver's IR text for a triple."""
    return primitives(triple) + _CORE


def _field(name: str, index: int) -> str:
    """A function that gives the address of a state word; inlined away."""
    return f"""
define internal ptr @{name}(ptr %state) alwaysinline {{
  %p = getelementptr i64, ptr %state, i64 {index}
  ret ptr %p
}}"""


_STATE_FIELDS = {
    "threads": THREADS, "spin": SPIN, "table": TABLE, "count": COUNT, "scratch": SCRATCH, "stride": STRIDE,
    "timing": TIMING, "exit": EXIT, "generation": GENERATION, "parked": PARKED,
    "active": ACTIVE, "closing": CLOSING,
    "position": POSITION, "sleepers": SLEEPERS, "remaining": REMAINING,
}  # fmt: skip
_ENTRY_FIELDS = {
    "kernel": KERNEL, "arguments": ARGUMENTS, "tasks": TASKS, "flags": FLAGS, "claim": CLAIM,
    "start": START, "end": END, "busy": BUSY,
}  # fmt: skip

_CORE = (
    "\n".join(_field(f"s.{name}", index) for name, index in _STATE_FIELDS.items())
    + "\n".join(_field(f"e.{name}", index) for name, index in _ENTRY_FIELDS.items())
    + f"""
define internal i64 @word(ptr %p) alwaysinline {{
  %v = load i64, ptr %p, align 8
  ret i64 %v
}}

define internal ptr @entry_at(ptr %state, i64 %i) alwaysinline {{
  %tp = call ptr @s.table(ptr %state)
  %table = load ptr, ptr %tp, align 8
  %at = mul i64 %i, {ENTRY_WORDS}
  %e = getelementptr i64, ptr %table, i64 %at
  ret ptr %e
}}

; waits until the word differs from old: spins, then sleeps (counted in sleepers, so that whoever changes it knows),
; for nap nanoseconds at a time if that is not 0
define internal i32 @wait_change(ptr %state, ptr %word, ptr %sleepers, i32 %old, i64 %nap) {{
entry:
  %sp = call ptr @s.spin(ptr %state)
  %limit = call i64 @word(ptr %sp)
  %t0 = call i64 @ticks()
  br label %spin
spin:
  %v = load atomic i32, ptr %word acquire, align 8
  %changed = icmp ne i32 %v, %old
  br i1 %changed, label %done, label %longer
longer:
  call void @relax()
  %t = call i64 @ticks()
  %gone = sub i64 %t, %t0
  %again = icmp ult i64 %gone, %limit
  br i1 %again, label %spin, label %sleeping
sleeping:
  %n = atomicrmw add ptr %sleepers, i32 1 seq_cst, align 8
  br label %look
look:
  %attempt = phi i64 [0, %sleeping], [%attempt.next, %sleep]
  %w = load atomic i32, ptr %word seq_cst, align 8
  %woken = icmp ne i32 %w, %old
  br i1 %woken, label %awake, label %sleep
sleep:
  call void @sleep_while(ptr %word, i32 %old, i64 %attempt, i64 %nap)
  %attempt.next = add i64 %attempt, 1
  br label %look
awake:
  %m = atomicrmw sub ptr %sleepers, i32 1 seq_cst, align 8
  br label %done
done:
  %result = phi i32 [%v, %spin], [%w, %awake]
  ret i32 %result
}}

; one past the last entry of the wave that begins at i
define internal i64 @wave_end(ptr %state, i64 %i, i64 %count) {{
entry:
  br label %loop
loop:
  %j = phi i64 [%i, %entry], [%next, %more]
  %next = add i64 %j, 1
  %e = call ptr @entry_at(ptr %state, i64 %j)
  %fp = call ptr @e.flags(ptr %e)
  %flags = call i64 @word(ptr %fp)
  %bit = and i64 %flags, {WAVE}
  %joined = icmp ne i64 %bit, 0
  %inside = icmp slt i64 %next, %count
  %on = and i1 %joined, %inside
  br i1 %on, label %more, label %out
more:
  br label %loop
out:
  ret i64 %next
}}

; all tasks of one entry, by this thread, without claiming
define internal void @run_alone(ptr %state, ptr %e, ptr %scratch) {{
entry:
  %kp = call ptr @e.kernel(ptr %e)
  %kernel = load ptr, ptr %kp, align 8
  %ap = call ptr @e.arguments(ptr %e)
  %args = load ptr, ptr %ap, align 8
  %np = call ptr @e.tasks(ptr %e)
  %tasks = call i64 @word(ptr %np)
  %tp = call ptr @s.timing(ptr %state)
  %timing = call i64 @word(ptr %tp)
  %timed = icmp ne i64 %timing, 0
  %any = icmp sgt i64 %tasks, 0
  br i1 %any, label %begin, label %out
begin:
  %t0 = call i64 @ticks()
  br label %loop
loop:
  %k = phi i64 [0, %begin], [%k1, %loop]
  call void %kernel(ptr %args, i64 %k, ptr %scratch)
  %k1 = add i64 %k, 1
  %end = icmp eq i64 %k1, %tasks
  br i1 %end, label %finished, label %loop
finished:
  br i1 %timed, label %note, label %out
note:
  %t1 = call i64 @ticks()
  %spent = sub i64 %t1, %t0
  %p0 = call ptr @e.start(ptr %e)
  store i64 %t0, ptr %p0, align 8
  %p1 = call ptr @e.end(ptr %e)
  store i64 %t1, ptr %p1, align 8
  %p2 = call ptr @e.busy(ptr %e)
  store i64 %spent, ptr %p2, align 8
  br label %out
out:
  ret void
}}

; claims and runs tasks of one entry until none is left; gives how many it ran
define internal i64 @run_claimed(ptr %state, ptr %e, ptr %scratch) {{
entry:
  %kp = call ptr @e.kernel(ptr %e)
  %kernel = load ptr, ptr %kp, align 8
  %ap = call ptr @e.arguments(ptr %e)
  %args = load ptr, ptr %ap, align 8
  %np = call ptr @e.tasks(ptr %e)
  %tasks = call i64 @word(ptr %np)
  %cp = call ptr @e.claim(ptr %e)
  %tp = call ptr @s.timing(ptr %state)
  %timing = call i64 @word(ptr %tp)
  %timed = icmp ne i64 %timing, 0
  %t0 = call i64 @ticks()
  br label %claim
claim:
  %done = phi i64 [0, %entry], [%done1, %run]
  %k = atomicrmw add ptr %cp, i64 1 monotonic, align 8
  %left = icmp slt i64 %k, %tasks
  br i1 %left, label %run, label %finished
run:
  call void %kernel(ptr %args, i64 %k, ptr %scratch)
  %done1 = add i64 %done, 1
  br label %claim
finished:
  %some = icmp ne i64 %done, 0
  %noted = and i1 %some, %timed
  br i1 %noted, label %note, label %out
note:
  %t1 = call i64 @ticks()
  %spent = sub i64 %t1, %t0
  %bp = call ptr @e.busy(ptr %e)
  %b = atomicrmw add ptr %bp, i64 %spent monotonic, align 8
  br label %out
out:
  ret i64 %done
}}

; from entry i on: runs alone what is not worth sharing, and prepares (does not publish) the next shared wave.
; Gives its position, or the count of entries at the end.
define internal i64 @advance(ptr %state, i64 %from, ptr %scratch) {{
entry:
  %np = call ptr @s.count(ptr %state)
  %count = call i64 @word(ptr %np)
  %hp = call ptr @s.threads(ptr %state)
  %threads = call i64 @word(ptr %hp)
  %single = icmp sle i64 %threads, 1
  br label %wave
wave:
  %i = phi i64 [%from, %entry], [%end, %next]
  %over = icmp sge i64 %i, %count
  br i1 %over, label %finish, label %measure
measure:
  %end = call i64 @wave_end(ptr %state, i64 %i, i64 %count)
  br label %sum
sum:
  %j = phi i64 [%i, %measure], [%j1, %sum]
  %total = phi i64 [0, %measure], [%total1, %sum]
  %all = phi i64 [{SERIAL}, %measure], [%all1, %sum]
  %e = call ptr @entry_at(ptr %state, i64 %j)
  %tp = call ptr @e.tasks(ptr %e)
  %t = call i64 @word(ptr %tp)
  %fp = call ptr @e.flags(ptr %e)
  %f = call i64 @word(ptr %fp)
  %total1 = add i64 %total, %t
  %all1 = and i64 %all, %f
  %j1 = add i64 %j, 1
  %summed = icmp eq i64 %j1, %end
  br i1 %summed, label %choose, label %sum
choose:
  %few = icmp sle i64 %total1, 1
  %small = icmp ne i64 %all1, 0
  %c0 = or i1 %few, %small
  %alone = or i1 %c0, %single
  br i1 %alone, label %run, label %share
run:
  %r = phi i64 [%i, %choose], [%r1, %run]
  %re = call ptr @entry_at(ptr %state, i64 %r)
  call void @run_alone(ptr %state, ptr %re, ptr %scratch)
  %r1 = add i64 %r, 1
  %ran = icmp eq i64 %r1, %end
  br i1 %ran, label %next, label %run
next:
  br label %wave
share:
  %rp = call ptr @s.remaining(ptr %state)
  store atomic i64 %total1, ptr %rp monotonic, align 8
  %he = call ptr @entry_at(ptr %state, i64 %i)
  %sp = call ptr @e.start(ptr %he)
  %now = call i64 @ticks()
  store i64 %now, ptr %sp, align 8
  ret i64 %i
finish:
  ret i64 %count
}}

; takes part in the run from position on, to its end
define internal void @walk(ptr %state, i32 %first, ptr %scratch) {{
entry:
  %np = call ptr @s.count(ptr %state)
  %count = call i64 @word(ptr %np)
  %pp = call ptr @s.position(ptr %state)
  %zp = call ptr @s.sleepers(ptr %state)
  %rp = call ptr @s.remaining(ptr %state)
  br label %wave
wave:
  %pos32 = phi i32 [%first, %entry], [%next32, %publish.done], [%changed, %wait]
  %pos = zext i32 %pos32 to i64
  %over = icmp sge i64 %pos, %count
  br i1 %over, label %out, label %enter
enter:
  %end = call i64 @wave_end(ptr %state, i64 %pos, i64 %count)
  br label %entries
entries:
  %j = phi i64 [%pos, %enter], [%j1, %entries]
  %mine = phi i64 [0, %enter], [%mine1, %entries]
  %e = call ptr @entry_at(ptr %state, i64 %j)
  %did = call i64 @run_claimed(ptr %state, ptr %e, ptr %scratch)
  %mine1 = add i64 %mine, %did
  %j1 = add i64 %j, 1
  %walked = icmp eq i64 %j1, %end
  br i1 %walked, label %account, label %entries
account:
  %none = icmp eq i64 %mine1, 0
  br i1 %none, label %wait, label %report
report:
  %before = atomicrmw sub ptr %rp, i64 %mine1 acq_rel, align 8
  %last = icmp eq i64 %before, %mine1
  br i1 %last, label %lead, label %wait
wait:
  %changed = call i32 @wait_change(ptr %state, ptr %pp, ptr %zp, i32 %pos32, i64 {NAP})
  br label %wave
lead:
  %head = call ptr @entry_at(ptr %state, i64 %pos)
  %ep = call ptr @e.end(ptr %head)
  %now = call i64 @ticks()
  store i64 %now, ptr %ep, align 8
  %next = call i64 @advance(ptr %state, i64 %end, ptr %scratch)
  %next32 = trunc i64 %next to i32
  %total = load atomic i64, ptr %rp monotonic, align 8
  store atomic i32 %next32, ptr %pp seq_cst, align 8
  %asleep = load atomic i32, ptr %zp seq_cst, align 8
  %any = icmp sgt i32 %asleep, 0
  br i1 %any, label %rouse, label %publish.done
rouse:
  ; no more than there are tasks for, this thread has one hand itself; everybody at the end
  %ended = icmp sge i64 %next, %count
  %others = sub i64 %total, 1
  %capped = call i64 @llvm.smin.i64(i64 %others, i64 2147483647)
  %most = select i1 %ended, i64 2147483647, i64 %capped
  %most32 = trunc i64 %most to i32
  call void @wake(ptr %pp, i32 %most32)
  br label %publish.done
publish.done:
  br label %wave
out:
  ret void
}}
declare i64 @llvm.smin.i64(i64, i64)

; the caller's thread: one whole run of the table that the state names
define void @handloom_run(ptr %state) {{
entry:
  %mode = call i64 @float_mode_enter()
  %np = call ptr @s.count(ptr %state)
  %count = call i64 @word(ptr %np)
  %xp = call ptr @s.scratch(ptr %state)
  %scratch = load ptr, ptr %xp, align 8
  %empty = icmp sle i64 %count, 0
  br i1 %empty, label %out, label %reset
reset:
  %i = phi i64 [0, %entry], [%i1, %reset]
  %e = call ptr @entry_at(ptr %state, i64 %i)
  %cp = call ptr @e.claim(ptr %e)
  call void @llvm.memset.p0.i64(ptr align 8 %cp, i8 0, i64 32, i1 false)
  %i1 = add i64 %i, 1
  %clean = icmp eq i64 %i1, %count
  br i1 %clean, label %begin, label %reset
begin:
  %first = call i64 @advance(ptr %state, i64 0, ptr %scratch)
  %nothing = icmp sge i64 %first, %count
  br i1 %nothing, label %out, label %open
open:
  %first32 = trunc i64 %first to i32
  %pp = call ptr @s.position(ptr %state)
  store atomic i32 %first32, ptr %pp monotonic, align 8
  %ap = call ptr @s.active(ptr %state)
  %a0 = atomicrmw and ptr %ap, i32 {~CLOSED} seq_cst, align 8
  %gp = call ptr @s.generation(ptr %state)
  %kp = call ptr @s.parked(ptr %state)
  %g = atomicrmw add ptr %gp, i32 1 seq_cst, align 8
  %parked = load atomic i32, ptr %kp seq_cst, align 8
  %any = icmp sgt i32 %parked, 0
  br i1 %any, label %rouse, label %share
rouse:
  call void @wake(ptr %gp, i32 2147483647)
  br label %share
share:
  call void @walk(ptr %state, i32 %first32, ptr %scratch)
  %a1 = atomicrmw or ptr %ap, i32 {CLOSED} seq_cst, align 8
  %zp = call ptr @s.closing(ptr %state)
  br label %empty.wait
empty.wait:
  %a = load atomic i32, ptr %ap acquire, align 8
  %left = and i32 %a, {CLOSED - 1}
  %alone = icmp eq i32 %left, 0
  br i1 %alone, label %out, label %others
others:
  %w = call i32 @wait_change(ptr %state, ptr %ap, ptr %zp, i32 %a, i64 {NAP})
  br label %empty.wait
out:
  call void @float_mode_leave(i64 %mode)
  ret void
}}

; a worker: parks, joins runs, until the state says exit
define void @handloom_work(ptr %state, i64 %index) {{
entry:
  %mode = call i64 @float_mode_enter()
  %gp = call ptr @s.generation(ptr %state)
  %kp = call ptr @s.parked(ptr %state)
  %ap = call ptr @s.active(ptr %state)
  %zp = call ptr @s.closing(ptr %state)
  %pp = call ptr @s.position(ptr %state)
  %xp = call ptr @s.exit(ptr %state)
  %sp = call ptr @s.scratch(ptr %state)
  %tp = call ptr @s.stride(ptr %state)
  br label %park
park:
  %seen = phi i32 [0, %entry], [%g, %leave.done]
  %g = call i32 @wait_change(ptr %state, ptr %gp, ptr %kp, i32 %seen, i64 0)
  %ex = load atomic i64, ptr %xp acquire, align 8
  %stop = icmp ne i64 %ex, 0
  br i1 %stop, label %out, label %join
join:
  %old = atomicrmw add ptr %ap, i32 1 seq_cst, align 8
  %bit = and i32 %old, {CLOSED}
  %closed = icmp ne i32 %bit, 0
  br i1 %closed, label %leave, label %inside
inside:
  %base = load ptr, ptr %sp, align 8
  %stride = call i64 @word(ptr %tp)
  %offset = mul i64 %stride, %index
  %scratch = getelementptr i8, ptr %base, i64 %offset
  %position = load atomic i32, ptr %pp acquire, align 8
  call void @walk(ptr %state, i32 %position, ptr %scratch)
  br label %leave
leave:
  %was = atomicrmw sub ptr %ap, i32 1 seq_cst, align 8
  %asleep = load atomic i32, ptr %zp seq_cst, align 8
  %any = icmp sgt i32 %asleep, 0
  br i1 %any, label %tell, label %leave.done
tell:
  call void @wake(ptr %ap, i32 1)
  br label %leave.done
leave.done:
  br label %park
out:
  call void @float_mode_leave(i64 %mode)
  ret void
}}

; lets all workers look at the state again (after exit has been set)
define void @handloom_release(ptr %state) {{
  %gp = call ptr @s.generation(ptr %state)
  %g = atomicrmw add ptr %gp, i32 1 seq_cst, align 8
  call void @wake(ptr %gp, i32 2147483647)
  ret void
}}

define i64 @handloom_clock() {{
  %t = call i64 @ticks()
  ret i64 %t
}}

; the float mode of the calling thread (MXCSR on x86, FPCR on arm64), for tests
define i64 @handloom_float_mode() {{
  %old = call i64 @float_mode_enter()
  call void @float_mode_leave(i64 %old)
  ret i64 %old
}}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""
)
