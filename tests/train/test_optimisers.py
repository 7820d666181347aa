from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.errors import UsageError
from handloom.train import optimisers
from handloom.train.optimisers import Optimiser, adam, adamw, apply, decays, optimiser, sgd

WEIGHT = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]
BIAS = [0.1, -0.2]
GRADIENTS = [
    ([[0.3, -0.2, 0.1], [0.0, 1.0, -2.0]], [0.05, -0.4]),
    ([[-0.1, 0.4, 0.2], [0.5, -0.5, 0.25]], [0.2, 0.3]),
    ([[3.0, -4.0, 1.0], [2.0, -1.0, 0.5]], [-1.0, 2.0]),
]
# What torch 2.13.0 computes: rates 0.1, 0.05, 0.0333; decay 0.05 on the weight (decoupled in AdamW, L2 in Adam).
RECORDED = {
    "adamw, clipped at 1": (
        [[0.3710866868, -0.9102539420, 1.8079278469], [1.4213869572, 0.1625039279, -0.6124113202]],
        [-0.0431756042, -0.1358946562],
    ),
    "adam": (
        [[0.3538612723, -0.8905817866, 1.8222377300], [1.3325335979, 0.1449021548, -0.6106436849]],
        [-0.0279618017, -0.1156349547],
    ),
    "sgd": (
        [[0.3563999832, -0.8642666340, 1.9334666729], [1.3933333158, 0.1513333470, -0.4426667094]],
        [0.1087333336, -0.2218666524],
    ),
}
OURS: dict[str, tuple[Optimiser, float | None]] = {
    "adamw, clipped at 1": (adamw(0.05), 1.0),
    "adam": (adam(0.05), None),
    "sgd": (sgd(), None),
}


def run(rule: Optimiser, clip: float | None, weight: float = 1.0) -> tuple[Any, Any]:
    """Three steps; the gradients are given as sums that `weight` divides."""
    params: Any = {"dense.weight": np.array(WEIGHT, np.float32), "dense.bias": np.array(BIAS, np.float32)}
    moments: Any = rule.init(params)
    step = ht.compile(
        lambda params, moments, grads, weight, given: apply(rule, clip, params, moments, grads, weight, given),
        donate=("params", "moments"),
    )
    for number, (g, h) in enumerate(GRADIENTS):
        grads = {"dense.weight": weight * np.array(g, np.float32), "dense.bias": weight * np.array(h, np.float32)}
        given = {key: np.float32(value) for key, value in rule.scalars(0.1 / (number + 1), number + 1).items()}
        params, moments, _ = step(params, moments, grads, np.float32(weight), given)
    return params["dense.weight"].numpy(), params["dense.bias"].numpy()


@pytest.mark.parametrize("name", RECORDED)
def test_three_steps_as_recorded_from_torch(name: str) -> None:
    for weight in (1.0, 4.0):
        found = run(*OURS[name], weight)
        for ours, theirs in zip(found, RECORDED[name], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)


@pytest.mark.parity
@pytest.mark.parametrize("name", RECORDED)
def test_three_steps_beside_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    makers: dict[str, Callable[[Any, Any], Any]] = {
        "adamw, clipped at 1": lambda groups, plain: torch.optim.AdamW(groups, lr=0.1),
        "adam": lambda groups, plain: torch.optim.Adam(groups, lr=0.1),
        "sgd": lambda groups, plain: torch.optim.SGD(plain, lr=0.1, momentum=0.9),
    }
    weight, bias = (torch.nn.Parameter(torch.tensor(value)) for value in (WEIGHT, BIAS))
    groups = [{"params": [weight], "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}]
    theirs = makers[name](groups, [weight, bias])
    for number, (g, h) in enumerate(GRADIENTS):
        weight.grad, bias.grad = torch.tensor(g), torch.tensor(h)
        if OURS[name][1]:
            torch.nn.utils.clip_grad_norm_([weight, bias], OURS[name][1])
        for group in theirs.param_groups:
            group["lr"] = 0.1 / (number + 1)
        theirs.step()
    ours = run(*OURS[name])
    np.testing.assert_allclose(ours[0], weight.detach().numpy(), rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(ours[1], bias.detach().numpy(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    rule = adamw()
    params: Any = {"w": np.array([1.0, 2.0], np.float32)}
    moments: Any = {name: {"w": np.array([0.5, 0.25], np.float32)} for name in rule.names}
    given = {key: np.float32(value) for key, value in rule.scalars(0.1, 3).items()}
    grads = {"w": np.array([1.0, bad], np.float32)}
    new, kept, norm = ht.compile(
        lambda p, m, g, w, given: apply(rule, 1.0, p, m, g, w, given)
    )(params, moments, grads, np.float32(2.0), given)  # fmt: skip
    assert not np.isfinite(norm.numpy())
    np.testing.assert_array_equal(new["w"].numpy(), [1.0, 2.0])
    for name in rule.names:
        np.testing.assert_array_equal(kept[name]["w"].numpy(), [0.5, 0.25])


def test_decay_is_for_matrices() -> None:
    assert decays("bert.encoder.layer.0.output.dense.weight")
    assert decays("bert.embeddings.word_embeddings.weight")
    for name in (
        "a.dense.bias",
        "a.LayerNorm.weight",
        "norm.weight",
        "layer_norm.weight",
        "a.LayerNorm.gamma",
        "ln_f.weight",
        "h.0.ln_1.weight",
    ):
        assert not decays(name)


def test_names() -> None:
    assert set(optimisers.OPTIMISERS) == {"adamw", "adam", "sgd"}
    with pytest.raises(UsageError, match="choose one of adamw, adam, sgd"):
        optimiser("adamax", 0.0)
