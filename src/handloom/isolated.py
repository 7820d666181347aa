"""Programs of our own that work on what comes from anybody, in a process that is alone and bounds itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Ended(Exception):
    """The process took longer than it may, or the system has ended it."""


def run(program: Path, task: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What a file that imports nothing of Handloom answers: one JSON object in, one out. Raises Ended.

    Neither the environment nor the working folder changes what it imports. It bounds its own processor time and memory;
    `seconds`, by the clock, are for systems where it cannot.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(program)], input=json.dumps(task).encode(), capture_output=True, timeout=seconds
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as problem:
        raise Ended from problem
    return found
