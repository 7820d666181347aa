"""Texts that are alike get vectors that are alike: one encoder reads both sides (Reimers and Gurevych 2019,
"Sentence-BERT").

What is learnt depends on the data. Scores and labels: the squared difference of the cosine and the score. Pairs that
belong together: each text is to find its own among all second texts of the batch (Henderson et al. 2017, section 4.4);
of triplets the wrong texts are among them, too. Texts of the batch that are right as well are no wrong answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import SIMILARITY, MatchExample
from handloom.data.matches import useless_triplets
from handloom.data.texts import folded
from handloom.errors import HandloomError, UsageError
from handloom.nn import Module
from handloom.tasks import metrics, moments, ranking
from handloom.tasks.embedding import Pooling, unit
from handloom.tasks.grouped import Group, Grouped
from handloom.tasks.scores import COSINES, SEARCHED, TOLD_APART, Mistake, Scores
from handloom.tasks.task import Array, Batch, Encoded
from handloom.tensor import Tensor
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import cut_all

SCORED, LABELLED, PAIRS, TRIPLETS = "scores", "labels", "pairs", "triplets"
METRICS = {
    SCORED: ("spearman", "pearson"),
    LABELLED: ("average_precision", "accuracy"),
    PAIRS: ("mrr@10", "ndcg@10", "recall@1", "recall@5", "recall@10"),
}
METRICS[TRIPLETS] = (*METRICS[PAIRS], "triplet_accuracy")
NEVER = np.float32(-1e30)
RANKS = 10
KEPT = ("kind", "pooling", "normalise", "scale", "symmetric", "span", "threshold", "together")


@dataclass(frozen=True, slots=True)
class Match:
    """score: the cosine of two texts. same: whether they belong together, where the model has learnt such labels.

    Of a search, for its scores: ranks: those up to 10 of the right texts among all; right: how many there are; best:
    the text that was found first; share: of the query in means, less than 1 where it has several rows. margin: by how
    much the right text is nearer than the wrong one.
    """

    score: float
    same: bool | None = None
    ranks: tuple[int, ...] = ()
    right: int = 0
    best: str = ""
    share: float = 1.0
    margin: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"score": self.score, **({} if self.same is None else {"same": self.same})}


@dataclass(frozen=True, slots=True, eq=False)
class Compared(Group):
    """A text, and those it is compared with. keys: a number for each of them, equal for equal texts; right: the keys of
    all texts that belong to the first, rising. target: the score, None if there is none."""

    keys: tuple[int, ...] = ()
    right: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    target: float | None = None


class Matching(Grouped):
    """kind: what it learns from. pooling, normalise: how the vector of a text is made. scale: of cosines in a softmax.
    symmetric: second texts are to find their first ones, too. span: the least and the greatest score. threshold: above
    it two texts are the same; None until it is chosen. together: so many examples are a batch."""

    name = SIMILARITY

    def __init__(
        self, kind: str = PAIRS, pooling: str = "mean", normalise: bool = True, *, scale: float = 20.0,
        symmetric: bool = False, span: tuple[float, float] = (0.0, 1.0), threshold: float | None = None,
        together: int = 16,
    ) -> None:  # fmt: skip
        if kind not in METRICS:
            raise UsageError(f"there is no kind of matches {kind!r}; there are {', '.join(METRICS)}")
        self.kind, self.pooling, self.normalise = kind, pooling, normalise
        self.scale, self.symmetric, self.span = scale, symmetric, span
        self.threshold, self.together = threshold, together
        self.metric, self.metrics = METRICS[kind][0], (*METRICS[kind], "loss")
        self.label_dtype = "i32" if self.searches else "f32"
        self._head = Pooling(pooling, normalise)

    @property
    def tunes(self) -> bool:
        return self.kind == LABELLED

    @property
    def separable(self) -> bool:
        return not self.searches

    @property
    def searches(self) -> bool:
        """Whether a text is to find its own among others."""
        return self.kind in (PAIRS, TRIPLETS)

    def settings(self) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in KEPT}, "span": list(self.span)}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Matching:
        """The inverse of `settings`."""
        found = {name: settings[name] for name in KEPT if name in settings}
        low, high = settings.get("span", (0.0, 1.0))
        return cls(**{**found, "span": (float(low), float(high))})

    def head(self, width: int, rng: np.random.Generator) -> Module:
        return self._head

    # -- to tokens

    def encode(self, examples: Sequence[MatchExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        """Of a text that is longer than the model allows the beginning is read, whatever `long` says."""
        given = [tuple(t for t in (e.text, e.other, e.negative) if t is not None) for e in examples]
        texts = list(dict.fromkeys(text for some in given for text in some))
        whole = tokenizer.encode_batch(texts)
        cuts, found = cut_all(whole, max_length, "head")
        coded = {text: made.windows[0] for text, made in zip(texts, cuts, strict=True)}
        kept = {text: made.kept[0] for text, made in zip(texts, cuts, strict=True)}
        lengths = dict(zip(texts, map(len, whole), strict=True))
        keys: dict[str, int] = {}
        key = {text: keys.setdefault(folded(text), len(keys)) for text in texts}
        right: dict[int, set[int]] = {}
        for example in examples:
            right.setdefault(key[example.text], set()).add(key[example.other])
        known = {one: np.array(sorted(some), np.int64) for one, some in right.items()}
        features = []
        for index, (example, some) in enumerate(zip(examples, given, strict=True)):
            first, *others = (coded[text] for text in some)
            numbers = tuple(key[text] for text in some)
            features.append(
                Compared(first, index, None, kept[some[0]], lengths[some[0]], None, None, tuple(others), numbers,
                         known[numbers[0]], self._target(example))
            )  # fmt: skip
        notes = (*((str(found),) if found.long else ()), *useless_triplets(examples))
        return Encoded(list(features), len(examples), notes)

    def _target(self, example: MatchExample) -> float | None:
        return None if example.score is None else self.cosine_of(example.score)

    def cosine_of(self, score: float) -> float:
        """What the cosine of two texts with such a score should be: 0 to 1, of scores below 0 too −1 to 1."""
        low, high = self.span
        return score / max(-low, high) if low < 0 else (score - low) / (high - low)

    def pack(self, part: Any) -> dict[str, Array]:
        """Besides `Grouped.pack`: firsts, others i32 [sequences], rows among the texts, and of scores labels f32; of a
        search labels i32, the same as others, and barred f32 [sequences, texts]: 0 for the texts that a text is to
        choose among, −1e30 for all others; back, the same the other way round."""
        groups: Sequence[Compared] = part
        batch = super().pack(part)
        firsts = batch["groups"][:-1]
        others = np.minimum(firsts + 1, batch["groups"][1:] - 1)
        batch |= {"firsts": firsts, "others": others}
        if not self.searches:
            labels = [0.0 if group.target is None else group.target for group in groups]
            return {**batch, "labels": np.array(labels, np.float32)}
        batch["barred"] = self._barred(groups, firsts, others)
        if self.symmetric:
            batch["back"] = self._back(groups, firsts, others, len(batch["starts"]) - 1)
        return batch

    @staticmethod
    def _barred(groups: Sequence[Compared], firsts: Array, others: Array) -> Array:
        keys = np.concatenate([np.array(group.keys, np.int64) for group in groups])
        never = np.zeros((len(groups), len(keys)), bool)
        for row, group in zip(never, groups, strict=True):
            row[:] = np.isin(keys, group.right) | (keys == group.keys[0])
        never[:, firsts] = True
        never[np.arange(len(groups)), others] = False
        return _masked(never)

    @staticmethod
    def _back(groups: Sequence[Compared], firsts: Array, others: Array, texts: int) -> Array:
        never = np.ones((len(groups), texts), bool)
        own = np.array([group.keys[min(1, len(group.keys) - 1)] for group in groups], np.int64)
        for group, first in zip(groups, firsts.tolist(), strict=True):  # a column: one of the first texts
            never[:, first] = np.isin(own, group.right) | (own == group.keys[0])
        never[np.arange(len(groups)), firsts] = False
        return _masked(never)

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        shapes = {**super().symbols(), "firsts": ("sequences",), "others": ("sequences",)}
        if not self.searches:
            return {**shapes, "labels": ("sequences",)}
        tables = ("barred", "back") if self.symmetric else ("barred",)
        return {**shapes, **dict.fromkeys(tables, ("sequences", "texts"))}

    # -- the loss

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        vectors = unit(logits)  # [texts, width]
        firsts, others = (ht.take(vectors, batch[side]) for side in ("firsts", "others"))
        if not self.searches:
            return ht.mean_squared_error((firsts * others).sum(-1), batch["labels"])
        total, weight = self._found(firsts, vectors, batch["barred"], batch["others"])
        if not self.symmetric:
            return total, weight
        back, _ = self._found(others, vectors, batch["back"], batch["firsts"])
        return (total + back) * 0.5, weight

    def _found(self, side: Tensor, vectors: Tensor, barred: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Each row of `side` is to find the text `own` among those that are not barred."""
        return ht.cross_entropy(ht.matmul(side, vectors, transpose_b=True) * self.scale + barred, own)

    def mean_loss(self, features: Sequence[Compared], vectors: Sequence[Array]) -> float:
        """The same in NumPy, of vectors f32 [texts, width] for each example, `together` of them a batch."""
        total = 0.0
        for begin in range(0, len(features), self.together):
            some = slice(begin, begin + self.together)
            total += self._sum_loss(features[some], normal(np.concatenate(vectors[some]).astype(np.float64)))
        return total / len(features)

    def _sum_loss(self, features: Sequence[Compared], rows: Array) -> float:
        ends = np.cumsum([feature.sequences for feature in features])
        firsts = np.concatenate([[0], ends[:-1]])
        others = np.minimum(firsts + 1, ends - 1)
        if not self.searches:
            targets = np.array([0.0 if f.target is None else f.target for f in features])
            return float((((rows[firsts] * rows[others]).sum(-1) - targets) ** 2).sum())
        ways = [(firsts, others, self._barred(features, firsts, others))]
        if self.symmetric:
            ways.append((others, firsts, self._back(features, firsts, others, len(rows))))
        sums = []
        for side, own, barred in ways:
            logits = rows[side] @ rows.T * self.scale + barred
            top = logits.max(-1)
            sums.append((np.log(np.exp(logits - top[:, None]).sum(-1)) + top - logits[np.arange(len(own)), own]).sum())
        return float(np.mean(sums))

    # -- predictions

    def decode(
        self, examples: Sequence[MatchExample], encoded: Encoded, logits: Sequence[Array], search: bool = True
    ) -> list[Match]:
        """logits: the vectors of each example's texts. search: also the ranks, where examples are pairs or triplets."""
        rows = [normal(vectors) for vectors in logits]
        cosines = [float(one[0] @ one[min(1, len(one) - 1)]) for one in rows]
        features: list[Any] = encoded.features
        if not examples or not search or kind_of(examples) not in (PAIRS, TRIPLETS):
            above = [None if self.threshold is None else cosine > self.threshold for cosine in cosines]
            return [Match(cosine, same) for cosine, same in zip(cosines, above, strict=True)]
        answers: dict[int, tuple[Array, str]] = {}  # by key: the vector and the text
        queries: dict[int, tuple[Array, Array]] = {}
        for example, feature, own in zip(examples, features, rows, strict=True):
            queries.setdefault(feature.keys[0], (own[0], feature.right))
            for key, vector, text in zip(feature.keys[1:], own[1:], (example.other, example.negative), strict=False):
                answers.setdefault(key, (vector, str(text)))
        place = {key: i for i, key in enumerate(answers)}
        table, texts = np.stack([vector for vector, _ in answers.values()]), [text for _, text in answers.values()]
        right = [np.array([place[key] for key in known.tolist()], np.int64) for _, known in queries.values()]
        asked = np.stack([vector for vector, _ in queries.values()])
        found = dict(zip(queries, ranking.ranked(asked, table, right), strict=True))
        often: dict[int, int] = {}
        for feature in features:
            often[feature.keys[0]] = often.get(feature.keys[0], 0) + 1
        said = []
        for cosine, feature, own in zip(cosines, features, rows, strict=True):
            key = feature.keys[0]
            ranks, best = found[key]
            margin = cosine - float(own[0] @ own[2]) if len(own) > 2 else None
            near = tuple(ranks[ranks <= RANKS].tolist())
            said.append(Match(cosine, None, near, len(feature.right), texts[best], 1 / often[key], margin))
        return said

    def tune(self, examples: Sequence[MatchExample], encoded: Encoded, logits: Sequence[Array]) -> str:
        """The threshold with the best accuracy."""
        if kind_of(examples, self.kind) != LABELLED:
            return "the validation data has no labels 0 and 1: there is no threshold"
        cosines = np.array([one.score for one in self.decode(examples, encoded, logits)])
        self.threshold = ranking.best_threshold(cosines, np.array([e.score == 1 for e in examples]))
        return f"two texts are the same where their cosine is above {self.threshold:.3f}"

    # -- scores

    def score(self, examples: Sequence[MatchExample], predictions: Sequence[Match], seed: int = 0) -> Scores:
        """By what the examples carry: see METRICS. Until a threshold is chosen, accuracy is at the best one."""
        kind = kind_of(examples, self.kind)
        if kind in (PAIRS, TRIPLETS):
            return _search_scores(examples, predictions, seed)
        said = np.array([prediction.score for prediction in predictions])
        gold = np.array([example.score for example in examples], np.float64)
        if kind == SCORED:
            values, intervals = metrics.evaluated(moments.ranked_moments(gold, said), moments.CORRELATIONS, seed)
            wanted = np.array([self.cosine_of(score) for score in gold.tolist()])
            away = np.abs(said - wanted)
            wrong = [Mistake(_both(examples[i]), f"{gold[i]:g}", f"{said[i]:.2f}", float(away[i]))
                     for i in np.argsort(-away, kind="stable")[:20].tolist()]  # fmt: skip
            return Scores(values, intervals, mistakes=wrong, listed=COSINES)
        return _label_scores(examples, said, gold == 1, self.threshold, seed)


def kind_of(examples: Sequence[MatchExample], learnt: str = PAIRS) -> str:
    """What the examples carry: scores that are all 0 or 1 are labels, unless scores have been learnt. HandloomError
    where some have a score and others not."""
    scored = [example.score is not None for example in examples]
    if any(example.negative is not None for example in examples):
        return TRIPLETS
    if any(scored):
        if not all(scored):
            lacking = examples[scored.index(False)]
            raise HandloomError(f"{lacking.where or 'the data'}: a pair without a score among others that have one")
        labels = learnt != SCORED and all(example.score in (0, 1) for example in examples)
        return LABELLED if labels else SCORED
    return PAIRS


def _masked(never: Array) -> Array:
    found: Array = np.where(never, NEVER, np.float32(0))
    return found


def normal(rows: Array) -> Array:
    """Rows of unit length."""
    found: Array = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return found


def _search_scores(examples: Sequence[MatchExample], said: Sequence[Match], seed: int) -> Scores:
    ranks = [np.array(one.ranks, np.int64) for one in said]
    shares = np.array([one.share for one in said])
    table = {
        "mrr@10": [ranking.reciprocal_rank(near) for near in ranks],
        "ndcg@10": [ranking.gain(near, one.right) for near, one in zip(ranks, said, strict=True)],
    }
    for most in (1, 5, 10):
        table[f"recall@{most}"] = [
            ranking.recall_at(near, one.right, most) for near, one in zip(ranks, said, strict=True)
        ]
    if all(one.margin is not None for one in said):
        table["triplet_accuracy"] = [float((one.margin or 0) > 0) for one in said]
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name, each in table.items():
        rows = metrics.weighted(each, None if name == "triplet_accuracy" else shares)
        found, sure = metrics.evaluated(rows, {name: metrics.mean_of(1)}, seed)
        values, intervals = {**values, **found}, {**intervals, **sure}
    wrong = {
        e.text: Mistake(e.text, e.other, one.best, one.score)
        for e, one in zip(examples, said, strict=True) if one.ranks[:1] != (1,)
    }  # fmt: skip
    worst = sorted(wrong.values(), key=lambda one: one.score or 0)[:20]
    return Scores(values, intervals, mistakes=worst, listed=SEARCHED)


def _label_scores(
    examples: Sequence[MatchExample], said: Array, gold: Array, threshold: float | None, seed: int
) -> Scores:
    limit = ranking.best_threshold(said, gold) if threshold is None else threshold
    hits = ((said > limit) == gold).astype(np.float64)
    names = ("different", "same")
    wrong = [Mistake(_both(examples[i]), names[int(gold[i])], names[int(said[i] > limit)], float(said[i]))
             for i in np.argsort(-np.abs(said - gold), kind="stable").tolist() if not hits[i]]  # fmt: skip
    values, intervals = metrics.evaluated(metrics.weighted(hits), {"accuracy": metrics.mean_of(1)}, seed)
    return Scores(
        {"average_precision": float(ranking.average_precision(said, gold)), **values},
        {"average_precision": ranking.precision_interval(said, gold, seed), **intervals},
        mistakes=wrong[:20],
        listed=TOLD_APART,
    )


def _both(example: MatchExample) -> str:
    return f"{example.text} ⏐ {example.other}"
