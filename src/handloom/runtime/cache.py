"""Native code and other bytes kept on disk between processes, in a folder that only its user can write to.

The folder holds code that will be executed, so it is used only if it and the file belong to this user and nobody else
may write there; otherwise Handloom warns and works without. An entry carries its checksum: a truncated or damaged one
is dropped, and made anew. Publishing is a rename, so that processes may share the folder without locks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

MAGIC = b"handloom cache 1\n"
DEFAULT_LIMIT = 512 << 20
"""Bytes that a cache may hold before the entries used longest ago are dropped."""
_TOUCH_AFTER = 3600.0


def home() -> Path:
    """Where Handloom keeps what it can make or fetch again: HANDLOOM_HOME, else the platform's cache folder."""
    own = os.environ.get("HANDLOOM_HOME")
    if own:
        return Path(own).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Caches/handloom").expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "handloom"


def key(*parts: str) -> str:
    """A name for what follows from these parts: SHA-256, in hexadecimal, of their lengths and texts."""
    digest = hashlib.sha256()
    for part in parts:
        text = part.encode()
        digest.update(b"%d:" % len(text))
        digest.update(text)
    return digest.hexdigest()


class Cache:
    """Bytes by key. Every method works, doing nothing, where the folder cannot be used; `folder` is None then."""

    def __init__(self, folder: Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        """folder: made if need be, with access for the user alone; None is `home() / "kernels"`. limit in bytes."""
        self.limit = limit
        self._held: int | None = None
        self.folder = _private(home() / "kernels" if folder is None else folder)

    def get(self, name: str) -> bytes | None:
        """The bytes stored under a key, or None if there are none that can be trusted."""
        path = self._path(name)
        if path is None:
            return None
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        with open(file, "rb") as stream:
            status = os.fstat(file)
            content = stream.read() if _owned(status) else b""
        head, data = content[: len(MAGIC) + 32], content[len(MAGIC) + 32 :]
        if head != MAGIC + hashlib.sha256(data).digest():
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._touch(path, status)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Stores bytes under a key, whole or not at all. A disk that is full costs a warning."""
        path = self._path(name)
        if path is None or self.folder is None:
            return
        try:
            file, temporary = tempfile.mkstemp(prefix=".new-", dir=self.folder)
            try:
                with open(file, "wb") as stream:
                    stream.write(MAGIC + hashlib.sha256(data).digest() + data)
                os.replace(temporary, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            _warn(f"cannot store in {self.folder}: {error}")
            self.folder = None
            return
        self._bound(len(data) + len(MAGIC) + 32)

    def made(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The bytes stored under a key; made and stored if they are not there."""
        data = self.get(name)
        if data is None:
            data = make()
            self.put(name, data)
        return data

    def object_code(
        self, ir_text: str, cpu: str, features: str, triple: str, compiler: str, compile_object: Callable[[], bytes]
    ) -> bytes:
        """Object code for IR: stored, or from `compile_object`. `compiler` names whatever else decides the result."""
        return self.made(key("object", ir_text, cpu, features, triple, compiler), compile_object)

    def _path(self, name: str) -> Path | None:
        if not re.fullmatch("[0-9a-f]{64}", name):
            raise ValueError(f"{name!r} is no key of this cache; use key(...)")
        return None if self.folder is None else self.folder / name

    def _touch(self, path: Path, status: os.stat_result) -> None:
        """Marks an entry as used (to the hour), so that the bound drops others first."""
        if time.time() - status.st_mtime > _TOUCH_AFTER:
            with contextlib.suppress(OSError):
                os.utime(path)

    def _bound(self, added: int) -> None:
        """Drops the entries used longest ago, down to four fifths of the limit, once the limit is passed."""
        if self.folder is None:
            return
        self._held = None if self._held is None else self._held + added
        if self._held is not None and self._held <= self.limit:
            return
        entries = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for entry in found:
                with contextlib.suppress(OSError):  # another process may have dropped it
                    status = entry.stat(follow_symlinks=False)
                    entries.append((status.st_mtime, status.st_size, entry.path))
        self._held = sum(size for _, size, _ in entries)
        if self._held <= self.limit:
            return
        for _, size, path in sorted(entries):
            if self._held <= self.limit * 4 // 5:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                self._held -= size


def _owned(status: os.stat_result) -> bool:
    """Whether it is this user's, and nobody else may write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _private(folder: Path) -> Path | None:
    """The folder, made with mode 0700 if it was missing; None, after a warning, if it is not ours alone to write to."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.stat()
    except OSError as error:
        _warn(f"cannot use {folder}: {error}")
        return None
    if not stat.S_ISDIR(status.st_mode) or not _owned(status):
        _warn(
            f"{folder} must be a folder that belongs to you and that nobody else can write to "
            f"(it has owner {status.st_uid} and mode {stat.S_IMODE(status.st_mode):04o}); "
            "set HANDLOOM_HOME, or remove it"
        )
        return None
    return folder


def _warn(problem: str) -> None:
    warnings.warn(f"Kernels are compiled anew each time: {problem}.", RuntimeWarning, stacklevel=4)
