"""Fails if the environment's packages take more than so many MB, or if torch is among them."""

from __future__ import annotations

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

limit = float(sys.argv[1])
folder = Path(sysconfig.get_paths()["purelib"])
size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6
print(f"{size:.0f} MB of packages; no more than {limit:.0f} wanted")
sys.exit(size > limit or find_spec("torch") is not None)
