"""What is particular to families of encoders: distances and their buckets, neighbours, windows, wrong configurations.

That they compute what transformers computes is test_conformance.py's matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models import deberta_v2
from handloom.models.config import Fields
from handloom.models.encoder import freezable, mean_rows
from handloom.models.modernbert import FULL, SLIDING
from handloom.models.registry import FAMILIES, new_model
from handloom.nn.distance import distance_buckets, log_buckets

BASE = {"vocab_size": 40, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
        "max_position_embeddings": 30}  # fmt: skip


def config(model_type: str, **more: Any) -> Any:
    return FAMILIES[model_type].read_config(Fields({**BASE, **more}))


def batch_of(*lengths: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays = {
        "ids": rng.integers(3, 40, sum(lengths)),
        "positions": np.concatenate([np.arange(length) for length in lengths]),
        "types": np.zeros(sum(lengths)),
        "starts": np.cumsum([0, *lengths]),
    }
    return {name: ht.tensor(values.astype(np.int32)) for name, values in arrays.items()}


def test_buckets_of_distances() -> None:
    found = distance_buckets(130, 32, 128)
    assert len(found) == 261 and found[130] == 0
    assert found[130 - 7 : 130].tolist() == [7, 6, 5, 4, 3, 2, 1]  # keys before the query
    assert found[131:138].tolist() == [17, 18, 19, 20, 21, 22, 23]  # and after it
    assert found[0] == 15 and found[-1] == 31 and (np.diff(found[130:]) <= 17).all()
    backwards = distance_buckets(130, 32, 128, both=False)
    assert (backwards[130:] == 0).all() and backwards[130 - 16] == 16 and backwards[0] == 31


def test_buckets_by_the_logarithm_keep_signs() -> None:
    found = log_buckets(512, 256, 512)
    distances = np.arange(512, -513, -1)
    near = np.abs(distances) <= 128
    np.testing.assert_array_equal(found[near], distances[near])
    np.testing.assert_array_equal(found, -found[::-1])
    assert found[512 - 511] == 255 and (np.diff(found) <= 0).all()


@pytest.mark.parity
@pytest.mark.parametrize(("buckets", "farthest"), [(256, 512), (4, 9), (8, 100)])
def test_buckets_are_those_of_transformers(buckets: int, farthest: int) -> None:
    torch = pytest.importorskip("torch")
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = torch.arange(600, -601, -1)
    theirs = make_log_bucket_position(distances, buckets, farthest).long().numpy()
    np.testing.assert_array_equal(log_buckets(600, buckets, farthest), theirs)
    mpnet = MPNetEncoder.relative_position_bucket(-distances).numpy()
    np.testing.assert_array_equal(distance_buckets(600, 32, 128), mpnet)
    assert (mpnet[: 600 - 128] == mpnet[0]).all() and (mpnet[600 + 128 :] == mpnet[-1]).all()


def test_a_convolution_does_not_look_into_the_next_sequence() -> None:
    layer = deberta_v2.Conv1d(4, 3)
    rng = np.random.default_rng(1)
    layer.load({"weight": rng.standard_normal((4, 4, 3)), "bias": rng.standard_normal(4)})
    lengths = (3, 1, 5, 1)
    x, batch = rng.standard_normal((10, 4)).astype(np.float32), batch_of(*lengths)
    found = layer(ht.tensor(x), batch).numpy()
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    for begin, end in zip(batch["starts"].numpy(), batch["starts"].numpy()[1:], strict=False):
        padded = np.pad(x[begin:end], ((1, 1), (0, 0)))
        wanted = [sum(weight[:, :, tap] @ padded[i + tap] for tap in range(3)) + bias for i in range(end - begin)]
        np.testing.assert_allclose(found[begin:end], wanted, rtol=1e-5, atol=1e-6)


def test_means_of_sequences() -> None:
    batch, x = batch_of(3, 1, 5), np.random.default_rng(2).standard_normal((9, 4)).astype(np.float32)
    wanted = [x[:3].mean(0), x[3], x[4:].mean(0)]
    np.testing.assert_allclose(mean_rows(ht.tensor(x), batch).numpy(), wanted, rtol=1e-6, atol=1e-7)


def test_modernberts_layers_look_near_and_far_by_turns() -> None:
    assert config("modernbert", num_hidden_layers=4).kinds == (FULL, SLIDING, SLIDING, FULL)
    made = config("modernbert", global_attn_every_n_layers=2, local_attention=8, local_rope_theta=5e3)
    assert made.kinds == (FULL, SLIDING) and made.window == 5
    assert (made.rotary[FULL].theta, made.rotary[SLIDING].theta) == (160_000.0, 5_000.0)
    model, batch = new_model(config("modernbert", local_attention=2, layer_types=[SLIDING] * 2), None,
                             np.random.default_rng(0)), batch_of(12)  # fmt: skip
    before = model(batch).numpy()
    ids = batch["ids"].numpy().copy()
    ids[0] = (ids[0] + 1) % 40
    changed = np.abs(model({**batch, "ids": ht.tensor(ids)}).numpy() - before).max(1) > 0
    assert changed.tolist() == [True] * 3 + [False] * 9  # two layers of windows that reach one place


@pytest.mark.parametrize(("model_type", "values", "message"), [
    ("mpnet", {"relative_attention_num_buckets": 8}, "relative_attention_num_buckets must be a whole number from 32"),
    ("electra", {"embedding_size": 0}, "embedding_size must be a whole number"),
    ("modernbert", {"layer_types": ["sliding"]}, "layer_types must be a list of 2 words, each full_attention or"),
    ("modernbert", {"hidden_size": 9}, "a head of 3 elements cannot be turned in pairs"),
    ("modernbert", {"classifier_pooling": "max"}, "classifier_pooling 'max' is not supported"),
    ("deberta-v2", {"pos_att_type": "c2p|p2p"}, "pos_att_type must be a list of c2p and p2c"),
    ("deberta-v2", {"conv_kernel_size": 2}, "conv_kernel_size must be 0, 1 or 3"),
    ("deberta-v2", {"conv_groups": 2}, "conv_groups must be 1"),
])  # fmt: skip
def test_a_wrong_configuration_names_the_field(model_type: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        config(model_type, **values)


def test_heads_that_are_refused() -> None:
    with pytest.raises(HandloomError, match="without legacy, embedding_size must be the hidden size, 12, and not 8"):
        new_model(config("deberta-v2", legacy=False, embedding_size=8), "fill-mask", np.random.default_rng(0))


def test_electras_projection_is_below_the_layers() -> None:
    model = new_model(config("electra", embedding_size=8), None, np.random.default_rng(0))
    names = set(freezable(model, "embeddings"))
    assert {"embeddings_project.weight", "embeddings.word_embeddings.weight"} <= names
    assert names < set(freezable(model, "layers:1"))
