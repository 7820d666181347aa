"""Wrong labels that were planted are found; confident learning is as its paper writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from hypothesis import given
from hypothesis import strategies as st

from handloom.data.examples import RELATION, SUMMARIZATION, TEXT, TOKEN
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.train.label_errors import LabelErrors, find, joint, suspected

TOPICS = {
    "sport": "ball goal team match coach player league win score stadium",
    "food": "soup bread butter cook oven salt plate taste sugar kitchen",
    "money": "bank loan price market stock tax pay debt coin profit",
}
COMMON = ["the", "a", "very", "old", "new", "big", "small", "good", "was", "is", "and", "of", "in", "on",
          "with", "that", "this", "one"]  # fmt: skip


def planted(count: int, share: float, seed: int = 0) -> tuple[list[tuple[str, str]], set[int]]:
    """Texts about three topics, each in words of its own, and the numbers of those whose label is wrong."""
    rng = np.random.default_rng(seed)
    rows, wrong = [], set(rng.choice(count, int(count * share), replace=False).tolist())
    for number in range(count):
        topic = str(rng.choice(list(TOPICS)))
        words = [*rng.choice(TOPICS[topic].split(), 4), *rng.choice(COMMON, 8), f"n{number}"]
        rng.shuffle(words)
        others = [name for name in TOPICS if name != topic]
        rows.append((" ".join(words), str(rng.choice(others)) if number in wrong else topic))
    return rows, wrong


def by_the_paper(given: list[int], shares: Any) -> Any:
    """Equations 1 to 3, one example after the other."""
    n, m = len(given), len(shares[0])
    thresholds = []
    for j in range(m):
        own = [shares[x][j] for x in range(n) if given[x] == j]
        thresholds.append(sum(own) / len(own) if own else np.inf)
    counts = np.zeros((m, m))
    for x in range(n):
        above = [j for j in range(m) if shares[x][j] >= thresholds[j]]
        if above:
            counts[given[x], max(above, key=lambda j: shares[x][j])] += 1
    for i in range(m):
        size = sum(label == i for label in given)
        if not counts[i].sum():
            counts[i, i] = 1
        counts[i] *= size / counts[i].sum()
    return counts / n


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40))
def test_confident_learning_as_the_paper_writes_it(seed: int, labels: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(labels, 0.5), count)
    given_ = rng.integers(0, labels, count)
    table = joint(given_, shares)
    np.testing.assert_allclose(table, by_the_paper(given_.tolist(), shares.tolist()), atol=1e-12)
    assert table.sum() == pytest.approx(1)
    found = suspected(given_, shares)
    assert [margin for _, _, margin in found] == sorted((margin for _, _, margin in found), reverse=True)
    for example, label, margin in found:
        assert margin == pytest.approx(shares[example, label] - shares[example, given_[example]]) and margin > 0
    for i in range(labels):
        for j in set(range(labels)) - {i}:
            taken = sum(given_[example] == i and label == j for example, label, _ in found)
            assert taken <= round(table[i, j] * count)


def found_among(found: LabelErrors, wrong: set[int]) -> tuple[float, float]:
    """Precision and recall, of texts that end in their number."""
    said = {int(next(w for w in s.text.split() if w[0] == "n" and w[1:].isdecimal())[1:]) for s in found.suspects}
    return len(said & wrong) / len(said), len(said & wrong) / len(wrong)


def test_wrong_labels_that_were_planted_are_found() -> None:
    rows, wrong = planted(600, 0.05)
    found = find(read(rows), TEXT, seed=1)
    precision, recall = found_among(found, wrong)
    assert precision > 0.8 and recall > 0.9
    assert 0.02 < found.noise < 0.1 and found.judged == 600
    first = found.suspects[0]
    assert first.where.startswith("row ") and first.given != first.suggested and first.margin > 0.3
    assert found == find(read(rows), TEXT, seed=1)
    clean, _ = planted(600, 0.0)
    assert len(find(read(clean), TEXT).suspects) <= 6


def test_wrong_kinds_of_spans_are_found() -> None:
    rows = [(list(words), list(tags)) for words, tags in tiny_bert.tagged(150)]
    swap = {"B-PER": "B-LOC", "I-PER": "I-LOC", "B-LOC": "B-PER", "I-LOC": "I-PER", "O": "O"}
    wrong = {7, 30, 31, 90}
    for number in wrong:
        rows[number] = (rows[number][0], [swap[tag] for tag in rows[number][1]])
    found = find(read(rows, TOKEN), TOKEN)
    said = {one.where for one in found.suspects}
    assert len(said) >= 2 and said <= {f"row {number}" for number in wrong}
    assert all(one.word in one.text for one in found.suspects)


def test_relations_and_a_model_as_a_judge(tmp_path: Path) -> None:
    pairs = [(name, place) for name in tiny_bert.NAMES for place in tiny_bert.PLACES]
    rows = [(f"<e1>{name}</e1> {verb} in <e2>{place}</e2>", "Other" if verb == "meets" else "At")
            for name, place in pairs for verb in ("lives", "works", "meets")]  # fmt: skip
    rows[4] = (rows[4][0], "Other" if rows[4][1] == "At" else "At")
    assert "row 4" in [one.where for one in find(read(rows, RELATION), RELATION, folds=3).suspects]
    model = tiny_bert.write(tmp_path / "tiny")
    judged = find(read(tiny_bert.opinions(100)), TEXT, str(model), folds=2, epochs=10, lr=3e-3, batch_size=8)
    assert judged.agreed > 0.8 and judged.judge == str(model)


def test_what_cannot_be_judged() -> None:
    with pytest.raises(UsageError, match="classification and tagging, not in summarization"):
        find(read([("a", "b")], SUMMARIZATION), SUMMARIZATION)
    with pytest.raises(HandloomError, match="2 labelled examples are too few for 5 folds"):
        find(read([("a", "x"), ("b", "y")]), TEXT)
    with pytest.raises(UsageError, match="words are judged by linear only"):
        find(read([(["a"], ["B-X"])] * 4, TOKEN), TOKEN, "minilm-l6", folds=2)
    with pytest.raises(UsageError, match="2 folds or more"):
        find(read([("a", "x"), ("b", "y")]), TEXT, folds=1)
