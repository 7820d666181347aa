"""How much disk does an installation take, and how much memory a training?

Makes a virtual environment, installs this repository in it (`pip install .`, from the package index that pip is
configured for), and lists its packages by size. Then trains one epoch on a part of WNUT17 by the command line, and
tells the most memory that the process had resident.

    python -m benchmarks.footprint [--share 0.25]
    python -m benchmarks.footprint --installed     only the environment that runs this; fails where it is too large

MB are 10⁶ bytes. A package's size is that of the files that its installation recorded; the whole is that of the folder,
with byte code and pip itself.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, begin, environment, keep, minilm, options
from benchmarks.wnut17 import cut, train_command

MOST_MB = 350.0
UNWANTED = ("torch", "transformers", "tensorflow", "jax", "scipy", "sklearn")
PEAK = """
import sys
from benchmarks.figures import peak_bytes
from handloom.cli.main import main
code = main(sys.argv[1:])
print(peak_bytes())
sys.exit(code)
"""


def folder_mb(folder: Path) -> float:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files) / 1e6


def packages(folder: Path) -> dict[str, float]:
    """MB of each distribution in a folder of packages, the largest first."""
    found: dict[str, float] = {}
    for one in importlib.metadata.distributions(path=[str(folder)]):
        paths = (Path(str(one.locate_file(file))) for file in one.files or ())
        name = f"{one.metadata['Name']} {one.version}"
        found[name] = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def installed() -> dict[str, Any]:
    """The environment that runs this."""
    folder = Path(sysconfig.get_paths()["purelib"])
    return {
        "all": folder_mb(folder),
        "packages": packages(folder),
        "unwanted": [name for name in UNWANTED if find_spec(name) is not None],
    }


def fresh() -> dict[str, Any]:
    """A new environment after `pip install .`."""
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = Path(place) / "bin" / "python"
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, str(ROOT)], check=True)
        paths = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
        folder = Path(subprocess.run(paths, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
        return {
            "all": folder_mb(folder),
            "packages": packages(folder),
            "unwanted": [name for name in UNWANTED if (folder / name).exists()],
        }


def peak_of_training(model: Path, share: float, threads: int) -> int:
    """Bytes resident at most while one epoch is trained and the model is saved."""
    with tempfile.TemporaryDirectory() as place:
        files = cut(Path(place) / "data", share)
        out = Path(place) / "run"
        command = train_command(model, out, threads, files["train"], valid=files["valid"], epochs="1")
        words = [sys.executable, "-c", PEAK, *command[command.index("handloom") + 1 :]]
        done = subprocess.run(words, capture_output=True, text=True, env=environment(HANDLOOM_HOME=place))
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return int(done.stdout.splitlines()[-1])


def show(found: dict[str, Any], limit: float) -> bool:
    """Prints the table; whether it is within the limit."""
    for name, mb in found["packages"].items():
        print(f"  {mb:7.1f} MB  {name}")
    print(f"  {found['all']:7.1f} MB in all; no more than {limit:.0f} wanted")
    if found["unwanted"]:
        print(f"  among them {', '.join(found['unwanted'])}, which nothing here may bring")
    return bool(found["all"] <= limit and not found["unwanted"])


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--installed", action="store_true", help="measure the environment that runs this, nothing else")
    parser.add_argument("--limit", type=float, default=MOST_MB, metavar="MB")
    parser.add_argument("--share", type=float, default=0.25, help="of WNUT17, for the training")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    figures = begin("Disk and memory", given.threads)
    print("\nthis environment" if given.installed else "\na fresh environment after pip install .")
    figures["packages"] = installed() if given.installed else fresh()
    small = show(figures["packages"], given.limit)
    if not given.installed:
        share = 0.05 if given.quick else given.share
        figures["peak_bytes"] = peak_of_training(minilm(given.model), share, given.threads)
        figures["share"] = share
        print(f"\ntraining on {share:.0%} of WNUT17: {figures['peak_bytes'] / 1e6:.0f} MB resident at most", flush=True)
    keep(figures, given.json)
    if not small:
        sys.exit(1)


if __name__ == "__main__":
    main()
