"""Recurrent models are pre-trained by truncated back-propagation: rows of text whose states go on from step to step."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.models.rnn import MODEL_TYPE, RNNForCausalLM
from handloom.train import loop, resuming
from handloom.train.optimisers import optimiser
from handloom.train.pretraining import Prepared, prepare, pretrain
from handloom.train.progress import silent
from handloom.train.streams import StreamTraining
from handloom.train.windows import Streams, held_out

ROWS, TIME = 3, 8
TINY: dict[str, Any] = {
    "model_type": MODEL_TYPE, "tokenizer": "character", "layers": 2, "hidden": 12, "heads": 1, "context": TIME,
    "batch_size": ROWS, "steps": 7, "lr": 1e-2, "schedule": "constant", "warmup": 0, "seed": 3, "precision": "f32",
    "documents": "lines",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setattr("handloom.train.corpora.home", lambda: home)
        yield home


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of 1 to 40 letters: some windows hold several, some are inside of one."""
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("abc "), 1 + int(rng.integers(0, 40)))).strip() or "a" for _ in range(30)]
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def prepared(text: Path) -> Prepared:
    return prepare(text, **TINY)


def test_a_row_goes_on_where_it_was(prepared: Prepared) -> None:
    batches = prepared.batches
    assert isinstance(batches, Streams) and batches.each == len(prepared.batches.file) // TIME // ROWS
    for number in range(2 * batches.each):
        [before], [after] = batches.step(number), batches.step(number + 1)
        goes_on = (number + 1) % batches.each != 0
        assert after.follows == goes_on
        if goes_on:
            assert ((before.first + TIME) % len(batches.file) == after.first).all()
    [one] = batches.step(1)
    packed = prepared.task.batch(one)
    begins = np.isin(one.first, batches.file.starts)
    numbers = packed["continues"][np.searchsorted(packed["starts"], np.arange(ROWS) * TIME)]
    assert numbers.tolist() == np.where(begins, 0, np.arange(1, ROWS + 1)).tolist()
    assert packed["starts"][packed["lasts"] + 1].tolist() == [TIME, 2 * TIME, 3 * TIME]


def test_a_text_in_windows_is_the_text_at_once(prepared: Prepared) -> None:
    """What is lost by truncation are gradients alone: a validation finds the loss of whole documents."""
    engine, task, file = prepared.engine(), prepared.task, prepared.valid
    total, weight = engine.total(held_out(file, task, ROWS, 10**6))
    each = (len(file) - 1) // ROWS
    model, wanted, count = prepared.model, 0.0, 0
    assert isinstance(model, RNNForCausalLM)
    for begin in range(0, ROWS * each, each):
        inner = [at for at in file.starts.tolist() if begin < at < begin + each]
        for first, last in pairwise([begin, *inner, begin + each]):
            ids = file.tokens[first : last + 1].astype(np.int32)
            labels = ids[1:].copy()
            if last in file.starts:
                labels[-1] = -100
            batch = {"ids": ids[:-1], "starts": np.array([0, last - first], np.int32)}
            hidden = model.encode({name: ht.tensor(x) for name, x in {**batch, **model.arrange(batch)}.items()})
            loss, kept = model.loss(hidden, ht.tensor(labels))
            wanted, count = wanted + float(loss), count + int(kept)
    assert weight == count
    assert total == pytest.approx(wanted, rel=1e-5)


def test_it_learns_as_a_stream_of_one_document_does(tmp_path: Path) -> None:
    """The other way to train so, which is held to PyTorch's, finds the same losses."""
    (tmp_path / "a.txt").write_text("the cat saw a dog by the sea. " * 12)
    found = prepare(tmp_path / "a.txt", **{**TINY, "documents": "file"})
    engine, rule = found.engine(), optimiser("adamw", found.settings.weight_decay, found.settings.beta2)
    other = StreamTraining(found.start.model()[0], rule, ROWS, TIME, clip=found.settings.clip)  # type: ignore[arg-type]
    tokens = found.batches.file.tokens
    for number in range(5):
        [windows] = found.batches.step(number)
        at = (windows.first + np.arange(TIME + 1)[:, None]) % len(tokens)
        if len(found.batches.file.starts) == 2 and (at[1:] == 0).any():
            pytest.fail("the seed must be one by which no row reaches the ring's end")
        ids = tokens[at].astype(np.int32)
        ours, theirs = engine.step([windows], number, 1e-2), other.step(ids[:-1], ids[1:], 1e-2)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4) and ours.norm == pytest.approx(theirs.norm, rel=1e-3)


def test_a_resumed_run_has_the_same_bits(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of its rows: their states are in the checkpoint."""
    how = {**TINY, "listener": silent, "dropout": 0.1, "validate_every": 3}
    whole = pretrain(text, out=tmp_path / "whole", **how)
    monkeypatch.setattr(loop, "hook", lambda now: os.kill(os.getpid(), signal.SIGINT) if now == "step 2" else None)
    with pytest.raises(loop.Interrupted):
        pretrain(text, out=tmp_path / "run", **how)
    monkeypatch.setattr(loop, "hook", lambda now: None)
    again = resuming.resume(tmp_path / "run", threads=1, listener=silent)
    assert whole.scores is not None and whole.scores.to_dict() == again.scores.to_dict()
    name = "model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_what_rows_need(text: Path, tmp_path: Path) -> None:
    for changes, error, said in (
        ({"batch_size": 90}, HandloomError, "fewer than one window of 8 for each of 90 rows"),
        ({"micro_batch_tokens": 8}, UsageError, "take a smaller batch_size"),
    ):
        with pytest.raises(error, match=said):
            prepare(text, **{**TINY, **changes})
    (tmp_path / "valid.txt").write_text("ab")
    with pytest.raises(HandloomError, match="fewer than the 3 rows of a batch"):
        prepare(text, tmp_path / "valid.txt", **TINY)
