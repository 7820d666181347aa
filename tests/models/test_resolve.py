"""A folder, a name of the catalogue, owner/name on the hub; and clear words for what is none of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from handloom.errors import HandloomError
from handloom.models import catalogue, hub
from handloom.models.fetch import Unreachable
from handloom.models.notice import Notice
from handloom.models.resolve import model_folder


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDLOOM_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "cached", lambda name: None)
    monkeypatch.setattr(hub, "reachable", lambda url: None)


def test_a_folder_that_exists_wins(tmp_path: Path) -> None:
    (tmp_path / "runs" / "ner").mkdir(parents=True)
    (tmp_path / "minilm-l6").mkdir()
    assert model_folder("runs/ner") == Path("runs/ner")
    assert model_folder(tmp_path / "runs") == tmp_path / "runs"
    assert model_folder("minilm-l6") == Path("minilm-l6")


def test_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(catalogue, "obtain", lambda entry, **options: asked.append((entry.name, options)) or Path("x"))
    assert model_folder("minilm-l6", offline=True) == Path("x")
    assert asked[0][0] == "minilm-l6" and asked[0][1]["offline"] is True


@pytest.mark.parametrize(("name", "message"), [
    ("minilm", r"no such folder .*catalogue knows minilm-l6.*did you mean 'minilm-l6'\?"),
    ("./some/model", "no such folder"),
    ("/some/model", "no such folder"),
    ("a/b/c", "no such folder"),
    ("../up", "no such folder"),
])
def test_names_of_nothing(name: str, message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        model_folder(name)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(HandloomError, match="is a file; a model is a folder"):
        model_folder("model.safetensors")


def test_offline_and_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HandloomError, match=r"'some/model'.*cache does not hold it.*\(offline\)"):
        model_folder("some/model", offline=True)

    def silent(url: str) -> None:
        raise Unreachable(f"{url}: no route")

    monkeypatch.setattr(hub, "reachable", silent)
    with pytest.raises(HandloomError, match=r"does not answer: .*no route.*HF_ENDPOINT"):
        model_folder("some/model")


def info(*names: str) -> Any:
    return SimpleNamespace(sha="abc", card_data=SimpleNamespace(license="apache-2.0"),
                           siblings=[SimpleNamespace(rfilename=name, size=1000) for name in names])


def test_only_data_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    files = info("config.json", "model.safetensors", "vocab.txt", "modeling.py", "pytorch_model.bin",
                 "onnx/config.json", "1_Pooling/config.json", "README.md", "flax_model.msgpack")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, **_: files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download",
                        lambda name, **options: asked.append((name, options)) or str(tmp_path))
    said: list[Notice] = []
    assert model_folder("some/model", say=said.append) == tmp_path
    assert asked == [("some/model", {"revision": "abc",
                                     "allow_patterns": ["config.json", "model.safetensors", "vocab.txt"]})]
    assert said[0].size == 3000 and said[0].licence == "apache-2.0" and "some/model" in said[0].sources[0]


def test_a_pickle_on_the_hub_is_refused_before_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = info("config.json", "pytorch_model.bin")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, **_: pickled)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(HandloomError, match=r"(?s)only as a pickle.*safe_serialization=True"):
        model_folder("some/model")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, **_: info("README.md"))
    with pytest.raises(HandloomError, match=r"holds no model\.safetensors"):
        model_folder("some/model")
