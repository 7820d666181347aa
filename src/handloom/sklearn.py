"""scikit-learn's protocol: pipelines, cross-validation and searches take these as their own.

Nothing of scikit-learn is imported unless it asks for its tags, or its own error is to be raised.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import TEXT
from handloom.data.labels import NUMBER, ONE, SEVERAL, label_string, plain
from handloom.data.meant_for import MEANT_FOR
from handloom.errors import UsageError
from handloom.train import text_classifier
from handloom.train.settings import Settings

PARAMS: Mapping[str, Any] = {
    "model": "minilm-l6", "problem": None, "label_order": None, "none_label": None,
    **{one.name: one.default for one in fields(Settings) if TEXT in MEANT_FOR.get(one.name, (TEXT,))},
}  # fmt: skip
"""All parameters and what they are if not given."""


class _Texts:
    """model: a folder or a name, as for `from_pretrained`; problem, label_order, none_label as for reading; all other
    keywords are Settings of a training. They are kept as given, so that `sklearn.base.clone` makes the like."""

    _estimator_type: ClassVar[str]
    model: Any
    problem: str | None
    label_order: Any

    def __init__(self, model: Any = PARAMS["model"], **settings: Any) -> None:
        self.set_params(**{**PARAMS, **settings, "model": model})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters, those that were not given with their defaults; None is decided by `fit`."""
        return {name: getattr(self, name) for name in PARAMS}

    def _given(self) -> dict[str, Any]:
        """Those that are not as they would be anyway, but for the model."""
        return {name: value for name, value in self.get_params().items() if name != "model" and value != PARAMS[name]}

    def set_params(self, **params: Any) -> Any:
        """Raises UsageError for a name that there is not; values are looked at by `fit`."""
        for name, value in params.items():
            if name not in PARAMS:
                near = difflib.get_close_matches(name, PARAMS, 1)
                raise UsageError(f"there is no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = {"model": self.model, **self._given()}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __getstate__(self) -> dict[str, Any]:
        """What joblib and copies take along of a trained model is the files of its folder."""
        state = dict(vars(self))
        if "estimator_" in state:
            with tempfile.TemporaryDirectory() as place:
                self.estimator_.save(place)
                files = {file.name: file.read_bytes() for file in Path(place).iterdir()}
            state["estimator_"] = files, self.estimator_.threads, self.estimator_.precision
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("estimator_", None)
        vars(self).update({**PARAMS, **state})
        if kept is not None:
            files, threads, precision = kept
            with tempfile.TemporaryDirectory() as place:
                for name, content in files.items():
                    (Path(place) / Path(name).name).write_bytes(content)
                self.estimator_ = text_classifier.TextClassifier.load(place, threads=threads, precision=precision)

    def __sklearn_tags__(self) -> Any:
        from sklearn import utils

        classifies = self._estimator_type == "classifier"
        return utils.Tags(
            estimator_type=self._estimator_type,
            target_tags=utils.TargetTags(required=True, multi_output=classifies),
            classifier_tags=utils.ClassifierTags(multi_label=True) if classifies else None,
            regressor_tags=None if classifies else utils.RegressorTags(),
            input_tags=utils.InputTags(two_d_array=False, string=True),
        )

    def _trained(self, X: Any, labels: Sequence[Any], **reading: Any) -> None:
        texts = texts_of(X)
        if len(texts) != len(labels):
            raise UsageError(f"there are {len(texts)} texts and {len(labels)} labels")
        rows = [{"text": one[0], **({"pair": one[1]} if len(one) > 1 else {}), "label": label}
                for one, label in zip(texts, labels, strict=True)]  # fmt: skip
        estimator = text_classifier.TextClassifier.from_pretrained(self.model)
        others = [] if estimator.task is None else [name for name in estimator.task.known if name not in labels]
        if others and all(isinstance(label, str) for label in labels):
            raise UsageError(f"{self.model} has been trained for {', '.join(others[:10])}, of which y says nothing: "
                             "begin with an encoder, or with the same labels")  # fmt: skip
        quiet = {"listener": lambda progress: None, "before": False, "baselines": False}
        self.estimator_ = estimator.fit(rows, **quiet, **{**self._given(), **reading})

    def _found(self, X: Any) -> list[Any]:
        if not hasattr(self, "estimator_"):
            raise _not_fitted()
        found: list[Any] = self.estimator_.predict([one if len(one) > 1 else one[0] for one in texts_of(X)])
        return found


class TextClassifier(_Texts):
    """Labels for texts. X: texts, or pairs of texts: a list, an array, a column or a frame of one or two columns.

    y: a label a text, of any type; lists of labels, or a matrix [texts, labels] of 0 and 1, for several a text.
    classes_: the labels in the order of the columns of `predict_proba`. estimator_: the trained
    `handloom.TextClassifier`.
    """

    _estimator_type = "classifier"

    def fit(self, X: Any, y: Any) -> TextClassifier:
        if self.problem == NUMBER:
            raise UsageError("numbers are learnt by handloom.sklearn.TextRegressor")
        labels = list(map(plain, plain(y)))
        self._matrix = getattr(y, "ndim", 1) == 2
        if self._matrix:
            labels = [[str(i) for i, mark in enumerate(row) if mark] for row in labels]
        several = any(isinstance(label, (list, tuple, set)) for label in labels)
        _check_alike(labels)
        if not several:  # scikit-learn's own scores want them back as they were
            self._values = {label_string(label, "y", "y"): label for label in labels}
            labels = [label_string(label, "y", f"y[{i}]") for i, label in enumerate(labels)]
        told = self.problem is not None or self.label_order is not None
        self._trained(X, labels, **({} if told else {"problem": SEVERAL if several else ONE}))
        task = self.estimator_.task
        self._names = list(task.labels) if several else sorted(task.classes, key=lambda name: self._values[name])
        if self._matrix:
            self._names = [str(i) for i in range(y.shape[1])]
        self.classes_ = np.array(self._names if several else [self._values[name] for name in self._names])
        return self

    def predict(self, X: Any) -> Any:
        """An array of labels; for several a text a matrix as y was one, else tuples of names."""
        found = self._found(X)
        if not hasattr(found[0] if found else None, "labels"):
            values = [None if one.label is None else self._values[one.label] for one in found]
            return np.array(values, object if None in values else self.classes_.dtype)
        sets = [one.labels for one in found]
        if self._matrix:
            return np.array([[name in labels for name in self._names] for labels in sets], np.int64)
        return sets

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """[texts, classes], in the order of `classes_`."""
        found = self._found(X)
        rows = [[one.scores.get(name, 0.0) for name in self._names] for one in found]
        return np.array(rows).reshape(-1, len(self._names))

    def score(self, X: Any, y: Any) -> float:
        """The share of texts whose labels are right (all of them, where there are several)."""
        said, true = self.predict(X), list(plain(y))
        if isinstance(said, list):
            return float(np.mean([set(a) == set(map(str, b)) for a, b in zip(said, true, strict=True)]))
        return float(np.mean([np.array_equal(a, b) for a, b in zip(said.tolist(), true, strict=True)]))


class TextRegressor(_Texts):
    """Numbers for texts. X as for TextClassifier; y: numbers."""

    _estimator_type = "regressor"

    def fit(self, X: Any, y: Any) -> TextRegressor:
        self._trained(X, list(plain(y)), problem=NUMBER)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        return np.array([one.value for one in self._found(X)])

    def score(self, X: Any, y: Any) -> float:
        """R²: 1 less the squared error over that of the mean."""
        true = np.asarray(plain(y), np.float64)
        apart = ((true - true.mean()) ** 2).sum()
        return float(1 - ((true - self.predict(X)) ** 2).sum() / apart) if apart else 0.0


def _check_alike(labels: Sequence[Any]) -> None:
    """UsageError where some labels are texts and others are not: 1 and "1" would be one."""
    given = [(i, label, isinstance(label, str)) for i, label in enumerate(labels) if label is not None]
    if other := next((one for one in given if one[2] != given[0][2]), None):
        said = [f"y[{i}] is {label!r:.40} ({type(label).__name__})" for i, label, _ in (given[0], other)]
        raise UsageError(f"y mixes types of labels: {', and '.join(said)}; make all of them texts, or none")


def _not_fitted() -> UsageError:
    """scikit-learn's own error where it is installed, and ours in any case."""
    said = "this model is not fitted yet: call fit first"
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return UsageError(said)
    made: UsageError = type("NotFittedError", (UsageError, NotFittedError), {})(said)
    return made


def texts_of(X: Any) -> list[tuple[str, ...]]:
    """(text,) or (text, pair) of each row. UsageError for anything else."""
    if isinstance(X, (str, bytes)):
        raise UsageError("X is a list of texts, and not one text: put it into a list")
    rows = plain(X.to_numpy() if hasattr(X, "to_numpy") else X)
    found = []
    for number, row in enumerate(rows):
        parts = (row,) if isinstance(row, str) else tuple(row) if isinstance(row, (list, tuple)) else ()
        if len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
            raise UsageError(f"X[{number}] should be a text, or a text and its pair, not {row!r:.60}")
        found.append(tuple(map(str, parts)))
    return found
