"""Where the time of a step goes: of every kind of batch, with its sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_bert
import tiny_t5

from handloom import costs
from handloom.data.examples import CHOICE, QUESTION, RELATION, SIMILARITY, TEXT, TOKEN, TRANSLATION
from handloom.tasks.continuing import bare
from handloom.tasks.rewriting import PairFeature, Rewriting
from handloom.train.batches import capacity
from handloom.train.engine import Engine
from handloom.train.modeling import build
from handloom.train.optimisers import optimiser
from handloom.train.profiling import made_up, profile_model, profile_step


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("task", [TEXT, TOKEN, RELATION, QUESTION, SIMILARITY, CHOICE])
def test_every_kind_of_batch(task: str, training: bool, tmp_path: Path) -> None:
    found = profile_model(tiny_bert.write(tmp_path / "tiny"), task, 4, 12, 1, training=training)
    assert found.tokens == 4 * 12
    kinds = {kernel.kind for kernel in found.kernels}
    assert {"matrix products", "attention"} <= kinds and 0 < found.model_gflop < 1


def test_both_sides_of_a_translator_count(tmp_path: Path) -> None:
    folder = tiny_t5.write(tmp_path / "tiny", layers=2)
    assert profile_model(folder, TRANSLATION, 3, 5, 1).tokens == 3 * (5 + 5)
    task, sizes = Rewriting(TRANSLATION, 0), [(7, 3), (4, 9)]
    rule = optimiser("adamw", 0.01)
    engine = Engine(build(folder, task, 0)[0], task, rule, clip=1.0, capacity=capacity(60, 2), precision="f32")
    batch = [made_up(1, max(size), 20, task)[0] for size in sizes]
    for feature, (source, target) in zip(batch, sizes, strict=True):
        assert isinstance(feature, PairFeature)
        object.__setattr__(feature, "encoding", bare(feature.encoding.ids[:source]))
        object.__setattr__(feature, "target", feature.target[:target])
    found = profile_step(engine, batch, 1)
    assert found.tokens == sum(map(sum, sizes))
    pairs = 2 * sum(s * s + t * t + s * t for s, t in sizes)  # two layers: the encoder, the decoder, and both
    score = costs.PER_SCORE + costs.elementwise("exp")
    attention = sum(1e9 * kernel.gflop for kernel in found.kernels if kernel.name.startswith("attention."))
    assert attention == pytest.approx(pairs * 4 * (4 * 8 + score))
