"""How two places of a text are related, by the hidden states at their beginnings.

Marks around both places become tokens of the text, and a linear layer over the states of the two opening marks says
the relation (the "entity start" of Baldini Soares et al. 2019, "Matching the Blanks"). Where a relation has a
direction its label ends in "(e1,e2)" or "(e2,e1)", as in SemEval-2010 task 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import RELATION, RelationExample
from handloom.data.inexact import inexact_places
from handloom.data.relations import BACKWARD, FORWARD
from handloom.errors import HandloomError, UsageError
from handloom.nn import Dropout, Linear, Module
from handloom.tasks import metrics
from handloom.tasks.metrics import LabelCounts
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, Feature, Task, softmax
from handloom.tasks.text_classification import classification_scores, weight_array
from handloom.tensor import Tensor
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Encoding, Ints
from handloom.text.spans import Span
from handloom.text.tokenizer import Tokenizer

NONE = (
    "other", "no_relation", "no-relation", "no relation", "norelation", "none", "na", "n/a", "unrelated", "无",
    "无关系", "其他",
)  # fmt: skip
"""Names of the label that says that there is no relation, in any case of letters."""
MARKS = (("$", "#"), ("@", "*"), ("<", ">"), ("[", "]"), ("“", "”"))
"""What may mark the first and the second place: the first pair that a tokenizer knows."""
DROPOUT = 0.1
OF_RELATIONS: dict[str, metrics.Summed] = {"relation_f1": metrics.mean_f1_of, "micro_f1": metrics.micro_f1_of}


def name_of(label: str) -> str:
    """A relation without its direction."""
    return label.removesuffix(FORWARD).removesuffix(BACKWARD)


def known_marks(tokenizer: Tokenizer) -> tuple[str, str]:
    """Two marks that the tokenizer tells apart. Raises HandloomError if it knows none."""
    for marks in MARKS:
        ids = [tokenizer.ids(mark, frame=False).tolist() for mark in marks]
        if all(ids) and ids[0] != ids[1] and not any(tokenizer.unk in found for found in ids):
            return marks
    tried = ", ".join("".join(marks) for marks in MARKS)
    raise HandloomError(f"the tokenizer knows none of the marks that two places could be told apart by: {tried}")


class EntityStarts(Module):
    """hidden [T, width] -> logits [S, labels], from the rows of batch["marks"], i32 [S, 2]."""

    def __init__(self, width: int, labels: int, rng: np.random.Generator) -> None:
        self.dropout = Dropout(DROPOUT)
        self.out = Linear(2 * width, labels, rng=rng, std=0.02)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        marks = batch["marks"]
        both = ht.concatenate([ht.take(hidden, marks[:, i]) for i in (0, 1)], 1)
        return self.out(self.dropout(both))


@dataclass(frozen=True, slots=True)
class Relation:
    """What is said of two places (label "", score 1 in their spans): a label, how sure the model is of it, and the same
    for every label (0 to 1, they sum to 1)."""

    first: Span
    second: Span
    label: str
    score: float
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        places = {
            role: {"start": span.start, "end": span.end, "text": span.text}
            for role, span in (("first", self.first), ("second", self.second))
        }
        return {**places, "label": self.label, "scores": self.scores}


@dataclass(frozen=True, slots=True)
class Triple:
    """That a subject is related to an object, and how sure the model is."""

    subject: Span
    relation: str
    object: Span
    score: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class RelationExtraction(Task):
    """labels: in the order of the head's outputs. marks: see MARKS. class_weights, smoothing: as for classification."""

    name = RELATION
    metric = "relation_f1"
    metrics = ("relation_f1", "micro_f1", "accuracy", "loss")

    def __init__(
        self,
        labels: Sequence[str],
        marks: Sequence[str] = MARKS[0],
        class_weights: Mapping[str, float] | None = None,
        smoothing: float = 0.0,
    ) -> None:
        self.labels, self.marks = tuple(labels), tuple(marks)
        self._ids = {label: i for i, label in enumerate(self.labels)}
        self._weights, self._smoothing = weight_array(self.labels, class_weights), smoothing

    @property
    def directed(self) -> bool:
        """Whether labels say which of the two places is the subject."""
        return any(label != name_of(label) for label in self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The relations without their directions and without the label that says that there is none."""
        return tuple(dict.fromkeys(name_of(label) for label in self.labels if not self.is_none(label)))

    @staticmethod
    def is_none(label: str) -> bool:
        return label.strip().casefold() in NONE

    def settings(self) -> dict[str, Any]:
        return {"marks": list(self.marks)}

    def head(self, width: int, rng: np.random.Generator) -> Module:
        return EntityStarts(width, len(self.labels), rng)

    def encode(self, examples: Sequence[RelationExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """Of a text that is longer than the model allows the tokens nearest to the two places are read, whatever `long`
        says; a note says how many texts were shortened."""
        opened, closed = ([f" {mark} " for mark in self.marks] for _ in range(2))
        texts = [e.marked(opened[0], closed[0], opened[1], closed[1]) for e in examples]
        features, shortened = [], 0
        for index, (example, coded) in enumerate(zip(examples, tokenizer.encode_batch(texts), strict=True)):
            label = None if example.label is None else np.array(self._id(example), np.int32)
            marks = self._opening(example, coded)
            kept = nearest(coded, marks, max_length, example.where)
            shortened += len(kept) < len(coded)
            rows = np.searchsorted(kept, marks).astype(np.int32)
            features.append(Feature(coded.take(kept), index, label, kept, len(coded), rows))
        were = agreed(shortened, "[was|were] longer than the model and [is|are] read around [its|their]")
        note = f"{shortened:,} of {counted(len(examples), 'text')} {were} two places"
        return Encoded(features, len(examples), (*((note,) if shortened else ()), *inexact_places(examples)))

    def _opening(self, example: RelationExample, coded: Encoding) -> Ints:
        """The tokens of the marks that open the first and the second place, i32 [2]."""
        width = len(self.marks[0]) + 2
        before = {place: width * 2 * number for number, place in enumerate(sorted((example.first, example.second)))}
        found = []
        for place in (example.first, example.second):
            at = place[0] + before[place] + 1
            begins, ends = coded.offsets[:, 0], coded.offsets[:, 1]
            holds = np.flatnonzero((begins <= at) & (at < ends) & (coded.sequence == 0))
            if not len(holds):
                raise HandloomError(f"{example.where or 'the text'}: the tokenizer drops the marks {self.marks}")
            found.append(int(holds[0]))
        return np.array(found, np.int32)

    def _id(self, example: RelationExample) -> int:
        if example.label not in self._ids:
            where = example.where or "the data"
            raise HandloomError(f"{where}: the relation {example.label!r} is unknown to the model")
        return self._ids[example.label]

    def pack(self, part: Any) -> dict[str, Array]:
        batch = super().pack(part)
        marks = np.stack([feature.rows for feature in part])
        batch["marks"] = (marks + batch["starts"][:-1, None]).astype(np.int32)
        return batch

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        return {**super().symbols(), "marks": ("sequences", 2)}

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        weights = None if self._weights is None else ht.tensor(self._weights)
        return ht.cross_entropy(logits, batch["labels"], weights, self._smoothing)

    def decode(self, examples: Sequence[RelationExample], encoded: Encoded, logits: Sequence[Array]) -> list[Relation]:
        if not examples:
            return []
        shares = softmax(np.stack(logits))
        return [
            Relation(
                _span(example.text, example.first), _span(example.text, example.second), self.labels[best],
                float(row[best]), dict(zip(self.labels, row.tolist(), strict=True)),
            )
            for example, row, best in zip(examples, shares, shares.argmax(-1).tolist(), strict=True)
        ]  # fmt: skip

    def score(self, examples: Sequence[RelationExample], predictions: Sequence[Any], seed: int = 0) -> Scores:
        """relation_f1: SemEval-2010 task 8's official score, the mean F1 of the relations, each right only with its
        direction, where the label for no relation counts as none; micro_f1: the same over all of them together."""
        gold = [self._id(example) for example in examples]
        guess = [self._ids[prediction.label] for prediction in predictions]
        texts = [example.marked("[", "]", "[", "]") for example in examples]
        scores = classification_scores(self.labels, gold, guess, texts, [p.score for p in predictions], seed)
        found = self._counts(examples, predictions)
        own = {name: float(metric(found.counts.sum(0))) for name, metric in OF_RELATIONS.items()}
        sure = {name: metrics.interval(found.counts, metric, seed) for name, metric in OF_RELATIONS.items()}
        scores.metrics = {**own, "accuracy": scores.metrics["accuracy"]}
        scores.intervals = {**sure, "accuracy": scores.intervals["accuracy"]}
        scores.labels = found.per_label()
        return scores

    def counted(self, examples: Sequence[RelationExample], predictions: Sequence[Relation]) -> Counted:
        """Of the relations without their directions: one is right only with its direction."""
        return Counted(self._counts(examples, predictions), OF_RELATIONS)

    def _counts(self, examples: Sequence[RelationExample], predictions: Sequence[Relation]) -> LabelCounts:
        gold, guess = [example.label or "" for example in examples], [prediction.label for prediction in predictions]
        names = self.names
        place = {name: i for i, name in enumerate(names)}
        counts = np.zeros((len(gold), len(names), 3), np.int64)
        for row, true, found in zip(counts, gold, guess, strict=True):
            for column, label in ((1, found), (2, true)):
                if not self.is_none(label):
                    row[place[name_of(label)], column] = 1
            if true == found and not self.is_none(true):
                row[place[name_of(true)], 0] = 1
        return LabelCounts(names, counts)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two entities of a text, to be asked about. text: its number."""

    text: int
    first: Span
    second: Span
    example: RelationExample


def pairs_of(texts: Sequence[str], entities: Sequence[Sequence[Span]], directed: bool, within: int) -> list[Pair]:
    """Every two entities that do not overlap and have at most `within` characters between them; in both orders, unless
    the labels say what the subject is."""
    found = []
    for number, (text, spans) in enumerate(zip(texts, entities, strict=True)):
        for i, one in enumerate(ordered := sorted(spans)):
            for other in ordered[i + 1 :]:
                if not one.end <= other.start <= one.end + within:
                    continue
                for first, second in ((one, other),) if directed else ((one, other), (other, one)):
                    example = RelationExample(text, (first.start, first.end), (second.start, second.end))
                    found.append(Pair(number, first, second, example))
    return found


def triples_of(texts: int, pairs: Sequence[Pair], said: Sequence[Relation]) -> list[list[Triple]]:
    """For each text the pairs that are related, the subject first."""
    found: list[list[Triple]] = [[] for _ in range(texts)]
    for pair, relation in zip(pairs, said, strict=True):
        if not RelationExtraction.is_none(relation.label):
            ends = (pair.first, pair.second)
            subject, object_ = reversed(ends) if relation.label.endswith(BACKWARD) else ends
            found[pair.text].append(Triple(subject, name_of(relation.label), object_, relation.score))
    return found


def nearest(coded: Encoding, marks: Ints, max_length: int, where: str = "") -> Ints:
    """The indices of at most max_length tokens, in order: special ones and those nearest to one of two marks."""
    everything = np.arange(len(coded), dtype=np.int32)
    if len(coded) <= max_length:
        return everything
    special = everything[coded.sequence < 0]
    own = everything[coded.sequence == 0]
    room = max_length - len(special)
    if room < 2:
        raise UsageError(f"max_length {max_length} leaves no room for two marks beside {len(special)} special tokens")
    distance = np.abs(own[:, None] - marks[None, :]).min(1)
    chosen = own[np.argsort(distance, kind="stable")[:room]]
    return np.sort(np.concatenate([special, chosen])).astype(np.int32)


def _span(text: str, place: tuple[int, int]) -> Span:
    return Span(*place, "", text[slice(*place)])
