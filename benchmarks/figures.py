"""What the scripts share: options, medians with their spread, and figures kept as JSON."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report_header import print_header, processor, versions
from handloom.codegen import llvm

ROOT = Path(__file__).resolve().parent.parent


def options(description: str, threads: int | None = 2, keeps: bool = False) -> argparse.ArgumentParser:
    """A parser with what every script takes: --threads (unless None), --quick, --json; with `keeps` --keep-in, too."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--quick", action="store_true", help="the least that shows that the script works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures in a file")
    if keeps:
        parser.add_argument(
            "--keep-in", type=Path, metavar="FILE", help="results so far, JSON lines: read and added to"
        )
    return parser


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of some measurements, and how many there were."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "count": len(values),
    }


def shown(found: Mapping[str, float], form: Callable[[float], str] = "{:.2f}".format) -> str:
    """median (low to high)"""
    return f"{form(found['median'])} ({form(found['low'])} to {form(found['high'])})"


def begin(title: str, threads: int) -> dict[str, Any]:
    """Prints the header; returns it as the first of the figures."""
    print_header(title, threads)
    return {"title": title, "machine": processor(), "cpu": llvm.host()[0], "threads": threads, "versions": versions()}


def keep(figures: Mapping[str, Any], file: Path | None) -> None:
    """Writes the figures, if that was asked for."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


class Kept:
    """Results that take minutes each, a JSON line in a file (if one is given) as soon as it is there; what the file
    holds already is not computed again."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        known = file.read_text(encoding="utf-8").splitlines() if file is not None and file.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in known]

    def row(self, key: Mapping[str, Any], find: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The row with these values, else the key and what `find` finds."""
        for row in self.rows:
            if key.items() <= row.items():
                return row
        self.rows.append({**key, **find()})
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.rows[-1], ensure_ascii=False) + "\n")
        return self.rows[-1]


def data(*parts: str) -> Path:
    """A data set: below HANDLOOM_DATA, else ../shared/data."""
    place = Path(os.environ.get("HANDLOOM_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not place.exists():
        raise SystemExit(f"{place} does not exist; HANDLOOM_DATA names the folder of the data sets")
    return place.resolve()


def minilm(given: Path | None) -> Path:
    """The folder of MiniLM-L6: as given, else HANDLOOM_MINILM, else what the catalogue has fetched."""
    if given is None and not os.environ.get("HANDLOOM_MINILM"):
        from handloom.models.resolve import model_folder

        return model_folder("minilm-l6", offline=True).resolve()
    return (given or Path(os.environ["HANDLOOM_MINILM"])).resolve()


def reference() -> Path:
    """The PyTorch script that stands beside ours: HANDLOOM_REFERENCE, else ../shared/reference/torch_reference.py."""
    place = Path(os.environ.get("HANDLOOM_REFERENCE", ROOT.parent / "shared" / "reference" / "torch_reference.py"))
    if not place.is_file():
        raise SystemExit(f"{place} does not exist; HANDLOOM_REFERENCE names the reference script")
    return place.resolve()


def environment(**more: str) -> dict[str, str]:
    """The variables for a process of Handloom: this source tree comes first."""
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def seconds_of(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the parent had before the program was executed
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
