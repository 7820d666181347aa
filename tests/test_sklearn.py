"""scikit-learn takes the wrappers as its own."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "train"))
import tiny_bert

from handloom.errors import UsageError
from handloom.sklearn import TextClassifier, TextRegressor, texts_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.write(tmp_path_factory.mktemp("models") / "tiny")


def numbered(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    rows = tiny_bert.opinions(count, seed)
    return [text for text, _ in rows], [10 * (label == "pos") for _, label in rows]


def test_labels_keep_their_type(folder: Path) -> None:
    texts, labels = numbered(200)
    model = TextClassifier(folder, epochs=5, lr=3e-3, batch_size=8)
    with pytest.raises(UsageError, match="not fitted"):
        model.predict(texts)
    assert model.fit(np.array(texts), np.array(labels)) is model
    assert model.classes_.tolist() == [0, 10] and model.classes_.dtype.kind == "i"
    asked, true = numbered(40, seed=3)
    said = model.predict(asked)
    assert model.score(asked, true) == (said == true).mean() > 0.9
    shares = model.predict_proba(asked)
    assert shares.shape == (40, 2) and (model.classes_[shares.argmax(1)] == said).all()
    assert model.predict_proba([]).shape == (0, 2)


def test_a_trained_model_is_copied_and_kept_with_its_pipeline(folder: Path, tmp_path: Path) -> None:
    joblib, pipeline = pytest.importorskip("joblib"), pytest.importorskip("sklearn.pipeline")
    texts, labels = numbered(60)
    model = TextClassifier(folder, epochs=1, lr=3e-3, threads=1, precision="f32")
    whole = pipeline.make_pipeline(model).fit(texts, labels)
    said = whole.predict_proba(texts)
    joblib.dump(whole, tmp_path / "kept")
    kept = joblib.load(tmp_path / "kept")
    np.testing.assert_array_equal(kept.predict_proba(texts), said)
    assert kept.predict(texts).tolist() == whole.predict(texts).tolist()
    assert kept[0].get_params() == whole[0].get_params()
    asked, there = (one[0].estimator_ for one in (whole, kept))
    assert (there.threads, there.precision) == (asked.threads, asked.precision)
    assert not hasattr(copy.deepcopy(TextClassifier(folder)), "estimator_")
    np.testing.assert_array_equal(copy.deepcopy(whole[0]).predict_proba(texts[:3]), said[:3])


def test_one_text_is_no_list_of_texts(folder: Path) -> None:
    for given in ("abc", b"abc"):
        with pytest.raises(UsageError, match="X is a list of texts"):
            texts_of(given)


def test_several_labels_and_numbers(folder: Path) -> None:
    texts, labels = numbered(60)
    marks = np.array([[label, 1] for label in labels]) > 0
    model = TextClassifier(folder, epochs=1, lr=3e-3).fit(texts, marks.astype(int))
    assert model.predict(texts).shape == (60, 2) and model.predict_proba(texts).shape == (60, 2)
    numbers = TextRegressor(folder, epochs=8, lr=3e-3, batch_size=8).fit(texts, labels)
    assert numbers.predict(texts).shape == (60,) and numbers.score(texts, labels) > 0.3


def test_a_column_that_is_never_marked_stays(folder: Path) -> None:
    texts, labels = numbered(24)
    marks = np.array([[label > 0, True, False] for label in labels]).astype(int)
    model = TextClassifier(folder, epochs=1, lr=3e-3).fit(texts, marks)
    assert model.predict(texts).shape == model.predict_proba(texts).shape == (24, 3)
    assert not model.predict(texts)[:, 2].any() and model.classes_.tolist() == ["0", "1", "2"]


def test_other_labels_than_those_of_a_trained_model_are_refused(folder: Path, tmp_path: Path) -> None:
    texts, labels = numbered(24)
    trained = TextClassifier(folder, epochs=1, lr=3e-3).fit(texts, labels).estimator_
    trained.save(tmp_path / "trained")
    model = TextClassifier(tmp_path / "trained", epochs=1)
    with pytest.raises(UsageError, match="has been trained for 0, 10, of which y says nothing"):
        model.fit(texts, ["a", "b"] * 12)
    with pytest.raises(UsageError, match="not fitted"):
        model.predict(texts)
    assert model.fit(texts, labels).classes_.tolist() == [0, 10]


def test_parameters() -> None:
    model = TextClassifier("m", lr=1e-3)
    defaults = TextClassifier().get_params()
    assert {"model": "minilm-l6", "lr": 1e-4, "problem": None, "clip": 1.0}.items() <= defaults.items()
    assert "crf" not in defaults and TextClassifier().lr == 1e-4
    assert model.get_params() == {**defaults, "model": "m", "lr": 1e-3}
    assert repr(model) == "TextClassifier(model='m', lr=0.001)"
    assert model.set_params(epochs=2, model="n").get_params() == {**defaults, "model": "n", "lr": 1e-3, "epochs": 2}
    assert repr(model) == "TextClassifier(model='n', epochs=2, lr=0.001)"
    with pytest.raises(UsageError, match="there is no parameter 'epoch'; did you mean 'epochs'"):
        TextClassifier(epoch=3)
    with pytest.raises(UsageError, match=r"X\[1\] should be a text"):
        texts_of(["a", 3])
    assert texts_of(np.array([["a", "b"]])) == [("a", "b")]


def test_labels_of_two_types_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"y\[0\] is 1 \(int\), and y\[1\] is '1' \(str\); make all of them texts"):
        TextClassifier(folder).fit([f"text {i}" for i in range(20)], [1, "1"] * 10)


def test_an_unfitted_model_raises_what_scikit_learn_expects(folder: Path) -> None:
    exceptions = pytest.importorskip("sklearn.exceptions")
    for error in (exceptions.NotFittedError, UsageError):
        with pytest.raises(error, match="this model is not fitted yet: call fit first"):
            TextClassifier(folder).predict_proba(["a"])


@pytest.mark.parity
def test_pipelines_and_searches(folder: Path) -> None:
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    model = TextClassifier(folder, epochs=2, lr=3e-3)
    assert clone(model).get_params() == model.get_params() and clone(model).set_params(lr=1e-5).lr == 1e-5
    assert is_classifier(model) and is_regressor(TextRegressor())
    texts, labels = numbered(40)
    texts_, labels_ = np.array(texts), np.array(labels)
    assert cross_val_score(model, texts_, labels_, cv=2).shape == (2,)
    lower: Any = FunctionTransformer(lambda rows: np.char.lower(rows))
    pipeline = Pipeline([("lower", lower), ("text", model)])
    search = GridSearchCV(pipeline, {"text__lr": [1e-6, 3e-3], "text__epochs": [2]}, cv=2, scoring="neg_log_loss")
    search.fit(texts_, labels_)
    assert search.best_params_["text__lr"] in (1e-6, 3e-3) and set(search.predict(texts_).tolist()) <= {0, 10}
    assert search.classes_.tolist() == [0, 10]
