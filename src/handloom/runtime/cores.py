"""How many threads are worth having here: physical cores that this process may use, within its container's quota."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

from handloom.errors import UsageError


def default_threads() -> int:
    """HANDLOOM_THREADS if set, else the physical cores of the affinity mask, at most the control group's quota.

    A quota is rounded up: with 1.5 CPUs granted, two threads get all of it and one does not.
    Raises UsageError if HANDLOOM_THREADS is not a whole number from 1 to 1,024.
    """
    wanted = os.environ.get("HANDLOOM_THREADS")
    if wanted:
        return checked_threads(wanted, "HANDLOOM_THREADS")
    quota = cgroup_quota()
    cores = physical_cores()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def checked_threads(value: str | int, source: str = "threads") -> int:
    """A thread count that makes sense, or UsageError."""
    try:
        count = int(value)
    except ValueError:
        count = 0
    if not 1 <= count <= 1024:
        raise UsageError(f"{source} is {value!r}; it must be a whole number from 1 to 1024.")
    return count


def physical_cores() -> int:
    """Cores behind the CPUs that this process may run on; two hyper-threads of one core count once."""
    if sys.platform == "darwin":
        return _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or os.cpu_count() or 1
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the control groups (version 2 or 1) grant, the tightest on the way to the root; None: no limit."""
    try:
        memberships = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    found = []
    for _, controllers, path in memberships:
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = (root / "cpu" if controllers else root) / path.lstrip("/")
        for folder in [group, *group.parents]:
            if not folder.is_relative_to(root):
                break
            found.append(_quota_v1(folder) if controllers else _quota_v2(folder))
    limits = [quota for quota in found if quota is not None]
    return min(limits, default=None)


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if quota <= 0 else quota / period


def _sysctl(name: str) -> int:
    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    function = getattr(ctypes.CDLL(None), "sysctlbyname", None)
    if function is None or function(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)):
        return 0
    return value.value
