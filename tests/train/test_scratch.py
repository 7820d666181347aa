"""Models from scratch: their folder, their vocabulary, and that they learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import handloom as hl
from handloom.errors import HandloomError, UsageError
from handloom.models.describe import NAMES
from handloom.models.registry import FAMILIES
from handloom.train import scratch

NUMBERS = ["eins", "zwei", "drei", "vier", "fünf", "sechs"]
PAIRS = [(f"{a} and {b}", f"{NUMBERS[a]} und {NUMBERS[b]}") for a in range(6) for b in range(6)]
SHAPE: dict[str, Any] = {"layers": 1, "hidden": 32, "heads": 2, "vocab_size": 300}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_HOME", str(tmp_path / "home"))


def test_translation_is_learnt_from_nothing() -> None:
    model = hl.Translator.new(PAIRS, model_type="marian", dropout=0.0, **SHAPE)
    assert model.fresh
    model.fit(PAIRS, PAIRS[:6], epochs=20, lr=5e-3, batch_size=6, warmup=0.1)
    assert not model.fresh and model.scores.before is None
    assert model.predict(["2 and 5", "4 and 1"]) == ["drei und sechs", "fünf und zwei"]


def test_what_has_learnt_nothing_learns_faster(tmp_path: Path) -> None:
    def rate(out: Path) -> float:
        found: float = json.loads((out / "settings.json").read_text())["settings"]["lr"]
        return found

    model = hl.Translator.new(PAIRS, model_type="marian", **SHAPE)
    model.fit(PAIRS, PAIRS[:6], epochs=0.1, out=tmp_path / "new")
    model.fit(PAIRS, PAIRS[:6], epochs=0.1, out=tmp_path / "more")
    other = hl.Translator.new(PAIRS, model_type="marian", **SHAPE)
    other.fit(PAIRS, PAIRS[:6], epochs=0.1, lr=5e-4, out=tmp_path / "told")
    assert [rate(tmp_path / name) for name in ("new", "more", "told")] == [1e-3, 1e-4, 5e-4]


def test_the_same_question_gives_the_same_folder() -> None:
    one, two = (hl.Translator.new(PAIRS, model_type="marian", **SHAPE).folder for _ in range(2))
    other = hl.Translator.new(PAIRS, model_type="marian", seed=1, **SHAPE).folder
    assert one == two != other
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert (one / "tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()
    assert not np.array_equal(weights["model.shared.weight"], others["model.shared.weight"])
    assert json.loads((one / "config.json").read_text())["decoder_start_token_id"] == 0
    assert hl.Translator.new(PAIRS[:20], model_type="marian", **SHAPE).folder != one


def test_the_vocabulary_holds_both_sides() -> None:
    model = hl.Translator.new([("abab", "猫猫狗"), ("ab", "狗")], model_type="bart", tokenizer="character",
                              layers=1, hidden=32, heads=2)  # fmt: skip
    ids = model.tokenizer.encode_batch(["ab猫狗"])[0].ids
    assert len(set(ids.tolist())) == len(ids) == 6  # <s>, four characters, </s>


def test_what_config_json_says_besides() -> None:
    tagged = [(["ab", "c"], ["B-X", "O"])]
    model = hl.TokenClassifier.new(tagged, model_type="handloom-rnn", layers=2, hidden=32, bidirectional=True,
                                   tokenizer="character", dropout=0.3)  # fmt: skip
    said = json.loads((model.folder / "config.json").read_text())
    assert said["bidirectional"] is True and said["num_layers"] == 2 and said["dropout"] == 0.3
    assert load_file(model.folder / "model.safetensors")["rnn.weight_hh_l1_reverse"].shape == (64, 16)


def test_a_config_in_place_of_a_shape(tmp_path: Path) -> None:
    model = hl.TextClassifier.new([("a b", "x"), ("c d", "y")], model_type="bert", **SHAPE)
    given = tmp_path / "config.json"
    given.write_text((model.folder / "config.json").read_text())
    again = hl.TextClassifier.new([("a b", "x"), ("c d", "y")], config=given, vocab_size=300)
    assert again.config.hidden_size == 32 and again.folder != model.folder
    small = {**json.loads(given.read_text()), "vocab_size": 3}
    given.write_text(json.dumps(small))
    with pytest.raises(HandloomError, match="vocab_size 3"):
        hl.TextClassifier.new([("a b", "x"), ("c d", "y")], config=given, vocab_size=300)
    with pytest.raises(UsageError, match="layers goes with model_type"):
        hl.TextClassifier.new([("a b", "x"), ("c d", "y")], config=given, layers=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either model_type or config"),
        ({"model_type": "brt"}, "did you mean 'be?[ar]r?t'"),
        ({"model_type": "bert"}, "bert is no model for translation; these are: .*marian"),
        ({"model_type": "marian", "layers": 0}, "layers is 0"),
        ({"model_type": "marian", "hidden": 30, "heads": 4}, "4 heads do not divide"),
        ({"model_type": "marian", "tokenizer": "words"}, "tokenizer is 'words'"),
        ({"model_type": "marian", "dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        hl.Translator.new(PAIRS, **options)


def test_every_family_that_can_be_described_begins(tmp_path: Path) -> None:
    for family in NAMES:
        classes = FAMILIES[family].classes
        task = next(name for name in ("text-classification", "text2text-generation", "text-generation", "fill-mask")
                    if name in classes)  # fmt: skip
        asked = scratch.Scratch.of(model_type=family, tokenizer="character", layers=1, hidden=64, heads=2)
        folder = scratch.make(asked, task, ["abc", "héllo 你好"])
        assert (folder / "model.safetensors").is_file(), family
