"""Decoders: compiled as on the reference, a row alone as packed, saved as loaded, and all of it beside transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_gradients_agree, save_model
from decoders import (
    FAMILY_VARIANTS,
    GPT2,
    LENGTHS,
    LLAMA,
    VARIANTS,
    VOCABULARY,
    next_words,
    packed,
    rows_of,
    step,
    tensors,
    tiny,
)

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import Fields
from handloom.models.encoder import freezable
from handloom.models.registry import FAMILIES, load_model, new_model

SYMBOLS = {"batch": {"ids": ("tokens",), "positions": ("tokens",), "starts": ("sequences+1",), "labels": ("tokens",)}}
CAPACITY = {"tokens": 64, "sequences": 8}


@pytest.mark.parametrize("variant", ["gpt2", "llama-dynamic", "qwen3"])
def test_compiled_as_on_the_reference_and_a_row_alone_as_packed(variant: str) -> None:
    model, rows = tiny(variant), rows_of()
    parameters = {name: value.numpy() for name, value in model.parameters().items()}
    batch = {**packed(rows), "labels": next_words(rows)}
    compiled = ht.compile(step(model), symbols=SYMBOLS, capacity=CAPACITY, threads=1)
    (total, weight), gradients, logits = compiled(parameters, batch)
    (slow_total, slow_weight), slow_gradients, slow_logits = step(model)(model.parameters(), tensors(batch))
    np.testing.assert_allclose(logits.numpy(), slow_logits.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total.numpy(), slow_total.numpy(), rtol=1e-5)
    assert float(weight.numpy()) == float(slow_weight.numpy()) == sum(LENGTHS) - len(LENGTHS)
    assert_gradients_agree({name: value.numpy() for name, value in gradients.items()},
                           {name: value.numpy() for name, value in slow_gradients.items()})
    for row, begin in zip(rows, batch["starts"].tolist(), strict=False):
        alone = compiled(parameters, {**packed([row]), "labels": next_words([row])})[2]
        np.testing.assert_array_equal(alone.numpy(), logits.numpy()[begin : begin + len(row)])


@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_saved_and_loaded_again(variant: str, tmp_path: Path) -> None:
    model, batch = tiny(variant), tensors({**packed(rows_of()), "rows": np.array([3, 0, 11], np.int32)})
    save_model(model, tmp_path)
    again, config, report = load_model(tmp_path, "text-generation")
    assert report.new == () and report.unexpected == () and config.head == "text-generation"
    np.testing.assert_array_equal(again(batch).numpy(), model(batch).numpy())
    assert again(batch).shape == (3, VOCABULARY)
    bare, _, report = load_model(tmp_path)
    assert report.new == () and set(report.unexpected) <= {"lm_head.weight"}
    np.testing.assert_array_equal(bare(batch).numpy(), model.encode(batch).numpy())


@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_a_classifier_reads_the_last_token_of_each_sequence(variant: str) -> None:
    model_type, values = VARIANTS[variant]
    config = replace(FAMILIES[model_type].read_config(Fields(values)), labels=("a", "b", "c"))
    model = new_model(config, "text-classification", np.random.default_rng(0))
    rows = rows_of()
    logits = model(tensors(packed(rows))).numpy()
    assert logits.shape == (len(rows), 3)
    rows[1][-2] = 3  # before the last token of the second
    changed = model(tensors(packed(rows))).numpy()
    assert (changed[[0, 2]] == logits[[0, 2]]).all() and (changed[1] != logits[1]).any()
    below = freezable(model, "embeddings")
    assert below and below < freezable(model, "layers:1") < freezable(model, "encoder")
    assert set(model.parameters()) - set(freezable(model, "encoder")) == {"score.weight"}


def test_fresh_gpt2_begins_with_small_residual_terms() -> None:
    config = FAMILIES["gpt2"].read_config(Fields({**GPT2, "n_embd": 96, "n_layer": 8}))
    values = new_model(config, None, np.random.default_rng(0)).parameters()
    assert abs(values["h.0.attn.c_proj.weight"].numpy().std() - 0.02 / 4) < 2e-4
    assert abs(values["h.0.attn.c_attn.weight"].numpy().std() - 0.02) < 5e-4
    assert (values["h.3.ln_2.weight"].numpy() == 1).all() and (values["h.3.mlp.c_fc.bias"].numpy() == 0).all()


@pytest.mark.parametrize(("model_type", "values", "message"), [
    ("gpt2", {"n_head": 5}, "24 is not divisible by 5"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True is not supported"),
    ("gpt2", {"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, not 'yes'"),
    ("llama", {"num_key_value_heads": 3}, "4 attention heads cannot share 3 key-value heads evenly"),
    ("llama", {"head_dim": 5}, "a head of 5 elements cannot be turned in pairs"),
    ("llama", {"rope_scaling": {"type": "lineal"}}, r"rope_type 'lineal' is not supported \(did you mean 'linear'"),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": -1}}, "rope_parameters: factor must be a positive"),
    ("llama", {"rope_scaling": [1]}, "rope_scaling must be an object"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
    ("llama", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 4}},
     "short_factor must be a list of"),
    ("llama", {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 1}},
     "original_max_position_embeddings must be 2 or more"),
    ("mistral", {"sliding_window": 0}, "sliding_window must be a whole number from 1"),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["full_attention"]},
     "layer_types must be a list of 2 words"),
])
def test_a_wrong_configuration_names_the_field(model_type: str, values: dict[str, Any], message: str) -> None:
    base = GPT2 if model_type == "gpt2" else LLAMA
    with pytest.raises(HandloomError, match=message):
        FAMILIES[model_type].read_config(Fields({**base, **values}))


def test_old_files_have_their_rotary_scaling_elsewhere() -> None:
    read = FAMILIES["llama"].read_config
    new = read(Fields({**LLAMA, "rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0,
                                                    "original_max_position_embeddings": 8}}))
    old = read(Fields({**LLAMA, "rope_theta": 500.0, "rope_scaling": {
        "type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8}}))
    assert new.rotary == old.rotary


def test_a_task_that_a_family_lacks(tmp_path: Path) -> None:
    save_model(tiny("llama"), tmp_path)
    with pytest.raises(HandloomError, match="llama has no head for token-classification; it has those for text-gen"):
        load_model(tmp_path, "token-classification", labels=["a"])


def test_a_config_that_disagrees_with_the_tensors(tmp_path: Path) -> None:
    model = tiny("llama")
    model.config = replace(model.config, source={**LLAMA, "intermediate_size": 48})
    save_model(model, tmp_path)
    with pytest.raises(HandloomError, match=r"'model\.layers\.0\.mlp\.down_proj\.weight' has shape \[24, 40\], but "
                                            r"the configuration asks for \[24, 48\]"):
        load_model(tmp_path, "text-generation")


# --- beside transformers ----------------------------------------------------------------------------------------------


def theirs(variant: str, auto: str = "AutoModelForCausalLM", **more: Any) -> Any:
    """A model of transformers with random weights, norms and biases included, in f64."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model_type, values = VARIANTS[variant]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **values, **more)
    model = getattr(transformers, auto).from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if ("norm" in name or "ln_" in name) and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_every_gradient(variant: str, tmp_path: Path) -> None:
    model, rows = theirs(variant), rows_of()
    import torch

    model.save_pretrained(tmp_path)
    ours, _, report = load_model(tmp_path, "text-generation")
    assert report.new == () and report.unexpected == ()
    model = model.double()
    model.zero_grad()
    total, logits = torch.zeros((), dtype=torch.float64), []
    for row in rows:  # one at a time: dynamic scaling looks at the whole batch
        ids = torch.from_numpy(row.astype(np.int64))
        found = model(input_ids=ids[None]).logits[0]
        logits.append(found.detach().numpy())
        total = total + torch.nn.functional.cross_entropy(found[:-1], ids[1:], reduction="sum")
    total.backward()

    batch = tensors({**packed(rows), "labels": next_words(rows)})
    (loss, _), gradients, scores = step(ours)(ours.parameters(), batch)
    np.testing.assert_allclose(scores.numpy(), np.concatenate(logits), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss.numpy(), total.item(), rtol=1e-5)
    assert_gradients_agree({name: value.numpy() for name, value in gradients.items()},
                           {name: parameter.grad.numpy() for name, parameter in model.named_parameters()})


@pytest.mark.parity
@pytest.mark.parametrize("variant", ["gpt2", "gpt2-free", "llama", "llama-biased", "mistral", "qwen2", "qwen3"])
def test_what_we_save_transformers_opens(variant: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours, rows = tiny(variant), rows_of()
    save_model(ours, tmp_path)
    model, said = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model).__name__ == ours.architecture
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    logits = ours(tensors(packed(rows))).numpy()
    for row, begin in zip(rows, packed(rows)["starts"].tolist(), strict=False):
        with torch.no_grad():
            found = model(input_ids=torch.from_numpy(row.astype(np.int64))[None]).logits[0].numpy()
        np.testing.assert_allclose(logits[begin : begin + len(row)], found, rtol=1e-4, atol=2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_classifiers(variant: str, tmp_path: Path) -> None:
    model = theirs(variant, "AutoModelForSequenceClassification", pad_token_id=0, id2label={0: "a", 1: "b", 2: "c"})
    import torch

    model.save_pretrained(tmp_path)
    ours, config, report = load_model(tmp_path, "text-classification")
    assert report.new == () and report.unexpected == () and config.labels == ("a", "b", "c")
    rows = rows_of()
    logits = ours(tensors(packed(rows))).numpy()
    with torch.no_grad():
        found = [model(input_ids=torch.from_numpy(row.astype(np.int64))[None]).logits[0].numpy() for row in rows]
    np.testing.assert_allclose(logits, np.stack(found), rtol=1e-4, atol=2e-5)
