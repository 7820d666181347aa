"""Vectors for texts: pooling as the folder says, unit length, cosines, the commands; and beside transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handloom import HandloomError, SentenceEncoder, UsageError
from handloom.cli.main import main

TEXTS = ["我爱北京天安门", "小猫在家。", "cats", "北京是中国的首都，我爱北京。"]


def sentence_folder(model: Path, folder: Path, pooling: dict[str, bool], modules: list[str], **more: Any) -> Path:
    """A folder as sentence-transformers writes it."""
    shutil.copytree(model, folder)
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
    entries = [{"idx": i, "name": str(i), "path": places[kind], "type": f"sentence_transformers.models.{kind}"}
               for i, kind in enumerate(modules)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, **more}))
    return folder


MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def test_pooling_is_of_the_features(chinese: Path) -> None:
    encoder = SentenceEncoder.from_pretrained(chinese, precision="f32", normalise=False)
    features = encoder.features(TEXTS)
    assert [len(rows) for rows in features] == [9, 7, 4, 16]
    np.testing.assert_allclose(encoder.encode(TEXTS), [rows.mean(0) for rows in features], rtol=1e-5, atol=1e-6)
    first = SentenceEncoder.from_pretrained(chinese, precision="f32", pooling="cls").encode(TEXTS)
    wanted = np.stack([rows[0] / np.linalg.norm(rows[0]) for rows in features])
    np.testing.assert_allclose(first, wanted, rtol=1e-5, atol=1e-6)


def test_a_text_alone_has_the_bits_that_it_has_among_others(chinese: Path) -> None:
    encoder = SentenceEncoder.from_pretrained(chinese, precision="f32")
    together = encoder.encode(TEXTS)
    assert together.shape == (4, 24) and np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encoder.encode(text), vector)
    assert encoder.encode([]).shape == (0, 0) and encoder.features([]) == []


def test_similarity(chinese: Path) -> None:
    encoder = SentenceEncoder.from_pretrained(chinese, precision="f32", normalise=False)
    cosines = encoder.similarity(TEXTS, TEXTS)
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-6)
    np.testing.assert_allclose(cosines, cosines.T, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity(TEXTS[0], TEXTS[1:])[0], cosines[0, 1:], atol=1e-6)


def test_folders_of_sentence_transformers(chinese: Path, tmp_path: Path) -> None:
    mean = sentence_folder(chinese, tmp_path / "mean", MEAN, ["Transformer", "Pooling"], max_seq_length=8)
    encoder = SentenceEncoder.from_pretrained(mean)
    assert (encoder.pooling, encoder.normalise, encoder.max_length) == ("mean", False, 8)
    encoder.encode(TEXTS)
    assert encoder.notes == ("2 of 4 texts were longer than the model and have been shortened",)
    cls = sentence_folder(chinese, tmp_path / "cls", CLS, ["Transformer", "Pooling", "Normalize"])
    encoder = SentenceEncoder.from_pretrained(cls)
    assert (encoder.pooling, encoder.normalise, encoder.max_length) == ("cls", True, 32)


@pytest.mark.parametrize(("pooling", "modules", "message"), [
    (MEAN, ["Transformer", "Pooling", "Dense"], "the module Dense is not supported"),
    ({**CLS, "pooling_mode_mean_tokens": True}, ["Transformer", "Pooling"], "pooling .*cls_token and .*mean_tokens"),
    ({"pooling_mode_max_tokens": True}, ["Transformer", "Pooling"], "the pooling pooling_mode_max_tokens is not"),
    ({}, ["Transformer", "Pooling"], "the pooling of nothing is not supported"),
])  # fmt: skip
def test_modules_that_are_not_there(
    chinese: Path, tmp_path: Path, pooling: dict[str, bool], modules: list[str], message: str
) -> None:
    folder = sentence_folder(chinese, tmp_path / "model", pooling, modules)
    with pytest.raises(HandloomError, match=message):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize(("content", "message"), [
    ("{", "must hold a list of"), ("[1]", "must hold a list of"), ('[{"path": ""}]', "must hold a list of"),
    ('[{"path": "../other", "type": "a.Transformer"}]', "leads out of the folder"),
    ('[{"path": "/etc", "type": "a.Transformer"}]', "leads out of the folder"),
])  # fmt: skip
def test_a_broken_list_of_modules(chinese: Path, tmp_path: Path, content: str, message: str) -> None:
    folder = shutil.copytree(chinese, tmp_path / "model")
    (folder / "modules.json").write_text(content)
    with pytest.raises(HandloomError, match=message):
        SentenceEncoder.from_pretrained(folder)


def test_unknown_pooling(chinese: Path) -> None:
    with pytest.raises(UsageError, match="no pooling 'max'; there are mean, cls"):
        SentenceEncoder.from_pretrained(chinese, pooling="max").encode("我")


def test_the_commands(chinese: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feature-extraction", str(chinese), *TEXTS[:2], "--precision", "f32"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    vectors = SentenceEncoder.from_pretrained(chinese, precision="f32").encode(TEXTS[:2])
    assert [row["text"] for row in rows] == TEXTS[:2]
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows], np.float32), vectors)
    assert main(["feature-extraction", str(chinese), "我爱", "--tokens"]) == 0
    assert np.shape(json.loads(capsys.readouterr().out)["vectors"]) == (4, 24)

    table, out = tmp_path / "texts.csv", tmp_path / "vectors.npy"
    table.write_text("text\n" + "\n".join(TEXTS) + "\n", encoding="utf-8")
    assert main(["feature-extraction", str(chinese), "--data", str(table), "--out", str(out)]) == 0
    assert np.load(out).shape == (4, 24)
    write = ["feature-extraction", str(chinese), "我爱", "--out"]
    assert main([*write, str(out)]) == 2 and main([*write, str(out), "--overwrite"]) == 0
    assert "is there already" in capsys.readouterr().err and np.load(out).shape == (1, 24)
    assert main([*write, str(tmp_path / "nodir" / "x.npy")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert main(["sentence-similarity", str(chinese), "我", "爱", "--delimiter", ";"]) == 2
    assert "--delimiter says how a file is read: it goes with --data FILE" in capsys.readouterr().err
    assert main(["sentence-similarity", str(chinese), TEXTS[1], "--data", str(table), "--top", "2", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["text"] == TEXTS[1] and found[0]["score"] == pytest.approx(1, abs=1e-2) and len(found) == 2
    assert main(["sentence-similarity", str(chinese), TEXTS[0], TEXTS[2]]) == 0
    assert capsys.readouterr().out.endswith("  cats\n")
    assert main(["sentence-similarity", str(chinese), TEXTS[0]]) == 2
    assert "give either texts or --data FILE" in capsys.readouterr().err


@pytest.mark.parity
def test_as_transformers_computes(chinese: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModel.from_pretrained(chinese).eval()
    encoder = SentenceEncoder.from_pretrained(chinese, precision="f32")
    for text, vector in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        ids = torch.from_numpy(encoder.tokenizer.encode(text).ids.astype(np.int64))[None]
        with torch.no_grad():
            hidden = theirs(input_ids=ids).last_hidden_state[0]
        np.testing.assert_allclose(encoder.features(text), hidden.numpy(), atol=2e-5)
        mean = hidden.mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
