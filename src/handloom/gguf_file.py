"""One GGUF file, ggml's container of a model: read with every check made before anything is allocated.

The format (ggml's docs/gguf.md, versions 2 and 3): magic, version, counts; metadata, each a key, a type and a value;
tensors, each a name, its sizes from the innermost axis out, a type and an offset; then the data, every tensor at a
multiple of the alignment behind the one before it. A file from a stranger may lie about each of these. Types are taken
apart by the package `gguf` (the extra of that name).
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError

Array = npt.NDArray[Any]

HEADER_LIMIT = 128 * 2**20  # bytes of metadata and tensors' names; large vocabularies take ten MiB
KEY_LIMIT = 2**14  # pairs of metadata
COUNT_LIMIT = 2**16  # tensors
ITEM_LIMIT = 2**22  # items of an array in the metadata
NAME_LIMIT = 512  # bytes of a key or a tensor's name
RANK_LIMIT = 4
ALIGNMENT = 32  # unless the metadata says otherwise
CHUNK = 2**22  # elements that are taken apart at a time

VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS: dict[int, np.dtype[Any]] = {  # number of a metadata type -> how NumPy sees its bytes
    0: np.dtype("u1"), 1: np.dtype("i1"), 2: np.dtype("<u2"), 3: np.dtype("<i2"), 4: np.dtype("<u4"),
    5: np.dtype("<i4"), 6: np.dtype("<f4"), 7: np.dtype("?"), 10: np.dtype("<u8"), 11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: its type, its shape (rows first), and its bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def within(path: str | Path) -> Path | None:
    """The GGUF file that a path means: the file itself, or the one in a folder that has no config.json; else None."""
    place = Path(path)
    if place.suffix.lower() == ".gguf" and place.is_file():
        return place
    if not place.is_dir() or (place / "config.json").exists():
        return None
    found = sorted(place.glob("*.gguf"))
    if len(found) > 1:
        raise HandloomError(f"{place}: holds {len(found)} GGUF files ({', '.join(file.name for file in found[:5])}); "
                            "name the one that is meant")
    return found[0] if found else None


class GgufFile:
    """A checked file, mapped into memory.

    `metadata` holds numbers, truth values, strings, lists of strings and arrays of numbers by their keys; `entries`
    type and shape of every tensor; `read_f32` takes one apart. Raises HandloomError, naming the file and the key or the
    tensor, if the file is truncated, malformed or hostile, and if the extra `gguf` is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._types = _types()
        try:
            size = os.stat(self.path).st_size
            self._bytes: Array = np.memmap(self.path, np.uint8, "r") if size else np.empty(0, np.uint8)
        except OSError as error:
            raise HandloomError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        reader = _Reader(self._bytes, self._refuse)
        tensors, pairs = self._counts(reader)
        self.metadata = self._metadata(reader, pairs)
        self.entries = self._entries(reader, tensors)

    def read_f32(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor as f32, a copy that no longer needs the file; a tensor of integers is an error."""
        entry = self.entries[name]
        width = entry.shape[-1] if entry.shape else 1
        stored = self._bytes[entry.begin : entry.end].reshape(math.prod(entry.shape[:-1]), -1)
        out = np.empty((len(stored), width), np.float32)
        chunk = max(1, CHUNK // max(width, 1))
        for begin in range(0, len(stored), chunk):
            out[begin : begin + chunk] = self._dequantised(name, entry.dtype, stored[begin : begin + chunk])
        return out.reshape(entry.shape)

    def _dequantised(self, name: str, dtype: str, stored: Array) -> Array:
        if dtype == "F64":
            return np.ascontiguousarray(stored).view("<f8")
        try:
            found: Array = self._types.dequantize(np.ascontiguousarray(stored), self._types.GGMLQuantizationType[dtype])
        except NotImplementedError as error:
            raise HandloomError(f"{self.path}: tensor {name!r} is of type {dtype}, which cannot be taken apart (nor by "
                                "the package gguf); a file in F16, Q8_0 or Q4_K can") from error
        return found

    def _refuse(self, reason: str) -> HandloomError:
        return HandloomError(f"{self.path}: not a sound GGUF file: {reason}")

    def _counts(self, reader: _Reader) -> tuple[int, int]:
        if (magic := reader.take(4, "its magic")) != b"GGUF":
            raise self._refuse(f"it begins with {magic!r}, not with b'GGUF'")
        version = reader.whole("<I", "its version")
        if version not in VERSIONS:
            turned = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            raise self._refuse("it is big-endian" if turned else f"it is of version {version}; known are 2 and 3")
        tensors, pairs = reader.whole("<Q", "its number of tensors"), reader.whole("<Q", "its amount of metadata")
        if tensors > COUNT_LIMIT or pairs > KEY_LIMIT:
            raise self._refuse(f"it claims {tensors} tensors and {pairs} keys; at most {COUNT_LIMIT} and {KEY_LIMIT} "
                               "are accepted")
        return tensors, pairs

    def _metadata(self, reader: _Reader, pairs: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(pairs):
            key = reader.name("a key")
            if key in found:
                raise self._refuse(f"the key {key!r} occurs twice")
            found[key] = self._value(reader, key)
        return found

    def _value(self, reader: _Reader, key: str) -> Any:
        where = f"the value of {key!r}"
        kind = reader.whole("<I", where)
        if kind == STRING:
            return reader.text(where)
        if kind == ARRAY:
            kind, count = reader.whole("<I", where), reader.whole("<Q", where)
            if count > ITEM_LIMIT:
                raise self._refuse(f"{where} claims {count} items; at most {ITEM_LIMIT} are accepted")
            if kind == STRING:
                return [reader.text(where) for _ in range(count)]
            if kind in SCALARS:
                return np.frombuffer(reader.take(count * SCALARS[kind].itemsize, where), SCALARS[kind])
        if kind in SCALARS:
            return np.frombuffer(reader.take(SCALARS[kind].itemsize, where), SCALARS[kind])[0].item()
        raise self._refuse(f"{where} has the type {kind}, which is not known (or an array of arrays)")

    def _entries(self, reader: _Reader, count: int) -> dict[str, Entry]:
        listed: dict[str, tuple[str, tuple[int, ...], int, int]] = {}  # type, shape, offset in the data, bytes
        for _ in range(count):
            name = reader.name("a tensor's name")
            if name in listed:
                raise self._refuse(f"the tensor {name!r} is listed twice")
            where = f"the description of the tensor {name!r}"
            rank = reader.whole("<I", where)
            if rank > RANK_LIMIT:
                raise self._refuse(f"tensor {name!r} has {rank} axes; at most {RANK_LIMIT} are accepted")
            sizes = [reader.whole("<Q", where) for _ in range(rank)]
            if any(size > 2**48 for size in sizes) or math.prod(sizes) > 2**48:
                raise self._refuse(f"tensor {name!r} claims the sizes {sizes}")
            kind, offset = reader.whole("<I", where), reader.whole("<Q", where)
            dtype, needed = self._bytes_of(name, kind, sizes)
            listed[name] = dtype, tuple(reversed(sizes)), offset, needed
        return self._placed(listed, reader.place)

    def _bytes_of(self, name: str, kind: int, sizes: list[int]) -> tuple[str, int]:
        try:
            found = self._types.GGMLQuantizationType(kind)
        except ValueError as error:
            raise self._refuse(f"tensor {name!r} is of type {kind}, which is not known here") from error
        block, size = self._types.GGML_QUANT_SIZES[found]
        if (sizes[0] if sizes else 1) % block:
            raise self._refuse(f"tensor {name!r} has rows of {sizes[0]}, but its type {found.name} comes in blocks of "
                               f"{block}")
        return str(found.name), math.prod(sizes) // block * size

    def _placed(self, listed: dict[str, tuple[str, tuple[int, ...], int, int]], header: int) -> dict[str, Entry]:
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 2**16 or alignment & (alignment - 1):
            raise self._refuse(f"general.alignment is {alignment!r}; a power of two up to 65536 is needed")

        def aligned(place: int) -> int:
            return -(-place // alignment) * alignment

        start, size = aligned(header), len(self._bytes)
        expected, entries = 0, {}
        for name, (dtype, shape, offset, needed) in sorted(listed.items(), key=lambda item: (item[1][2], item[1][3])):
            if offset != expected:
                kind = "overlaps the tensor before it" if offset < expected else "leaves a hole before it"
                raise self._refuse(f"tensor {name!r} {kind} (it is at {offset} of the data, {expected} is next)")
            begin, end = start + offset, start + offset + needed
            if end > size:
                raise self._refuse(f"tensor {name!r} ends {end - size} bytes behind the end of the file: it is "
                                   "truncated")
            entries[name] = Entry(dtype, shape, begin, end)
            expected = aligned(offset + needed)
        return {name: entries[name] for name in listed}


class _Reader:
    """Reads on and on from the header's bytes; whatever would lie behind their end is refused."""

    def __init__(self, content: Array, refuse: Callable[[str], HandloomError]) -> None:
        self._content = memoryview(content[:HEADER_LIMIT])  # type: ignore[arg-type]
        self._cut = len(content) > HEADER_LIMIT
        self._refuse = refuse
        self.place = 0

    def take(self, count: int, where: str) -> bytes:
        end = self.place + count
        if end > len(self._content):
            reason = f"more than {HEADER_LIMIT} bytes of header are not accepted" if self._cut else "it is truncated"
            raise self._refuse(f"{where} needs {count} bytes at {self.place}, but {len(self._content) - self.place} "
                               f"follow: {reason}")
        found = bytes(self._content[self.place : end])
        self.place = end
        return found

    def whole(self, form: str, where: str) -> int:
        found: int = struct.unpack(form, self.take(struct.calcsize(form), where))[0]
        return found

    def text(self, where: str, limit: int = HEADER_LIMIT) -> str:
        length = self.whole("<Q", where)
        if length > limit:
            raise self._refuse(f"{where} claims {length} bytes; at most {limit} are accepted")
        try:
            return self.take(length, where).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._refuse(f"{where} is not UTF-8") from error

    def name(self, where: str) -> str:
        return self.text(f"{where} at byte {self.place}", NAME_LIMIT)


def _types() -> Any:
    """What the package knows of types: their numbers, the sizes of their blocks, and how they are taken apart."""
    try:
        from gguf import quants
    except ImportError as error:
        raise HandloomError("GGUF files need the package gguf: pip install 'handloom[gguf]'") from error
    return quants
