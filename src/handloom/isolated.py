"""Programs of our own that work on what comes from anybody, in a process that is alone and bounds itself."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Ended(Exception):
    """The process took longer than it may, or the system has ended it."""


class Program:
    """A file that imports nothing of Handloom: one JSON object in, one out. Each object gets a process of its own; the
    next one is begun meanwhile, since what it imports takes longer than most answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._next: tuple[int, subprocess.Popen[bytes]] | None = None  # who began it: a fork must not use it, too
        atexit.register(self._close)

    def run(self, task: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a task. Raises Ended.

        Neither the environment nor the working folder changes what the program imports. It bounds its own processor
        time and memory; `seconds`, by the clock, are for systems where it cannot.
        """
        process = self._taken()
        try:
            written, _ = process.communicate(json.dumps(task).encode(), seconds)
            found: dict[str, Any] = json.loads(written)
        except subprocess.TimeoutExpired as problem:
            process.kill()
            process.communicate()
            raise Ended from problem
        except ValueError as problem:
            raise Ended from problem
        return found

    def _taken(self) -> subprocess.Popen[bytes]:
        with self._lock:
            ready, me = self._next, os.getpid()
            process = ready[1] if ready and ready[0] == me and ready[1].poll() is None else self._begun()
            self._next = me, self._begun()
        return process

    def _begun(self) -> subprocess.Popen[bytes]:
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen([sys.executable, "-I", str(self.path)], stdin=pipe, stdout=pipe, stderr=nowhere)

    def _close(self) -> None:
        if self._next is not None and self._next[0] == os.getpid():
            self._next[1].kill()
            self._next[1].communicate()
