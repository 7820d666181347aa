"""`handloom doctor`: what Handloom finds on this machine, and whether its kernels compute the right thing here."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from handloom.cli import options
from handloom.errors import HandloomError

PACKAGES = ("numpy", "llvmlite", "tokenizers", "safetensors", "huggingface_hub", "typer", "rich")
VARIABLES = (
    "HANDLOOM_HOME", "HANDLOOM_BACKEND", "HANDLOOM_THREADS", "HANDLOOM_PRECISION", "HANDLOOM_TARGET",
    "HANDLOOM_DATA", "HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE",
)  # fmt: skip
TOLERANCE = 1e-5


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(json: options.Json = False) -> None:
    """Show what Handloom finds on this machine and test its kernels.

    \b
    handloom doctor
    handloom doctor --json > machine.json

    Nothing is sent or fetched. The last line compares compiled kernels with the slow NumPy reference.
    """
    found = {name: look() for name, look in LOOKS.items()}
    if json:
        from handloom.cli.output import print_json

        print_json(found)
    else:
        show(found)
    if found["self-test"] != "passed":
        raise HandloomError(f"the self-test: {found['self-test']}. Please report it, with all of the above.")


def show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in found.items():
        lines = [f"{key}: {part}" for key, part in value.items()] if isinstance(value, dict) else [str(value)]
        table.add_row(name, Text("\n".join(lines)))
    Console().print(table)


def processor() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Processor"))]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def instructions() -> str:
    """What kernels are written for here."""
    from handloom.compiler import target

    chosen = target()
    bf16 = f"{'with' if chosen.bf16_dot else 'without'} bf16 dot products{' and AMX tiles' if chosen.amx else ''}"
    return f"{chosen.name}: {chosen.lanes} numbers of 32 bits at once, {bf16} (LLVM calls it {chosen.cpu})"


def precision() -> str:
    """What products are computed in, and the ceilings that decided it."""
    from handloom import ceilings
    from handloom.compiler import target

    rates = ceilings.measured()
    asked = os.environ.get("HANDLOOM_PRECISION")
    able = "by what registers alone reach" if target().bf16_dot else "this processor has no products of bf16; registers"
    why = f"HANDLOOM_PRECISION is {asked}" if asked else able
    shown = ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in rates.items())
    return f"{ceilings.choose()} ({why}: {shown})"


def threads() -> str:
    """How many threads are used, and what decided that."""
    from handloom.runtime import cores

    physical, quota, asked = cores.physical_cores(), cores.cgroup_quota(), os.environ.get("HANDLOOM_THREADS")
    reasons = [f"HANDLOOM_THREADS is {asked}"] if asked else [f"{physical} physical cores may be used"]
    if quota is not None and not asked:
        reasons.append(f"the container grants {quota:g}")
    return f"{cores.default_threads()} ({', '.join(reasons)}; {os.cpu_count()} logical processors in the machine)"


def memory() -> str:
    """Physical memory, what is free of it, and a container's limit where there is one."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    page = os.sysconf("SC_PAGE_SIZE")
    text = f"{page * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        text += f", {page * os.sysconf('SC_AVPHYS_PAGES') / 2**30:.1f} GiB unused"
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (written := limit.read_text().strip()).isdigit():
        text += f"; the container grants {int(written) / 2**30:.1f} GiB"
    return text


def folders() -> dict[str, str]:
    """What is kept where, and how much of it."""
    from handloom.runtime.cache import home

    root = home()
    found = {"home": f"{root} (HANDLOOM_HOME moves it)"}
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []:
        count, size = used(folder)
        found[folder.name] = f"{size / 1e6:.1f} MB in {count} {'file' if count == 1 else 'files'}"
    return found


def used(folder: Path) -> tuple[int, int]:
    """(files, bytes) below a folder."""
    sizes = [path.stat().st_size for path in files(folder)]
    return len(sizes), sum(sizes)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def versions() -> dict[str, str]:
    from handloom import __version__

    system = f"{platform.system()} {platform.machine()}"
    found = {"handloom": __version__, "python": f"{platform.python_version()} ({system})"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def variables() -> dict[str, str]:
    """The environment variables that change what Handloom does, where they are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ} or {
        "none": "of those that matter is set"
    }


def self_test() -> str:
    """A small layer with its gradients, compiled, against the same graph on NumPy. "passed", or what was wrong."""
    import numpy as np

    import handloom as hl

    rng = np.random.default_rng(0)
    shapes = {"x": (37, 24), "weight": (40, 24), "bias": (40,), "scale": (40,), "shift": (40,)}
    given = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    def loss(values: dict[str, Any]) -> Any:
        y = hl.gelu(hl.linear(values["x"], values["weight"], values["bias"]))
        return (hl.softmax(hl.layer_norm(y, values["scale"], values["shift"], 1e-5)) ** 2).sum()

    step = hl.value_and_grad(loss)
    right_value, right = step({name: hl.Tensor(value) for name, value in given.items()})
    value, slopes = hl.compile(step)(given)
    pairs = {"loss": (value, right_value), **{name: (slopes[name], right[name]) for name in given}}
    for name, (ours, expected) in pairs.items():
        difference = float(np.linalg.norm(ours.numpy() - expected.numpy()))
        if not difference <= TOLERANCE * float(np.linalg.norm(expected.numpy())):
            return f"{name} differs from the reference by {difference:.2e}"
    return "passed"


LOOKS: dict[str, Callable[[], Any]] = {
    "processor": processor,
    "instructions": instructions,
    "precision": precision,
    "threads": threads,
    "memory": memory,
    "caches": folders,
    "versions": versions,
    "environment": variables,
    "self-test": self_test,
}
