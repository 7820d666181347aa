"""`fit` trains recurrent encoders as it trains all others: batches are arranged on the way, runs are resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert

from handloom.generate.generator import Writer
from handloom.models.config import Fields
from handloom.models.registry import new_model
from handloom.models.rnn import MODEL_TYPE, read_config
from handloom.train.estimators import TextClassifier, TokenClassifier
from handloom.train.pretraining import pretrain
from handloom.train.progress import silent
from handloom.train.storage import publish_file, safetensors_blocks

FAST: dict[str, Any] = {"epochs": 6, "batch_size": 16, "lr": 2e-2, "dropout": 0.1, "listener": silent}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent encoder of both directions with the tiny BERT's tokenizer."""
    folder = tiny_bert.write(tmp_path_factory.mktemp("rnn"))
    values = {"model_type": MODEL_TYPE, "vocab_size": len(tiny_bert.vocabulary()), "hidden_size": 32,
              "bidirectional": True, "embedding_size": 24, "lanes": 6, "initializer_range": 0.3}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    model = new_model(read_config(Fields(values)), None, np.random.default_rng(0))
    weights = {name: value.numpy() for name, value in model.parameters().items()}
    publish_file(folder / "model.safetensors", safetensors_blocks(weights, {"format": "pt"}))
    return folder


def test_a_classifier_learns_and_tells_the_same_after_loading(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    model = TextClassifier.from_pretrained(folder)
    model.fit(tiny_bert.opinions(150), test=tiny_bert.opinions(40, seed=1), out=out, baselines=False, **FAST)
    assert model.scores is not None and model.scores["accuracy"] >= 0.95
    texts = ["the film was very good", "a sad book", "lovely"]
    found = model.predict(texts)
    assert [one.label for one in found] == ["pos", "neg", "pos"]
    again = TextClassifier.load(out)
    assert [again.predict(text) for text in texts] == found  # alone as together


def test_a_tagger_learns(folder: Path) -> None:
    model = TokenClassifier.from_pretrained(folder)
    model.fit(tiny_bert.tagged(120), test=tiny_bert.tagged(30, seed=1), baselines=False, **FAST)
    assert model.scores is not None and model.scores["span_f1"] >= 0.95


def test_a_language_model_is_trained_from_plain_text_and_goes_on_with_it(tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("abcdefgh " * 400)
    found = pretrain(
        text, out=tmp_path / "run", model_type=MODEL_TYPE, tokenizer="character", layers=1, hidden=24, heads=1,
        context=16, steps=60, lr=2e-2, listener=silent,
    )  # fmt: skip
    assert found.scores["perplexity"] < 1.5
    going_on = Writer.from_pretrained(tmp_path / "run").generate("abc", max_new_tokens=12)
    assert going_on.text.startswith("defgh abcdef")
