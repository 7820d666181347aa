"""Files in and out, plain or gzip: read block by block, and published whole or not at all."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError

GZIP = b"\x1f\x8b"
BLOCK = 1 << 22


def is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == GZIP


def blocks(path: Path) -> Iterator[bytes]:
    """A file's bytes, unpacked if it is gzip, block by block. HandloomError if it is missing, empty or broken."""
    if not path.is_file():
        raise HandloomError(f"{path} does not exist." if not path.exists() else f"{path} is not a file.")
    try:
        if not path.stat().st_size:
            raise HandloomError(f"{path} is empty (0 bytes).")
        opener: Callable[[Path, str], Any] = gzip.open if is_gzip(path) else open
        with opener(path, "rb") as file:
            while block := file.read(BLOCK):
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise HandloomError(f"{path} is a broken gzip file ({error}); it may have been cut short.") from error
    except OSError as error:
        raise HandloomError(f"{path} cannot be read: {error.strerror or error}.") from error


def writable(path: Path) -> None:
    """HandloomError if a file cannot be written there for want of its folder: better before the work than after it."""
    if not path.parent.is_dir():
        raise HandloomError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.is_dir():
        raise HandloomError(f"{path} cannot be written: it is a folder.")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """The name under which `path` is written; it is renamed at the end, and removed after an error or Ctrl-C."""
    writable(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise HandloomError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        aside.unlink(missing_ok=True)


def publish(path: Path, content: Iterable[bytes]) -> None:
    """Replace `path` in one step by these blocks, packed if its name ends with .gz; the old file stays on any error."""
    with beside(path) as aside, open(aside, "wb") as file:
        if path.suffix == ".gz":
            # without a time and a name in its header the same model gives the same bytes
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                packed.writelines(content)
        else:
            file.writelines(content)
        file.flush()
        os.fsync(file.fileno())
