"""A bi-encoder: its losses beside NumPy and PyTorch, training on every kind of pairs, folders, and an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert

import handloom as hl
import handloom.tensor as ht
from handloom.data.examples import MatchExample
from handloom.data.matches import span_of
from handloom.errors import HandloomError, UsageError
from handloom.tasks.matching import LABELLED, PAIRS, SCORED, TRIPLETS, Matching, kind_of
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.comparing import compare
from handloom.train.engine import Engine
from handloom.train.estimators import SentenceMatcher, TextClassifier, load, resume
from handloom.train.search_index import SearchIndex, _best

GOOD, BAD = "the film is good", "the film is bad"
FIT: dict[str, Any] = {"lr": 2e-3, "before": False, "listener": lambda progress: None}
KINDS = {
    SCORED: [("a good film", "great film", 0.9), ("a bad film", "the book", 0.25), ("the", "and", 0.5)],
    LABELLED: [("a good film", "great film", 1), ("a bad film", "great film", 0), ("the", "and", 0)],
    PAIRS: [("a good film", "great"), ("a bad film", "poor"), ("a fine film", "great"), ("a good film", "lovely")],
    TRIPLETS: [("a good film", "great", "poor"), ("a bad film", "poor", "great"), ("anna", "bob", "rome")],
}


def examples(rows: list[tuple[Any, ...]]) -> list[MatchExample]:
    return [MatchExample(a, b, *([None, x] if isinstance(x, str) else [x] if x is not None else []))
            for a, b, x in ((*row, None)[:3] for row in rows)]  # fmt: skip


def answered(count: int, seed: int) -> list[tuple[str, str]]:
    return [(text, GOOD if label == "pos" else BAD) for text, label in tiny_bert.opinions(count, seed)]


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SentenceMatcher, Path]:
    out = tmp_path_factory.mktemp("runs") / "answers"
    matcher = SentenceMatcher.from_pretrained(tiny, precision="f32")
    how = {**FIT, "before": True}
    matcher.fit(answered(200, 0), answered(40, 1), answered(60, 2), epochs=2, batch_size=8, out=out, **how)
    return matcher, out


# -- losses


@pytest.mark.parametrize(("kind", "symmetric"), [
    (SCORED, False), (LABELLED, False), (PAIRS, True), (TRIPLETS, True),
])  # fmt: skip
def test_the_loss_is_that_of_numpy(tiny: Path, kind: str, symmetric: bool) -> None:
    given = examples(KINDS[kind])
    assert kind_of(given) == kind
    task = Matching(kind, symmetric=symmetric)
    encoded = task.encode(given, Tokenizer.load(tiny), 64, "head")
    model, _, _ = modeling.build(tiny, task, seed=0)
    engine = Engine(model, task)
    vectors, loss = engine.logits(encoded)
    features: list[Any] = encoded.features
    assert [rows.shape for rows in vectors] == [(feature.sequences, tiny_bert.HIDDEN) for feature in features]
    assert loss == pytest.approx(task.mean_loss(features, vectors), rel=1e-5)


def test_what_is_right_elsewhere_is_no_wrong_answer(tiny: Path) -> None:
    """great is right for two texts, and a good film has two right answers."""
    task = Matching(symmetric=True)
    encoded = task.encode(examples(KINDS[PAIRS]), Tokenizer.load(tiny), 64, "head")
    batch = task.pack(encoded.features)
    #           firsts stand at 0, 2, 4, 6; great, poor, great, lovely at 1, 3, 5, 7
    assert (batch["barred"] == 0).tolist() == [
        [False, True, False, True, False, False, False, False],
        [False, True, False, True, False, True, False, True],
        [False, False, False, True, False, True, False, True],
        [False, False, False, True, False, False, False, True],
    ]
    assert (batch["back"] == 0).tolist() == [
        [True, False, True, False, False, False, False, False],
        [True, False, True, False, True, False, True, False],
        [False, False, True, False, True, False, False, False],
        [False, False, True, False, True, False, True, False],
    ]


@pytest.mark.parity
@pytest.mark.parametrize(("kind", "symmetric", "pooling"), [
    (SCORED, False, "mean"), (PAIRS, False, "cls"), (PAIRS, True, "mean"), (TRIPLETS, False, "mean"),
])  # fmt: skip
def test_losses_and_gradients_beside_pytorch(tiny: Path, kind: str, symmetric: bool, pooling: str) -> None:
    """CosineSimilarityLoss, MultipleNegativesRankingLoss and its symmetric form, as sentence-transformers has them."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    rows = KINDS[kind][1:]  # without repetitions: theirs does not look for them
    task = Matching(kind, pooling, symmetric=symmetric)
    tokenizer = Tokenizer.load(tiny)
    encoded = task.encode(examples(rows), tokenizer, 64, "head")
    model, _, _ = modeling.build(tiny, task, seed=0, dropout=0.0)
    batch = {name: ht.tensor(value) for name, value in task.pack(encoded.features).items()}

    def loss_of(params: Any) -> tuple[Any, Any]:
        with model.bound(params):
            return task.total(model, batch)

    (total, weight), grads = hl.value_and_grad(loss_of, has_aux=True)(model.parameters())

    theirs = transformers.AutoModel.from_pretrained(tiny).eval()

    def read(texts: list[str]) -> Any:
        found = []
        for text in texts:
            hidden = theirs(input_ids=torch.from_numpy(tokenizer.encode(text).ids.astype(np.int64))[None])[0][0]
            found.append(hidden.mean(0) if pooling == "mean" else hidden[0])
        return torch.nn.functional.normalize(torch.stack(found), dim=1)

    sides = [read([row[i] for row in rows]) for i in range(3 if kind == TRIPLETS else 2)]
    if kind in (SCORED, LABELLED):
        wanted = torch.nn.functional.mse_loss((sides[0] * sides[1]).sum(1), torch.tensor([float(r[2]) for r in rows]))
    else:
        scores = 20 * sides[0] @ torch.cat(sides[1:]).T
        own = torch.arange(len(rows))
        wanted = torch.nn.functional.cross_entropy(scores, own)
        if symmetric:
            wanted = (wanted + torch.nn.functional.cross_entropy(scores[:, : len(rows)].T, own)) / 2
    wanted.backward()
    assert float(total.numpy()) / float(weight.numpy()) == pytest.approx(wanted.item(), rel=1e-5)
    compared = 0
    for name, value in theirs.named_parameters():
        if value.grad is not None and f"bert.{name}" in grads:
            ours = grads[f"bert.{name}"].numpy() / float(weight.numpy())
            np.testing.assert_allclose(ours, value.grad.numpy(), atol=2e-5)
            compared += 1
    assert compared > 30


# -- training


def test_answers_are_learnt_and_kept(trained: tuple[SentenceMatcher, Path]) -> None:
    matcher, run = trained
    scores = matcher.scores
    assert scores is not None and scores.before is not None
    assert scores["recall@1"] > 0.9 > scores.before["recall@1"] and scores["recall@5"] == 1
    assert scores["loss"] < scores.before["loss"]
    assert 0 < matcher.baselines["BM25"]["mrr@10"] < scores["mrr@10"]
    again = load(run)
    assert isinstance(again, SentenceMatcher)
    np.testing.assert_array_equal(again.encode("a lovely film"), matcher.encode("a lovely film"))
    assert again.evaluate(answered(60, 2), before=False).metrics == scores.metrics
    found = again.predict((answered(1, 3)[0][0], GOOD))
    assert found == matcher.predict([(answered(1, 3)[0][0], GOOD)])[0] and -1 <= found.score <= 1 and found.same is None
    assert again.predict({"text": answered(1, 3)[0][0], "pair": GOOD}) == found and again.predict([]) == []
    assert again.identity == matcher.identity


def test_the_folder_is_one_of_sentence_transformers(trained: tuple[SentenceMatcher, Path]) -> None:
    matcher, run = trained
    modules = json.loads((run / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((run / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"] is True and pooling["pooling_mode_cls_token"] is False
    encoder = hl.SentenceEncoder.from_pretrained(run, precision="f32")
    assert (encoder.pooling, encoder.normalise, encoder.max_length) == ("mean", True, 64)
    np.testing.assert_allclose(encoder.encode("a sad book"), matcher.encode("a sad book"), atol=1e-6)


@pytest.mark.parity
def test_transformers_opens_the_folder(trained: tuple[SentenceMatcher, Path]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    matcher, run = trained
    theirs, info = transformers.AutoModel.from_pretrained(run, output_loading_info=True)
    assert not info["unexpected_keys"]
    ids = torch.from_numpy(matcher.tokenizer.encode("a sad book").ids.astype(np.int64))[None]
    with torch.no_grad():
        mean = theirs.eval()(input_ids=ids).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(matcher.encode("a sad book"), (mean / mean.norm()).numpy(), atol=1e-5)


def test_scores_labels_and_triplets(tiny: Path) -> None:
    rng = np.random.default_rng(0)
    known = tiny_bert.opinions(60, 4)
    pairs = [(known[i], known[j]) for i, j in rng.integers(0, 60, (80, 2)).tolist() if i != j]
    labels = [(a, b, int(x == y)) for (a, x), (b, y) in pairs]
    matcher = SentenceMatcher.from_pretrained(tiny, precision="f32")
    matcher.fit(labels[:60], labels[60:], epochs=1, pooling="cls", baselines=True, **FIT)
    assert isinstance(matcher.task, Matching) and (matcher.task.kind, matcher.task.pooling) == (LABELLED, "cls")
    assert matcher.task.threshold is not None and matcher.predict(labels[0][:2]).same in (True, False)
    assert set(matcher.scores.metrics) == {"average_precision", "accuracy", "loss"}
    assert set(matcher.baselines["BM25"].metrics) == {"average_precision", "accuracy"}

    scored = [(a, b, 4.0 * y + 0.5) for a, b, y in labels]
    matcher = SentenceMatcher.from_pretrained(tiny, precision="f32")
    matcher.fit(scored[:60], scored[60:], epochs=1, **FIT)
    assert isinstance(matcher.task, Matching) and matcher.task.span == (0.0, 5.0)
    assert set(matcher.scores.metrics) == {"spearman", "pearson", "loss"}
    assert matcher.scores.mistakes[0].gold in ("0.5", "4.5")
    assert set(matcher.evaluate(labels[60:], before=False).metrics) == {"spearman", "pearson", "loss"}  # 0 and 1 of 5

    wrong = {GOOD: BAD, BAD: GOOD}
    triplets = [(text, right, wrong[right]) for text, right in answered(40, 6)]
    matcher = SentenceMatcher.from_pretrained(tiny, precision="f32")
    matcher.fit(triplets, labels[60:], triplets[:20], epochs=1, **FIT)  # validated by another kind of pairs
    assert set(matcher.scores.metrics) > {"triplet_accuracy", "recall@1", "loss"}


def test_a_stopped_training_ends_with_the_same_bits(tiny: Path, tmp_path: Path) -> None:
    rows = [{"text1": a, "text2": b, "score": 5.0 * (b == GOOD)} for a, b in answered(60, 0)]
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def stopping(progress: Any) -> None:
        if progress.kind == "validation":
            raise KeyboardInterrupt

    how = {**FIT, "epochs": 2, "score_range": (0, 5), "precision": "f32"}
    whole = SentenceMatcher.from_pretrained(tiny).fit(file, out=tmp_path / "whole", **how)
    with pytest.raises(KeyboardInterrupt):
        SentenceMatcher.from_pretrained(tiny).fit(file, out=tmp_path / "part", **{**how, "listener": stopping})
    resumed = resume(tmp_path / "part", listener=FIT["listener"])
    assert isinstance(resumed, SentenceMatcher) and resumed.identity == whole.identity


@pytest.mark.parametrize(("rows", "how", "message"), [
    ([("a", "b", 7), ("c", "d", 3)], {"score_range": (0, 5)}, r"1 of 2 scores is outside of 0 to 5: row 0 \(7\)"),
    ([("a", "b", -700), ("c", "d", 3)], {}, r"the scores go from -700 to 3.*--score-range"),
    ([("a", "b", 1), ("c", "d", 1)], {}, r"every pair of the training data has the score 1"),
    ([("a", "b", 0.5), ("c", "d", 1)], {"class_weights": "balanced"}, r"class_weights is for .*, not sentence-"),
])  # fmt: skip
def test_what_cannot_be_learnt(tiny: Path, rows: list[Any], how: dict[str, Any], message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        SentenceMatcher.from_pretrained(tiny).fit(rows, rows, **how, **FIT)


def test_the_scale_that_scores_are_read_on_is_told(tiny: Path) -> None:
    rows = [("good film", "fine film", 2), ("good film", "bad film", 1)]
    for given, said in ({}, True), ({"score_range": (1, 2)}, False):
        heard: list[Any] = []
        SentenceMatcher.from_pretrained(tiny).fit(rows, rows, epochs=1, **given, **{**FIT, "listener": heard.append})
        note = "scores from 1 to 2 are read on a scale of 0 to 5; --score-range names another"
        assert (note in [one.text for one in heard if one.kind == "note"]) == said


def test_spans() -> None:
    assert span_of([0.2, 1]) == (0, 1) and span_of([0, 4.5]) == (0, 5) and span_of([-0.5, 1]) == (-1, 1)
    assert Matching(SCORED, span=(-1.0, 1.0)).cosine_of(-0.5) == -0.5
    assert Matching(SCORED, span=(1.0, 5.0)).cosine_of(2) == 0.25
    with pytest.raises(HandloomError, match=r"row 1: a pair without a score"):
        kind_of([MatchExample("a", "b", 1.0), MatchExample("a", "b", None, None, {}, "row 1")])


def test_models_are_compared(trained: tuple[SentenceMatcher, Path], tiny: Path) -> None:
    found = compare(SentenceMatcher.from_pretrained(tiny, precision="f32"), trained[0], answered(40, 7))
    assert found.metric == "mrr@10" and found.verdict == "better"


# -- use


def test_vectors(trained: tuple[SentenceMatcher, Path], tiny: Path) -> None:
    matcher, _ = trained
    texts = ["a good film", "a bad film", "a good film"]
    rows = matcher.encode(texts)
    assert rows.shape == (3, tiny_bert.HIDDEN) and (rows[0] == rows[2]).all()
    np.testing.assert_allclose(matcher.similarity(texts[0], texts)[0], rows @ rows[0], atol=1e-6)
    assert matcher.encode([]).shape == (0, 0)
    matcher.encode("the " * 100)
    assert matcher.notes == ("1 of 1 text was longer than the model and has been shortened",)
    with pytest.raises(HandloomError, match="text 2: a text is needed, not ' '"):
        matcher.encode(["a", " "])
    with pytest.raises(HandloomError, match="the text: a text is needed, not ''"):
        matcher.encode("")
    with pytest.raises(UsageError, match="two texts are compared"):
        matcher.predict("a")


def test_search_finds_the_nearest(trained: tuple[SentenceMatcher, Path]) -> None:
    matcher, _ = trained
    texts = [text for text, _ in tiny_bert.opinions(50, 8)] + ["a good film", "a good film"]
    index = matcher.index(texts)
    hits = index.search("a good film", top=4)
    wanted = matcher.similarity("a good film", texts)[0]
    order = sorted(range(len(texts)), key=lambda i: (-wanted[i], i))[:4]
    assert [hit.number for hit in hits] == order and hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.number for hit in hits if hit.text == "a good film"] == [50, 51]
    assert len(index.search("film", top=1000)) == len(texts) and index.search_all([], 3) == []
    with pytest.raises(UsageError, match="must be at least 1"):
        index.search("film", top=0)


def test_the_best_of_chunks_are_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (5, 60)).astype(np.float32)
    numbers = np.broadcast_to(np.arange(60), scores.shape)
    for top in (1, 3, 14, 60, 100):
        found, places = _best(scores, numbers, top)
        wanted = [sorted(range(60), key=lambda i, row=row: (-row[i], i))[:top] for row in scores]
        assert places.tolist() == wanted and (found == np.take_along_axis(scores, places, 1)).all()


def test_an_index_is_kept(trained: tuple[SentenceMatcher, Path], tiny: Path, tmp_path: Path) -> None:
    matcher, run = trained
    table = tmp_path / "texts.csv"
    table.write_text("text,page\na good film,3\na sad book,4\n", encoding="utf-8")
    matcher.index(table).save(tmp_path / "index")
    again = SearchIndex.load(tmp_path / "index")
    assert again.matcher.folder == run and again.texts == ["a good film", "a sad book"]
    [hit] = again.search("a sad book", top=1)
    assert (hit.text, hit.number, hit.extra) == ("a sad book", 1, {"page": "4"})
    assert set(hit.to_dict()) == {"text", "number", "score", "extra"}
    with pytest.raises(HandloomError, match=r"made by another model than .*tiny"):
        SearchIndex.load(tmp_path / "index", SentenceMatcher.from_pretrained(tiny))
    (tmp_path / "index" / "texts.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(HandloomError, match="is not whole"):
        SearchIndex.load(tmp_path / "index")
    with pytest.raises(HandloomError, match=r"is no index: it has no index\.json"):
        SearchIndex.load(tmp_path)
    with pytest.raises(UsageError, match="is no index; choose another place"):
        matcher.index(["a"]).save(tmp_path)
    with pytest.raises(HandloomError, match="there is no file"):
        matcher.index("nowhere.csv")


@pytest.mark.parametrize(("about", "message"), [
    ({"texts": 2}, "damaged"), ({"format": 9}, "format 9"), ({"model": ""}, "a model that was in memory"),
    ({"model": "/nowhere"}, "which is not there"), ({"texts": 3}, "is not whole"),
])  # fmt: skip
def test_a_damaged_index(trained: tuple[SentenceMatcher, Path], tmp_path: Path, about: Any, message: str) -> None:
    place = tmp_path / "index"
    trained[0].index(["a good film", "a sad book"]).save(place)
    found = json.loads((place / "index.json").read_text())
    changed = about if message == "damaged" else {**found, **about}
    text = json.dumps(changed)
    (place / "index.json").write_text(text)
    if message != "is not whole":  # as if it had been written so
        import hashlib

        manifest = json.loads((place / "manifest.json").read_text())
        manifest["files"]["index.json"] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HandloomError, match=message):
        SearchIndex.load(place)


def test_a_second_model_decides_the_order(trained: tuple[SentenceMatcher, Path], tiny: Path) -> None:
    matcher, _ = trained
    pairs = [(text, other, str(int((other == GOOD) == (label == "pos"))))
             for text, label in tiny_bert.opinions(40, 9) for other in (GOOD, BAD)]  # fmt: skip
    judge = TextClassifier.from_pretrained(tiny, precision="f32").fit(pairs, pairs, epochs=1, **FIT)
    index = matcher.index([GOOD, BAD, "the book"])
    hits = index.search("a sad film", top=2, rerank=judge, candidates=3)
    said = judge.predict([("a sad film", text) for text in index.texts])
    order = sorted(range(3), key=lambda i: -said[i].scores["1"])
    assert [hit.number for hit in hits] == order[:2] and hits[0].score == said[order[0]].scores["1"]
    with pytest.raises(UsageError, match=r"which label .* There are 0, 1; name it"):
        index.search("a", rerank=judge, relevant="yes")
    with pytest.raises(UsageError, match="1 candidates are fewer than the 5 texts"):
        index.search("a", rerank=judge, candidates=1)
