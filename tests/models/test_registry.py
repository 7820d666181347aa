"""From a directory to a model: configurations checked, heads kept, replaced or drawn; and back to a directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import CASES, RECORDINGS, save_model

from handloom.errors import HandloomError, UsageError
from handloom.models import registry
from handloom.models.encoder import Classifier, freezable
from handloom.models.registry import FAMILIES, load_config, load_model
from handloom.models.safetensors_file import SafetensorsFile, write_safetensors

TEXT, TOKEN = "text-classification", "token-classification"


def copy(case: str, to: Path, **changes: Any) -> Path:
    shutil.copytree(RECORDINGS / case, to, dirs_exist_ok=True)
    config = json.loads((to / "config.json").read_text())
    config.update(changes)
    (to / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value != "absent"}))
    return to


@pytest.mark.parametrize(("changes", "message"), [
    ({"model_type": "bret"}, r"'bret' is unknown \(the nearest is 'bert'\); known are bert, distilbert, roberta"),
    ({"model_type": "mamba9000"}, "known are bert, distilbert, roberta, xlm-roberta, electra, mpnet"),
    ({"model_type": ["bert"]}, "is unknown"),
    ({"model_type": "absent"}, "has no model_type"),
    ({"num_attention_heads": 5}, "24 is not divisible by 5"),
    ({"hidden_act": "gleu"}, r"hidden_act 'gleu' is not supported \(did you mean 'gelu'\?\)"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not supported"),
    ({"is_decoder": True}, "is_decoder = True is not supported"),
    ({"quantization_config": {"bits": 4}}, "quantization_config = .* is not supported"),
    ({"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0 is not supported"),
    ({"hidden_size": "24"}, "hidden_size must be a whole number"),
    ({"hidden_size": 2**40}, "hidden_size must be a whole number"),
    ({"vocab_size": "absent"}, "vocab_size must be a whole number"),
    ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob must be at least 0 and below 1"),
    ({"layer_norm_eps": 0}, "layer_norm_eps must be a positive number"),
    ({"id2label": {"0": "a", "2": "b"}}, "id2label must map"),
    ({"id2label": {"0": "a", "1": "a"}}, "must be different"),
])
def test_a_wrong_configuration_names_the_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HandloomError, match=message) as caught:
        load_config(copy(f"bert-{TEXT}", tmp_path, **changes))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_broken_configuration_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(HandloomError, match=r"config\.json"):
        load_config(tmp_path)
    with pytest.raises(HandloomError, match="missing"):
        load_config(tmp_path / "none")


def test_a_config_that_asks_for_more_than_the_file_holds(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match=r"shape \[80, 24\], but the configuration asks for \[16000000, 24\]"):
        load_model(copy(f"bert-{TEXT}", tmp_path, vocab_size=16_000_000), TEXT)


def test_the_longest_sequence() -> None:
    assert load_config(RECORDINGS / f"bert-{TEXT}").max_length == 40
    assert load_config(RECORDINGS / f"roberta-{TEXT}").max_length == 38


def test_dropout_can_be_overridden() -> None:
    _, config, _ = load_model(RECORDINGS / f"distilbert-{TEXT}", TEXT)
    assert (config.hidden_dropout, config.attention_dropout) == (0.1, 0.1)
    assert config.classifier_dropout == {TEXT: 0.2, TOKEN: 0.1, "question-answering": 0.1}
    model, _, _ = load_model(RECORDINGS / f"distilbert-{TEXT}", TEXT, dropout=0.0)
    assert {module.rate for _, module in model.modules() if hasattr(module, "rate")} == {0.0}


@pytest.mark.parametrize("case", CASES)
def test_other_task_draws_a_new_head(case: str) -> None:
    other = TEXT if case.endswith(TOKEN) else TOKEN
    model, config, report = load_model(RECORDINGS / case, other, labels=["x", "y"], rng=np.random.default_rng(1))
    again, _, _ = load_model(RECORDINGS / case, other, labels=["x", "y"], rng=np.random.default_rng(1))
    assert isinstance(model, Classifier) and config.labels == ("x", "y") and config.head == other
    weight = model.parameters()[f"{model.last_layer}.weight"].numpy()
    assert weight.shape == (2, 24) and 0.01 < weight.std() < 0.03
    np.testing.assert_array_equal(weight, again.parameters()[f"{model.last_layer}.weight"].numpy())
    assert report.new or report.notes
    with pytest.raises(HandloomError, match=f"has no head for {other}, so its labels must be given"):
        load_model(RECORDINGS / case, other)


def test_a_bare_encoder_and_a_missing_pooler() -> None:
    model, _, report = load_model(RECORDINGS / f"bert-{TOKEN}")
    assert type(model).__name__ == "BertModel"
    assert report.new == ("pooler.dense.weight", "pooler.dense.bias")
    assert report.unexpected == ("classifier.bias", "classifier.weight")
    assert "newly initialised" in "\n".join(report.lines())
    assert 0.01 < model.parameters()["pooler.dense.weight"].numpy().std() < 0.03


def test_rows_of_known_labels_are_kept() -> None:
    folder = RECORDINGS / f"roberta-{TEXT}"
    old = SafetensorsFile(folder / "model.safetensors")
    model, config, report = load_model(folder, TEXT, labels=["blue", "violet", "red", "white"])
    head = model.parameters()
    for part in ("weight", "bias"):
        now, before = head[f"classifier.out_proj.{part}"].numpy(), old.read(f"classifier.out_proj.{part}")
        np.testing.assert_array_equal(now[[0, 2]], before[[2, 0]])
        assert now.shape[0] == 4 and np.abs(now[[1, 3]]).max() < 0.1
    assert "2 of 4 labels" in report.notes[0]
    np.testing.assert_array_equal(head["classifier.dense.weight"].numpy(), old.read("classifier.dense.weight"))
    assert config.labels == ("blue", "violet", "red", "white")


def test_a_head_for_wholly_other_labels_is_new() -> None:
    model, _, report = load_model(RECORDINGS / f"bert-{TEXT}", TEXT, labels=["x", "y", "z"])
    assert report.notes == ("the head was trained for other labels and is new",)
    assert model.parameters()["classifier.weight"].numpy().std() < 0.03


def test_usage_errors() -> None:
    with pytest.raises(UsageError, match=r"unknown task 'text-clasification'.*text-classification"):
        load_model(RECORDINGS / f"bert-{TEXT}", "text-clasification")
    with pytest.raises(UsageError, match="different"):
        load_model(RECORDINGS / f"bert-{TEXT}", TEXT, labels=["a", "a"])


@pytest.mark.parametrize("case", CASES)
def test_saved_and_loaded_again_nothing_has_changed(case: str, tmp_path: Path) -> None:
    task = case.split("-", 1)[1]
    model, _, _ = load_model(RECORDINGS / case, task)
    save_model(model, tmp_path / "out")
    before, after = ((folder / "config.json").read_text() for folder in (RECORDINGS / case, tmp_path / "out"))
    assert json.loads(after) == json.loads(before)
    stored = SafetensorsFile(RECORDINGS / case / "model.safetensors")
    saved = SafetensorsFile(tmp_path / "out" / "model.safetensors")
    assert saved.metadata == {"format": "pt"} and set(saved.entries) == set(stored.entries)
    for name in stored.entries:
        np.testing.assert_array_equal(saved.read(name), stored.read(name))
    again, _, report = load_model(tmp_path / "out", task)
    assert report.new == () and list(again.parameters()) == list(model.parameters())


def test_a_new_head_is_saved_with_its_labels(tmp_path: Path) -> None:
    model, _, _ = load_model(RECORDINGS / f"distilbert-{TEXT}", TOKEN, labels=["O", "B-人"])
    save_model(model, tmp_path)
    found = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert found["architectures"] == ["DistilBertForTokenClassification"]
    assert found["id2label"] == {"0": "O", "1": "B-人"} and found["label2id"] == {"O": 0, "B-人": 1}
    assert load_config(tmp_path).labels == ("O", "B-人")


def test_old_checkpoints_half_precision_and_bare_names(tmp_path: Path) -> None:
    folder = copy(f"bert-{TEXT}", tmp_path / "old")
    stored = SafetensorsFile(folder / "model.safetensors")
    tensors = {}
    for name in stored.entries:
        old = name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma")
        tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = stored.read(name).astype(np.float16)
    write_safetensors(folder / "model.safetensors", tensors)
    model, _, report = load_model(folder, TEXT)
    assert report.new == () and report.unexpected == () and report.converted == ("F16",)
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value.numpy(), stored.read(name).astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("case", CASES)
def test_freezing_by_words(case: str) -> None:
    model, _, _ = load_model(RECORDINGS / case, case.split("-", 1)[1])
    names = set(model.parameters())
    tables, first, encoder = (set(freezable(model, word)) for word in ("embeddings", "layers:1", "encoder"))
    assert tables < first < encoder < names
    assert all(".embeddings." in name for name in tables)
    assert all(".layer.0." in name for name in first - tables) and len(first - tables) == 16
    assert all("classifier" in name for name in names - encoder)
    for word in ("layers:3", "layers:0", "layers", "head", "layers:-1"):
        with pytest.raises(HandloomError, match=f"cannot freeze '{word}'"):
            freezable(model, word)


# Fields of transformers' configurations that change nothing of what our classes compute.
INERT = {
    "_name_or_path", "architectures", "chunk_size_feed_forward", "dtype", "is_encoder_decoder", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict", "transformers_version", "use_cache",
    "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "forced_eos_token_id", "label2id",
    "pad_token_id",  # where it moves no position: nothing is padded
    "is_decoder",  # of encoder–decoders, whose halves set it themselves
    "sinusoidal_pos_embds", "initializer_cutoff_factor",  # how weights are drawn
    "summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout", "summary_first_dropout",
    "summary_proj_to_labels", "qa_dropout", "pooler_hidden_size", "classifier_dropout",  # of heads that we lack or read
    "deterministic_flash_attn", "reorder_and_upcast_attn", "pretraining_tp",  # how it is computed
    "sparse_prediction", "sparse_pred_ignore_index",  # which rows a loss is computed of
    "dense_act_fn", "is_gated_act",  # made of feed_forward_proj
    "decoder_vocab_size",  # where there is one table of words, which is the only form that is read
}


@pytest.mark.parity
@pytest.mark.parametrize("model_type", [name for name in FAMILIES if name != "handloom-rnn"])
def test_every_field_of_transformers_is_read_or_known_to_be_inert(model_type: str) -> None:
    transformers = pytest.importorskip("transformers")
    folder = Path(registry.__file__).parent
    kin = {"distilbert": (), "gpt2": (), "mistral": ("llama",), "qwen2": ("llama",), "qwen3": ("llama", "qwen2"),
           "mt5": ("t5",), "marian": ("bart",)}  # fmt: skip
    files = [model_type.replace("-", "_"), "config", "encoder", "language_model", *kin.get(model_type, ("bert",))]
    text = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in files)
    text += text.replace('f"{part}_', '"encoder_') + text.replace('f"{part}_', '"decoder_')
    fields = set(transformers.AutoConfig.for_model(model_type).to_dict()) - INERT
    assert sorted(name for name in fields if f'"{name}"' not in text and f"source.{name}" not in text) == []
