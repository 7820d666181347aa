"""What every benchmark prints first: the machine and the versions that its numbers belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from handloom.codegen import llvm
from handloom.codegen.target import choose

PACKAGES = ("handloom", "numpy", "llvmlite", "torch", "transformers")


def processor() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Installed packages that matter, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def print_header(title: str, threads: int) -> None:
    """Title, machine, target, threads and versions."""
    cpu, features, triple = llvm.host()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(title)
    print(f"machine: {processor()} ({cpu}), {cores} CPUs usable, {platform.system()} {platform.machine()}")
    if hasattr(os, "getloadavg"):
        print(f"load before: {os.getloadavg()[0]:.1f}")
    print(f"target: {choose(triple, cpu, features).name}, {threads} threads")
    print("versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()), flush=True)
