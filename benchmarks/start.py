"""How soon does Handloom start? `import handloom`, and from the command line to the end of the first training step.

The second is `handloom train token-classification` on WNUT17 with weights at hand, timed from the start of the process
to its own line "step 1/…" on standard error; then it is ended. Cold: HANDLOOM_HOME is an empty folder, so that every
kernel is compiled; warm: the one that a run before has filled. Python's own byte code is there in both, as it is after
`pip install`: kept in a folder of this run, filled by runs that do not count. Last, where the time goes, by timers
around the program's stages in a run of its own.

    python -m benchmarks.start [--repeats 5] [--sentences 200 3394]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from benchmarks.figures import begin, environment, keep, minilm, options, shown, spread
from benchmarks.wnut17 import cut, train_command

LIMITS = {"import": 0.5, "cold": 6.0, "warm": 2.5}
IMPORTS = ("handloom", "handloom, its TokenClassifier")
CODE = {
    "nothing": "pass",
    "handloom": "import handloom",
    "handloom, its TokenClassifier": "from handloom import TokenClassifier",
}
IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
BEFORE = "before the data is read: Python, imports"
STAGES = {
    "reading the data": "handloom.train.fitting:read_sets",
    "reading the weights, building the model": "handloom.train.modeling:build",
    "tokenising": "handloom.train.fitting:Fit._encode",
    "engine and plan of batches": "handloom.train.fitting:Fit._loop",
    "scoring the model as it was": "handloom.train.fitting:Fit._before",
    "first step": "handloom.train.engine:Engine.step",
    "  tracing and passes": "handloom.tensor.function:CompiledFunction._trace",
    "  kernels: text, code, memory": "handloom.compiler:CompiledProgram._make_plan",
    "    compiling, or reading from the cache": "handloom.compiler:compile_object",
}
"""Stages that are timed; those further in lie within the ones above them, of scoring as well as of the step."""


def variables(byte_code: Path, **more: str) -> dict[str, str]:
    """For a process whose byte code is kept in a folder, whatever this process was told about byte code."""
    return environment(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=str(byte_code), **more)


def import_seconds(repeats: int, byte_code: Path) -> dict[str, dict[str, float]]:
    """Seconds inside a fresh process, by what it imports; and of the whole process."""
    found: dict[str, list[float]] = {}
    for _ in range(repeats + 1):
        for name, code in CODE.items():
            command = [sys.executable, "-c", IMPORT.format(code)]
            start = time.perf_counter()
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=variables(byte_code), check=True)
            found.setdefault(f"{name}: process", []).append(time.perf_counter() - start)
            found.setdefault(name, []).append(float(done.stdout))
    return {name: spread(times[1:]) for name, times in found.items()}


def first_step(command: list[str], home: Path, byte_code: Path) -> float:
    """Seconds from the start of the process until it says that the first step is done."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=variables(byte_code, HANDLOOM_HOME=str(home)),
    )
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("step 1/"):
                return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    raise SystemExit(f"{' '.join(command)} made no step:\n{''.join(said)}")


def starts(model: Path, train: Path, repeats: int, threads: int, byte_code: Path) -> dict[str, Any]:
    """Cold and warm starts in turns, and the stages of one of each."""
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    stages: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:  # fills the byte code
        first_step(train_command(model, Path(folder) / "run", threads, train, epochs="1"), Path(folder), byte_code)
    for number in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            for kind, times in seconds.items():
                out = Path(folder) / kind
                times.append(first_step(train_command(model, out, threads, train, epochs="1"), home, byte_code))
            if number == repeats - 1:
                for kind, place in (("cold", Path(folder) / "fresh"), ("warm", home)):
                    out = Path(folder) / f"{kind}-stages"
                    stages[kind] = staged(train_command(model, out, threads, train, epochs="1"), place, byte_code)
    return {**{kind: spread(times) for kind, times in seconds.items()}, "stages": stages}


# --- where the time goes --------------------------------------------------------------------------------------------


def staged(command: list[str], home: Path, byte_code: Path) -> dict[str, float]:
    """Seconds of each stage, of a run that is a process of this script."""
    words = [sys.executable, "-m", "benchmarks.start", "--stages", *command[command.index("handloom") + 1 :]]
    started = {"HANDLOOM_STARTED": repr(time.monotonic())}
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables(byte_code, HANDLOOM_HOME=str(home), **started),
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def show_stages(arguments: list[str]) -> None:
    """Runs the command with timers, up to the end of the first step; prints the seconds as JSON and leaves."""
    import importlib

    from handloom.cli.main import main as command

    seconds: dict[str, float] = {}
    begun = float(os.environ["HANDLOOM_STARTED"])

    def timed(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*given: Any, **named: Any) -> Any:
            seconds.setdefault(BEFORE, time.monotonic() - begun)
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                seconds[label] = seconds.get(label, 0.0) + time.perf_counter() - start
                if label == "first step":
                    print(json.dumps({**seconds, "all": time.monotonic() - begun}), flush=True)
                    os._exit(0)

        return run

    for label, place in STAGES.items():
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *inner, name = path.split(".")
        for part in inner:
            owner = getattr(owner, part)
        setattr(owner, name, timed(label, getattr(owner, name)))
    sys.exit(command(arguments))


# --- the script -----------------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace, byte_code: Path) -> dict[str, Any]:
    """Measures and prints all; returns the figures."""
    repeats = 1 if given.quick else given.repeats
    figures = begin("Starting: imports, and the first step from the command line", given.threads)
    figures["imports"] = import_seconds(repeats, byte_code)
    print(f"\nseconds inside a fresh process (at most {LIMITS['import']} for import handloom)")
    for name in IMPORTS:
        whole = shown(figures["imports"][f"{name}: process"])
        print(f"  {name:34} {shown(figures['imports'][name])}; the whole process {whole}")
    print(f"  {'Python alone':34} the whole process {shown(figures['imports']['nothing: process'])}")
    model = minilm(given.model)
    figures["starts"] = {}
    for count in given.sentences[:1] if given.quick else given.sentences:
        with tempfile.TemporaryDirectory() as folder:
            found = starts(model, cut(Path(folder), most=count)["train"], repeats, given.threads, byte_code)
        figures["starts"][str(count)] = found
        print(f"\nfrom the command line to the first step done, {count:,} sentences of WNUT17")
        for kind in ("cold", "warm"):
            print(f"  {kind}: {shown(found[kind])} s (at most {LIMITS[kind]})")
        print(f"  {'seconds of one run with timers':52} {'cold':>6} {'warm':>6}")
        for label in (BEFORE, *STAGES, "all"):
            row = [found["stages"][kind].get(label, 0.0) for kind in ("cold", "warm")]
            print(f"  {label:52} {row[0]:6.2f} {row[1]:6.2f}", flush=True)
    return figures


def main() -> None:
    if sys.argv[1:2] == ["--stages"]:
        show_stages(sys.argv[2:])
        return
    parser = options(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sentences", type=int, nargs="+", default=[200, 3394], help="of the training file")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given, Path(folder))
    keep(figures, given.json)


if __name__ == "__main__":
    main()
