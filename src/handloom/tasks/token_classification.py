"""A tag for each word of a text, and the spans that the tags spell.

A word's first sub-word speaks for it: it alone carries the label and gets logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.data.examples import TOKEN, TokenExample
from handloom.errors import HandloomError
from handloom.tasks import metrics
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.task import Array, Batch, Counted, Encoded, Feature, Task, softmax
from handloom.tasks.text_classification import classification_scores, weight_array
from handloom.tensor import Tensor
from handloom.text.schemes import Scheme
from handloom.text.spans import Span, Word, runs, tags_of_runs, tags_of_spans
from handloom.text.tokenizer import Tokenizer
from handloom.text.windows import cut_all, owners
from handloom.text.words import split_words


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


class TokenClassification(Task):
    """labels: the tags, in the order of the head's outputs. scheme: how they are written; unit: what a word is in
    untouched text, "words" or "characters"."""

    name = TOKEN
    rows = "rows"

    def __init__(
        self,
        labels: Sequence[str],
        scheme: Scheme | None = None,
        unit: str = "words",
        class_weights: Mapping[str, float] | None = None,
        smoothing: float = 0.0,
    ) -> None:
        self.labels, self.scheme, self.unit = tuple(labels), scheme or Scheme(), unit
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
        }

    def words(self, example: TokenExample) -> tuple[Word, ...]:
        return tuple(split_words(example.text, self.unit)) if example.words is None else example.words

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
            begins = np.zeros(len(coded), np.bool_)
            begins[coded.first_tokens()] = True
            for window, kept in zip(made.windows, made.kept, strict=True):
                rows = np.flatnonzero(begins[kept]).astype(np.int32)
                speaks = coded.words[kept[rows]]
                label = None if ids is None else ids[speaks]
                features.append(Feature(window, index, label, kept, len(coded), rows, speaks))
        return Encoded(features, len(examples), (str(found),) if found.long else ())

    def _id(self, tag: str, example: TokenExample) -> int:
        if tag not in self._ids:
            raise HandloomError(f"{example.where or 'the data'}: the tag {tag!r} is unknown to the model")
        return self._ids[tag]

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        weights = None if self._weights is None else ht.tensor(self._weights)
        return ht.cross_entropy(logits, batch["labels"], weights, self._smoothing)

    def decode(self, examples: Sequence[TokenExample], encoded: Encoded, logits: Sequence[Array]) -> list[Tagged]:
        """Each word is judged by the window in which it has most context."""
        windows: list[list[int]] = [[] for _ in examples]
        for number, feature in enumerate(encoded.features):
            windows[feature.example].append(number)
        return [
            self._decode(example, [encoded.features[i] for i in mine], [logits[i] for i in mine])
            for example, mine in zip(examples, windows, strict=True)
        ]

    def _decode(self, example: TokenExample, features: list[Feature], logits: list[Array]) -> Tagged:
        words = self.words(example)
        tags: list[str | None] = [None] * len(words)
        sure = [0.0] * len(words)
        window = owners([f.kept for f in features], features[0].length)[0] if len(features) > 1 else None
        for number, (feature, rows) in enumerate(zip(features, logits, strict=True)):
            assert feature.rows is not None and feature.words is not None
            if not len(feature.rows):
                continue
            shares = softmax(rows)
            best = shares.argmax(-1)
            own = np.ones(len(best), bool) if window is None else window[feature.kept[feature.rows]] == number
            for row in np.flatnonzero(own).tolist():
                word = int(feature.words[row])
                tags[word], sure[word] = self.labels[best[row]], float(shares[row, best[row]])
        return self.tagged(example.text, words, tags, sure)

    def tagged(self, text: str, words: Sequence[Word], tags: Sequence[str | None], sure: Sequence[float]) -> Tagged:
        """A prediction from a tag for each word and how sure each is."""
        return Tagged(tuple(words), tuple(tags), tuple(sure), self._spans(text, words, tags, sure))

    def _spans(
        self, text: str, words: Sequence[Word], tags: Sequence[str | None], sure: Sequence[float]
    ) -> tuple[Span, ...]:
        """A span's score is the mean over its words."""
        found = []
        for first, end, label in runs(tags, self.scheme):
            start, stop = words[first][0], words[end - 1][1]
            judged = [sure[i] for i in range(first, end) if tags[i] is not None]
            found.append(Span(start, stop, label, text[start:stop], sum(judged) / len(judged)))
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
        gold, guess = [self.tags(example) or [] for example in examples], [p.tags for p in predictions]
        if self.scheme.name != "plain":
            return Counted(metrics.span_counts(gold, guess, self.scheme), metrics.OF_SPANS)
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

    def _span_scores(
        self, examples: Sequence[TokenExample], gold: list[list[str]], predictions: Sequence[Tagged], seed: int
    ) -> Scores:
        counted = metrics.span_counts(gold, [p.tags for p in predictions], self.scheme)
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
                    found.append(Mistake(example.text, _named([span]), "nothing", min(inside)))
        return sorted(found, key=lambda mistake: -mistake.score)[:worst]


def _named(spans: Sequence[Span]) -> str:
    return "; ".join(f"{span.label}: {span.text}" for span in spans) or "nothing"
