"""Where in a text the answer to a question stands, if it stands there at all.

The question and the text are read together (Devlin et al. 2019, section 4.2 and 4.3); a linear layer says of each token
how well an answer would begin and end there, and both are softmaxes over the tokens of a sequence. A long text is read
in windows, the whole question in each; where a window does not hold the answer, its first token is to be pointed at.
That is also how the model says that there is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import QUESTION, QuestionExample
from handloom.data.inexact import inexact_places
from handloom.errors import HandloomError, UsageError
from handloom.tasks import answers, metrics
from handloom.tasks.metrics import Summands
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, Feature, Task
from handloom.tensor import Tensor
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Encoding
from handloom.text.spans import Word
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import LongTexts, cut

LONGEST = 30
"""Tokens that an answer has at most, unless the user says otherwise."""
CANDIDATES = 5
"""Answers that are given, the best one and the next best, unless the user says otherwise."""
NOWHERE = -1e30
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """text: context[start:end], "" (and 0, 0) where there is none. score: how likely it is among all answers that the
    context allows, 0 to 1. others: the next best ones. logit: the sum of the two logits (less that of no answer, where
    the model knows questions without one), by which answers from several contexts compare. margin: by how much no
    answer is ahead of the best one."""

    text: str
    start: int
    end: int
    score: float
    others: tuple[Answer, ...] = ()
    logit: float = 0.0
    margin: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.text)

    def to_dict(self) -> dict[str, Any]:
        places = {"start": self.start, "end": self.end, "score": self.score}
        others = [{"text": o.text, "start": o.start, "end": o.end, "score": o.score} for o in self.others]
        return {"answer": self.text, **places, "others": others}


class QuestionAnswering(Task):
    """longest: tokens of an answer, at most. threshold: None for a model that always answers; else it does not where no
    answer is ahead by more than that."""

    name = QUESTION
    metric = "f1"
    metrics = ("exact_match", "f1", "answered_exact_match", "answered_f1", "unanswerable_accuracy", "loss")
    rows = "tokens"
    label_shape = (2,)

    def __init__(self, longest: int = LONGEST, threshold: float | None = None) -> None:
        if longest < 1:
            raise UsageError(f"an answer has at least one token, not {longest}")
        self.longest, self.threshold, self.candidates = longest, threshold, CANDIDATES

    @property
    def label_rows(self) -> str:
        return "sequences"

    @property
    def tunes(self) -> bool:
        return self.threshold is not None

    def settings(self) -> dict[str, Any]:
        return {"longest": self.longest, "threshold": self.threshold}

    def encode(self, examples: Sequence[QuestionExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        whole = tokenizer.encode_batch([e.question for e in examples], [e.context for e in examples])
        features: list[Feature] = []
        notes, windows, shortened = [], 0, 0
        cut_off, too_long = [], []
        for index, (example, coded) in enumerate(zip(examples, whole, strict=True)):
            where = example.where or f"question {index}"
            if not example.context.strip() or not example.question.strip():
                raise HandloomError(f"{where}: an empty {'question' if example.context.strip() else 'context'}")
            besides = int((coded.sequence != 1).sum())
            if len(coded) > max_length and max_length - besides < max(2, max_length // 8):
                said = f"with what the tokenizer adds it has {besides} of the {max_length} tokens that are read at once"
                raise HandloomError(f"{where}: the question leaves no room for its text: {said}")
            made = cut(coded, max_length, long, moving=1)
            windows, shortened = windows + len(made.windows), shortened + made.shortened
            place = None if not example.answers else token_place(coded, example.answers[0])
            here = [Feature(w, index, _pointed(example, k, place), k, len(coded))
                    for w, k in zip(made.windows, made.kept, strict=True)]  # fmt: skip
            features += here
            if example.answers and not any(f.label is not None and f.label.any() for f in here):
                cut_off.append(where)
            elif place is not None and place[1] - place[0] >= self.longest:
                too_long.append(where)
        found = LongTexts(len(whole), sum(len(coded) > max_length for coded in whole), windows, shortened)
        notes += [str(found)] if found.long else []
        for places, what in ((cut_off, "in no window as a whole, and cannot be learned"),
                             (too_long, f"longer than {self.longest} tokens and cannot be predicted")):  # fmt: skip
            if places:
                of = f"{counted(len(examples), 'answer')} {agreed(len(places), '[is|are]')}"
                notes.append(f"{len(places):,} of {of} {what}: {', '.join(places[:3])}"
                             + (" …" if len(places) > 3 else ""))  # fmt: skip
        return Encoded(features, len(examples), (*notes, *inexact_places(examples)))

    def pack(self, part: Any) -> dict[str, Array]:
        """labels i32 [S, 2]: tokens of the batch that answers begin and end with."""
        batch = super().pack(part)
        begins = batch["starts"][:-1, None]
        batch["labels"] = np.where(batch["labels"] < 0, -100, batch["labels"] + begins).astype(np.int32)
        return batch

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        starts, tokens = batch["starts"], ht.iota(logits.shape[0]).reshape(1, -1)
        own = ht.logical_and(starts[:-1].reshape(-1, 1) <= tokens, tokens < starts[1:].reshape(-1, 1))
        rows = [ht.where(own, logits[:, side].reshape(1, -1), NOWHERE) for side in (0, 1)]  # [sequences, tokens]
        begins, ends = (ht.cross_entropy(row, batch["labels"][:, side]) for side, row in enumerate(rows))
        return begins[0] + ends[0], begins[1] + ends[1]

    # -- decoding

    def decode(self, examples: Sequence[QuestionExample], encoded: Encoded, logits: Sequence[Array]) -> list[Answer]:
        windows: list[list[int]] = [[] for _ in examples]
        for number, feature in enumerate(encoded.features):
            windows[feature.example].append(number)
        return [
            self._decode(example.context, [encoded.features[i] for i in mine], [logits[i] for i in mine])
            for example, mine in zip(examples, windows, strict=True)
        ]

    def _decode(self, context: str, features: Sequence[Feature], logits: Sequence[Array]) -> Answer:
        """The best spans of the text over all windows; one that several windows hold counts as in the best of them."""
        sums = np.full((features[0].length, self.longest), -np.inf)  # by first token, and by how many more there are
        places = np.zeros((features[0].length, 2), np.int64)
        nothing = np.inf
        for feature, rows in zip(features, logits, strict=True):
            coded, scores = feature.encoding, rows.astype(np.float64)
            nothing = min(nothing, float(scores[0].sum()))
            own = np.flatnonzero((coded.sequence == 1) & (coded.offsets[:, 0] < coded.offsets[:, 1]))
            kept = feature.kept[own]
            if not len(kept):
                continue
            places[kept] = coded.offsets[own]
            low, size = int(kept[0]), int(kept[-1] - kept[0]) + 1
            begin, end, held = np.full(size, -np.inf), np.full(size, -np.inf), np.zeros(size, bool)
            begin[kept - low], end[kept - low] = scores[own, 0], scores[own, 1]
            held[feature.kept[(feature.kept >= low) & (feature.kept < low + size)] - low] = True
            gaps = np.cumsum(~held)  # no answer goes over what was cut out
            for more in range(min(self.longest, size)):
                whole = np.where(gaps[: size - more] == gaps[more:], begin[: size - more] + end[more:], -np.inf)
                np.maximum(sums[low : low + size - more, more], whole, out=sums[low : low + size - more, more])
        return self._chosen(context, sums, places, nothing)

    def _chosen(self, context: str, sums: Array, places: Array, nothing: float) -> Answer:
        flat = sums.reshape(-1)
        known = flat[np.isfinite(flat)]
        if not len(known):
            return Answer("", 0, 0, 0.0)
        best = float(known.max())
        level = best if self.threshold is None else max(best, nothing)
        mass = float(np.exp(known - level).sum()) + (0.0 if self.threshold is None else np.exp(nothing - level))
        zero = 0.0 if self.threshold is None else nothing
        most = min(4 * self.candidates, len(known))
        ranked = np.argpartition(-flat, most - 1)[:most]
        ranked = ranked[np.lexsort((ranked, -flat[ranked]))]
        found: dict[Word, Answer] = {}
        for at in ranked.tolist():
            first, more = divmod(at, self.longest)
            start, end = int(places[first, 0]), int(places[first + more, 1])
            if start < end and (start, end) not in found and len(found) < self.candidates:
                share = float(np.exp(flat[at] - level) / mass)
                found[start, end] = Answer(context[start:end], start, end, share, (), float(flat[at]) - zero)
        if not found:
            return Answer("", 0, 0, 0.0)
        top, *others = found.values()
        margin = nothing - best
        if self.threshold is not None and margin > self.threshold:
            share = float(np.exp(nothing - level) / mass)
            return Answer("", 0, 0, share, tuple([top, *others][: self.candidates - 1]), -margin, margin)
        return Answer(top.text, top.start, top.end, top.score, tuple(others), top.logit, margin)

    def tune(self, examples: Sequence[QuestionExample], encoded: Encoded, logits: Sequence[Array]) -> str:
        """The threshold with the best F1 on questions of which some have no answer."""
        if all(example.answers for example in examples):
            return f"no question of the validation data is without an answer: the threshold stays {self.threshold:g}"
        always = QuestionAnswering(self.longest, np.inf)
        said = always.decode(examples, encoded, logits)
        unit = answers.unit_of([example.context for example in examples])
        margins = np.array([answer.margin for answer in said])
        answered = [answers.best(e.answer_texts, a.text, unit)[1] for e, a in zip(examples, said, strict=True)]
        silent = np.array([not example.answers for example in examples], np.float64)
        self.threshold, found = best_threshold(margins, np.array(answered), silent)
        return f"no answer is given where it is ahead by more than {self.threshold:.2f}: F1 {found:.4f} on validation"

    # -- scoring

    def score(self, examples: Sequence[QuestionExample], predictions: Sequence[Answer], seed: int = 0) -> Scores:
        """exact_match, f1: official (see answers.py); where some questions have no answer also the same of those that
        have one, and the share of the others that are left unanswered."""
        counted, judged = self._judged(examples, predictions)
        values, intervals = metrics.evaluated(counted.counts.counts, counted.metrics, seed)
        golds = [example.answer_texts for example in examples]
        wrong = [
            Mistake(example.question, _named(gold), said.text or "no answer", said.score)
            for example, gold, said, f1 in zip(examples, golds, predictions, judged, strict=True) if not f1
        ]  # fmt: skip
        return Scores(values, intervals, mistakes=sorted(wrong, key=lambda mistake: -(mistake.score or 0))[:20])

    def counted(self, examples: Sequence[QuestionExample], predictions: Sequence[Answer]) -> Counted:
        """A question is right where one of its answers is given as it is."""
        return self._judged(examples, predictions)[0]

    def _judged(
        self, examples: Sequence[QuestionExample], predictions: Sequence[Answer]
    ) -> tuple[Counted, list[float]]:
        """Counts, and the F1 of each question."""
        unit = answers.unit_of([example.context for example in examples])
        golds = [example.answer_texts for example in examples]
        judged = [answers.best(gold, said.text, unit) for gold, said in zip(golds, predictions, strict=True)]
        # per question: 1, exact, F1 in millionths, the same where there is an answer, then unanswerable and left so
        table = np.zeros((len(examples), 8), np.int64)
        for row, gold, (same, f1) in zip(table, golds, judged, strict=True):
            row[:3] = 1, same, round(f1 * MILLION)
            row[3 if gold else 6 :][: 3 if gold else 2] = row[:3] if gold else row[:2]
        columns = {"exact_match": (1, 0, 1), "f1": (2, 0, MILLION)}
        if any(not gold for gold in golds):
            columns |= {"answered_exact_match": (4, 3, 1), "answered_f1": (5, 3, MILLION)}
            columns |= {"unanswerable_accuracy": (7, 6, 1)}
        shares = {name: metrics.mean_of(*places) for name, places in columns.items()}
        right = np.array([same for same, _ in judged], np.bool_)
        return Counted(Summands(table, right), shares), [f1 for _, f1 in judged]


def _named(gold: Sequence[str]) -> str:
    return " / ".join(dict.fromkeys(gold)) or "no answer"


def token_place(coded: Encoding, place: Word) -> tuple[int, int] | None:
    """The first and the last token of the pair that share characters with a place in it; None if none does."""
    begins, ends = coded.offsets[:, 0], coded.offsets[:, 1]
    held = np.flatnonzero((coded.sequence == 1) & (begins < place[1]) & (ends > place[0]) & (begins < ends))
    return (int(held[0]), int(held[-1])) if len(held) else None


def _pointed(example: QuestionExample, kept: Array, place: tuple[int, int] | None) -> Array | None:
    """i32 [2]: where in a window the answer begins and ends; 0, 0 where it is not there."""
    if example.answers is None:
        return None
    if place is None:
        return np.zeros(2, np.int32)
    rows = np.searchsorted(kept, place)
    there = rows[1] < len(kept) and (kept[rows] == place).all() and rows[1] - rows[0] == place[1] - place[0]
    return rows.astype(np.int32) if there else np.zeros(2, np.int32)


def best_threshold(margins: Array, answered: Array, silent: Array) -> tuple[float, float]:
    """(threshold, mean score): where answering scores `answered` and being silent `silent`, and one is silent where the
    margin is greater than the threshold. It lies half-way between two margins."""
    order = np.argsort(margins, kind="stable")
    margins, gain = margins[order], (answered - silent)[order]
    totals = silent.sum() + np.concatenate([[0.0], np.cumsum(gain)])  # of answering none, the first, the first two …
    apart = np.concatenate([[True], margins[1:] > margins[:-1], [True]])
    at = int(np.argmax(np.where(apart, totals, -np.inf)))
    ends = np.concatenate([[margins[0] - 1], margins, [margins[-1] + 1]])
    return float((ends[at] + ends[at + 1]) / 2), float(totals[at] / len(margins))
