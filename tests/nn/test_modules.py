"""Modules know their parameters by name, give them up and take them back; layers compute what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.nn import Dropout, Embedding, LayerNorm, Linear, Module, RMSNorm


class Block(Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.dense = Linear(4, 4, rng=rng)
        self.LayerNorm = LayerNorm(4)
        self.self = Linear(4, 4, bias=False, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.LayerNorm(self.self(self.dense(x)))


class Net(Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.table = Embedding(7, 4, rng)
        self.layer = [Block(rng), Block(rng)]
        self.scale = ht.tensor(np.float32(2.0))
        self.note = "not a parameter"

    def forward(self, ids: Any) -> Any:
        x = self.table(ids)
        for block in self.layer:
            x = block(x)
        return x * self.scale


NAMES = ["scale", "table.weight", *(f"layer.{n}.{part}" for n in (0, 1) for part in (
    "dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias", "self.weight"))]


@pytest.fixture
def net() -> Net:
    return Net(np.random.default_rng(3))


def test_parameters_are_named_by_the_way_to_them(net: Net) -> None:
    assert list(net.parameters()) == NAMES
    assert net.count() == 1 + 28 + 2 * (16 + 4 + 4 + 4 + 16)
    assert net.parameters()["layer.1.self.weight"] is net.layer[1].self.weight
    assert [name for name, _ in net.layer[0].modules()] == ["", "dense", "LayerNorm", "self"]


def test_the_same_seed_gives_the_same_bits(net: Net) -> None:
    again = Net(np.random.default_rng(3)).parameters()
    other = Net(np.random.default_rng(4)).parameters()
    for name, value in net.parameters().items():
        np.testing.assert_array_equal(value.numpy(), again[name].numpy())
    assert not np.array_equal(other["table.weight"].numpy(), again["table.weight"].numpy())


def test_load_replaces_by_name_and_checks_shapes(net: Net) -> None:
    ids = np.array([1, 2], np.int32)
    before = net(ids).numpy()
    net.load({"scale": np.float64(4.0), "layer.0.dense.bias": np.zeros(4)})
    assert net.scale.dtype == "f32"
    np.testing.assert_allclose(net(ids).numpy(), 2 * before, rtol=1e-6)
    with pytest.raises(HandloomError, match=r"'layer\.0\.dense\.bias' has shape \[4\], the new value \[5\]"):
        net.load({"layer.0.dense.bias": np.zeros(5)})
    with pytest.raises(HandloomError, match=r"Net has no parameter .layer\.7"):
        net.load({"layer.7": np.zeros(5)})


def test_bound_puts_other_tensors_in_place_for_a_while(net: Net) -> None:
    ids = np.array([1, 2], np.int32)
    before = net(ids).numpy()
    mine = net.parameters()
    with net.bound({"scale": ht.tensor(np.float32(6.0))}):
        np.testing.assert_allclose(net(ids).numpy(), 3 * before, rtol=1e-6)
    assert net.parameters()["scale"] is mine["scale"]
    with pytest.raises(ZeroDivisionError), net.bound({"scale": ht.tensor(np.float32(6.0))}):
        _ = 1 / 0
    np.testing.assert_array_equal(net(ids).numpy(), before)
    with pytest.raises(HandloomError, match="no parameter 'nonsense'"), net.bound({"nonsense": mine["scale"]}):
        pass


def test_gradients_reach_every_parameter_through_bound(net: Net) -> None:
    target = ht.tensor(np.arange(8, dtype=np.float32).reshape(2, 4))


    def squared(parameters: Any) -> Any:
        with net.bound(parameters):
            difference = net(np.array([1, 2], np.int32)) - target
        return (difference * difference).sum()

    _, gradients = ht.value_and_grad(squared)(net.parameters())
    assert list(gradients) == NAMES
    assert np.abs(gradients["table.weight"].numpy()).sum(axis=1).astype(bool).tolist() == [
        False, True, True, False, False, False, False]
    # d/d scale of (s·y - t)² is 2 Σ y (s·y - t)
    y = net(np.array([1, 2], np.int32)).numpy() / 2
    expected = 2 * np.sum(y * (2 * y - target.numpy()))
    np.testing.assert_allclose(gradients["scale"].numpy(), expected, rtol=1e-4)


def test_linear() -> None:
    layer = Linear(3, 2, rng=None)
    assert not layer.weight.numpy().any()
    layer.load({"weight": [[1, 2, 3], [0, 1, 0]], "bias": [10, 20]})
    np.testing.assert_allclose(layer(ht.tensor(np.array([[1, 1, 1], [0, 2, 1]], np.float32))).numpy(),
                               [[16, 21], [17, 22]])
    wide = Linear(400, 50, rng=np.random.default_rng(0))
    assert abs(float(wide.weight.numpy().std()) - 0.05) < 0.002
    assert abs(float(Linear(400, 50, rng=np.random.default_rng(0), std=0.02).weight.numpy().std()) - 0.02) < 0.001
    assert list(Linear(3, 2, bias=False, rng=None).parameters()) == ["weight"]


def test_layers_without_a_generator() -> None:
    wide = Linear(400, 50)
    assert abs(float(wide.weight.numpy().std()) - 0.05) < 0.002 and not wide.bias.numpy().any()
    np.testing.assert_array_equal(wide.weight.numpy(), Linear(400, 50, rng=np.random.default_rng(0)).weight.numpy())
    assert not np.array_equal(wide.weight.numpy(), Linear(400, 50, rng=1).weight.numpy())
    np.testing.assert_array_equal(Embedding(5, 3).weight.numpy(), Embedding(5, 3, 0).weight.numpy())
    assert Embedding(5, 3).weight.numpy().all()


def test_what_nn_shows() -> None:
    import handloom.nn as nn

    assert dir(nn) == sorted(nn.__all__) == [
        "Conv1D", "Dropout", "Embedding", "GRU", "LSTM", "LayerNorm", "Linear", "Module", "RMSNorm"
    ]  # fmt: skip


def test_norms() -> None:
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32) * 3 + 1
    norm = LayerNorm(8, 1e-12)
    norm.load({"weight": np.full(8, 2.0), "bias": np.full(8, 0.5)})
    centred = x - x.mean(1, keepdims=True)
    np.testing.assert_allclose(norm(ht.tensor(x)).numpy(), 2 * centred / x.std(1, keepdims=True) + 0.5, rtol=2e-5,
                               atol=1e-5)
    root = RMSNorm(8, 1e-6)
    np.testing.assert_allclose(root(ht.tensor(x)).numpy(), x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6),
                               rtol=2e-5)


def test_embedding() -> None:
    table = Embedding(5, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(table(ht.tensor(np.array([4, 0, 4], np.int32))).numpy(),
                                  table.weight.numpy()[[4, 0, 4]])
    assert not Embedding(5, 3, None).weight.numpy().any()


def test_initial_values_are_a_layers_own_duty() -> None:
    rng = np.random.default_rng(1)
    fresh = Linear(300, 7, rng=None).initial(rng, 0.02)
    assert fresh["weight"].shape == (7, 300) and abs(float(fresh["weight"].std()) - 0.02) < 0.002
    assert not fresh["bias"].any()
    assert LayerNorm(4).initial(rng, 0.02)["weight"].tolist() == [1, 1, 1, 1]
    assert RMSNorm(4).initial(rng, 0.02)["weight"].tolist() == [1, 1, 1, 1]


def test_dropout_is_the_identity_outside_training() -> None:
    x = ht.tensor(np.ones((3, 4), np.float32))
    assert Dropout(0.5)(x) is x
    with pytest.raises(UsageError, match="below 1, not 1"):
        Dropout(1.0)


def test_a_module_without_forward_says_so() -> None:
    class Empty(Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty needs a method `forward`"):
        Empty()()
