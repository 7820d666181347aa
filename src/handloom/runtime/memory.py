"""How much memory this process has, and sizes as people write them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from handloom.errors import UsageError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def resident_bytes() -> int:
    """Bytes of physical memory that the process holds now; where the system does not tell, the most it has held."""
    try:
        return _status("VmRSS")
    except (OSError, KeyError):
        return peak_bytes()


def peak_bytes() -> int:
    """The most physical memory that the process has held."""
    try:
        return _status("VmHWM")
    except (OSError, KeyError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {key: value for key, _, value in (line.partition(":") for line in lines)}
    return int(found[name].split()[0]) * 1024


def size_of(written: str | int) -> int:
    """Bytes: a number, or such as "4GB", "512 MiB", "1.5g". Raises UsageError for anything else.

    >>> size_of("4GB"), size_of("1.5 GiB"), size_of(1000)
    (4000000000, 1610612736, 1000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", str(written).upper())
    if found is None or found[2] not in UNITS or float(found[1]) <= 0:
        raise UsageError(f"a size of memory is a number of bytes or such as 4GB or 512MiB, not {written!r}")
    return int(float(found[1]) * UNITS[found[2]])


def shown(count: float) -> str:
    """Bytes for people: 2.15 GB, 640 MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
