from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from hypothesis import given
from hypothesis import strategies as st

from handloom.data.examples import RelationExample
from handloom.errors import HandloomError, UsageError
from handloom.tasks.relation_extraction import (
    MARKS,
    Relation,
    RelationExtraction,
    known_marks,
    name_of,
    nearest,
    pairs_of,
    triples_of,
)
from handloom.text.spans import Span
from handloom.text.tokenizer import Tokenizer
from handloom.train.estimators import RelationExtractor, load

LABELS = ("A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "B(e2,e1)", "Other")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_bert, "OTHER", [*tiny_bert.OTHER, "$", "#"])
        return tiny_bert.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


def example(marked: str, label: str | None = None) -> RelationExample:
    from handloom.data.relations import unmarked

    return RelationExample(*unmarked(marked, ""), label)


# -- tokens


def test_the_places_are_marked_and_found(tokenizer: Tokenizer) -> None:
    task = RelationExtraction(LABELS)
    examples = [example("<e1>anna</e1> meets <e2>bob</e2> in rome", "Other"),
                example("<e2>anna</e2> meets <e1>new york</e1>", "A(e2,e1)")]  # fmt: skip
    one, other = task.encode(examples, tokenizer, 64, "windows").features
    spelled = [[tokenizer.token(i) for i in f.encoding.ids.tolist()] for f in (one, other)]
    assert spelled[0] == ["[CLS]", "$", "anna", "$", "meets", "#", "bob", "#", "in", "rome", "[SEP]"]
    assert spelled[1] == ["[CLS]", "#", "anna", "#", "meets", "$", "new", "york", "$", "[SEP]"]
    assert one.rows is not None and one.rows.tolist() == [1, 5]
    assert other.rows is not None and other.rows.tolist() == [5, 1]
    assert [int(f.label) for f in (one, other) if f.label is not None] == [4, 1]
    batch = task.pack([one, other])
    assert batch["marks"].tolist() == [[1, 5], [16, 12]] and batch["labels"].tolist() == [4, 1]


def test_long_texts_are_read_around_the_places(tokenizer: Tokenizer) -> None:
    task = RelationExtraction(LABELS)
    far = "the " * 40
    given = [example(f"{far}<e1>anna</e1> {far}<e2>bob</e2> {far}"), example("<e1>anna</e1> <e2>bob</e2>")]
    encoded = task.encode(given, tokenizer, 20, "windows")
    feature = encoded.features[0]
    assert len(feature) == 20 and feature.rows is not None
    assert [tokenizer.token(int(feature.encoding.ids[row])) for row in feature.rows] == ["$", "#"]
    assert "1 of 2 texts was longer" in encoded.notes[0]
    assert len(nearest(feature.encoding, feature.rows, 20)) == 20


def test_marks_that_a_tokenizer_does_not_know(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert known_marks(tokenizer) == ("$", "#")
    with pytest.raises(HandloomError, match="knows none of the marks"):
        known_marks(Tokenizer.load(tiny_bert.write(tmp_path / "bare")))


# -- scores


def said(label: str) -> Relation:
    return Relation(Span(0, 1, ""), Span(2, 3, ""), label, 0.5, {})


def official(gold: list[str], guess: list[str]) -> float:
    """SemEval-2010 task 8's score as its scorer's page describes it."""
    names = sorted({name_of(label) for label in LABELS} - {"Other"})
    found = []
    for name in names:
        right = sum(g == p and name_of(g) == name for g, p in zip(gold, guess, strict=True))
        precision = right / max(sum(name_of(p) == name for p in guess), 1)
        recall = right / max(sum(name_of(g) == name for g in gold), 1)
        found.append(2 * precision * recall / (precision + recall) if right else 0.0)
    return sum(found) / len(found)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30))
def test_the_official_score(pairs: list[tuple[str, str]]) -> None:
    task = RelationExtraction(LABELS)
    gold, guess = [g for g, _ in pairs], [p for _, p in pairs]
    examples = [RelationExample("a b", (0, 1), (2, 3), label) for label in gold]
    scores = task.score(examples, [said(label) for label in guess])
    assert scores["relation_f1"] == pytest.approx(official(gold, guess))
    assert scores["accuracy"] == pytest.approx(np.mean([g == p for g, p in pairs]))
    assert set(scores.labels) <= {"A", "B"}


def test_a_right_relation_with_the_wrong_direction_is_wrong() -> None:
    task = RelationExtraction(LABELS)
    scores = task.score([RelationExample("a b", (0, 1), (2, 3), "A(e1,e2)")], [said("A(e2,e1)")])
    assert scores["relation_f1"] == 0 and scores.labels["A"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


# -- triples


def test_pairs_and_triples() -> None:
    spans = [
        Span(0, 4, "PER", "anna"), Span(8, 11, "PER", "bob"), Span(2, 9, "X", "overlaps"),
        Span(500, 504, "LOC", "rome"),
    ]  # fmt: skip
    asked = pairs_of(["…"], [spans], directed=True, within=300)
    assert [(p.first.text, p.second.text) for p in asked] == [("anna", "bob")]
    both = pairs_of(["…"], [spans[:2]], directed=False, within=300)
    assert [(p.first.text, p.second.text) for p in both] == [("anna", "bob"), ("bob", "anna")]
    [found] = triples_of(1, asked, [said("A(e2,e1)")])
    assert (found[0].subject.text, found[0].relation, found[0].object.text) == ("bob", "A", "anna")
    assert triples_of(2, asked, [said("no_relation")]) == [[], []]


# -- the whole way


def people(count: int, seed: int) -> list[tuple[str, str]]:
    """Who is where: the label says which of the two names is the place; nobody is anywhere "with" somebody."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        name, place = rng.choice(tiny_bert.NAMES), rng.choice(tiny_bert.PLACES)
        kind, verb = int(rng.integers(3)), rng.choice(["lives", "works"])
        if kind == 2:
            found.append((f"<e1>{name}</e1> {verb} with <e2>{rng.choice(tiny_bert.NAMES)}</e2> in {place}", "Other"))
        elif kind:
            found.append((f"<e1>{name}</e1> {verb} in <e2>{place}</e2>", "At(e1,e2)"))
        else:
            found.append((f"in <e1>{place}</e1> {verb} <e2>{name}</e2>", "At(e2,e1)"))
    return found


def test_fit_learns_relations_and_their_direction(folder: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    extractor = RelationExtractor.from_pretrained(folder)
    run = tmp_path / "run"
    extractor.fit(people(300, 0), people(60, 1), people(80, 2), out=run, epochs=6, lr=3e-3, listener=heard.append)
    assert extractor.scores is not None and extractor.scores["relation_f1"] > 0.95
    assert set(extractor.baselines) == {"most frequent relation", "linear bag of words"}
    again = load(run)
    assert isinstance(again, RelationExtractor)
    text = "in <e1>paris</e1> works <e2>bob</e2>"
    one, other = extractor.predict(text), again.predict(text)
    assert one == other and isinstance(one, Relation) and one.label == "At(e2,e1)"
    assert one.first.text == "paris" and one.to_dict()["second"] == {"start": 15, "end": 18, "text": "bob"}
    plain = "in paris works bob"
    with pytest.raises(UsageError, match="in a list of texts"):
        again.triples(plain, [[]])
    with pytest.raises(UsageError, match="by a model for token-classification, not for relation-extraction"):
        again.triples([plain], extractor)
    [[triple]] = again.triples([plain], [[Span(3, 8, "LOC", "paris"), Span(15, 18, "PER", "bob")]])
    assert (triple.subject.text, triple.relation, triple.object.text) == ("bob", "At", "paris")
    assert again.evaluate(people(80, 2))["relation_f1"] == pytest.approx(extractor.scores["relation_f1"])
    assert Counter(kind for _, kind in people(80, 2)).keys() == {"Other", "At(e1,e2)", "At(e2,e1)"}


@pytest.mark.parametrize("kind", ["character", "wordpiece", "bpe"])
def test_a_new_vocabulary_knows_the_marks(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_HOME", str(tmp_path))
    shape = {"model_type": "bert", "layers": 1, "hidden": 32, "heads": 2, "tokenizer": kind}
    assert known_marks(RelationExtractor.new(people(40, 0), **shape).tokenizer) in MARKS
