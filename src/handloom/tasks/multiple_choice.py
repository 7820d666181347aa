"""Which of several answers is right: the question is read with each of them, and gets one score each time (as Devlin et
al. 2019, section 4.4, do with SWAG). The softmax runs over the choices of a question, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import handloom.tensor as ht
from handloom.data.examples import CHOICE, TEXT, ChoiceExample
from handloom.errors import HandloomError
from handloom.tasks import metrics
from handloom.tasks.grouped import Group, Grouped
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, softmax
from handloom.tensor import Tensor
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Encoding
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import Cut, cut

NOWHERE = -1e30
ACCURACY = {"accuracy": metrics.mean_of(1)}


@dataclass(frozen=True, slots=True)
class Choice:
    """index, text: what was chosen, from 0. score: how likely, 0 to 1; scores: the same of every choice."""

    index: int
    text: str
    score: float
    scores: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"choice": self.index, "answer": self.text, "score": self.score, "scores": list(self.scores)}


class MultipleChoice(Grouped):
    """Its head is the one of text classification with a single output."""

    name = CHOICE
    labels = ("score",)
    metric = "accuracy"
    metrics = ("accuracy", "loss")

    @property
    def head_name(self) -> str:
        return TEXT

    def encode(self, examples: Sequence[ChoiceExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """(context, question and choice), or (question, choice). What is too long loses of its context, the beginning
        of which stays (or beginning and end, `long` = "head-tail")."""
        pairs = [pair for example in examples for pair in sides(example)]
        coded = tokenizer.encode_batch([first for first, _ in pairs], [second for _, second in pairs])
        how = "head" if long == "windows" else long
        features: list[Any] = []
        at = shortened = 0
        for index, example in enumerate(examples):
            own = coded[at : at + len(example.choices)]
            at += len(own)
            cuts = [_fitted(one, max_length, how) for one in own]
            shortened += any(made.shortened for made in cuts)
            first, *others = (made.windows[0] for made in cuts)
            label = None if example.answer is None else np.array(example.answer, np.int32)
            features.append(Group(first, index, label, cuts[0].kept[0], len(own[0]), None, None, tuple(others)))
        are = agreed(shortened, f"[is|are] longer than {max_length} tokens and [has|have] been shortened")
        note = f"{shortened:,} of {counted(len(examples), 'question')} {are}"
        return Encoded(features, len(examples), (note,) if shortened else ())

    def pack(self, part: Any) -> dict[str, Array]:
        """Besides `Grouped.pack`: labels i32 [sequences], the right one's row among the texts, −100 where unknown."""
        batch = super().pack(part)
        own = np.array([-100 if group.label is None else int(group.label) for group in part], np.int64)
        return {**batch, "labels": np.where(own < 0, -100, own + batch["groups"][:-1]).astype(np.int32)}

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        return {**super().symbols(), "labels": ("sequences",)}

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        groups, texts = batch["groups"], ht.iota(logits.shape[0]).reshape(1, -1)
        own = ht.logical_and(groups[:-1].reshape(-1, 1) <= texts, texts < groups[1:].reshape(-1, 1))
        return ht.cross_entropy(ht.where(own, logits.reshape(1, -1), NOWHERE), batch["labels"])

    def decode(self, examples: Sequence[ChoiceExample], encoded: Encoded, logits: Sequence[Array]) -> list[Choice]:
        return [chosen(e.choices, softmax(rows.reshape(-1))) for e, rows in zip(examples, logits, strict=True)]

    def score(self, examples: Sequence[ChoiceExample], predictions: Sequence[Choice], seed: int = 0) -> Scores:
        return choice_scores(examples, predictions, seed)

    def counted(self, examples: Sequence[ChoiceExample], predictions: Sequence[Choice]) -> Counted:
        right = _right(examples, predictions)
        return Counted(metrics.Summands(metrics.weighted(right), right), ACCURACY)


def sides(example: ChoiceExample) -> list[tuple[str, str]]:
    """The two texts that are read for each choice."""
    if not example.context:
        return [(example.question, choice) for choice in example.choices]
    return [(example.context, f"{example.question} {choice}".strip()) for choice in example.choices]


def _fitted(coded: Encoding, max_length: int, how: str) -> Cut:
    """The choice stays whole, unless it alone takes more than half of the room."""
    choice = int((coded.sequence == 1).sum())
    return cut(coded, max_length, how, moving=0 if 2 * choice <= max_length - 4 else None)


def chosen(choices: Sequence[str], shares: Array) -> Choice:
    best = int(shares.argmax())
    return Choice(best, choices[best], float(shares[best]), tuple(shares.tolist()))


def choice_scores(examples: Sequence[ChoiceExample], predictions: Sequence[Choice], seed: int = 0) -> Scores:
    """accuracy, and the mistakes that the model was most sure of."""
    for example in examples:
        if example.answer is None:
            raise HandloomError(f"{example.where or 'the data'}: there is no answer to compare with")
    right = _right(examples, predictions)
    wrong = [
        Mistake(e.text, e.choices[e.answer or 0], said.text, said.score)
        for e, said, hit in zip(examples, predictions, right.tolist(), strict=True) if not hit
    ]  # fmt: skip
    values, intervals = metrics.evaluated(metrics.weighted(right), ACCURACY, seed)
    return Scores(values, intervals, mistakes=sorted(wrong, key=lambda mistake: -(mistake.score or 0))[:20])


def _right(examples: Sequence[ChoiceExample], predictions: Sequence[Choice]) -> NDArray[np.bool_]:
    return np.array([e.answer == said.index for e, said in zip(examples, predictions, strict=True)], bool)
