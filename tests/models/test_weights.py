"""Single files and shards, old names, prefixes, and clear words about what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handloom.errors import HandloomError
from handloom.models.safetensors_file import write_safetensors
from handloom.models.weights import Weights, match_names, read_parameters

ONES = np.ones((2, 3), np.float32)


def shards(folder: Path, weight_map: dict[str, Any], files: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    for name, tensors in files.items():
        write_safetensors(folder / name, tensors)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"},
           {"1.safetensors": {"a": ONES}, "2.safetensors": {"b": 2 * ONES}})
    weights = Weights(tmp_path)
    assert sorted(weights) == ["a", "b"] and len(weights) == 2
    np.testing.assert_array_equal(weights.read_f32("b"), 2 * ONES)
    assert [path.name for path in weights.files] == ["1.safetensors", "2.safetensors"]


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..\\x.safetensors",
                                  "x.bin", ".safetensors", "", 3, "a\0.safetensors"])
def test_a_shard_may_not_leave_the_folder(tmp_path: Path, name: Any) -> None:
    shards(tmp_path, {"a": name}, {})
    with pytest.raises(HandloomError, match="plain name"):
        Weights(tmp_path)


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    shards(tmp_path, {"a": "1.safetensors"}, {})
    with pytest.raises(HandloomError, match=r"missing: 1\.safetensors"):
        Weights(tmp_path)
    shards(tmp_path, {"a": "1.safetensors", "b": "1.safetensors"}, {"1.safetensors": {"a": ONES}})
    with pytest.raises(HandloomError, match="holds 'b', but it does not"):
        Weights(tmp_path)
    shards(tmp_path, {"a": "1.safetensors"}, {"1.safetensors": {"a": ONES, "b": ONES}})
    with pytest.raises(HandloomError, match="holds 'b', which"):
        Weights(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000])
def test_a_broken_index_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(HandloomError, match=r"index\.json"):
        Weights(tmp_path)


def test_a_pickle_is_refused_with_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(HandloomError) as caught:
        Weights(tmp_path)
    message = str(caught.value)
    assert "pytorch_model.bin" in message and "safe_serialization=True" in message and repr(str(tmp_path)) in message


def test_an_empty_folder_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(HandloomError, match=r"no model\.safetensors .*notes\.txt"):
        Weights(tmp_path)
    with pytest.raises(HandloomError, match="no such folder"):
        Weights(tmp_path / "none")


SHAPE = (1,)


@pytest.mark.parametrize(("found", "parameter"), [
    ("bert.pooler.dense.weight", "bert.pooler.dense.weight"),
    ("pooler.dense.weight", "bert.pooler.dense.weight"),
    ("module.bert.pooler.dense.weight", "bert.pooler.dense.weight"),
    ("module.pooler.dense.weight", "bert.pooler.dense.weight"),
    ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
    ("embeddings.LayerNorm.beta", "bert.embeddings.LayerNorm.bias"),
    ("classifier.weight", "classifier.weight"),
])
def test_names_find_their_parameter(found: str, parameter: str) -> None:
    assert match_names([found], {parameter: SHAPE}, "bert.") == {parameter: found}


def test_a_prefix_too_many_is_taken_away() -> None:
    assert match_names(["bert.pooler.dense.weight", "cls.x"], {"pooler.dense.weight": SHAPE}, "bert.") == {
        "pooler.dense.weight": "bert.pooler.dense.weight"
    }


def test_two_tensors_for_one_parameter() -> None:
    with pytest.raises(HandloomError, match=r"both mean the parameter 'bert\.a\.weight'"):
        match_names(["a.weight", "module.a.weight"], {"bert.a.weight": SHAPE}, "bert.")
    for order in (["a.weight", "bert.a.weight"], ["bert.a.weight", "a.weight"]):  # the very name wins
        assert match_names(order, {"bert.a.weight": SHAPE}, "bert.") == {"bert.a.weight": "bert.a.weight"}


def test_reading_reports_all_that_differs(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {
        "a.gamma": np.full(3, 2, np.float16), "b.weight": ONES, "cls.bias": ONES,
        "embeddings.position_ids": np.arange(4)})
    arrays, report = read_parameters(
        Weights(tmp_path), {"bert.a.weight": (3,), "bert.b.weight": (2, 3), "classifier.weight": (2, 3)}, "bert.")
    assert set(arrays) == {"bert.a.weight", "bert.b.weight"}
    assert arrays["bert.a.weight"].dtype == np.float32 and arrays["bert.a.weight"].tolist() == [2, 2, 2]
    assert report.loaded == 2 and report.renamed == 2
    assert report.new == ("classifier.weight",)
    assert report.unexpected == ("cls.bias",)
    assert report.converted == ("F16",)
    said = "\n".join(report.lines())
    assert "classifier.weight" in said and "cls.bias" in said and "f16" in said and "position_ids" not in said


def test_a_wrong_shape_names_the_tensor_and_both_shapes(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"b.weight": ONES})
    with pytest.raises(HandloomError, match=r"'b\.weight' has shape \[2, 3\], but the configuration asks for \[3, 2\]"):
        read_parameters(Weights(tmp_path), {"bert.b.weight": (3, 2)}, "bert.")


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"transformer.wte.weight": ONES})
    with pytest.raises(HandloomError, match=r"not one tensor.*transformer\.wte\.weight"):
        read_parameters(Weights(tmp_path), {"bert.b.weight": (3, 2)}, "bert.")


def test_weights_of_more_layers_than_the_configuration_has_are_an_error(tmp_path: Path) -> None:
    tensors = {f"model.layers.{i}.w": ONES for i in range(3)}
    write_safetensors(tmp_path / "model.safetensors", {**tensors, "head.w": ONES})
    expected = {f"layers.{i}.w": (2, 3) for i in range(2)}
    with pytest.raises(HandloomError, match=r"the tensor 'model.layers.2.w' is of a layer that the configuration"):
        read_parameters(Weights(tmp_path), expected, "model.")
    found, report = read_parameters(Weights(tmp_path), {**expected, "layers.2.w": (2, 3)}, "model.")
    assert len(found) == 3 and report.unexpected == ("head.w",)
