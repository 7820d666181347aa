"""One safetensors file, read with every check made before anything is allocated, and written atomically.

The format: eight bytes with the length of a JSON header, the header, then one buffer that the header's tensors fill
from the first byte to the last. A file from a stranger may lie about each of these: nothing is believed unchecked.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError

Array = npt.NDArray[Any]

HEADER_LIMIT = 16 * 2**20  # bytes of JSON; the largest public models need less than one MiB
COUNT_LIMIT = 2**16  # tensors in one file
RANK_LIMIT = 8
NAME_LIMIT = 512  # characters of a tensor's name

# Name in the header -> how NumPy sees the bytes. BF16 has no NumPy type: its bits are carried as u16.
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
WRITTEN: dict[np.dtype[Any], str] = {DTYPES[name]: name for name in ("F64", "F32", "F16", "I64", "I32", "U8", "U32")}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: `begin` and `end` are bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """A checked file, mapped into memory. `entries` holds dtype and shape of every tensor; `read` copies one out.

    Raises HandloomError, naming the file and the tensor, if the file is truncated, malformed or hostile.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.entries, self.metadata = _read_header(file.read, size, self.path)
        except OSError as error:
            raise HandloomError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        self._bytes: Array = np.memmap(self.path, dtype=np.uint8, mode="r") if size else np.empty(0, np.uint8)
        if len(self._bytes) != size:
            raise HandloomError(f"{self.path}: changed while it was opened ({size} bytes, then {len(self._bytes)})")

    def read(self, name: str) -> Array:
        """The tensor as the file holds it (BF16 as its u16 bits), a copy that no longer needs the file."""
        entry = self.entries[name]
        return np.array(self._view(entry))

    def read_f32(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor as f32, whatever float type the file holds it in; an integer tensor is an error."""
        entry = self.entries[name]
        if entry.dtype not in FLOATS:
            known = ", ".join(sorted(FLOATS))
            raise HandloomError(f"{self.path}: tensor {name!r} is {entry.dtype}; a weight must be one of {known}")
        stored = self._view(entry)
        if entry.dtype == "BF16":  # the upper half of an f32
            wide: npt.NDArray[np.uint32] = stored.astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32)
        return stored.astype(np.float32)

    def _view(self, entry: Entry) -> Array:
        found: Array = self._bytes[entry.begin : entry.end].view(DTYPES[entry.dtype]).reshape(entry.shape)
        return found


def _read_header(read: Any, size: int, path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    def refuse(reason: str) -> HandloomError:
        return HandloomError(f"{path}: not a sound safetensors file: {reason}")

    if size < 8:
        raise refuse(f"it has {size} bytes, and 8 are needed for the header's length alone")
    length = int.from_bytes(read(8), "little")
    if length > HEADER_LIMIT:
        raise refuse(f"its header claims {length} bytes; at most {HEADER_LIMIT} are accepted")
    if length > size - 8:
        raise refuse(f"its header claims {length} bytes, but only {size - 8} follow: the file is truncated")
    raw: bytes = read(length)
    if not raw.startswith(b"{"):
        raise refuse("its header does not begin with '{'")
    # Bounds on objects and lists before the JSON is parsed: an entry has one object and two lists.
    if max(raw.count(b"{"), raw.count(b"[") // 2) > COUNT_LIMIT + 2:
        raise refuse(f"its header lists more than {COUNT_LIMIT} tensors")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refuse(f"its header is not valid JSON ({error})") from error

    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refuse("__metadata__ must map names to strings")
    start = 8 + length
    entries = {name: _entry(name, found, start, refuse) for name, found in header.items()}

    end_of_last = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end_of_last:
            kind = "overlaps the tensor before it" if entry.begin < end_of_last else "leaves a hole before it"
            raise refuse(f"tensor {name!r} {kind} (bytes {entry.begin - start} to {entry.end - start})")
        if entry.end > size:
            raise refuse(f"tensor {name!r} ends {entry.end - size} bytes behind the end of the file: it is truncated")
        end_of_last = entry.end
    if end_of_last != size:
        raise refuse(f"{size - end_of_last} bytes at its end belong to no tensor")
    return entries, metadata


def _entry(name: str, found: Any, start: int, refuse: Any) -> Entry:
    if len(name) > NAME_LIMIT:
        raise refuse(f"a tensor's name has {len(name)} characters; at most {NAME_LIMIT} are accepted")
    if not isinstance(found, dict) or set(found) != {"dtype", "shape", "data_offsets"}:
        raise refuse(f"tensor {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise refuse(f"tensor {name!r} has the dtype {dtype!r}; known are {', '.join(DTYPES)}")
    if not _whole_numbers(shape) or len(shape) > RANK_LIMIT:
        raise refuse(f"tensor {name!r} needs a shape of at most {RANK_LIMIT} whole numbers")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise refuse(f"tensor {name!r} needs two data_offsets in ascending order")
    begin, end = offsets
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != needed:
        raise refuse(f"tensor {name!r} of shape {shape} and dtype {dtype} needs {needed} bytes but has {end - begin}")
    return Entry(dtype, tuple(shape), start + begin, start + end)


def _whole_numbers(found: Any) -> bool:
    return isinstance(found, list) and all(type(item) is int and 0 <= item < 2**48 for item in found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes `tensors` under their own dtypes: into a temporary file beside `path`, synced, then renamed over it.

    A reader sees the old file or the new one, never a part. A full disk leaves the old file as it was.
    """
    target = Path(path)
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    # Wide types first, as the format's own library orders them: every tensor stays aligned to its item.
    arrays = {name: np.ascontiguousarray(found) for name, found in tensors.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    begin = 0
    for name in order:
        found = arrays[name]
        dtype = WRITTEN.get(found.dtype)
        if dtype is None:
            raise HandloomError(f"{target}: tensor {name!r} has dtype {found.dtype}, which is not written")
        header[name] = {"dtype": dtype, "shape": list(found.shape), "data_offsets": [begin, begin + found.nbytes]}
        begin += found.nbytes
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    raw += b" " * (-len(raw) % 8)

    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            for name in order:
                file.write(arrays[name].reshape(-1).view(np.uint8).data if arrays[name].nbytes else b"")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        reason = error.strerror or error
        raise HandloomError(f"{target}: could not be written: {reason}; an older file is untouched") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the platform lets a folder be synced."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        return  # some network file systems refuse; the data itself has been synced
    finally:
        os.close(handle)
