"""Models that do not exist yet: each family that can be begun has the shape that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from handloom.errors import UsageError
from handloom.models.config import Fields
from handloom.models.describe import NAMES, Shape, config_values
from handloom.models.registry import FAMILIES, new_model, read_config

SHAPE = Shape(layers=2, hidden=24, heads=3, context=20)
SPECIAL = {"bos": 0, "pad": 1, "eos": 2, "cls": 0, "sep": 2}


@pytest.mark.parametrize("family", NAMES)
def test_a_family_has_the_shape_that_was_asked_for(family: str) -> None:
    values = config_values(family, SHAPE, 50, SPECIAL, dropout=0.2)
    config = read_config(Fields(values))
    assert (config.layers, config.hidden_size, config.vocab_size) == (2, 24, 50)
    assert config.max_length >= 20
    if "heads" in NAMES[family].parts:  # recurrent layers have none, and no inner layer
        assert config.heads == 3
        assert config.intermediate_size == (64 if family in ("llama", "mistral", "qwen2", "qwen3") else 96)
    heads = {"text-generation", "fill-mask", "text2text-generation"}
    tasks = [task for task in FAMILIES[family].classes if task in heads]
    for task in tasks:
        weights = new_model(config, task, np.random.default_rng(0)).parameters()
        assert all(np.isfinite(value.numpy()).all() for value in weights.values())
        again = new_model(config, task, np.random.default_rng(0)).parameters()
        assert all((weights[name].numpy() == value.numpy()).all() for name, value in again.items())


def test_every_family_can_be_begun() -> None:
    assert NAMES.keys() == FAMILIES.keys()


def test_what_cannot_be_begun() -> None:
    with pytest.raises(UsageError, match="did you mean 'llama'"):
        config_values("lama", SHAPE, 50, SPECIAL)
    with pytest.raises(UsageError, match="which 5 heads do not divide"):
        config_values("gpt2", Shape(hidden=24, heads=5), 50, SPECIAL)
    with pytest.raises(UsageError, match="bert has no heads that share keys: key_value_heads is for llama"):
        config_values("bert", Shape(hidden=24, heads=4, key_value_heads=2), 50, SPECIAL)
    shared = read_config(Fields(config_values("llama", Shape(hidden=24, heads=4, key_value_heads=2), 50, SPECIAL)))
    assert getattr(shared, "key_value_heads", None) == 2
