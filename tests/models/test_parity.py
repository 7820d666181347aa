"""The recordings made anew, live, and the way through transformers and back."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import CASES, INPUTS, RECORDINGS, assert_gradients_agree, logits_of, loss_and_gradients, save_model

from handloom.models.registry import load_model
from handloom.models.safetensors_file import SafetensorsFile

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def recorder() -> Any:
    """tests/recordings/make_recordings.py as a module."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("make_recordings", RECORDINGS / "make_recordings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened_by_transformers(folder: Path, task: str, recorder: Any) -> Any:
    import transformers

    auto = {"text-classification": transformers.AutoModelForSequenceClassification,
            "token-classification": transformers.AutoModelForTokenClassification}[task]
    model, said = auto.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("case", CASES)
def test_live_against_transformers(case: str, tmp_path: Path, recorder: Any) -> None:
    model_type, task = case.split("-", 1)
    theirs = recorder.build(model_type, task)
    theirs.save_pretrained(tmp_path)
    batch = recorder.packed_batch(model_type, task)
    computed = recorder.run_transformers(theirs, batch, task)
    ours, _, report = load_model(tmp_path, task)
    assert report.new == () and report.unexpected == ()
    np.testing.assert_allclose(logits_of(ours, batch), computed["logits"], rtol=1e-4, atol=1e-5)
    loss, gradients = loss_and_gradients(ours, batch)  # type: ignore[arg-type]
    np.testing.assert_allclose(loss, computed["loss"].item(), rtol=1e-5)
    assert_gradients_agree(gradients, {name.removeprefix("gradient."): value for name, value in computed.items()
                                       if name.startswith("gradient.")})


@pytest.mark.parametrize("case", CASES)
def test_recordings_are_what_transformers_computes_today(case: str, recorder: Any) -> None:
    task = case.split("-", 1)[1]
    file = SafetensorsFile(RECORDINGS / case / "recording.safetensors")
    theirs = opened_by_transformers(RECORDINGS / case, task, recorder)
    computed = recorder.run_transformers(theirs, {name: file.read(name) for name in (*INPUTS, "labels")}, task)
    assert set(computed) | {*INPUTS, "labels"} == set(file.entries)
    for name, value in computed.items():
        np.testing.assert_allclose(value, file.read(name), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_round_trip_through_transformers(case: str, tmp_path: Path, recorder: Any) -> None:
    """Ours, with a new head, saved; opened and saved by transformers; opened by us: the same logits to 1e-5."""
    task = case.split("-", 1)[1]
    labels = ["O", "B-x", "I-x", "B-人"]
    ours, _, _ = load_model(RECORDINGS / case, task, labels=labels, rng=np.random.default_rng(5))
    save_model(ours, tmp_path / "ours")
    file = SafetensorsFile(RECORDINGS / case / "recording.safetensors")
    batch = {name: file.read(name) for name in (*INPUTS, "labels")}
    expected = logits_of(ours, batch)

    theirs = opened_by_transformers(tmp_path / "ours", task, recorder)
    assert theirs.config.id2label == dict(enumerate(labels))
    theirs.save_pretrained(tmp_path / "theirs")
    computed = recorder.run_transformers(theirs, batch, task)
    np.testing.assert_allclose(computed["logits"], expected, atol=1e-5)

    again, config, report = load_model(tmp_path / "theirs", task)
    assert config.labels == tuple(labels) and report.new == () and report.unexpected == ()
    np.testing.assert_allclose(logits_of(again, batch), expected, atol=1e-5)


def test_minilm_itself(recorder: Any) -> None:
    folder = os.environ.get("HANDLOOM_MINILM")
    if not folder:
        pytest.skip("HANDLOOM_MINILM does not name a folder with MiniLM-L6")
    import torch
    import transformers

    theirs = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ours, config, report = load_model(folder)
    assert report.new == () and report.unexpected == () and config.layers == 6
    rng = np.random.default_rng(0)
    lengths = (5, 17, 2)
    rows = [rng.integers(1000, 30000, length).astype(np.int32) for length in lengths]
    batch = {"ids": np.concatenate(rows), "types": np.zeros(sum(lengths), np.int32),
             "positions": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
             "starts": np.cumsum([0, *lengths]).astype(np.int32)}
    hidden = ours(batch)
    pooled = ours.pooled(hidden, batch).numpy()  # type: ignore[union-attr]
    for number, row in enumerate(rows):
        with torch.no_grad():
            found = theirs(input_ids=torch.from_numpy(row.astype(np.int64))[None])
        begin, end = batch["starts"][number : number + 2]
        np.testing.assert_allclose(hidden.numpy()[begin:end], found.last_hidden_state[0].numpy(), atol=2e-5)
        np.testing.assert_allclose(pooled[number], found.pooler_output[0].numpy(), atol=2e-5)
