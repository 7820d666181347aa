"""Our files in KenLM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handloom import NgramModel

pytestmark = pytest.mark.parity


def kenlm_scores(file: Path, texts: list[str]) -> np.ndarray:
    kenlm = pytest.importorskip("kenlm")
    model = kenlm.Model(str(file))
    return np.array([log10 for text in texts for log10, _, _ in model.full_scores(text)])


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("prune", [[], [0, 1], [1]])
def test_kenlm_reads_the_same_scores(lines: list[str], tmp_path: Path, name: str, order: int, prune: list[int]) -> None:
    model = NgramModel.train(lines, order, prune=prune)
    model.save(tmp_path / name)
    texts = [*lines, "a zebra sat on", "", "the cat the cat", "mat the on malt"]
    assert model.scores(texts).log10 == pytest.approx(kenlm_scores(tmp_path / name, texts), abs=1e-5)


def test_kenlm_reads_chinese_characters(tmp_path: Path) -> None:
    model = NgramModel.train(["我爱北京 天安门", "天安门上太阳升", "北京 我爱你"], 3, unit="characters")
    model.save(tmp_path / "lm.arpa")
    texts = ["我爱天安门", "太阳 北京"]
    spaced = [" ".join(text.replace(" ", "▁")) for text in texts]
    assert model.scores(texts).log10 == pytest.approx(kenlm_scores(tmp_path / "lm.arpa", spaced), abs=1e-5)
