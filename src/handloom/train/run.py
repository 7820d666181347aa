"""A run folder: everything about one training, and at its end the model itself.

settings.json    what was asked for; enough to start the same training again
log.jsonl        one line a logged step or validation
checkpoints/     removed when the run has finished
start/           what a pre-training from scratch begins with; removed with them
lock             held while a process uses the folder
config.json, model.safetensors, tokenizer.json, handloom.json, report.html    the finished model
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.models import sentence_folder
from handloom.models.config import is_stopped
from handloom.train.storage import publish_json, storage_error

FORMAT = 1
#: What a run folder may hold; nothing else is ever deleted by overwrite.
_OWN = (
    "settings.json",
    "log.jsonl",
    "checkpoints",
    "start",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "handloom.json",
    "report.html",
    "model.safetensors.index.json",
    *sentence_folder.FILES,
)


def versions() -> dict[str, str]:
    """Versions of what decides the bits of a run."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "numpy": np.__version__}
    for name in ("handloom", "llvmlite", "tokenizers", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class RunFolder:
    """A locked run folder. Use as a context manager, or call `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = self._take_lock()

    # -- opening

    @classmethod
    def create(cls, out: str | os.PathLike[str], settings: dict[str, Any], overwrite: bool = False) -> RunFolder:
        """Begin a run. UsageError as by `check_free`."""
        path = cls.check_free(out, overwrite)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise storage_error(path, problem) from problem
        run = cls(path)
        for name in _OWN:
            place = path / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        run.write_json("settings.json", {"format": FORMAT, **settings, "versions": versions()})
        return run

    @staticmethod
    def check_free(out: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """The folder. UsageError if it exists, unless it is empty, or a run that `overwrite` allows to replace."""
        path = Path(out)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; --out must be a folder")
        occupied = path.is_dir() and any(p.name != "lock" for p in path.iterdir())
        if occupied and not overwrite:
            stopped = f": a training that was stopped, and `handloom resume {path}` goes on with it"
            raise UsageError(f"{path} exists already{stopped if is_stopped(path) else ''}; choose another --out, or "
                             "overwrite it with --overwrite")  # fmt: skip
        if occupied and not any((path / name).is_file() for name in ("settings.json", "handloom.json")):
            raise UsageError(f"{path} is not a run of Handloom and is not overwritten; choose another --out")
        return path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Open an existing run, to resume it."""
        place = Path(path)
        if not (place / "settings.json").is_file():
            raise HandloomError(f"{place} is not a run of Handloom: it has no settings.json")
        return cls(place)

    def _take_lock(self) -> int:
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise HandloomError(f"{self.path} is in use by another process ({owner or 'unknown'})") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return handle

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what is in it

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        return (self.path / "handloom.json").is_file()

    def settings(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / "settings.json").read_text("utf-8"))
        except (OSError, ValueError) as problem:
            raise HandloomError(f"{self.path / 'settings.json'} cannot be read: {problem}") from problem
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise HandloomError(
                f"{self.path / 'settings.json'}: format {found.get('format') if isinstance(found, dict) else '?'}"
                f"; this version reads format {FORMAT}"
            )
        return found

    def remove_checkpoints(self) -> None:
        """Called when the model is saved: nothing needs them any more."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        shutil.rmtree(self.path / "start", ignore_errors=True)

    def write_json(self, name: str, value: object) -> None:
        publish_json(self.path / name, value)


class Log:
    """log.jsonl: one JSON object a line, cut back on resume to the state that is resumed."""

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        self._file = open(path, "ab")  # noqa: SIM115  (closed by close)
        if self._file.seek(0, os.SEEK_END) < length:
            raise HandloomError(f"{path} is shorter than the checkpoint says; the run cannot be resumed faithfully")
        self._file.truncate(length)
        self._file.seek(0, os.SEEK_END)

    def write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        except OSError as problem:
            raise storage_error(self.path, problem) from problem

    def sync(self) -> int:
        """Make all lines durable; returns the length in bytes."""
        try:
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise storage_error(self.path, problem) from problem
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; a last line cut off by a crash is left out."""
    entries = []
    for line in path.read_bytes().split(b"\n"):
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries
