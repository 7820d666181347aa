"""Encoder–decoders: compiled as on the reference, a row alone as packed, saved as loaded, and beside transformers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_gradients_agree, save_model
from decoders import step, tensors
from encoder_decoders import FAMILY_VARIANTS, START, TARGETS, VARIANTS, VOCABULARY, batch_of, centre, pairs, tiny

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import Fields
from handloom.models.encoder import freezable
from handloom.models.encoder_decoder import teach
from handloom.models.registry import FAMILIES, load_model, new_model
from handloom.models.safetensors_file import write_safetensors

SYMBOLS = {"batch": {"ids": ("tokens",), "positions": ("tokens",), "starts": ("sequences+1",), "labels": ("tokens",),
                     "source_ids": ("sources",), "source_positions": ("sources",),
                     "source_starts": ("sequences+1",)}}  # fmt: skip
CAPACITY = {"tokens": 64, "sequences": 8, "sources": 64}


@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_compiled_as_on_the_reference_and_a_row_alone_as_packed(variant: str) -> None:
    model, rows = tiny(variant), pairs()
    parameters = {name: value.numpy() for name, value in model.parameters().items()}
    batch = batch_of(rows)
    compiled = ht.compile(step(model), symbols=SYMBOLS, capacity=CAPACITY, threads=1)
    (total, weight), gradients, logits = compiled(parameters, batch)
    (slow_total, _), slow_gradients, slow_logits = step(model)(model.parameters(), tensors(batch))
    np.testing.assert_allclose(logits.numpy(), slow_logits.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total.numpy(), slow_total.numpy(), rtol=1e-5)
    assert float(weight.numpy()) == sum(TARGETS)
    assert_gradients_agree({name: value.numpy() for name, value in gradients.items()},
                           {name: value.numpy() for name, value in slow_gradients.items()})  # fmt: skip
    for row, (begin, end) in zip(rows, pairwise(batch["starts"].tolist()), strict=True):
        alone = compiled(parameters, batch_of([row]))[2]
        np.testing.assert_array_equal(alone.numpy(), logits.numpy()[begin:end])


@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_saved_and_loaded_again(variant: str, tmp_path: Path) -> None:
    model, batch = tiny(variant), tensors({**batch_of(pairs()), "rows": np.array([3, 0, 11], np.int32)})
    save_model(model, tmp_path)
    again, config, report = load_model(tmp_path, "text2text-generation", dropout=0.0)
    assert report.new == () and report.unexpected == () and config.head == "text2text-generation"
    np.testing.assert_array_equal(again(batch).numpy(), model(batch).numpy())
    assert again(batch).shape == (3, VOCABULARY)
    bare, _, report = load_model(tmp_path, dropout=0.0)
    assert report.new == () and set(report.unexpected) <= {"lm_head.weight", "final_logits_bias"}
    np.testing.assert_array_equal(bare(batch).numpy(), model.encode(batch).numpy())


@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_the_table_of_words_under_another_name(variant: str, tmp_path: Path) -> None:
    model, batch = tiny(variant), tensors(batch_of(pairs()))
    save_model(model, tmp_path)
    weights = {name: value.numpy() for name, value in model.parameters().items()}
    weights[model.table.replace("shared", "encoder.embed_tokens")] = weights.pop(model.table)
    weights.pop("lm_head.weight", None)
    write_safetensors(tmp_path / "model.safetensors", weights)
    again, _, report = load_model(tmp_path, "text2text-generation", dropout=0.0)
    assert report.new == () and report.unexpected == ()
    if "lm_head.weight" in model.parameters():  # one table for both
        model.load({"lm_head.weight": again.parameters()["lm_head.weight"]})
    np.testing.assert_array_equal(again(batch).numpy(), model(batch).numpy())


@pytest.mark.parametrize("variant", FAMILY_VARIANTS)
def test_what_is_frozen(variant: str) -> None:
    model = tiny(variant)
    below, first, all_of_it = (freezable(model, what) for what in ("embeddings", "layers:1", "encoder"))
    assert set(below) < set(first) < set(all_of_it) <= set(model.parameters())
    assert model.table in below and not any("decoder.block" in name or "decoder.layers" in name for name in first)
    assert set(model.parameters()) - set(all_of_it) <= {"lm_head.weight", "final_logits_bias"}


def test_fresh_t5_keeps_the_size_of_what_it_adds() -> None:
    config = FAMILIES["t5"].read_config(Fields({**VARIANTS["t5-gated"][1], "d_model": 64, "d_ff": 256}))
    model = new_model(config, "text2text-generation", np.random.default_rng(0))
    values = {name: value.numpy() for name, value in model.parameters().items()}
    for name, spread in (("shared.weight", 1), ("encoder.block.1.layer.0.SelfAttention.q.weight", (64 * 8) ** -0.5),
                         ("decoder.block.0.layer.1.EncDecAttention.o.weight", 24**-0.5), ("lm_head.weight", 1),
                         ("decoder.block.1.layer.2.DenseReluDense.wo.weight", 256**-0.5)):  # fmt: skip
        assert abs(values[name].std() / spread - 1) < 0.06, name
    assert (values["encoder.final_layer_norm.weight"] == 1).all()


def test_teaching_shifts_the_target() -> None:
    batch = teach([([5, 6], [7, 8, 1]), ([9], [1])], start=0)
    assert {name: values.tolist() for name, values in batch.items()} == {
        "source_ids": [5, 6, 9], "source_positions": [0, 1, 0], "source_starts": [0, 2, 3],
        "ids": [0, 7, 8, 0], "positions": [0, 1, 2, 0], "starts": [0, 3, 4], "labels": [7, 8, 1, 1],
    }  # fmt: skip
    with pytest.raises(ValueError, match="a source and its target need a token each"):
        teach([([5], [])], start=0)


def test_smoothed_labels() -> None:
    model, batch = tiny("t5"), tensors(batch_of(pairs()))
    hidden = model.encode(batch)
    logits = model.score(hidden, batch).numpy().astype(np.float64)
    likely = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    own = likely[np.arange(len(likely)), batch["labels"].numpy()]
    wanted = -(0.9 * own + 0.1 * likely.mean(1)).sum()
    np.testing.assert_allclose(model.loss(hidden, batch["labels"], smoothing=0.1)[0].numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize(("variant", "values", "message"), [
    ("t5", {"feed_forward_proj": "gated-gulu"}, "feed_forward_proj must be an activation, or gated- and one"),
    ("t5", {"relative_attention_max_distance": 4}, "8 buckets cannot be spread over distances up to 4"),
    ("mt5", {"decoder_start_token_id": 80}, "decoder_start_token_id 80 is outside of the vocabulary of 80"),
    ("mt5", {"num_decoder_layers": 0}, "num_decoder_layers must be a whole number from 1"),
])  # fmt: skip
def test_a_wrong_configuration_names_the_field(variant: str, values: dict[str, Any], message: str) -> None:
    model_type, base = VARIANTS[variant]
    with pytest.raises(HandloomError, match=message):
        FAMILIES[model_type].read_config(Fields({**base, **values}))


def test_a_config_that_disagrees_with_the_tensors(tmp_path: Path) -> None:
    model = tiny("t5")
    model.config = replace(model.config, source={**VARIANTS["t5"][1], "d_ff": 48})
    save_model(model, tmp_path)
    with pytest.raises(HandloomError, match=r"DenseReluDense\.w.\.weight' has shape .*, but the configuration asks"):
        load_model(tmp_path, "text2text-generation")


# --- beside transformers ----------------------------------------------------------------------------------------------


def theirs(variant: str) -> Any:
    """A model of transformers with random weights, an output layer of its own where the family has one, in f32."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model_type, values = VARIANTS[variant]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **values)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").eval()
    if not values.get("tie_word_embeddings", True):
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(centre(name) + 0.3 * torch.randn_like(parameter))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
    return model


def run_theirs(model: Any, row: tuple[list[int], list[int]]) -> Any:
    import torch

    return model(input_ids=torch.tensor([row[0]]), decoder_input_ids=torch.tensor([[START, *row[1][:-1]]])).logits[0]


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_every_gradient(variant: str, tmp_path: Path) -> None:
    model, rows = theirs(variant), pairs()
    import torch

    model.save_pretrained(tmp_path)
    ours, _, report = load_model(tmp_path, "text2text-generation", dropout=0.0)
    assert report.new == () and report.unexpected == ()
    model = model.double()
    found = [run_theirs(model, row) for row in rows]
    targets = torch.tensor([token for row in rows for token in row[1]])
    total = torch.nn.functional.cross_entropy(torch.cat(found), targets, reduction="sum")
    total.backward()

    (loss, _), gradients, scores = step(ours)(ours.parameters(), tensors(batch_of(rows)))
    np.testing.assert_allclose(scores.numpy(), torch.cat(found).detach().numpy(), rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(loss.numpy(), total.item(), rtol=1e-5)
    assert_gradients_agree({name: value.numpy() for name, value in gradients.items()},
                           {name: parameter.grad.numpy() for name, parameter in model.named_parameters()
                            if parameter.grad is not None})  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_we_save_transformers_opens(variant: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours, rows = tiny(variant), pairs()
    save_model(ours, tmp_path)
    auto = transformers.AutoModelForSeq2SeqLM
    model, said = auto.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert type(model).__name__ == ours.architecture
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"], said
    logits = ours(tensors(batch_of(rows))).numpy()
    with torch.no_grad():
        found = torch.cat([run_theirs(model, row) for row in rows]).numpy()
    np.testing.assert_allclose(logits, found, rtol=1e-4, atol=5e-5)
