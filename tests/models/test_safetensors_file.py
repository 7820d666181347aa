"""Sound files read exactly; files that lie are refused before anything is allocated."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from handloom.errors import HandloomError
from handloom.models import safetensors_file
from handloom.models.safetensors_file import SafetensorsFile, write_safetensors


def write_raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_reads_what_the_formats_own_library_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "a.weight": rng.standard_normal((3, 5)).astype(np.float32),
        "half": rng.standard_normal(7).astype(np.float16),
        "ids": np.arange(4, dtype=np.int64),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "odd": np.arange(3, dtype=np.uint8),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert file.metadata == {"format": "pt"}
    assert set(file.entries) == set(tensors)
    for name, expected in tensors.items():
        np.testing.assert_array_equal(file.read(name), expected)
        assert file.read(name).shape == expected.shape
    np.testing.assert_array_equal(file.read_f32("half"), tensors["half"].astype(np.float32))


def test_bf16_becomes_f32_exactly(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.0e38, 1e-40, np.inf, -0.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    header = {"w": entry("BF16", (2, 3), (0, 12))}
    file = SafetensorsFile(write_raw(tmp_path / "x", header, bits.tobytes()))
    expected = (bits.astype(np.uint32) << 16).view(np.float32).reshape(2, 3)
    np.testing.assert_array_equal(file.read_f32("w").view(np.uint32), expected.view(np.uint32))
    assert file.read_f32("w")[0, 1] == -2.5


def test_integers_are_no_weights(tmp_path: Path) -> None:
    save_file({"w": np.arange(3)}, tmp_path / "x")
    with pytest.raises(HandloomError, match="'w' is I64"):
        SafetensorsFile(tmp_path / "x").read_f32("w")


HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "dtype unknown": ({"w": entry("F7")}, b"1234", "'F7'"),
    "dtype no string": ({"w": entry(["F32"])}, b"1234", "dtype"),
    "behind the end": ({"w": entry(shape=(2,), offsets=(0, 8))}, b"1234", "4 bytes behind the end"),
    "shape against bytes": ({"w": entry(shape=(2,))}, b"1234", "needs 8 bytes but has 4"),
    "product overflows 64 bits": ({"w": entry(shape=(2**33, 2**33), offsets=(0, 4))}, b"1234", "needs"),
    "negative size": ({"w": entry(shape=(-1, -1))}, b"1234", "whole numbers"),
    "boolean size": ({"w": entry(shape=(True,))}, b"1234", "whole numbers"),
    "fractional size": ({"w": entry(shape=(1.0,))}, b"1234", "whole numbers"),
    "rank": ({"w": entry(shape=(1,) * 9)}, b"1234", "at most 8"),
    "descending offsets": ({"w": entry(offsets=(4, 0))}, b"1234", "ascending"),
    "three offsets": ({"w": entry(offsets=(0, 2, 4))}, b"1234", "two data_offsets"),
    "overlap": ({"a": entry(), "b": entry(offsets=(2, 6))}, b"123456", "overlaps"),
    "the same bytes twice": ({"a": entry(), "b": entry()}, b"1234", "overlaps"),
    "hole": ({"a": entry(), "b": entry(offsets=(8, 12))}, b"x" * 12, "hole"),
    "hole at the start": ({"a": entry(offsets=(4, 8))}, b"x" * 8, "hole"),
    "bytes left over": ({"a": entry()}, b"12345", "belong to no tensor"),
    "missing field": ({"a": {"dtype": "F32", "shape": [1]}}, b"1234", "exactly"),
    "extra field": ({"a": {**entry(), "code": "x"}}, b"1234", "exactly"),
    "entry no object": ({"a": 3}, b"", "exactly"),
    "long name": ({"a" * 1000: entry()}, b"1234", "1000 characters"),
    "metadata no strings": ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
    "not an object": (b"[]", b"", "begin with"),
    "not JSON": (b"{nonsense", b"", "not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', b"", "not valid JSON"),
    "NaN": (b'{"a": NaN}', b"", "not valid JSON"),
    "a name twice": (b'{"a": 1, "a": 2}', b"", "occurs twice"),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", "not valid JSON|exactly"),
    "number of 5000 digits": (b'{"a":' + b"1" * 5000 + b"}", b"", "not valid JSON"),
    "leading space": (b" {}", b"", "begin with"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused(tmp_path: Path, case: str) -> None:
    header, data, message = HOSTILE[case]
    path = write_raw(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(HandloomError, match=message) as caught:
        SafetensorsFile(path)
    assert str(path) in str(caught.value)


def test_header_length_is_bounded_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="at most"):
        SafetensorsFile(write_raw(tmp_path / "a", {}, length=2**63))
    with pytest.raises(HandloomError, match="truncated"):
        SafetensorsFile(write_raw(tmp_path / "b", {}, length=1000))
    (tmp_path / "c").write_bytes(b"123")
    with pytest.raises(HandloomError, match="3 bytes"):
        SafetensorsFile(tmp_path / "c")
    with pytest.raises(HandloomError, match="cannot be read"):
        SafetensorsFile(tmp_path / "none")


def test_count_is_bounded_before_the_json_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_file, "COUNT_LIMIT", 3)
    monkeypatch.setattr(safetensors_file.json, "loads", lambda *_, **__: pytest.fail("parsed"))
    header = {str(number): entry(offsets=(4 * number, 4 * number + 4)) for number in range(9)}
    with pytest.raises(HandloomError, match="more than 3 tensors"):
        SafetensorsFile(write_raw(tmp_path / "a", header, b"1234" * 9))


@given(st.binary(max_size=200))
def test_random_bytes_never_break_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(data)
    with pytest.raises(HandloomError):
        SafetensorsFile(path)


@given(st.data())
def test_a_changed_byte_is_refused_or_read_without_harm(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    write_safetensors(path, {"a": np.ones((2, 3), np.float32), "b": np.zeros(5, np.float32)})
    raw = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    try:
        file = SafetensorsFile(path)
    except HandloomError:
        return
    for name in file.entries:
        assert file.read(name).nbytes == file.entries[name].end - file.entries[name].begin


def test_written_files_open_in_the_formats_own_library(tmp_path: Path) -> None:
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3).T, "a": np.array(1.5, np.float32),
               "e": np.zeros((0, 2), np.float32), "i": np.arange(3, dtype=np.int64)}
    write_safetensors(tmp_path / "x", tensors, {"made": "here"})
    found = load_file(tmp_path / "x")
    assert set(found) == set(tensors)
    for name, expected in tensors.items():
        np.testing.assert_array_equal(found[name], expected)
    assert SafetensorsFile(tmp_path / "x").metadata == {"format": "pt", "made": "here"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) & 0o400


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_safetensors(path, {"a": np.ones(3, np.float32)})
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HandloomError, match="No space left on device"):
        write_safetensors(path, {"a": np.zeros(3, np.float32)})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_unwritable_dtype_is_named(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="'a' has dtype complex128"):
        write_safetensors(tmp_path / "x", {"a": np.zeros(2, complex)})
