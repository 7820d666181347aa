from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert

import handloom.tensor as ht
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.nn import Linear, Module
from handloom.runtime import memory
from handloom.tasks.text_classification import TextClassification
from handloom.text.spans import Span
from handloom.train import estimators
from handloom.train.batches import Plan
from handloom.train.engine import Engine
from handloom.train.estimators import TextClassifier, TokenClassifier
from handloom.train.loop import Diverged
from handloom.train.optimisers import sgd
from handloom.train.progress import Progress, line, silent
from handloom.train.report import render

FAST = {"epochs": 5, "batch_size": 16, "lr": 1e-2, "dropout": 0.0, "listener": silent}


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TextClassifier, Path]:
    out = tmp_path_factory.mktemp("runs") / "opinions"
    model = TextClassifier.from_pretrained(tiny)
    model.fit(tiny_bert.opinions(200), test=tiny_bert.opinions(60, seed=1), out=out, **FAST)
    return model, out


@pytest.fixture(scope="module")
def ner(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenClassifier, Path]:
    out = tmp_path_factory.mktemp("runs") / "names"
    model = TokenClassifier.from_pretrained(tiny)
    model.fit(tiny_bert.tagged(150), test=tiny_bert.tagged(40, seed=1), out=out, **{**FAST, "epochs": 4})
    return model, out


def test_it_learns_and_beats_what_it_was(trained: tuple[TextClassifier, Path]) -> None:
    scores = trained[0].scores
    assert scores is not None and scores.before is not None
    assert scores["accuracy"] >= 0.95 > 0.8 > scores.before["accuracy"]
    assert set(trained[0].baselines) == {"most frequent label", "linear bag of words"}
    assert trained[0].baselines["linear bag of words"]["accuracy"] > 0.8
    assert 0.4 < trained[0].baselines["most frequent label"]["accuracy"] < 0.65


def test_tokens_learn_too(ner: tuple[TokenClassifier, Path]) -> None:
    scores = ner[0].scores
    assert scores is not None and scores.before is not None
    assert scores["span_f1"] >= 0.95 > 0.5 > scores.before["span_f1"]
    assert set(scores.labels) == {"PER", "LOC"}
    assert set(ner[0].baselines) == {"most frequent tag", "linear bag of words", "most frequent tag of each word"}


def test_the_run_folder(trained: tuple[TextClassifier, Path]) -> None:
    out = trained[1]
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "handloom.json", "settings.json", "log.jsonl",
            "report.html"} <= names  # fmt: skip
    assert not any(name.endswith((".tmp", ".bin", ".pkl")) for name in names)
    about = json.loads((out / "handloom.json").read_text())
    assert about["format"] == 1 and about["task"] == "text-classification" and about["labels"] == ["neg", "pos"]
    assert about["settings"]["lr"] == 1e-2 and len(about["data"]["train"]["sha256"]) == 64
    assert about["versions"]["numpy"] == np.__version__
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "neg", "1": "pos"}
    page = (out / "report.html").read_text()
    assert trained[0].report is not None and render(trained[0].report) == page
    assert "linear bag of words" in page and ("Worst mistakes" in page or trained[0].scores["accuracy"] == 1.0)


def test_predictions(trained: tuple[TextClassifier, Path], tmp_path: Path) -> None:
    model, out = trained
    one = model.predict("the film was awful")
    assert one.label == "neg" and one.score > 0.8
    assert sum(one.scores.values()) == pytest.approx(1.0)
    texts = ["the film was awful", "a great book", "great"]
    many = model.predict(texts)
    assert [p.label for p in many] == ["neg", "pos", "pos"]
    assert many[0].scores == pytest.approx(one.scores, abs=1e-6)
    assert TextClassifier.load(out).predict(texts) == many
    path = tmp_path / "new.csv"
    path.write_text("number,text\n7,the film was awful\n8,great\n")
    assert [p.label for p in model.predict(path)] == ["neg", "pos"]
    assert model.predict_dicts(path)[1] == {"text": "great", "label": "pos", "scores": many[2].scores, "number": "8"}
    assert model.predict([]) == model.predict_dicts([]) == []
    with pytest.raises(HandloomError, match="empty"):
        model.predict(" ")


def test_a_dict_is_one_row(trained: tuple[TextClassifier, Path], ner: tuple[TokenClassifier, Path]) -> None:
    model, row = trained[0], {"text": "the film was awful", "number": 7}
    assert model.predict(row) == model.predict(row["text"])
    assert model.predict_raw(row) == [model.predict(row)]
    assert model.predict_dicts(row)[0]["number"] == 7
    assert model.predict({"body": row["text"], "n": 1}, text_column="body") == model.predict(row)
    tagger = ner[0]
    assert tagger.predict({"text": "anna"}) == tagger.predict("anna") == tagger.predict([{"text": "anna"}])[0]
    told = r"column 'text' holds several texts, and a dict is one row: several are a list of dicts, .* data frame's"
    for columns in ({"text": ["a", "b"], "label": ["x", "y"]}, {"text": np.array(["a"])}):
        with pytest.raises(UsageError, match=told):
            model.predict(columns)
    for asked, match in ((row, "A dict is one row"), ({"a", "b"}, "A set has no order.*give a list")):
        with pytest.raises(UsageError, match=match):
            model.evaluate(asked)


def test_a_frame_of_no_rows_is_judged_as_one(trained: tuple[TextClassifier, Path]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["great"], "number": [1]})
    found = trained[0].predict_frame(frame[:0])
    assert len(found) == 0 and list(found.columns) == ["text", "number"] and trained[0].predict(frame[:0]) == []


def test_spans_are_offsets_of_the_users_string(ner: tuple[TokenClassifier, Path]) -> None:
    text = "  Marie\u00a0Curie works in   Paris and \u200b Bob lives in New York"
    spans = ner[0].predict(text)
    assert all(isinstance(span, Span) and text[span.start : span.end] == span.text for span in spans)
    assert [(span.text, span.label) for span in spans] == [
        ("Marie\u00a0Curie", "PER"), ("Paris", "LOC"), ("Bob", "PER"), ("New York", "LOC")]  # fmt: skip
    found = ner[0].predict_dicts([text])[0]
    assert found["text"] == text and set(found["spans"][0]) == {"start", "end", "label", "text", "score"}


def test_long_texts_are_read_in_windows(
    ner: tuple[TokenClassifier, Path], trained: tuple[TextClassifier, Path]
) -> None:
    sentence = "Bob meets Anna in Rome with Marie Curie and "
    text = sentence * 12  # 108 words; the model has 64 positions
    spans = ner[0].predict(text)
    assert [s.text for s in spans] == ["Bob", "Anna", "Rome", "Marie Curie"] * 12
    assert trained[0].predict("the film was awful " * 40).label == "neg"


def test_evaluate_compares_with_before(ner: tuple[TokenClassifier, Path]) -> None:
    data = tiny_bert.tagged(40, seed=1)
    again = TokenClassifier.load(ner[1]).evaluate(data)
    assert ner[0].scores is not None and ner[0].scores.before is not None and again.before is not None
    assert again.metrics == ner[0].scores.metrics
    assert again.before.metrics == ner[0].scores.before.metrics
    assert "before" in str(again) and "PER" in str(again)
    assert set(again.to_dict()) >= {"metrics", "labels", "before", "intervals"}


def test_the_same_seed_gives_the_same_bits(tiny: Path) -> None:
    def weights(**more: Any) -> dict[str, Any]:
        model = TextClassifier.from_pretrained(tiny)
        options = {**FAST, "epochs": 1, "dropout": 0.1, **more}
        model.fit(tiny_bert.opinions(60), before=False, **options)
        return {name: value.numpy() for name, value in model.model.parameters().items()}

    first, second, other = weights(seed=3), weights(seed=3), weights(seed=4)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
    parts = weights(seed=3, micro_batch_tokens=40, dropout=0.0)
    single = weights(seed=3, dropout=0.0)
    assert all(np.allclose(parts[name], single[name], atol=2e-4) for name in parts)


def test_known_labels_keep_their_rows(trained: tuple[TextClassifier, Path]) -> None:
    data = [*tiny_bert.opinions(40, seed=5), *((f"anna lives in {w}", "place") for w in ("rome", "paris", "the book"))]
    model = TextClassifier.from_pretrained(trained[1])
    old = model.model.parameters()["classifier.weight"].numpy()
    model.fit(data, **{**FAST, "lr": 1e-9, "epochs": 0.1}, before=False)
    assert model.task.labels == ("neg", "pos", "place")
    np.testing.assert_allclose(model.model.parameters()["classifier.weight"].numpy()[:2], old, atol=1e-7)
    assert model.predict("a great book").scores["pos"] > 0.5


def test_frozen_parameters_stay(tiny: Path) -> None:
    model = TextClassifier.from_pretrained(tiny)
    model.fit(tiny_bert.opinions(60), freeze="all-but-head", before=False, **FAST)
    before = estimators.modeling.build(tiny, model.task, 0)[0].parameters()
    changed = {n for n, v in model.model.parameters().items() if not np.array_equal(v.numpy(), before[n].numpy())}
    assert changed == {"classifier.weight", "classifier.bias"}
    model.fit(tiny_bert.opinions(60), freeze=1, before=False, **{**FAST, "epochs": 1})


def test_early_stopping_and_the_best_weights(tiny: Path) -> None:
    data = tiny_bert.opinions(80)
    flipped = [(text, "pos" if label == "neg" else "neg") for text, label in tiny_bert.opinions(40, seed=9)]
    events: list[Progress] = []
    model = TextClassifier.from_pretrained(tiny)
    options = {**FAST, "epochs": 30, "listener": events.append}
    model.fit(data, valid=flipped, patience=2, metric="loss", before=False, **options)
    validations = [event for event in events if event.kind == "validation"]
    losses = [event.metrics["loss"] for event in validations]
    assert len(losses) < 30 and len(losses) == int(np.argmin(losses)) + 1 + 2
    assert model.scores["loss"] == pytest.approx(min(losses), abs=1e-6)
    [end] = [event for event in events if event.kind == "end"]
    assert end.text == "stopped early" and end.steps == 30 * 5 and 0 < end.step < end.steps
    assert all(line(event) for event in events)


def test_a_metric_that_there_is_not_is_refused_before_anything_is_done(tiny: Path, tmp_path: Path) -> None:
    model = TextClassifier.from_pretrained(tiny)
    with pytest.raises(UsageError, match="there is no metric 'macrof1'; there are accuracy, macro_f1"):
        model.fit(tiny_bert.opinions(60), out=tmp_path / "run", metric="macrof1", **FAST)
    assert not (tmp_path / "run").exists()


def test_metrics_are_those_that_scores_have(trained: tuple[TextClassifier, Path]) -> None:
    model = trained[0]
    assert model.task.metrics == tuple(model.evaluate(tiny_bert.opinions(20)).metrics)


def test_keep_last(tiny: Path) -> None:
    events: list[Progress] = []
    model = TextClassifier.from_pretrained(tiny)
    options = {**FAST, "listener": events.append}
    model.fit(tiny_bert.opinions(60), keep="last", before=False, **options)
    last = [event for event in events if event.kind == "validation"][-1]
    assert model.scores["loss"] == pytest.approx(last.metrics["loss"], abs=1e-6)


def test_divergence_stops_keeps_and_names(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    model = TextClassifier.from_pretrained(tiny)
    options = {**FAST, "lr": 1e30, "clip": None, "optimizer": "sgd", "schedule": "constant", "warmup": 0}
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="the first tensor that is not finite is"):
        model.fit(tiny_bert.opinions(60), out=out, before=False, baselines=False, **options)
    assert all(np.isfinite(value.numpy()).all() for value in model.model.parameters().values())
    assert "stopped" in json.loads((out / "handloom.json").read_text())


def test_after_divergence_the_weights_are_good(tiny: Path, tmp_path: Path) -> None:
    options = {**FAST, "lr": 1e30, "clip": None, "optimizer": "sgd", "schedule": "constant", "warmup": 0}
    texts = [text for text, _ in tiny_bert.opinions(5, seed=3)]
    for out in (None, tmp_path / "run"):
        model = TextClassifier.from_pretrained(tiny)
        with np.errstate(all="ignore"), pytest.raises(Diverged, match="those from before training"):
            model.fit(tiny_bert.opinions(60), out=out, before=False, baselines=False, **options)
        start = estimators.modeling.build(tiny, model.task, 0)[0].parameters()
        for name, value in model.model.parameters().items():
            np.testing.assert_array_equal(value.numpy(), start[name].numpy())
        assert all(np.isfinite(one.score) for one in model.predict(texts))
    assert all(np.isfinite(one.score) for one in TextClassifier.load(tmp_path / "run").predict(texts))


def test_what_is_refused_leaves_no_run_folder(tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    out, data = tmp_path / "run", tiny_bert.opinions(60)
    for folder, more, error, said in (
        (broken, {}, HandloomError, "model.safetensors"),
        (tiny, {"freeze": 99}, UsageError, "freeze is 99, but this model has 2 layers"),
        (tiny, {"class_weights": {"neg": -1.0}}, UsageError, "class weight of 'neg' is -1.0"),
        (tiny, {"class_weights": {"bad": 1.0}}, UsageError, "none of the labels: neg, pos"),
        (tiny, {"max_length": 10_000}, UsageError, "max_length is 10000"),
        (tiny, {"epochs": "3"}, UsageError, "epochs is '3'; it must be a number"),
        (tiny, {"seed": "x"}, UsageError, "seed is 'x'; it must be a number"),
        (tiny, {"lr": True}, UsageError, "lr is True; it must be a number"),
        (tiny, {"dropout": "none"}, UsageError, "dropout is 'none'; it must be a number"),
    ):
        with pytest.raises(error, match=re.escape(said)):
            TextClassifier.from_pretrained(folder).fit(data, out=out, **{**FAST, **more})
        assert not out.exists()
    wrong: Any = TextClassification
    with pytest.raises(UsageError, match=r"task is an instance: TextClassification\(…\)"):
        TextClassifier.from_pretrained(tiny).fit(data, task=wrong, **FAST)


def test_a_part_of_an_epoch(tiny: Path) -> None:
    events: list[Progress] = []
    TextClassifier.from_pretrained(tiny).fit(
        tiny_bert.opinions(60), before=False, **{**FAST, "epochs": 1.5, "listener": events.append}
    )
    done = [event.epoch for event in events if event.kind == "step"]
    assert done == sorted(done) and 1.0 in done and done[-1] == 1.5
    assert [event.epoch for event in events if event.kind in ("validation", "end")] == [1.0, 1.5, 1.5]


def test_a_resume_with_other_kernels_is_refused(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    TextClassifier.from_pretrained(tiny).fit(tiny_bert.opinions(60), out=out, before=False, baselines=False, **FAST)
    (out / "handloom.json").unlink()
    monkeypatch.setattr("handloom.train.fitting.kernels", lambda precision: "other")
    with pytest.raises(HandloomError, match="was trained with kernels"):
        TextClassifier.from_pretrained(tiny).fit(
            tiny_bert.opinions(60), out=out, resume=True, before=False, baselines=False, **FAST
        )


def test_an_existing_out_is_refused(trained: tuple[TextClassifier, Path], tiny: Path) -> None:
    before = (trained[1] / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        TextClassifier.from_pretrained(tiny).fit(tiny_bert.opinions(60), out=trained[1], **FAST)
    with pytest.raises(UsageError, match="choose another --out"):
        TextClassifier.from_pretrained(trained[1]).fit(tiny_bert.opinions(60), out=trained[1], overwrite=True, **FAST)
    assert (trained[1] / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("data", "more", "message"), [
    ([("good", "pos"), ("fine", "pos")] * 20, {}, "only one label, 'pos'"),
    ([("good", "pos"), ("", "neg")] * 20, {}, "empty text"),
    (tiny_bert.opinions(40), {"test": [("good", "pos"), ("odd", "mixed")]}, r"never shows: mixed \(row 1\)\. The"),
    (tiny_bert.opinions(40), {"epoch": 3}, "did you mean 'epochs'"),
    (tiny_bert.opinions(40), {"schedule": "linaer"}, "did you mean 'linear'"),
    (tiny_bert.opinions(40), {"metric": "f2", "epochs": 0.1}, "there is no metric 'f2'; there are accuracy"),
    (tiny_bert.opinions(40), {"max_length": 100}, "positions for 64 tokens"),
    (tiny_bert.opinions(40), {"class_weights": {"neutral": 2.0}}, "names 'neutral', which is none of the labels"),
    (tiny_bert.opinions(40), {"freeze": 9}, "this model has 2 layers"),
    ([], {}, "empty"),
])  # fmt: skip
def test_bad_input_is_said_clearly(tiny: Path, data: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        TextClassifier.from_pretrained(tiny).fit(data, **{**FAST, **more})


def test_unseen_tags_are_named(tiny: Path) -> None:
    test = [(["anna", "sings"], ["B-ARTIST", "O"])]
    with pytest.raises(HandloomError, match="never shows: ARTIST"):
        TokenClassifier.from_pretrained(tiny).fit(tiny_bert.tagged(40), test=test, **FAST)


def test_data_frames_and_weights(tiny: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is an extra")
    frame = pandas.DataFrame(tiny_bert.opinions(60), columns=["body", "mark"])
    model = TextClassifier.from_pretrained(tiny)
    model.fit(frame, text_column="body", label_column="mark", class_weights="balanced", label_smoothing=0.1,
              schedule="cosine", batch_tokens=80, before=False, **{**FAST, "batch_size": None})  # fmt: skip
    assert model.scores["accuracy"] > 0.6


# -- what users write themselves


class TwoLayers(Module):
    """A head of one's own: the mean of a text's first row, two layers."""

    def __init__(self, width: int, labels: int, rng: np.random.Generator) -> None:
        self.inner, self.outer = Linear(width, 16, rng=rng), Linear(16, labels, rng=rng)

    def forward(self, hidden: Any, batch: Any) -> Any:
        return self.outer(ht.relu(self.inner(ht.take(hidden, batch["starts"][:-1]))))


class Opinion(TextClassification):
    """A task of one's own: another head, and a loss that is the squared error of the probabilities."""

    def head(self, width: int, rng: np.random.Generator) -> Module:
        return TwoLayers(width, len(self.labels), rng)

    def loss(self, logits: Any, batch: Any) -> Any:
        hit = ht.cast(batch["labels"].reshape(-1, 1).equal(ht.iota(1, len(self.labels))), "f32")
        difference = ht.softmax(logits) - hit
        return (difference * difference).sum(), ht.cast(
            batch["labels"].reshape(-1, 1).equal(batch["labels"].reshape(-1, 1)), "f32"
        ).sum()


def test_a_task_of_ones_own(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "own"
    model = TextClassifier.from_pretrained(tiny)
    task = Opinion(["neg", "pos"])
    model.fit(tiny_bert.opinions(200), test=tiny_bert.opinions(60, seed=1), task=task, out=out, **{**FAST, "epochs": 8})
    assert model.scores["accuracy"] > 0.9
    again = TextClassifier.load(out, task=Opinion(["neg", "pos"]))
    texts = [text for text, _ in tiny_bert.opinions(10, seed=2)]
    assert again.predict(texts) == model.predict(texts)
    with pytest.raises(HandloomError, match=r"with a task of your own, Opinion, not with the usual one.*task=Opinion"):
        TextClassifier.load(out)
    with pytest.raises(HandloomError, match="Opinion, not with Other"):
        TextClassifier.load(out, task=type("Other", (Opinion,), {})(["neg", "pos"]))
    with pytest.raises(HandloomError, match=r"head.outer.weight in the shape \(2, 16\)"):
        TextClassifier.load(out, task=Opinion(["neg", "pos", "so-so"]))


def test_a_folder_of_the_usual_task_is_not_loaded_with_another(trained: tuple[TextClassifier, Path]) -> None:
    with pytest.raises(HandloomError, match="was not trained with Opinion"):
        TextClassifier.load(trained[1], task=Opinion(["neg", "pos"]))


# -- the engine beneath


def test_a_batch_is_run_in_parts_of_so_many_tokens() -> None:
    lengths = np.array([3, 4, 5, 20, 1])
    plan = Plan(lengths, 1, 5, None, seed=0, at_once=9)
    [batch] = plan.batches(0)
    parts = plan.parts(batch)
    assert np.concatenate(parts).tolist() == batch.tolist() and plan.accumulates
    assert all(lengths[part].sum() <= 9 or len(part) == 1 for part in parts) and len(parts) >= 3
    assert plan.capacity() == {"tokens": 256, "sequences": 16, "texts": 16, "rows": 256, "source_tokens": 256}
    whole = Plan(lengths, 1, 5, None, seed=0, at_once=33)
    assert not whole.accumulates and len(whole.parts(batch)) == 1


def test_plan_is_a_function_of_seed_and_epoch() -> None:
    lengths = np.arange(1, 24)
    plan = Plan(lengths, 2.5, 5, None, seed=1)
    assert plan.counts == [5, 5, 3] and plan.steps == 13
    assert sorted(np.concatenate(plan.batches(0)).tolist()) == list(range(23))
    again = Plan(lengths, 9, 5, None, seed=1)
    for epoch in range(2):
        for one, other in zip(plan.batches(epoch), again.batches(epoch), strict=True):
            assert one.tolist() == other.tolist()
    by_tokens = Plan(lengths, 1, None, 30, seed=1)
    assert all(lengths[batch].sum() <= 30 for batch in by_tokens.batches(0))
    room = plan.capacity()
    assert all(lengths[batch].sum() <= room["tokens"] for epoch in range(3) for batch in plan.batches(epoch))


def test_logits_alone_and_packed(trained: tuple[TextClassifier, Path]) -> None:
    model = trained[0]
    examples: Sequence[Any] = read(tiny_bert.opinions(30, seed=4)).examples
    encoded = model.task.encode(examples, model.tokenizer, 64, "windows")
    together, _ = model.engine().logits(encoded)
    for number in (0, 7, 29):
        single = model.task.encode([examples[number]], model.tokenizer, 64, "windows")
        alone, _ = model.engine().logits(single)
        np.testing.assert_allclose(alone[0], together[number], atol=1e-6)


def test_gradient_of_a_step_is_the_mean_over_its_labels(tiny: Path) -> None:
    task = TextClassification(["neg", "pos"])
    model = estimators.modeling.build(tiny, task, 0, dropout=0.0)[0]
    tokenizer = TextClassifier.from_pretrained(tiny).tokenizer
    encoded = task.encode(read(tiny_bert.opinions(8)).examples, tokenizer, 64, "windows")
    room = {"tokens": 256, "sequences": 16}
    engine = Engine(model, task, sgd(momentum=0.0), clip=None, capacity=room)
    old = engine.weights()["classifier.weight"].copy()
    result = engine.step([encoded.features], 0, 0.5)
    assert result.weight == 8 and result.loss / 8 == pytest.approx(np.log(2), abs=0.1)
    step = (old - engine.weights()["classifier.weight"]) / 0.5
    _, loss = Engine(model, task).logits(encoded)
    assert loss == pytest.approx(result.loss / 8, rel=1e-5)
    # the gradient of the last layer by hand: (softmax − truth)ᵀ · pooled / 8 has rows that cancel for two classes
    np.testing.assert_allclose(step[0], -step[1], atol=1e-6)
    assert np.abs(step).max() > 1e-3


def test_a_training_in_bf16_says_so_and_has_the_same_bits(tiny: Path, tmp_path: Path) -> None:
    rows, found = tiny_bert.opinions(60), []
    for threads in (1, 2):
        out = tmp_path / f"run{threads}"
        model = TextClassifier.from_pretrained(tiny, threads=threads, precision="bf16")
        model.fit(rows, out=out, before=False, baselines=False, **FAST)
        assert model.precision == "bf16"
        about = json.loads((out / "settings.json").read_text())
        assert about["settings"]["precision"] == "bf16" and about["kernels"].endswith(" bf16")
        found.append((out / "model.safetensors").read_bytes())
    assert found[0] == found[1]
    single = TextClassifier.from_pretrained(tiny).fit(rows, out=tmp_path / "single", **FAST)
    assert single.precision == "f32" and (tmp_path / "single" / "model.safetensors").read_bytes() != found[0]
    assert TextClassifier.load(tmp_path / "single").precision == "f32"


def test_texts_that_are_measured_on_and_trained_on_are_told_of(tiny: Path) -> None:
    rows, said = tiny_bert.opinions(60), []
    TextClassifier.from_pretrained(tiny).fit(
        rows, valid=rows[:12], before=False, **{**FAST, "listener": lambda event: said.append(event.text)}
    )
    assert any("of the 12 texts in validation are in train, too" in text for text in said)


def test_memory_is_foretold_and_kept_below(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 10**8)  # a process of many tests may hold gigabytes
    rows, said = tiny_bert.opinions(60), []
    options = {**FAST, "listener": lambda event: said.append(event.text), "before": False, "baselines": False}
    found = []
    for limit in (None, "1TB"):
        model = TextClassifier.from_pretrained(tiny).fit(rows, max_memory=limit, **options)
        found.append(model.model.parameters()["classifier.weight"].numpy().tobytes())
    assert found[0] == found[1]
    assert sum(text.startswith("memory: about ") for text in said) == 2
    with pytest.raises(HandloomError, match=r"takes about \d+ MB, even if .* and 1 MB may be used"):
        TextClassifier.from_pretrained(tiny).fit(rows, max_memory=10**6, **options)
    with pytest.raises(UsageError, match="such as 4GB or 512MiB, not 'lots'"):
        TextClassifier.from_pretrained(tiny).fit(rows, max_memory="lots", **options)


def test_computing_twice_gives_the_same_bits(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, said, found = tiny_bert.opinions(60), [], []
    for needs in ([10], [2000, 10]):
        answers = iter(needs)
        monkeypatch.setattr(Engine, "reserve", lambda self, parts, answers=answers: next(answers))
        model = TextClassifier.from_pretrained(tiny).fit(
            rows, max_memory=1000, before=False, **{**FAST, "listener": lambda event: said.append(event.text)}
        )
        found.append({name: value.numpy().tobytes() for name, value in model.model.parameters().items()})
    assert found[0] == found[1]
    assert any("computing the forward pass again" in text for text in said)
