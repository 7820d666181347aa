"""Taggers with a conditional random field, and with other sub-words than the first of a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from safetensors.numpy import load_file

from handloom.errors import HandloomError, UsageError
from handloom.text.schemes import recognise
from handloom.text.spans import runs
from handloom.train.estimators import TokenClassifier
from handloom.train.progress import silent

FAST: dict[str, Any] = {"epochs": 5, "batch_size": 16, "lr": 5e-3, "listener": silent, "baselines": False,
                        "before": False}  # fmt: skip
TEXT = "anna lives in new york with marie curie ."


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crf") / "run"
    model = TokenClassifier.from_pretrained(tiny)
    model.fit(tiny_bert.tagged(120), test=tiny_bert.tagged(30, seed=1), crf=True, out=out, **FAST)
    assert model.scores is not None and model.scores["span_f1"] >= 0.95
    return out


def test_a_field_is_saved_with_its_model_and_found_again(trained: Path) -> None:
    weights = load_file(trained / "model.safetensors")
    assert weights["crf.transitions"].shape == (5, 5) and weights["crf.end_transitions"].shape == (5,)
    about = json.loads((trained / "handloom.json").read_text())
    assert about["task_settings"]["crf"] is True and about["task_settings"]["subwords"] == "first"
    assert np.abs(weights["crf.transitions"]).max() > 0.2  # it has learnt, at a rate of its own
    model = TokenClassifier.load(trained)
    found = model.predict(TEXT)
    assert [(span.text, span.label) for span in found] == [("anna", "PER"), ("new york", "LOC"), ("marie curie", "PER")]
    assert all(0.3 < span.score <= 1 for span in found)
    assert model.predict([TEXT, "rome"])[0] == found  # alone as together


def test_training_goes_on_with_the_field_and_with_more_labels(trained: Path) -> None:
    data = [(words, ["B-FILM" if word == "film" else tag for word, tag in zip(words, tags, strict=True)])
            for words, tags in tiny_bert.tagged(60, seed=2)]  # fmt: skip
    data.append((["the", "film", "was", "good"], ["O", "B-FILM", "O", "O"]))
    data.append((["a", "film", "is", "bad"], ["O", "B-FILM", "O", "O"]))
    model = TokenClassifier.from_pretrained(trained)
    before = model.model.parameters()["crf.transitions"].numpy().copy()
    model.fit(data, valid=data, **{**FAST, "epochs": 0.1, "lr": 1e-9})
    after = model.model.parameters()["crf.transitions"].numpy()
    assert model.task.crf and after.shape == (7, 7)
    assert np.abs(after[:5, :5] - before).max() < 0.05  # one step of Adam at the field's own rate


def test_no_tag_is_where_the_scheme_forbids_it(trained: Path) -> None:
    model = TokenClassifier.load(trained)
    scheme = recognise(model.task.labels)
    noise = np.random.default_rng(0).choice([word for word in tiny_bert.vocabulary()[5:] if word[0] != "#"], (40, 12))
    for said in model.predict_raw([" ".join(words) for words in noise.tolist()]):
        tags = [tag for tag in said.tags if tag is not None]
        assert all(scheme.follows(a, b) for a, b in zip([None, *tags], [*tags, None], strict=True))
        assert len(runs(said.tags, scheme)) == len(said.spans)


def test_long_texts_are_one_chain(trained: Path) -> None:
    """Windows give scores, and one path goes through all of them."""
    model = TokenClassifier.load(trained)
    model.max_length = 16
    text = " ".join([TEXT] * 6)
    (said,) = model.predict_raw([text])
    assert None not in said.tags and len(said.spans) == 18
    assert {span.text for span in said.spans} == {"anna", "new york", "marie curie"}


@pytest.mark.parametrize(("subwords", "crf"), [("all", False), ("mean", True)])
def test_sub_words(subwords: str, crf: bool, tiny: Path, tmp_path: Path) -> None:
    # names of two sub-words: "annas", "romes"
    data = [([w + "s" if w in ("anna", "paris", "rome", "bob") else w for w in words], tags)
            for words, tags in tiny_bert.tagged(150)]  # fmt: skip
    model = TokenClassifier.from_pretrained(tiny)
    model.fit(data[:120], test=data[120:], subwords=subwords, crf=crf, **FAST)
    assert model.scores is not None and model.scores["span_f1"] >= 0.9
    model.save(tmp_path / "saved")
    again = TokenClassifier.load(tmp_path / "saved")
    assert again.task.subwords == subwords and again.task.crf is crf
    texts = ["annas lives in romes", "bobs"]
    assert again.predict(texts) == model.predict(texts) == [again.predict(text) for text in texts]


def test_what_does_not_go_together(tiny: Path) -> None:
    model, data = TokenClassifier.from_pretrained(tiny), tiny_bert.tagged(20)
    with pytest.raises(UsageError, match="must be 'first' or 'mean', not 'all'"):
        model.fit(data, crf=True, subwords="all", listener=silent)
    with pytest.raises(UsageError, match="class_weights and label_smoothing have no meaning"):
        model.fit(data, crf=True, label_smoothing=0.1, listener=silent)
    with pytest.raises(UsageError, match="unknown subwords 'last'"):
        model.fit(data, subwords="last", listener=silent)


def test_a_folder_without_its_field_is_refused(trained: Path, tmp_path: Path) -> None:
    from handloom.train.storage import publish_file, safetensors_blocks

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "handloom.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    weights = load_file(trained / "model.safetensors")
    del weights["crf.transitions"]
    publish_file(tmp_path / "model.safetensors", safetensors_blocks(weights, {"format": "pt"}))
    with pytest.raises(HandloomError, match=r"does not hold crf\.transitions"):
        TokenClassifier.load(tmp_path)


def test_copies_are_made_of_training_data_alone(tiny: Path) -> None:
    notes: list[str] = []
    model = TokenClassifier.from_pretrained(tiny)
    listener = lambda progress: notes.append(progress.text or "")  # noqa: E731
    model.fit(tiny_bert.tagged(40), augment="mention", augment_times=2, **{**FAST, "epochs": 1, "listener": listener})
    said = next(note for note in notes if note.startswith("augmentation by mention"))
    assert "copies of 36 examples" in said  # a tenth was set aside before
    assert model.about["data"]["train"]["examples"] > 60
    with pytest.raises(UsageError, match="there is no augmentation 'infill' in a training"):
        model.fit(tiny_bert.tagged(20), augment="infill", listener=silent)


def test_spans_that_no_words_make_are_told_and_missed(tiny: Path) -> None:
    """The words that such spans touch are learnt; found is a span only with both its ends."""
    rows = [("marie likes paris", [(0, 5, "PER"), (12, 17, "LOC")])] * 12
    tagger = TokenClassifier.from_pretrained(tiny)
    tagger.fit(rows, rows[:2], epochs=12, lr=1e-2, batch_size=4, listener=silent)
    assert tagger.evaluate(rows[:2], before=False)["span_f1"] == 1.0
    assert not any("begin and end" in note for note in tagger.notes)
    for wrong in ((0, 3, "PER"), (1, 5, "PER"), (3, 8, "PER")):
        scores = tagger.evaluate([("marie likes paris", [wrong, (12, 17, "LOC")])], before=False)
        assert (scores["span_f1"], scores["span_recall"], scores["span_precision"]) == (0.5, 0.5, 0.5)
        [note] = [note for note in tagger.notes if "begin and end" in note]
        assert "1 of 2, such as " in note and "marie likes paris"[wrong[0] : wrong[1]] in note
        assert scores.mistakes[0].gold == f"PER: {'marie likes paris'[wrong[0] : wrong[1]]}"
    blanks = tagger.evaluate([("marie likes paris", [(0, 6, "PER"), (11, 17, "LOC")])], before=False)
    assert blanks["span_f1"] == 1.0
