"""Several labels, ordered labels, numbers, none of these: from data to a folder and back, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert

import handloom.tensor as ht
from handloom.cli.main import main
from handloom.data.examples import TextExample
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.tasks.ordered_labels import OrderedLabels
from handloom.tasks.several_labels import LabelSet, SeveralLabels
from handloom.tasks.text_classification import Prediction
from handloom.tasks.text_regression import Number, TextRegression
from handloom.train.comparing import compare
from handloom.train.estimators import load
from handloom.train.text_classifier import TextClassifier, best_of

FAST: dict[str, Any] = {"lr": 3e-3, "listener": lambda progress: None}
STEPS = {"awful": 1, "poor": 2, "fine": 3, "good": 4, "great": 5}


def marked(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Texts with any of three labels, each decided by a word."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        kinds = {"good": tiny_bert.GOOD, "bad": tiny_bert.BAD, "name": tiny_bert.NAMES}
        labels = [label for label in kinds if rng.integers(2)]
        words = [str(rng.choice(kinds[label])) for label in labels] + list(map(str, rng.choice(tiny_bert.OTHER[:6], 3)))
        rng.shuffle(words)
        found.append((" ".join(words), labels))
    return found


def rated(count: int, seed: int) -> list[tuple[str, float]]:
    """Texts with two judgements; the rating is their mean."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        one, other = rng.choice(list(STEPS), 2)
        words = [str(one), str(other), *map(str, rng.choice(tiny_bert.OTHER[:6], 3))]
        rng.shuffle(words)
        found.append((" ".join(words), (STEPS[one] + STEPS[other]) / 2))
    return found


def stepped(count: int, seed: int) -> list[tuple[str, str]]:
    names = ["low", "middle", "high"]
    return [(text, names[int(stars > 2) + int(stars > 3.5)]) for text, stars in rated(count, seed)]


ORDER = ["low", "middle", "high"]


def jsonl(path: Path, rows: list[tuple[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows), "utf-8")
    return path


# -- losses and what is said


@pytest.mark.parity
def test_several_labels_lose_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits, marks = rng.normal(size=(5, 3)).astype(np.float32), rng.integers(0, 2, (5, 3)).astype(np.float32)
    task = SeveralLabels(["a", "b", "c"], {"a": 3.0, "c": 0.5})
    total, weight = task.loss(ht.tensor(logits), {"labels": ht.tensor(marks)})
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(marks), reduction="sum", pos_weight=torch.tensor([3, 1, 0.5]))  # fmt: skip
    assert float(total) == pytest.approx(float(theirs), rel=1e-5) and float(weight) == 5


def test_steps_are_probabilities_and_the_loss_is_their_logarithm() -> None:
    task = OrderedLabels(ORDER)
    logits = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32) * 3
    shares = task.shares(logits)
    np.testing.assert_allclose(shares.sum(-1), 1)
    yes = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(shares[:, 1], yes[:, 0] * (1 - yes[:, 1]), rtol=1e-6)
    labels = np.array([0, 2, 1, -100], np.int32)
    total, weight = task.loss(ht.tensor(logits), {"labels": ht.tensor(labels)})
    assert float(weight) == 3
    assert float(total) == pytest.approx(-np.log(shares[[0, 1, 2], [0, 2, 1]]).sum(), rel=1e-5)
    weighted = OrderedLabels(ORDER, {"high": 2.0})
    total, weight = weighted.loss(ht.tensor(logits), {"labels": ht.tensor(labels)})
    assert float(weight) == 4
    logs = np.log(shares[[0, 1, 2], [0, 2, 1]])
    assert float(total) == pytest.approx(-(logs * [1, 2, 1]).sum(), rel=1e-5)
    assert task.best(np.array([[0.4, 0.2, 0.4], [0.51, 0.0, 0.49], [0.1, 0.1, 0.8]])) == [1, 0, 2]


def test_scores_of_several_labels() -> None:
    task = SeveralLabels(["a", "b"])
    examples = [TextExample("p", label=("a",)), TextExample("q", label=()), TextExample("r", label=("a", "b"))]
    sure = [("a", 0.9, 0.1), ("", 0.2, 0.2), ("a", 1.0, 0.4)]
    said = [LabelSet(tuple(labels), {"a": a, "b": b}) for labels, a, b in sure]
    scores = task.score(examples, said)
    assert scores["exact_match"] == pytest.approx(2 / 3) and scores["micro_f1"] == pytest.approx(4 / 5)
    assert scores["macro_f1"] == pytest.approx(0.5) and scores["mean_average_precision"] == 1
    assert scores.labels["b"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert [(m.gold, m.guess) for m in scores.mistakes] == [("a, b", "a")]
    with pytest.raises(HandloomError, match="the label 'c' is unknown"):
        task.target(TextExample("x", label=("c",)))


def test_numbers_come_back_in_their_unit() -> None:
    task = TextRegression(10.0, 2.0)
    assert float(np.asarray(task.target(TextExample("x", label=14.0)))) == 2
    assert task.said(np.array([[2.0], [-1.0]], np.float32)) == [Number(14.0), Number(8.0)]
    scores = task.score([TextExample("x", label=1.0), TextExample("y", label=3.0)], [Number(2.0), Number(3.0)])
    assert scores["mean_absolute_error"] == 0.5 and scores.mistakes[0].score is None
    assert scores.intervals["mean_absolute_error"] == (0, 1) and len(scores.mistakes) == 1


@pytest.mark.parametrize(("top", "labels", "scores"), [(1, ("b",), {"b": 0.4}), (2, ("a", "b"), {"b": 0.4, "a": 0.3}),
                                                       (3, ("a", "b"), {"b": 0.4, "a": 0.3, "c": 0.5})])  # fmt: skip
def test_the_best_labels_are_those_with_scores(top: int, labels: tuple[str, ...], scores: dict[str, float]) -> None:
    """A label that is given comes before a likelier one that is below its threshold."""
    said = best_of(LabelSet(("a", "b"), {"a": 0.3, "b": 0.4, "c": 0.5, "d": 0.1}), top)
    assert (said.labels, list(said.scores.items())) == (labels, list(scores.items()))
    refused = best_of(Prediction(None, 0.6, {"x": 0.4, "y": 0.6}), top)
    assert refused.label is None and next(iter(refused.scores)) == "y"


# -- the whole way


def test_several_labels(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, test = TextClassifier.from_pretrained(tiny), marked(80, 2)
    model.fit(marked(300, 0), marked(60, 1), test, epochs=5, out=tmp_path / "run", class_weights="balanced", **FAST)
    assert model.scores is not None and model.scores["micro_f1"] > 0.8
    assert set(model.scores.labels) == {"bad", "good", "name"}
    assert {"most frequent labels", "linear bag of words"} == set(model.baselines)
    assert model.baselines["linear bag of words"]["micro_f1"] > model.baselines["most frequent labels"]["micro_f1"]
    about = json.loads((tmp_path / "run" / "handloom.json").read_text("utf-8"))
    kept = about["task_settings"]
    assert set(kept["thresholds"]["good"]) == {"threshold", "f1"} and kept["calibration"]["examples"] == 60
    assert json.loads((tmp_path / "run" / "config.json").read_text())["problem_type"] == "multi_label_classification"
    again = load(tmp_path / "run")
    one = again.predict("anna is good")
    assert one == model.predict("anna is good") and isinstance(one, LabelSet)
    lines = {name: one["threshold"] for name, one in kept["thresholds"].items()}
    assert set(one.labels) == {name for name, score in one.scores.items() if score >= lines[name]}
    top = again.predict("anna is good", top=1)
    assert len(top.scores) == 1 and top.labels == tuple(top.scores) and set(top.labels) <= set(one.labels)
    [row] = again.predict_dicts(["anna is good"], top=1)
    assert (row["labels"], row["scores"]) == (list(top.labels), top.scores)
    with pytest.raises(UsageError, match="beams is for translation and summarization, not text-classification"):
        again.evaluate(test, beams=2)
    with pytest.raises(UsageError, match="unknown option 'top'"):
        again.evaluate(test, top=2)
    scores = again.evaluate(test, before=False).metrics
    assert {**scores, "loss": 0} == pytest.approx({**model.scores.metrics, "loss": 0})  # its weights are training's
    found = compare(again, again, test)
    assert found.verdict == "no difference" and set(found.metrics) == {"micro_f1", "macro_f1", "exact_match"}
    with pytest.raises(HandloomError, match=r"training never saw: other \(row 1\); the model knows bad, .*good"):
        again.evaluate([("anna", ["good"]), ("anna", ["other"])])
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "temperature" in report and "exact match" in report

    bars = tmp_path / "test.csv"
    bars.write_text("text,label\n" + "".join(f"{text},{'|'.join(labels)}\n" for text, labels in test), "utf-8")
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(bars), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["micro_f1"] == pytest.approx(model.scores["micro_f1"])
    assert main(["predict", str(tmp_path / "run"), "anna is good", "--top", "2", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["labels"] == list(one.labels) and len(row["scores"]) == 2
    assert main(["predict", str(tmp_path / "run"), "the film", "--top", "1"]) == 0
    assert (", ".join(model.predict("the film").labels) or "none of these").split(", ")[0] in capsys.readouterr().out


def test_ordered_labels(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = jsonl(tmp_path / "train.jsonl", stepped(300, 0)), jsonl(tmp_path / "test.jsonl", stepped(80, 2))
    run = str(tmp_path / "run")
    command = ["train", "text-classification", "--model", str(tiny), "--train", str(train), "--test", str(test)]
    command += ["--epochs", "6", "--lr", "3e-3", "--out", run, "--json"]
    assert main([*command, "--problem", "ordered"]) == 2
    assert "name it, the lowest first, by --label-order" in capsys.readouterr().err
    assert main([*command, "--label-order", "low,high"]) == 1
    assert "the label 'middle' (column 'label') is none of --label-order: low, high" in capsys.readouterr().err
    assert main([*command, "--label-order", "low,middle,high"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["quadratic_kappa"] > 0.5 > found["baselines"]["label in the middle"]["quadratic_kappa"]
    assert found["metrics"]["mean_absolute_error"] < 0.5
    model = load(run)
    said = model.predict("great and great")
    assert said.label in ORDER and list(said.scores) == ORDER and sum(said.scores.values()) == pytest.approx(1)
    assert model.evaluate(test, before=False)["quadratic_kappa"] == pytest.approx(found["metrics"]["quadratic_kappa"])
    assert compare(model, model, test).metric == "quadratic_kappa"
    other = load(run)
    other.task = OrderedLabels(ORDER[::-1])
    with pytest.raises(UsageError, match="different problems"):
        compare(other, model, test)
    assert main(["resume", run, "--json"]) == 0


def test_numbers(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, test = TextClassifier.from_pretrained(tiny), rated(60, 2)
    model.fit(rated(300, 0), test=test, epochs=6, out=tmp_path / "run", **FAST)
    assert model.scores is not None and model.scores["pearson"] > 0.9
    assert model.baselines["the mean"]["pearson"] == 0 and model.baselines["linear bag of words"]["spearman"] > 0.8
    again = load(tmp_path / "run")
    assert again.predict("good and great") == model.predict("good and great")
    better = compare(again, model, test)
    assert better.metrics["mean_absolute_error"].verdict == "no difference" and not better.fixed
    with pytest.raises(UsageError, match="gives numbers"):
        again.predict("good", top=2)
    assert main(["predict", str(tmp_path / "run"), "good and great"]) == 0
    assert "good and great" in capsys.readouterr().out
    again.fit(rated(30, 4), epochs=1, **FAST)  # goes on in the same unit
    assert again.task.settings() == model.task.settings()


def test_a_label_for_none_that_stands_nowhere(tiny: Path) -> None:
    model, rows = TextClassifier.from_pretrained(tiny), tiny_bert.opinions(20)
    with pytest.raises(UsageError, match=r"--none-label 'rest' stands nowhere in the .* there are: neg, pos$"):
        model.fit(rows, rows, none_label="rest", **FAST)
    model.fit(rows, [*rows, ("ann lives in rome", "rest")], none_label="rest", epochs=1, **FAST)


def test_none_of_these(tiny: Path, tmp_path: Path) -> None:
    model = TextClassifier.from_pretrained(tiny)
    rest = [(f"{name} lives in {place}", "rest") for name in tiny_bert.NAMES for place in tiny_bert.PLACES]
    rows = tiny_bert.opinions(200) + rest
    heard: list[Any] = []
    model.fit(rows, epochs=5, none_label="rest", refuse=0.2, out=tmp_path / "run", **{**FAST, "listener": heard.append})
    notes = [one.text for one in heard if one.kind == "note"]
    assert "9 texts have none of the labels: all of them are validation data" in notes
    assert any("none of these is said below a score of" in note for note in notes)
    assert set(model.task.labels) == {"neg", "pos"} and model.task.floor is not None
    again = load(tmp_path / "run")
    assert (again.task.floor, again.task.refuse, again.task.none_label) == (model.task.floor, 0.2, "rest")
    scores = again.evaluate(tiny_bert.opinions(40, seed=3) + rest, before=False)
    assert "(none of these)" in scores.labels and "rest" not in scores.labels
    again.task.floor = 1.1
    assert again.predict("good film").label is None and again.predict_dicts("good film")[0]["label"] is None
    assert compare(again, again, [*rest[:4], ("bad", "neg")]).metrics["accuracy"].old == pytest.approx(4 / 5)


def test_a_resumed_run_chooses_the_same(tiny: Path, tmp_path: Path) -> None:
    """What was stopped after its last step is tuned when it is resumed."""
    from handloom.train import loop
    from handloom.train.estimators import resume

    train, valid = jsonl(tmp_path / "train.jsonl", marked(60, 0)), jsonl(tmp_path / "valid.jsonl", marked(30, 1))
    options = {"epochs": 2, "baselines": False, "before": False, **FAST}
    whole = TextClassifier.from_pretrained(tiny).fit(train, valid, out=tmp_path / "whole", **options)

    def stop(point: str) -> None:
        if point == "step 6":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "hook", stop)
        TextClassifier.from_pretrained(tiny).fit(train, valid, out=tmp_path / "cut", **options)
    found = resume(tmp_path / "cut", listener=lambda progress: None)
    assert found.task.settings() == whole.task.settings() and found.task.thresholds


# -- what makes no sense


@pytest.mark.parametrize(
    ("rows", "how", "message"),
    [
        ([("a", "x"), ("b", "y")], {"problem": "many"}, r"'many' is not known.*there are one, several"),
        ([("a", "x"), ("b", float("nan"))], {"problem": "number"}, r"row 0: the label .* finite number, not 'x'"),
        ([("a", 1.5), ("b", float("inf"))], {}, r"row 1: the label .* finite number, not inf"),
        ([("a", 2), ("b", True)], {"problem": "number"}, r"row 1: .* not True"),
        ([("a", 1e308), ("b", 2.5)], {}, r"row 0: the label .* is 1e\+308; a number may be 1e\+100 at most"),
        ([("a", 2.5)] * 3 + [("b", 2.5)] * 30, {}, r"only one number, 2\.5"),
        ([("a", ["x"]), ("b", 3)], {}, r"row 1: the labels .* are a int: 3; write a list"),
        ([("a", ["x", ["y"]])], {}, r"row 0: \['y'\] among the labels"),
        ([("a", ["x", " "])], {}, r"row 0: ' ' among the labels"),
        ([("a", "x;;y")], {"label_separator": ";"}, r"row 0: '' among the labels"),
        ([("a", None), ("b", ["x"])], {}, r"1 row with an empty label .*\[\] says that a text has none"),
        ([("a", []), ("b", [])], {"valid": [("c", [])]}, r"every text has none of them"),
        ([("a", 1), ("b", 2)], {"problem": "number", "class_weights": "balanced"}, r"class_weights is for problem one"),
        ([("a", ["x"]), ("b", [])], {"refuse": 0.1}, r"refuse is for problem one, not several"),
        ([("a", "x"), ("b", "y")], {"label_order": ["x", "x"]}, r"two different labels or more"),
        ([("a", "x"), ("b", "y")], {"label_order": "x,y", "problem": "number"}, r"--label-order is for"),
    ],
)  # fmt: skip
def test_what_is_refused(tiny: Path, rows: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        TextClassifier.from_pretrained(tiny).fit(rows, epochs=1, **{"valid": rows, **how, **FAST})


def test_a_broken_folder_says_so(tiny: Path, tmp_path: Path) -> None:
    model = TextClassifier.from_pretrained(tiny)
    model.fit(marked(40, 0), epochs=1, **FAST)
    model.save(tmp_path / "run")
    path = tmp_path / "run" / "handloom.json"
    about = json.loads(path.read_text("utf-8"))
    for broken in ({"problem": "ordered"}, {"problem": "x"}, {"problem": "several", "thresholds": {"good": 3}}):
        path.write_text(json.dumps({**about, "task_settings": broken}), "utf-8")
        with pytest.raises(HandloomError, match=r"handloom\.json: task_settings cannot be read"):
            load(tmp_path / "run")


def test_frames_go_in_and_out(tiny: Path) -> None:
    pandas = pytest.importorskip("pandas")
    model = TextClassifier.from_pretrained(tiny)
    rows = tiny_bert.opinions(60)
    model.fit(pandas.DataFrame(rows, columns=["text", "label"]), epochs=1, **FAST)
    frame = pandas.DataFrame({"text": ["good", "bad"], "price": [1, 2]}, index=[7, 9])
    found = model.predict_frame(frame)
    assert list(found.columns) == ["text", "label", "scores.neg", "scores.pos", "price"] and list(found.index) == [7, 9]
    assert list(model.predict_frame(frame["text"])["label"]) == list(found["label"])
    assert [one.label for one in model.predict(frame["text"])] == list(found["label"])


@pytest.mark.parametrize(("option", "value"), [("crf", True), ("pooling", "cls"), ("longest_answer", 3),
                                               ("symmetric", True), ("prompt", "{text}")])  # fmt: skip
def test_settings_of_other_tasks_are_refused(tiny: Path, option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{option} is for .*, not text-classification"):
        TextClassifier.from_pretrained(tiny).fit([("a", "x"), ("b", "y")], **{option: value})


def test_two_files_are_for_texts_that_are_rewritten() -> None:
    with pytest.raises(UsageError, match="targets is for translation and summarization, not text-classification"):
        read((Path("a.en"), Path("a.de")))
