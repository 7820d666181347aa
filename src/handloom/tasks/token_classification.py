"""A tag for each word of a text, and the spans that the tags spell.

Sub-words speak for their word: the first of them alone ("first"), each of them, with one label and one vote ("all"), or
all of them together, by the mean of their logits ("mean"). Words stand for themselves, or in a chain (nn/crf.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TOKEN, TokenExample
from handloom.data.tagging import inexact_spans, words_of
from handloom.errors import HandloomError, UsageError
from handloom.nn import Module
from handloom.nn.crf import CRF
from handloom.nn.crf import arranged as arranged_chain
from handloom.nn.crf import shapes as chain_shapes
from handloom.tasks import metrics
from handloom.tasks.chains import Chain, Judged
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, Feature, Task, softmax
from handloom.tasks.text_classification import classification_scores, weight_array
from handloom.tensor import Tensor
from handloom.text.schemes import Scheme
from handloom.text.spans import Run, Span, Word, runs, runs_of_spans, tags_of_runs, tags_of_spans
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import cut_all, owners


@dataclass(frozen=True, slots=True)
class Tagged:
    """What is predicted of a text: its words (start, end), a tag for each (None where nothing is left of a word), how
    sure the model is of each tag, and the spans."""

    words: tuple[Word, ...]
    tags: tuple[str | None, ...]
    scores: tuple[float, ...]
    spans: tuple[Span, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"spans": [span.to_dict() for span in self.spans]}


SUBWORDS = ("first", "all", "mean")
"""Which sub-words speak for a word."""
CHAIN_RATE = 1e-2
"""The least rate at which a CRF learns."""


class TokenClassification(Task):
    """labels: the tags, in the order of the head's outputs. scheme: how they are written; unit: what a word is in
    untouched text, "words" or "characters". subwords: one of SUBWORDS. crf: whether a conditional random field over the
    words of a text, trained with the model as its part `crf`, decides on all tags together; what the scheme does not
    allow is then never predicted."""

    name = TOKEN
    rows = "rows"

    def __init__(
        self,
        labels: Sequence[str],
        scheme: Scheme | None = None,
        unit: str = "words",
        class_weights: Mapping[str, float] | None = None,
        smoothing: float = 0.0,
        subwords: str = "first",
        crf: bool = False,
    ) -> None:
        if subwords not in SUBWORDS:
            raise UsageError(f"subwords is {subwords!r}; it must be one of {', '.join(SUBWORDS)}")
        if crf and subwords == "all":
            raise UsageError("a CRF goes from word to word: with it, subwords must be 'first' or 'mean', not 'all'")
        if crf and (class_weights is not None or smoothing):
            raise UsageError("a CRF judges whole texts: class_weights and label_smoothing have no meaning beside it")
        self.labels, self.scheme, self.unit = tuple(labels), scheme or Scheme(), unit
        self.subwords, self.crf = subwords, crf
        plain = self.scheme.name == "plain"
        self.metric = "accuracy" if plain else "span_f1"
        names = metrics.OF_CONFUSION if plain else ("span_f1", "span_precision", "span_recall", "accuracy")
        self.metrics = (*names, "loss")
        self._ids = {label: i for i, label in enumerate(self.labels)}
        self._smoothing = smoothing
        self._weights = weight_array(self.labels, class_weights)

    def settings(self) -> dict[str, Any]:
        return {
            "scheme": {"name": self.scheme.name, "separator": self.scheme.separator, "typed": self.scheme.typed},
            "unit": self.unit,
            "subwords": self.subwords,
            "crf": self.crf,
        }

    @property
    def known(self) -> list[str]:
        """The kinds of spans that its tags spell."""
        return sorted({found[1] for label in self.labels if (found := self.scheme.read(label)) is not None})

    def words(self, example: TokenExample) -> tuple[Word, ...]:
        return words_of(example, self.unit)

    def tags(self, example: TokenExample) -> list[str] | None:
        """The true tags in this task's scheme, one a word; None where the example has no labels."""
        words = self.words(example)
        if example.tags is not None:
            return tags_of_runs(runs(example.tags, self.scheme), len(words), self.scheme)
        if example.spans is not None:
            return tags_of_spans(words, example.spans, self.scheme)[0]
        return None

    def encode(self, examples: Sequence[TokenExample], tokenizer: Tokenizer, max_length: int, long: str) -> Encoded:
        words = [self.words(example) for example in examples]
        whole = tokenizer.encode_words_batch([example.text for example in examples], words)
        cuts, found = cut_all(whole, max_length, long)
        features = []
        for index, (example, coded, made) in enumerate(zip(examples, whole, cuts, strict=True)):
            tags = self.tags(example)
            ids = None if tags is None else np.array([self._id(tag, example) for tag in tags], np.int32)
            firsts = coded.first_tokens()
            speakers = firsts if self.subwords == "first" else np.flatnonzero(coded.sequence == 0)
            first = np.zeros(int(coded.words.max(initial=0)) + 1, np.int64)  # by word
            first[coded.words[firsts]] = firsts
            for window, kept in zip(made.windows, made.kept, strict=True):
                speaking = np.isin(kept, speakers)
                # a word whose beginning is in another window has its say there
                speaking[speaking] = np.isin(first[coded.words[kept[speaking]]], kept)
                rows = np.flatnonzero(speaking).astype(np.int32)
                speaks = coded.words[kept[rows]]
                said = np.unique(speaks) if self.subwords == "mean" else speaks
                label = None if ids is None else ids[said]
                features.append(Feature(window, index, label, kept, len(coded), rows, speaks))
        notes = (*((str(found),) if found.long else ()), *inexact_spans(examples, self.unit))
        return Encoded(features, len(examples), notes)

    def _id(self, tag: str, example: TokenExample) -> int:
        if tag not in self._ids:
            raise HandloomError(f"{example.where or 'the data'}: the tag {tag!r} is unknown to the model")
        return self._ids[tag]

    # -- batches and loss

    @property
    def label_rows(self) -> str:
        return "words" if self.subwords == "mean" else self.rows

    def _missing(self, feature: Feature) -> Array:
        if self.subwords != "mean":
            return super()._missing(feature)
        assert feature.words is not None
        return np.full(len(np.unique(feature.words)), -100, np.int32)

    def pack(self, part: Any) -> dict[str, Array]:
        """Beside the rest: of "mean", `words` i32 [rows], the place of each row's word among those that have labels,
        and `shares` f32 [rows], one in the number of its rows; and what a CRF walks."""
        batch = super().pack(part)
        if self.subwords == "mean":
            word, count = _places([feature.words for feature in part])
            batch |= {"words": word, "shares": (1 / count[word]).astype(np.float32)}
        if self.crf:
            labels = [self._missing(feature) if feature.label is None else feature.label for feature in part]
            cuts = [_cut(feature) for feature in part]
            opens, closes = [not before for before, _ in cuts], [not after for _, after in cuts]
            batch |= arranged_chain(labels, opens, closes, len(self.labels))
        return batch

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        means: dict[str, tuple[Any, ...]] = {"words": ("rows",), "shares": ("rows",)} if self.subwords == "mean" else {}
        return {**super().symbols(), **means, **(chain_shapes(len(self.labels)) if self.crf else {})}

    def beside(self, rng: np.random.Generator) -> dict[str, Module]:
        return {"crf": CRF(len(self.labels), rng=rng)} if self.crf else {}

    def speed(self, name: str, rate: float) -> float:
        """A CRF's scores begin near 0 and end some units away from it: at an encoder's rate they would stay."""
        return max(1.0, CHAIN_RATE / rate) if name.startswith("crf.") else 1.0

    def cost(self, model: Any, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.crf:
            return self.loss(logits, batch)
        found: tuple[Tensor, Tensor] = model.crf.forward(self._of_words(logits, batch), batch["labels"], batch)
        return found

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        weights = None if self._weights is None else ht.tensor(self._weights)
        return ht.cross_entropy(self._of_words(logits, batch), batch["labels"], weights, self._smoothing)

    def _of_words(self, logits: Tensor, batch: Batch) -> Tensor:
        """Logits of what has a label."""
        if self.subwords != "mean":
            return logits
        return ht.scatter_add(batch["words"], logits * batch["shares"].reshape(-1, 1), batch["labels"].shape[0])

    # -- predictions

    def decode_by(
        self, weights: Mapping[str, Array], examples: Sequence[TokenExample], encoded: Encoded, logits: Sequence[Array]
    ) -> list[Tagged]:
        """Each word is judged by the window in which it has most context. A CRF then goes through the whole text, with
        the scores that its words have in these windows. How sure it is of a tag is the probability of the tag, and of a
        span the probability of all its tags, with neighbours that are no part of it."""
        if not self.crf:
            return self.decode(examples, encoded, logits)
        chain = Chain.of(
            {name.removeprefix("crf."): value for name, value in weights.items() if name.startswith("crf.")},
            self.labels, self.scheme,
        )  # fmt: skip
        spoken = self._spoken(examples, encoded, logits)
        judged = iter(chain.judge([scores for _, scores in spoken if len(scores)]))
        return [
            self._chained(example, places, chain, next(judged)) if len(scores) else self._untagged(example)
            for example, (places, scores) in zip(examples, spoken, strict=True)
        ]

    def decode(self, examples: Sequence[TokenExample], encoded: Encoded, logits: Sequence[Array]) -> list[Tagged]:
        """Each word is judged by the window in which it has most context, and by itself."""
        if self.crf:
            raise UsageError("a CRF's tags come from its weights, too: decode_by is given them")
        return [
            self._decode(example, places, shares)
            for example, (places, shares) in zip(examples, self._spoken(examples, encoded, logits), strict=True)
        ]

    def _spoken(
        self, examples: Sequence[TokenExample], encoded: Encoded, logits: Sequence[Array]
    ) -> list[tuple[Array, Array]]:
        """For each example the words of which something is left, in order, and what their sub-words together say:
        probabilities, or the scores of a CRF, f64 [words, labels]."""
        windows: list[list[int]] = [[] for _ in examples]
        for number, feature in enumerate(encoded.features):
            windows[feature.example].append(number)
        return [self._said([encoded.features[i] for i in mine], [logits[i] for i in mine]) for mine in windows]

    def _said(self, features: Sequence[Feature], logits: Sequence[Array]) -> tuple[Array, Array]:
        window = owners([f.kept for f in features], features[0].length)[0] if len(features) > 1 else None
        places, said = [], []
        for number, (feature, rows) in enumerate(zip(features, logits, strict=True)):
            assert feature.rows is not None and feature.words is not None
            if not len(feature.rows):
                continue
            word, count = _places([feature.words])
            votes = softmax(rows) if self.subwords == "all" else rows.astype(np.float64)
            sums = np.zeros((len(count), rows.shape[1]))
            np.add.at(sums, word, votes)
            means = sums / count[:, None]
            _, first = np.unique(word, return_index=True)
            own = slice(None) if window is None else window[feature.kept[feature.rows[first]]] == number
            places.append(feature.words[first][own])
            said.append((means if self.crf or self.subwords == "all" else softmax(means))[own])
        if not places:
            return np.zeros(0, np.int64), np.zeros((0, len(self.labels)))
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(places)[order], np.concatenate(said)[order]

    def _decode(self, example: TokenExample, places: Array, shares: Array) -> Tagged:
        words = self.words(example)
        tags: list[str | None] = [None] * len(words)
        sure = [0.0] * len(words)
        for word, best, own in zip(places.tolist(), shares.argmax(-1).tolist(), shares, strict=True):
            tags[word], sure[word] = self.labels[best], float(own[best])
        return self.tagged(example.text, words, tags, sure)

    def _untagged(self, example: TokenExample) -> Tagged:
        return self._decode(example, np.zeros(0, np.int64), np.zeros((0, len(self.labels))))

    def _chained(self, example: TokenExample, places: Array, chain: Chain, judged: Judged) -> Tagged:
        words = self.words(example)
        tags: list[str | None] = [None] * len(words)
        sure = [0.0] * len(words)
        shares = judged.shares
        row = np.searchsorted(places, np.arange(len(words) + 1))  # of a word, or of the next one that has a row
        for at, (word, best) in enumerate(zip(places.tolist(), judged.path.tolist(), strict=True)):
            tags[word], sure[word] = self.labels[best], float(shares[at, best])
        score = lambda first, end: chain.span(judged, int(row[first]), int(row[end]))  # noqa: E731
        return Tagged(tuple(words), tuple(tags), tuple(sure), self._spans(example.text, words, tags, sure, score))

    def tagged(self, text: str, words: Sequence[Word], tags: Sequence[str | None], sure: Sequence[float]) -> Tagged:
        """A prediction from a tag for each word and how sure each is."""
        return Tagged(tuple(words), tuple(tags), tuple(sure), self._spans(text, words, tags, sure))

    def _spans(
        self,
        text: str,
        words: Sequence[Word],
        tags: Sequence[str | None],
        sure: Sequence[float],
        score: Callable[[int, int], float] | None = None,
    ) -> tuple[Span, ...]:
        """A span's score is the mean over its words, unless `score` gives it from its first word and its end."""
        found = []
        for first, end, label in runs(tags, self.scheme):
            start, stop = words[first][0], words[end - 1][1]
            judged = [sure[i] for i in range(first, end) if tags[i] is not None]
            mean = sum(judged) / len(judged) if score is None else score(first, end)
            found.append(Span(start, stop, label, text[start:stop], mean))
        return tuple(found)

    def score(self, examples: Sequence[TokenExample], predictions: Sequence[Tagged], seed: int = 0) -> Scores:
        gold = [self.tags(example) for example in examples]
        for tags, example in zip(gold, examples, strict=True):
            if tags is None:
                raise HandloomError(f"{example.where or 'the data'}: there are no labels to compare with")
        true = [tags or [] for tags in gold]
        if self.scheme.name == "plain":
            return self._word_scores(examples, true, predictions, seed)
        return self._span_scores(examples, true, predictions, seed)

    def counted(self, examples: Sequence[TokenExample], predictions: Sequence[Tagged]) -> Counted:
        """Of spans; of tags, where these are plain. A word of which nothing is left for the model has no tag."""
        if self.scheme.name != "plain":
            return Counted(self._span_counts(examples, predictions), metrics.OF_SPANS)
        gold, guess = [self.tags(example) or [] for example in examples], [p.tags for p in predictions]
        kept = [{at: tag for at, tag in enumerate(tags) if tag is not None} for tags in guess]
        true = [[tags[at] for at in own] for tags, own in zip(gold, kept, strict=True)]
        return Counted(metrics.label_counts(true, [list(own.values()) for own in kept]), metrics.OF_LABELS)

    def _word_scores(
        self, examples: Sequence[TokenExample], gold: list[list[str]], predictions: Sequence[Tagged], seed: int
    ) -> Scores:
        pairs = [
            (self._ids[tag], self._ids[guess], f"{e.text[start:end]} … {e.text}", sure)
            for e, tags, p in zip(examples, gold, predictions, strict=True)
            for tag, guess, (start, end), sure in zip(tags, p.tags, p.words, p.scores, strict=True)
            if guess is not None
        ]
        true, guess, texts, sure = zip(*pairs, strict=True) if pairs else ((), (), (), ())
        return classification_scores(self.labels, true, guess, texts, sure, seed)

    def _span_counts(self, examples: Sequence[TokenExample], predictions: Sequence[Tagged]) -> metrics.LabelCounts:
        said = [runs(one.tags, self.scheme) for one in predictions]
        return metrics.span_counts(list(map(self._true_runs, examples)), said)

    def _true_runs(self, example: TokenExample) -> list[Run]:
        """True spans in words. One that does not begin and end where words do lies before them: nobody finds it."""
        if example.tags is not None:
            return runs(example.tags, self.scheme)
        words, spans = self.words(example), example.spans or ()
        _, inexact = runs_of_spans(words, spans)
        found, _ = runs_of_spans(words, [span for span in spans if span not in inexact])
        return [*found, *((-1 - number, -1, span.label) for number, span in enumerate(inexact, 1))]

    def _span_scores(
        self, examples: Sequence[TokenExample], gold: list[list[str]], predictions: Sequence[Tagged], seed: int
    ) -> Scores:
        counted = self._span_counts(examples, predictions)
        total = counted.counts.sum(0)
        types, matrix = self._confusion(gold, predictions)
        right = np.trace(matrix)
        return Scores(
            metrics={
                **{name: float(metric(total)) for name, metric in metrics.OF_SPANS.items()},
                "accuracy": float(right / max(int(matrix.sum()), 1)),
            },
            intervals={"span_f1": metrics.interval(counted.counts, metrics.micro_f1_of, seed)},
            labels=counted.per_label(),
            confusion=matrix,
            confusion_labels=types,
            mistakes=self._mistakes(examples, gold, predictions),
        )

    def _confusion(
        self, gold: list[list[str]], predictions: Sequence[Tagged]
    ) -> tuple[tuple[str, ...], metrics.Counts]:
        """Word by word, the kind of entity that it is a part of ("O" for none)."""

        def kind(tag: str | None) -> str:
            read = self.scheme.read(tag) if tag else None
            return "O" if read is None else read[1]

        pairs = [
            (kind(tag), kind(guess))
            for tags, p in zip(gold, predictions, strict=True)
            for tag, guess in zip(tags, p.tags, strict=True)
        ]
        types = ("O", *sorted({name for pair in pairs for name in pair} - {"O"}))
        place = {name: i for i, name in enumerate(types)}
        return types, metrics.confusion([place[a] for a, _ in pairs], [place[b] for _, b in pairs], len(types))

    def _mistakes(
        self, examples: Sequence[TokenExample], gold: list[list[str]], predictions: Sequence[Tagged], worst: int = 20
    ) -> list[Mistake]:
        """Spans that are wrong and spans that were missed, the surest first."""
        found = []
        for example, tags, guess in zip(examples, gold, predictions, strict=True):
            true = self._spans(example.text, guess.words, tags, [1.0] * len(tags))
            if example.tags is None:
                true = example.spans or ()
            keys = {(s.start, s.end, s.label) for s in true}
            guessed = {(s.start, s.end, s.label) for s in guess.spans}
            for span in guess.spans:
                if (span.start, span.end, span.label) not in keys:
                    touched = [t for t in true if t.start < span.end and t.end > span.start]
                    found.append(Mistake(example.text, _named(touched), _named([span]), span.score))
            for span in true:
                alone = not any(t.start < span.end and t.end > span.start for t in guess.spans)
                if (span.start, span.end, span.label) not in guessed and alone:
                    inside = [
                        sure
                        for (start, end), sure in zip(guess.words, guess.scores, strict=True)
                        if start < span.end and end > span.start
                    ]
                    found.append(Mistake(example.text, _named([span]), "nothing", min(inside, default=0.0)))
        return sorted(found, key=lambda mistake: -(mistake.score or 0))[:worst]


def _named(spans: Sequence[Span]) -> str:
    return "; ".join(f"{span.label}: {span.text}" for span in spans) or "nothing"


def _places(words: Sequence[Array | None]) -> tuple[Array, Array]:
    """For rows that are given the numbers of their words, feature by feature, the place of each row's word among all
    words that have rows, i32 [rows], and the number of rows of each word."""
    found, start = [np.zeros(0, np.int32)], 0
    for own in words:
        assert own is not None
        _, place = np.unique(own, return_inverse=True)
        found.append((place + start).astype(np.int32))
        start += int(place.max(initial=-1)) + 1
    joined = np.concatenate(found)
    return joined, np.bincount(joined, minlength=start)


def _cut(feature: Feature) -> tuple[bool, bool]:
    """Whether a window is cut off from what precedes it in its text, and from what follows."""
    own = np.flatnonzero(feature.encoding.sequence == 0)
    if not len(own):
        return False, False
    # special tokens stay in all windows: more than these before the first token is text
    after = len(feature) - int(own[-1]), feature.length - int(feature.kept[own[-1]])
    return int(feature.kept[own[0]]) > int(own[0]), after[1] > after[0]
