"""Leave to use AMX's tile registers: Linux gives it to a process that asks, before its first tile instruction."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

from handloom.errors import HandloomError

ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18
"""Numbers of Linux on x86-64: the system call, ARCH_REQ_XCOMP_PERM, and XFEATURE_XTILEDATA
(https://docs.kernel.org/arch/x86/xstate.html)."""


def permit() -> None:
    """Asks for this process: all its threads, also those that run already, and what it forks. Asking again is harmless.

    Raises HandloomError where the system refuses.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise HandloomError(f"AMX is supported on Linux on x86-64 only, not on {sys.platform} on {platform.machine()}.")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(ARCH_PRCTL), ctypes.c_long(REQUEST_PERMISSION), ctypes.c_long(TILE_DATA)):
        reason = os.strerror(ctypes.get_errno())
        raise HandloomError(
            f"Linux does not permit this process to use AMX's tile registers ({reason}); AMX needs Linux 5.16 or later "
            "on a processor that has it. Unset HANDLOOM_TARGET to go without."
        )
