"""Each check goes red: tasks that are broken in one place fail the check that looks there, and say in what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from subjects import encoder, text

from handloom.errors import HandloomError, UsageError
from handloom.models import catalogue
from handloom.nn import Linear, Module
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tensor import Tensor
from handloom.testing import CHECKS, CheckFailed, Subject, check_task
from handloom.train.text_classifier import TextClassifier

Features = list[Any]


class Broken(TextClassification):
    """Of TextClassification one method is another."""

    def features(self, features: Features) -> Features:
        return features

    def encode(self, examples: Sequence[Any], tokenizer: Any, max_length: int, long: str) -> Encoded:
        found = super().encode(examples, tokenizer, max_length, long)
        return dataclasses.replace(found, features=self.features(found.features))


class LosesOne(Broken):
    def features(self, features: Features) -> Features:
        return features[:-1]


class TurnsRound(Broken):
    def features(self, features: Features) -> Features:
        return features[::-1]


class CountsFromNought(Broken):
    def features(self, features: Features) -> Features:
        return [dataclasses.replace(f, kept=np.arange(len(f), dtype=np.int32)) for f in features]


class SaysNothing(TextClassification):
    def encode(self, *given: Any) -> Encoded:
        return dataclasses.replace(super().encode(*given), notes=())


class MakesUpLabels(Broken):
    def features(self, features: Features) -> Features:
        return [dataclasses.replace(f, label=np.array(0, np.int32)) if f.label is None else f for f in features]


class PacksMore(TextClassification):
    def pack(self, part: Any) -> dict[str, Array]:
        return {**super().pack(part), "more": np.zeros(3, np.int32)}


class PacksWide(TextClassification):
    def pack(self, part: Any) -> dict[str, Array]:
        return {**super().pack(part), "labels": super().pack(part)["labels"].astype(np.int64)}


class KnowsAll(TextClassification):
    def _id(self, example: Any) -> int:
        return self._ids.get(example.label, 0)


class ThrowsKeys(TextClassification):
    def _id(self, example: Any) -> int:
        return self._ids[example.label]


class Means(TextClassification):
    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        total, weight = super().loss(logits, batch)
        return total / weight, weight / weight


class Weightless(TextClassification):
    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        total, weight = super().loss(logits, batch)
        return total, weight * 0


class WeighsAll(TextClassification):
    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().loss(logits, batch)[0], (batch["labels"] * 0 + 1).astype("f32").sum()


class KeepsArrays(TextClassification):
    def settings(self) -> dict[str, Any]:
        return {"labels": self.labels}


class Unused(Module):
    """A head of which a part has no say."""

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        self.out, self.idle = Linear(width, 2, rng=rng), Linear(width, 2, rng=rng)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        import handloom as hl

        return self.out(hl.take(hidden, batch["starts"][:-1]))


class HasAnIdlePart(TextClassification):
    def head(self, width: int, rng: np.random.Generator) -> Module:
        return Unused(width, rng)


class Reverses(TextClassification):
    def decode(self, *given: Any) -> list[Prediction]:
        return super().decode(*given)[::-1]


class Confuses(TextClassification):
    def decode(self, *given: Any) -> list[Prediction]:
        other = dict(zip(self.labels, self.labels[::-1], strict=True))
        return [dataclasses.replace(said, label=other[said.label]) for said in super().decode(*given)]


class Misnames(TextClassification):
    def score(self, *given: Any, **more: Any) -> Scores:
        found = super().score(*given, **more)
        return dataclasses.replace(found, metrics={**found.metrics, "beauty": 1.0})


class Miscounts(TextClassification):
    def counted(self, examples: Sequence[Any], predictions: Sequence[Any]) -> Counted:
        found = super().counted(examples, predictions)
        found.counts.counts[0] = 0
        return found


class LosesByHalf(TextClassification):
    def loss(self, logits: Tensor, batch: Batch) -> Any:
        return super().loss(logits, batch)[0]


class ScoresInADict(TextClassification):
    def score(self, *given: Any, **more: Any) -> Any:
        return super().score(*given, **more).metrics


class ScoresInWords(TextClassification):
    def score(self, *given: Any, **more: Any) -> Scores:
        words: Any = {"accuracy": "good"}
        return Scores(words)


class EncodesAList(TextClassification):
    def encode(self, *given: Any) -> Any:
        return super().encode(*given).features


class HasAWeightForAHead(TextClassification):
    def head(self, width: int, rng: np.random.Generator) -> Any:
        return rng.random((width, 2))


class Leaves(TextClassification):
    def decode(self, *given: Any) -> list[Prediction]:
        return super().decode(*given)[1:]


class SaysWords(TextClassification):
    def decode(self, *given: Any) -> list[Any]:
        return [said.label for said in super().decode(*given)]


class Divides(TextClassification):
    def loss(self, logits: Tensor, batch: Batch) -> Any:
        raise ZeroDivisionError("of what?")


class AsTheGuideSays(TextClassification):
    def score(self, *given: Any, **more: Any) -> Scores:
        examples, predictions, seed = given
        return super().score(examples, predictions, seed)


RETURNS = "methods_return_what_is_asked"
FAILS: list[tuple[type[TextClassification], str, str]] = [
    (EncodesAList, RETURNS, "`encode` returns Encoded(features, examples), whose features are"),
    (HasAWeightForAHead, RETURNS, "`head` returns a module, or None for the family's own head; this is a ndarray"),
    (LosesByHalf, RETURNS, "`loss` returns (sum, weight), two tensors of one number each; this is a Tensor"),
    (Leaves, RETURNS, "one for each example, which have `to_dict`; this is 10 for 11 examples"),
    (SaysWords, RETURNS, "which have `to_dict`; this is a list: ['"),
    (ScoresInADict, RETURNS, "`score` returns Scores, whose metrics are numbers; this is a dict"),
    (ScoresInWords, RETURNS, "`score` returns Scores, whose metrics are numbers; this is a Scores"),
    (LosesOne, "features_cover_the_examples", "have no feature"),
    (TurnsRound, "features_cover_the_examples", "not in the order"),
    (CountsFromNought, "long_texts_are_cut_as_asked", "do not lead to these tokens"),
    (SaysNothing, "long_texts_are_cut_as_asked", "no note says so"),
    (MakesUpLabels, "labels_are_not_needed_and_not_looked_at", "have labels"),
    (PacksMore, "packs_what_it_declares", "'more'"),
    (PacksWide, "packs_what_it_declares", "labels is int64"),
    (KnowsAll, "unknown_labels_say_where", "is encoded"),
    (ThrowsKeys, "unknown_labels_say_where", "is a KeyError"),
    (Weightless, "loss_is_a_sum_and_a_weight", "is 0.0"),
    (Means, "parts_add_up_to_the_batch", "the sum of a batch"),
    (WeighsAll, "examples_without_labels_weigh_nothing", "with an unlabelled example"),
    (KeepsArrays, "settings_are_json", "not the same after JSON"),
    (HasAnIdlePart, "gradients_reach_everything", "head.idle.weight"),
    (Reverses, "predictions_are_in_the_order_of_the_examples", "told something else"),
    (Confuses, "perfect_predictions_have_the_best_scores", "accuracy of perfect predictions is 0.0000, not 1"),
    (Misnames, "metrics_are_those_that_are_named", "does not name beauty"),
    (Miscounts, "counts_agree_with_scores", "accuracy of counts"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(("kind", "check", "said"), FAILS, ids=lambda one: getattr(one, "__name__", None))
def test_a_broken_task_fails(kind: type[TextClassification], check: str, said: str, folder: Path) -> None:
    subject = Subject(kind(["neg", "pos"]), text()["examples"], folder)
    with pytest.raises(CheckFailed) as caught:
        CHECKS[check](subject)
    assert said in str(caught.value)


def test_all_that_fails_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from handloom.testing import suite

    few = ("features_cover_the_examples", "settings_are_json", "odd_texts_are_judged")
    monkeypatch.setattr(suite, "CHECKS", {name: CHECKS[name] for name in few})
    with pytest.raises(CheckFailed, match=r"KeepsArrays fails 1 of 3 checks:\nsettings_are_json: settings are not"):
        check_task(KeepsArrays(["neg", "pos"]), text()["examples"], folder, odd=())
    found = check_task(TextClassification(["neg", "pos"]), text()["examples"], folder, odd=())
    assert found == {few[0]: "", few[1]: "", few[2]: "no odd examples were given"}


def test_where_the_first_fails_the_others_are_not_run(folder: Path) -> None:
    with pytest.raises(CheckFailed) as caught:
        check_task(Divides(["neg", "pos"]), text()["examples"], folder)
    first, problem = str(caught.value).splitlines()
    assert first == f"Divides fails {RETURNS}, and the other {len(CHECKS) - 1} checks were not run:"
    assert problem.startswith(f"{RETURNS}: ZeroDivisionError: of what? ({__file__}:")


def test_examples_come_as_fit_takes_them(folder: Path) -> None:
    rows = [(one.text, one.label) for one in text()["examples"]]
    subject = Subject(TextClassification(["neg", "pos"]), rows, folder)
    assert [(one.text, one.label) for one in subject.examples] == rows and len(subject.odd) > 3
    CHECKS["features_cover_the_examples"](subject)


def test_training_says_what_a_loss_must_return(folder: Path) -> None:
    rows = [(one.text, one.label) for one in text()["examples"]]
    said = r"`loss` of LosesByHalf returns \(sum, weight\), two tensors .* not a Tensor; handloom\.testing\.check_task"
    with pytest.raises(UsageError, match=said):
        TextClassifier.from_pretrained(folder).fit(rows, rows, epochs=1, task=LosesByHalf(["neg", "pos"]))


def test_methods_are_called_as_training_calls_them(folder: Path) -> None:
    subject = Subject(AsTheGuideSays(["neg", "pos"]), text()["examples"], folder)
    CHECKS["perfect_predictions_have_the_best_scores"](subject)
    CHECKS["counts_agree_with_scores"](subject)


def test_a_wide_model_is_trained_at_a_low_rate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(TextClassification(["neg", "pos"]), text()["examples"], folder)
    rates: list[float] = []
    step = subject.trainer.step

    def noted(parts: Any, number: int, rate: float) -> Any:
        rates.append(rate)
        return step(parts, number, 5e-3)

    monkeypatch.setattr(subject.trainer, "step", noted)
    for width in (32, 384):
        subject.config = replace(subject.config, hidden_size=width)
        CHECKS["training_lowers_the_loss"](subject)
    assert sorted(set(rates)) == pytest.approx([0.16 / 384, 0.16 / 32])


def test_a_model_has_a_folder_or_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "obtain", lambda *_, **__: folder)
    given = text()
    assert Subject(given["task"], given["examples"], "minilm-l6").folder == folder
    with pytest.raises(HandloomError, match="no model 'minilm-l9': there is no such folder"):
        check_task(given["task"], given["examples"], "minilm-l9")


def test_what_cannot_be_checked_is_said(folder: Path) -> None:
    wrong: Any = TextClassification
    given = text()
    with pytest.raises(UsageError, match="there are 1 examples"):
        check_task(given["task"], given["examples"][:1], folder)
    with pytest.raises(UsageError, match=r"an instance: TextClassification\(…\)"):
        check_task(wrong, given["examples"], folder)
