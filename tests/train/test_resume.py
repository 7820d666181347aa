"""A run that was stopped, anyhow and anywhere, ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bert

from handloom.errors import HandloomError
from handloom.train import estimators, loop
from handloom.train.estimators import TextClassifier
from handloom.train.progress import silent
from handloom.train.run import read_log

OPTIONS = {"epochs": 2, "batch_size": 12, "lr": 3e-3, "seed": 5, "validate_every": 3}
STEPS = 10  # 60 texts, of which 6 are set aside: 5 steps an epoch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "toy.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in tiny_bert.opinions(60)))
    return path


@pytest.fixture(scope="module")
def whole(tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    TextClassifier.from_pretrained(tiny).fit(data, test=data, out=out, listener=silent, baselines=False, **OPTIONS)
    return out


def start(tiny: Path, data: Path, out: Path, point: str, name: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("fit_in_process.py")
    source = Path(estimators.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(script), str(tiny), str(data), str(out), point, name, json.dumps(OPTIONS)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("point", "name", "code"), [
    ("step 1", "SIGKILL", -9),  # before the first checkpoint
    ("step 4", "SIGKILL", -9),  # inside of an epoch
    ("write moments.safetensors 4", "SIGKILL", -9),  # half a checkpoint
    ("checkpoint 5 done", "SIGKILL", -9),  # between two epochs
    ("checkpoint 10 done", "SIGKILL", -9),  # trained, not yet saved
    ("step 4", "SIGTERM", 143),
    ("step 7", "SIGINT", 130),
])  # fmt: skip
def test_the_same_bits(tiny: Path, data: Path, whole: Path, tmp_path: Path, point: str, name: str, code: int) -> None:
    out = tmp_path / "run"
    done = start(tiny, data, out, point, name)
    assert done.returncode == code, done.stderr
    assert not (out / "handloom.json").exists()
    if code > 0:
        assert f"handloom resume {out}" in done.stderr
    resumed = estimators.resume(out, listener=silent)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    old, new = (json.loads((run / "handloom.json").read_text()) for run in (whole, out))
    for key in ("weights", "scores", "kept_step", "steps"):
        assert old[key] == new[key]
    steps = [[e["step"] for e in read_log(run / "log.jsonl") if e["event"] == "step"] for run in (whole, out)]
    assert steps[0] == steps[1] == [STEPS] == [step for step, _ in resumed.report.losses]
    validations = [[e for e in read_log(run / "log.jsonl") if e["event"] == "validation"] for run in (whole, out)]
    assert validations[0] == validations[1]
    assert not (out / "checkpoints").exists()


def test_a_damaged_checkpoint_is_told(tiny: Path, data: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start(tiny, data, out, "step 7", "SIGTERM").returncode == 143
    [older, newest] = sorted((out / "checkpoints").iterdir())
    (newest / "weights.safetensors").write_bytes(b"half")
    said: list[str] = []
    estimators.resume(out, listener=lambda event: said.append(event.text))
    [told] = [text for text in said if "damaged" in text]
    assert told == f"{newest}: damaged, and left aside; training goes on from {older.name}"
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_changed_data_and_settings_are_refused(tiny: Path, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "toy.jsonl"
    copy.write_bytes(data.read_bytes())
    out = tmp_path / "run"
    assert start(tiny, copy, out, "step 2", "SIGKILL").returncode == -9
    copy.write_text(copy.read_text().replace("film", "book"))
    with pytest.raises(HandloomError, match="train data is not what"):
        estimators.resume(out, listener=silent)
    copy.write_bytes(data.read_bytes())
    with pytest.raises(HandloomError, match=r"lr = 0\.003, not 0\.1"):
        TextClassifier.from_pretrained(tiny).fit(
            copy, test=copy, out=out, resume=True, listener=silent, baselines=False, **{**OPTIONS, "lr": 0.1}
        )


def test_data_and_model_that_were_moved(tiny: Path, data: Path, whole: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "toy.jsonl").write_bytes(data.read_bytes())
    shutil.copytree(tiny, old / "model")
    out = tmp_path / "run"
    assert start(old / "model", old / "toy.jsonl", out, "step 2", "SIGKILL").returncode == -9
    old.rename(new)
    with pytest.raises(HandloomError, match=rf"{old / 'toy.jsonl'}, which is not there.*--train PLACE"):
        estimators.resume(out, listener=silent)
    moved = {"train": new / "toy.jsonl", "test": new / "toy.jsonl"}
    with pytest.raises(HandloomError, match=r"the model .*--model PLACE"):
        estimators.resume(out, listener=silent, moved=moved)
    estimators.resume(out, listener=silent, moved={**moved, "model": new / "model"})
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_resuming_a_finished_run_loads_it(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (whole / "model.safetensors").stat().st_mtime_ns
    found = estimators.resume(whole)
    assert "nothing is left to do" in capsys.readouterr().err
    assert isinstance(found, TextClassifier) and found.task is not None
    assert (whole / "model.safetensors").stat().st_mtime_ns == before


def test_a_signal_handler_is_put_back(tiny: Path, data: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    TextClassifier.from_pretrained(tiny).fit(data, listener=silent, epochs=0.2, before=False)
    assert signal.getsignal(signal.SIGTERM) is before


def test_stopped_without_a_run_folder(tiny: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "hook", lambda point: os.kill(os.getpid(), signal.SIGINT) if point == "step 2" else None)
    with pytest.raises(loop.Interrupted, match="stopped at step 2 of"):
        TextClassifier.from_pretrained(tiny).fit(data, listener=silent, epochs=2, before=False)


def test_a_settings_file_of_somebody_else_stops_nothing(tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "model"
    shutil.copytree(tiny, place)
    (place / "settings.json").write_text("{}")
    assert TextClassifier.from_pretrained(place).folder == place
    (place / "log.jsonl").write_text("")
    with pytest.raises(HandloomError, match=r"is a training that was stopped; `handloom resume .*model` ends it"):
        TextClassifier.from_pretrained(place)
