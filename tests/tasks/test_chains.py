"""Viterbi's path, marginals and probabilities of spans are those of enumerating all paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from handloom.tasks.chains import Chain
from handloom.text.schemes import Scheme
from handloom.text.spans import runs

SCHEMES = [Scheme("BIO"), Scheme("IO"), Scheme("BIOES"), Scheme("BMES", typed=False), Scheme("IO", "")]


def chain_of(scheme: Scheme, seed: int = 0) -> tuple[list[str], Chain]:
    labels = scheme.tags(["P", "Q"] if scheme.typed and len(scheme.tags("P")) < 4 else ["P"])
    rng = np.random.default_rng(seed)
    shapes = {"transitions": (len(labels),) * 2, "start_transitions": len(labels), "end_transitions": len(labels)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return labels, Chain.of(weights, labels, scheme)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_paths_shares_and_spans(scheme: Scheme) -> None:
    labels, chain = chain_of(scheme)
    rng = np.random.default_rng(1)
    texts = [rng.standard_normal((length, len(labels))) * 2 for length in (2, 5, 1, 4, 5)]
    for text, judged in zip(texts, chain.judge(texts), strict=True):
        paths = list(itertools.product(range(len(labels)), repeat=len(text)))
        scores = np.array([
            chain.start[p[0]] + chain.end[p[-1]] + sum(text[i, tag] for i, tag in enumerate(p))
            + sum(chain.transitions[a, b] for a, b in itertools.pairwise(p))
            for p in paths
        ])  # fmt: skip
        assert tuple(judged.path.tolist()) == paths[int(scores.argmax())]
        shares = np.exp(scores - np.logaddexp.reduce(scores))
        wanted = np.zeros_like(text)
        for path, share in zip(paths, shares, strict=True):
            wanted[np.arange(len(text)), path] += share
        np.testing.assert_allclose(judged.shares, wanted, atol=1e-12)
        best = [labels[tag] for tag in judged.path]
        for first, end, label in runs(best, scheme):
            agree = sum(
                share for path, share in zip(paths, shares, strict=True)
                if path[first:end] == tuple(judged.path[first:end])
                and (first, end, label) in runs([labels[tag] for tag in path], scheme)
            )  # fmt: skip
            assert chain.span(judged, first, end) == pytest.approx(agree, abs=1e-12)


@pytest.mark.parametrize(
    ("scheme", "wrong"),
    [
        (Scheme("BIO"), {"^ I-P", "O I-P", "B-Q I-P", "I-Q I-P"}),
        (Scheme("BIOES"), {"^ I-P", "^ E-P", "B-P O", "B-P B-P", "I-P S-P", "S-P I-P", "E-P E-P", "B-P $", "I-Q E-P"}),
        (Scheme("BMES", typed=False), {"B B", "M S", "E E", "S M", "^ E", "M $", "B O"}),
        (Scheme("IO", ""), set()),
        (Scheme("plain"), set()),
    ],
    ids=lambda value: str(value) if isinstance(value, Scheme) else "",
)
def test_what_a_scheme_forbids(scheme: Scheme, wrong: set[str]) -> None:
    right = {"O O", "^ O", "O $", "B-P I-P", "I-P I-P", "O B-P", "E-P B-P", "B-P E-P", "B M", "M E", "S B", "^ B"}
    for pair in wrong | right:
        before, after = (None if tag in "^$" else tag for tag in pair.split())
        tags = {*"BMESO", None} if not scheme.typed else {f"{letter}-P" for letter in "BIES"} | {"O", None}
        if scheme.name == "BIO":
            tags -= {"E-P", "S-P"}
        if {before, after} <= tags or pair in wrong:
            assert scheme.follows(before, after) == (pair not in wrong), pair


def test_a_forbidden_path_is_not_taken_however_sure_its_rows_are() -> None:
    labels = ["O", "B-P", "I-P"]
    weights = {"transitions": np.zeros((3, 3)), "start_transitions": np.zeros(3), "end_transitions": np.zeros(3)}
    chain = Chain.of(weights, labels, Scheme())
    (judged,) = chain.judge([np.array([[9.0, 0, 0], [0, 1, 900]])])
    assert [labels[tag] for tag in judged.path] == ["B-P", "I-P"]
    assert judged.shares.sum(1) == pytest.approx(1)


def test_nothing_and_many() -> None:
    labels, chain = chain_of(Scheme())
    assert chain.judge([]) == []
    rng = np.random.default_rng(0)
    texts = [rng.standard_normal((1 + i % 7, len(labels))) for i in range(40)]
    alone = [chain.judge([text])[0] for text in texts]
    for one, other in zip(chain.judge(texts), alone, strict=True):
        assert one.path.tolist() == other.path.tolist() and one.total == pytest.approx(other.total)
