from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert

from handloom.cli.compare import show
from handloom.cli.main import main
from handloom.data.examples import TextExample
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.tasks.text_classification import TextClassification
from handloom.train import comparing
from handloom.train.comparing import Comparison, Difference, compare
from handloom.train.estimator import Estimator
from handloom.train.estimators import TextClassifier, TokenClassifier


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that has learnt, and one that has seen too little."""
    folder = tmp_path_factory.mktemp("compared")
    base = tiny_bert.write(folder / "tiny")
    quiet = lambda progress: None  # noqa: E731
    for name, count, epochs in (("good", 200, 6), ("poor", 40, 1)):
        model = TextClassifier.from_pretrained(base)
        model.fit(tiny_bert.opinions(count), tiny_bert.opinions(20, seed=3), epochs=epochs, lr=3e-3, listener=quiet)
        model.save(folder / name)
    tagger = TokenClassifier.from_pretrained(base)
    tagged = [(words, tags) for words, tags in tiny_bert.tagged(60)]
    tagger.fit(tagged[:40], tagged[40:], epochs=1, listener=quiet)
    tagger.save(folder / "tagger")
    return {name: folder / name for name in ("good", "poor", "tagger")}


def loaded(models: dict[str, Path], *names: str) -> list[Estimator]:
    return [TextClassifier.load(models[name]) for name in names]


def test_a_better_model_is_told(models: dict[str, Path]) -> None:
    test = tiny_bert.opinions(120, seed=9)
    old, new = loaded(models, "poor", "good")
    found, back = compare(old, new, test), compare(new, old, test)
    assert (found.verdict, back.verdict) == ("better", "worse")
    assert found.metric == "macro_f1" and found.examples == 120
    one, other = found.metrics["accuracy"], back.metrics["accuracy"]
    assert (one.old, one.new) == (other.new, other.old) and one.low == pytest.approx(-other.high)
    assert one.new == pytest.approx(new.evaluate(test, before=False)["accuracy"])
    assert found.metrics["macro_f1"].old == pytest.approx(old.evaluate(test, before=False)["macro_f1"])
    assert len(found.fixed) - len(found.broken) == round(120 * (one.new - one.old))
    assert {e.text for e in found.fixed} == {e.text for e in back.broken}
    assert set(found.labels) == {"neg", "pos"} and one.worse == 0


def test_a_model_is_no_worse_than_itself(models: dict[str, Path]) -> None:
    old, new = loaded(models, "poor", "poor")
    found = compare(old, new, tiny_bert.opinions(50, seed=9))
    assert found.verdict == "no difference" and not found.fixed and not found.broken
    assert all((d.low, d.high, d.worse) == (0, 0, 0) for d in (*found.metrics.values(), *found.labels.values()))


def test_labels_that_only_the_new_model_knows(models: dict[str, Path]) -> None:
    test = [*tiny_bert.opinions(40, seed=9), ("the film is a film", "none")]
    old, new = loaded(models, "good", "good")
    found = compare(old, new, test)
    assert found.labels["none"].old == 0 and found.metrics["accuracy"].new < 1


def test_counts_and_scoring_every_draw_say_the_same(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    test = read(tiny_bert.opinions(80, seed=9))
    old, new = loaded(models, "poor", "good")
    quick = compare(old, new, test)
    monkeypatch.setattr(TextClassification, "counted", lambda *_: None)
    monkeypatch.setattr(comparing, "SLOW_DRAWS", 400)
    slow = compare(old, new, test)
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        one, other = quick.metrics[name], slow.metrics[name]
        assert (one.old, one.new) == pytest.approx((other.old, other.new))
        np.testing.assert_allclose([one.low, one.high], [other.low, other.high], atol=0.04)


def test_labels_that_neither_model_knows_are_told(models: dict[str, Path]) -> None:
    old, new = loaded(models, "poor", "good")
    rows = tiny_bert.opinions(10)
    assert compare(old, new, rows).notes == ()
    found = compare(old, new, [*rows, ("the film", "odd"), ("a film", "odd"), ("film", "new")])
    assert found.notes == ("labels that neither model knows, so that both are wrong: new (1 of 13), odd (2 of 13)",)
    assert found.to_dict()["notes"] == list(found.notes)


def test_what_was_read_and_shortened_is_told_by_model(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("text,label\n" + "the film " * 12 + ",pos\na film,neg\n", "utf-8")
    old, new = loaded(models, "poor", "good")
    notes = compare(old, new, path).notes
    assert notes[-1] == f"2 examples read from {path}"
    old.max_length, old.long = 8, "head"
    *same, of_the_old = compare(old, new, path).notes
    assert tuple(same) == notes and of_the_old.startswith(f"{models['poor']}: 1 of 2 texts ")
    assert compare(old, new, tiny_bert.opinions(10)).notes == ()


def test_what_cannot_be_compared(models: dict[str, Path]) -> None:
    old, new = loaded(models, "poor", "good")
    with pytest.raises(UsageError, match=r"compared by 'span_f1'; there are accuracy, macro_f1"):
        compare(old, new, tiny_bert.opinions(10), metric="span_f1")
    with pytest.raises(HandloomError, match=r"no label that either model knows: odd .*; they know neg, pos"):
        compare(old, new, [("the film", "odd"), ("a film", "odd")])
    with pytest.raises(UsageError, match="token-classification"):
        compare(old, TokenClassifier.load(models["tagger"]), tiny_bert.opinions(10))


def test_spans_are_compared(models: dict[str, Path]) -> None:
    tagger = TokenClassifier.load(models["tagger"])
    found = compare(tagger, tagger, [(words, tags) for words, tags in tiny_bert.tagged(20, seed=5)])
    assert found.metric == "span_f1" and found.verdict == "no difference" and set(found.labels) == {"LOC", "PER"}


def test_labels_are_shown_as_they_are_and_what_is_left_out_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    change = Difference(0.5, 0.6, 0.01, 0.2, 0.01)
    labels = {f"exchange_rate [b]{number}": change for number in range(12)}
    broken = [TextExample(f"text {number}", label="x") for number in range(32)]
    show(Comparison("macro_f1", {"macro_f1": change}, labels, 40, broken=broken))
    said = capsys.readouterr().out
    assert "exchange_rate [b]1 " in said and "macro f1 " in said
    assert "  … and 2 more (--json lists all)" in said and "  text 9\n  … and 22 more (--json lists all)\n0 ex" in said


def test_the_command(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "test.jsonl"
    rows = [{"text": text, "label": label} for text, label in tiny_bert.opinions(60, seed=9)]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    poor, good = str(models["poor"]), str(models["good"])
    assert main(["compare", poor, good, "--test", str(path)]) == 0
    assert "The new model is better: macro f1 +" in capsys.readouterr().out
    assert main(["compare", good, poor, "--test", str(path), "--json"]) == 3
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "worse" and found["metrics"]["accuracy"]["verdict"] == "worse"
    assert found["broken"][0]["where"].startswith(str(path))
