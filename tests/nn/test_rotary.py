"""Rotary positions: what they keep, what they depend on, and the frequencies of each scaling beside transformers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.models.config import Fields
from handloom.models.llama import rotary_settings
from handloom.nn.rotary import Rotary, RotarySettings, frequencies, rotate

rng = np.random.default_rng(0)


def turned(settings: RotarySettings, x: Any, heads: int, positions: Any, starts: Any | None = None) -> Any:
    batch = {"positions": ht.tensor(np.asarray(positions, np.int32)),
             "starts": ht.tensor(np.asarray([0, len(positions)] if starts is None else starts, np.int32))}
    return rotate(ht.tensor(x), heads, Rotary(settings).angles(batch)).numpy()


def test_by_complex_numbers() -> None:
    """Elements i and i + half are the parts of one complex number, which is turned."""
    settings = RotarySettings(8, theta=100.0)
    x, positions = rng.standard_normal((5, 3 * 8)).astype(np.float32), np.array([0, 1, 7, 1000, 100_000])
    pairs = x.reshape(5, 3, 2, 4).astype(np.float64)
    angles = positions[:, None, None] * frequencies(settings).astype(np.float32).astype(np.float64)
    spun = (pairs[:, :, 0] + 1j * pairs[:, :, 1]) * np.exp(1j * angles)
    expected = np.stack([spun.real, spun.imag], 2).reshape(5, 24)
    found = turned(settings, x, 3, positions)
    np.testing.assert_allclose(found[:4], expected[:4], atol=2e-4)
    np.testing.assert_allclose(found[4], expected[4], atol=0.02)  # an angle of 100,000 in f32
    np.testing.assert_array_equal(found[0], x[0])


def test_scores_depend_on_distances_alone() -> None:
    settings = RotarySettings(16)
    q, k = rng.standard_normal((2, 1, 16)).astype(np.float32)
    scores = [float((turned(settings, q, 1, [5 + at]) * turned(settings, k, 1, [at])).sum()) for at in (0, 3, 90)]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-4)


def test_dynamic_scaling_looks_at_each_sequence_by_itself() -> None:
    settings = RotarySettings(8, kind="dynamic", factor=2.0, positions=4)
    x = rng.standard_normal((9, 8)).astype(np.float32)
    together = turned(settings, x, 1, [0, 1, 2, 0, 1, 2, 3, 4, 5], [0, 3, 9])
    plain = turned(RotarySettings(8), x[:3], 1, [0, 1, 2])
    np.testing.assert_allclose(together[:3], plain, atol=1e-6)
    np.testing.assert_array_equal(together[3:], turned(settings, x[3:], 1, range(6)))
    base = 10_000.0 * (2 * 6 / 4 - 1) ** (8 / 6)
    np.testing.assert_allclose(together[3:], turned(RotarySettings(8, base), x[3:], 1, range(6)), atol=1e-5)


def test_longrope_looks_at_each_sequence_by_itself() -> None:
    settings = RotarySettings(8, kind="longrope", positions=4, short=(1.0, 2.0, 3.0, 4.0), long=(2.0, 4.0, 8.0, 16.0))
    x = rng.standard_normal((9, 8)).astype(np.float32)
    together = turned(settings, x, 1, [0, 1, 2, 3, 0, 1, 2, 3, 4], [0, 4, 9])
    for part, factors, places in ((slice(0, 4), settings.short, range(4)), (slice(4, 9), settings.long, range(5))):
        pairs = x[part].reshape(-1, 2, 4).astype(np.float64)
        angles = np.array(places)[:, None] * (10_000.0 ** -(np.arange(4) / 4) / np.array(factors))
        spun = (pairs[:, 0] + 1j * pairs[:, 1]) * np.exp(1j * angles)
        np.testing.assert_allclose(together[part], np.concatenate([spun.real, spun.imag], 1), atol=1e-5)
    np.testing.assert_array_equal(together[4:], turned(settings, x[4:], 1, range(5)))


SCALINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 3.0},
    "llama3": {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32768},
    "yarn with its own ramp": {"factor": 8.0, "original_max_position_embeddings": 512, "beta_fast": 16.0,
                               "beta_slow": 2.0, "truncate": False},
    "yarn with DeepSeek's scales": {"factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.7,
                                    "mscale_all_dim": 1.4},
    "yarn with an attention factor": {"factor": 4.0, "original_max_position_embeddings": 512, "attention_factor": 1.3},
    "dynamic": {"factor": 2.0},
}


@pytest.mark.parity
@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize(("size", "theta"), [(64, 500_000.0), (128, 10_000.0), (16, 1_000_000.0)])
def test_frequencies_are_those_of_transformers(name: str, size: int, theta: float) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    parameters = {"rope_type": name.split(" ")[0], "rope_theta": theta, **SCALINGS[name]}
    config = transformers.LlamaConfig(hidden_size=4 * size, num_attention_heads=4, max_position_embeddings=131072,
                                      rope_parameters=dict(parameters))
    theirs = LlamaRotaryEmbedding(config)
    settings = rotary_settings(Fields({"rope_parameters": parameters}), size, 131072)
    np.testing.assert_allclose(frequencies(settings), theirs.inv_freq.numpy(), rtol=2e-6)
    assert abs(settings.attention_factor - theirs.attention_scaling) < 1e-6
