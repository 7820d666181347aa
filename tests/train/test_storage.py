from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from handloom.errors import HandloomError, UsageError
from handloom.train import checkpoint, storage
from handloom.train.checkpoint import State
from handloom.train.run import Log, RunFolder, read_log

WEIGHTS = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(2.5, np.float32)}
MOMENTS = {"first/a": np.zeros(0, np.float32), "ids": np.array([1, -2], np.int32)}


def test_safetensors_are_read_by_the_original(tmp_path: Path) -> None:
    digest = storage.publish_file(
        tmp_path / "x.safetensors", storage.safetensors_blocks({**WEIGHTS, **MOMENTS}, {"format": "pt"})
    )
    found = load_file(tmp_path / "x.safetensors")
    for name, array in {**WEIGHTS, **MOMENTS}.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert digest == storage.file_hash(tmp_path / "x.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_checkpoints_keep_the_newest_and_the_best(tmp_path: Path) -> None:
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2)):
        checkpoint.save_checkpoint(tmp_path, State(step=step, best_step=best), WEIGHTS, MOMENTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]
    place, damaged = checkpoint.latest(tmp_path)
    assert place is not None and not damaged and checkpoint.load_state(place) == State(step=4, best_step=2)
    np.testing.assert_array_equal(checkpoint.load_weights(place)["b.weight"], WEIGHTS["b.weight"])
    assert checkpoint.load_moments(place)["ids"].tolist() == [1, -2]


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, State(step=1, best_step=1), WEIGHTS, MOMENTS)
    newest = checkpoint.save_checkpoint(tmp_path, State(step=2, best_step=1), WEIGHTS, MOMENTS)
    data = bytearray((newest / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "weights.safetensors").write_bytes(data)
    place, damaged = checkpoint.latest(tmp_path)
    assert place is not None and place.name == "step-00000001" and damaged == [newest]
    (place / "moments.safetensors").unlink()
    assert checkpoint.latest(tmp_path) == (None, [newest, place])
    assert checkpoint.latest(tmp_path / "none") == (None, [])


def test_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save_checkpoint(tmp_path, State(step=1), WEIGHTS, MOMENTS)
    real = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.EFBIG, "File too large")
        real(handle)

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(HandloomError, match="disk is full"):
        checkpoint.save_checkpoint(tmp_path, State(step=2), WEIGHTS, MOMENTS)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    place, _ = checkpoint.latest(tmp_path)
    assert place is not None and checkpoint.load_state(place).step == 1


def test_full_disk_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.publish_text(tmp_path / "model", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(HandloomError, match="disk is full"):
        storage.publish_text(tmp_path / "model", "new")
    assert (tmp_path / "model").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_run_folder_is_locked_refused_and_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunFolder.create(out, {"seed": 1}) as run:
        assert run.settings()["seed"] == 1
        with pytest.raises(HandloomError, match=f"in use by another process .{os.getpid()}"):
            RunFolder.open(out)
        (out / "model.safetensors").write_bytes(b"old")
        (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite") as refused:
        RunFolder.create(out, {})
    told = f"{out} exists already: a training that was stopped, and `handloom resume {out}` goes on with it; choose"
    assert str(refused.value).startswith(told)
    (out / "handloom.json").write_text("{}")
    with pytest.raises(UsageError, match="exists already; choose another --out"):
        RunFolder.create(out, {})
    with RunFolder.create(out, {"seed": 2}, overwrite=True) as run:
        assert run.settings()["seed"] == 2
    assert not (out / "model.safetensors").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_overwrite_never_touches_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(UsageError, match="not a run"):
        RunFolder.create(tmp_path, {}, overwrite=True)
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


def test_log_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.write({"step": 1})
    length = log.sync()
    log.write({"step": 2, "text": "长"})
    log.close()
    assert [e["step"] for e in read_log(tmp_path / "log.jsonl")] == [1, 2]
    log = Log(tmp_path / "log.jsonl", length)
    log.write({"step": 3})
    log.close()
    assert [e["step"] for e in read_log(tmp_path / "log.jsonl")] == [1, 3]
