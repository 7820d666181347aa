"""Files that are there whole or not at all: written beside their place, synced, renamed.

Weights are written as safetensors straight from the arrays (no second copy in memory), hashed on the way.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.errors import HandloomError

Array = NDArray[Any]

_SAFETENSORS_NAMES = {
    "float32": "F32",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "uint16": "BF16",
    "uint32": "U32",
    "uint8": "U8",
    "bool": "BOOL",
}
_BLOCK = 1 << 24


class StorageError(HandloomError):
    """A file could not be written; what was there before is untouched."""


def storage_error(path: Path, problem: OSError) -> StorageError:
    """The error for a failed write, in words."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(
            f"the disk is full: {path} could not be written. What was saved before is intact; "
            f"free some space and run `handloom resume`"
        )
    return StorageError(f"{path} could not be written: {problem.strerror or problem}")


def safetensors_blocks(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> Iterable[bytes]:
    """The bytes of a safetensors file, block by block. Names are kept in their order."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    at = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _SAFETENSORS_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for array in arrays.values():
        data = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")  # type: ignore[arg-type]
        for start in range(0, len(data), _BLOCK):
            yield data[start : start + _BLOCK]  # type: ignore[misc]


def write_blocks(path: Path, blocks: Iterable[bytes]) -> tuple[int, str]:
    """Write and sync a file; returns its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_file(path: Path, blocks: Iterable[bytes]) -> str:
    """Replace `path` in one step; returns the SHA-256. StorageError if the disk is full; the old file then remains."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _, digest = write_blocks(beside, blocks)
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise storage_error(path, problem) from problem
    return digest


def publish_text(path: Path, text: str) -> str:
    return publish_file(path, [text.encode("utf-8")])


def publish_json(path: Path, value: object) -> str:
    return publish_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def publish_folder(folder: Path, files: Mapping[str, Iterable[bytes]]) -> None:
    """Create `folder` with these files and a manifest.json of their sizes and hashes, in one step.

    Until the final rename nothing bears the folder's name; after it everything is on disk.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        manifest = {}
        for name, blocks in files.items():
            size, digest = write_blocks(beside / name, blocks)
            manifest[name] = {"size": size, "sha256": digest}
        write_blocks(beside / "manifest.json", [json.dumps({"files": manifest}, indent=2).encode()])
        sync_folder(beside)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(beside, folder)
        sync_folder(folder.parent)
    except OSError as problem:
        shutil.rmtree(beside, ignore_errors=True)
        raise storage_error(folder, problem) from problem


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def complete(folder: Path) -> bool:
    """Whether a published folder has a manifest and every file has the size and hash that it states."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
        return all(
            (folder / name).stat().st_size == entry["size"] and file_hash(folder / name) == entry["sha256"]
            for name, entry in manifest.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
