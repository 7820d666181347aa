"""An n-gram language model as a user has it: trained, scored, sampled, written and read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.ngram import arpa_reader, arpa_writer, baselines, corpus, counts, files, kneser_ney, scoring
from handloom.ngram.corpus import END, START, UNKNOWN, Array
from handloom.ngram.scoring import Scores
from handloom.ngram.table import Level, Unseen
from handloom.scoring import Likely, Perplexity, Scorer, TokenScore, check_source, check_top

Source = str | os.PathLike[str] | Iterable[str]
"""A text file (plain or gzip; a sentence on each line), or sentences."""

AT_ONCE = 4096
"""Sentences that are scored together."""
CONSTANTS = {"kneser-ney": None, "add-k": 0.1, "stupid-backoff": 0.4}
"""method → the constant that it has, by default: what is added to every count, or the factor of a back-off."""
REMARK = re.compile(r"handloom unit=(\w+) method=([a-z-]+)(?: constant=([0-9.e-]+))?")


@dataclass(frozen=True, slots=True)
class NgramPerplexity(Perplexity):
    """tokens: with the ends of sentences; size: with the ends of lines. unknown: tokens that are none of the
    vocabulary's; known: the sum over all others."""

    unknown: int
    known: float

    @property
    def perplexity_known(self) -> float:
        """Per token that the vocabulary has. `perplexity` counts the others, too, as KenLM's `query` does."""
        return math.exp(min(-self.known / (self.tokens - self.unknown), 700.0))

    def to_dict(self) -> dict[str, float]:
        return {**Perplexity.to_dict(self), "perplexity_known": self.perplexity_known}


@dataclass(frozen=True, slots=True)
class NgramScore(TokenScore):
    """order: of the n-gram that told it."""

    order: int

    @property
    def known(self) -> bool:
        return self.id != UNKNOWN


class NgramModel(Scorer):
    """An n-gram model over words between blanks or over characters.

    levels: `table.Level` of each order; vocabulary: <unk>, <s>, </s> and the tokens, by their ids; discounts: of each
    order where Kneser–Ney has just been trained. `scores` and `log10` give logarithms to base 10, as in ARPA files.
    """

    def __init__(
        self,
        levels: list[Level],
        vocabulary: list[str],
        unit: str = "words",
        method: str = "kneser-ney",
        constant: float | None = None,
        unseen: Unseen | None = None,
        discounts: Sequence[kneser_ney.Discounts] = (),
    ) -> None:
        self.levels, self.vocabulary, self.unit, self.method, self.constant = levels, vocabulary, unit, method, constant
        self.unseen = unseen or Unseen()
        self.discounts = list(discounts)
        self._numbers = corpus.numbers_of(vocabulary, unit)

    @property
    def order(self) -> int:
        return len(self.levels)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(level):,}" for level in self.levels)
        return f"NgramModel(order={self.order}, {self.unit}, {self.method}, {sizes} n-grams)"

    @classmethod
    def train(
        cls,
        source: Source,
        order: int = 5,
        *,
        unit: str = "words",
        method: str = "kneser-ney",
        constant: float | None = None,
        prune: Sequence[int] = (),
        encoding: str | None = None,
        say: Callable[[str], None] = lambda message: None,
    ) -> NgramModel:
        """Count a corpus and smooth the counts.

        prune: a threshold for each order, the last for all further ones; n-grams that the corpus holds no more often
        are left out (as `lmplz --prune`). A model of sentences that are all shorter than `order` has a lower order,
        with the same probabilities. UsageError for settings that make no sense; HandloomError for a corpus without a
        token, that is not text, or that holds <s>, </s> or <unk> as words.
        """
        thresholds, constant = _settings(order, unit, method, constant, prune)
        vocabulary, ids = corpus.learn(source, unit, encoding)
        say(f"{len(ids):,} tokens, {len(vocabulary):,} different")
        counted = counts.count(ids, order, len(vocabulary), say)
        discounts: list[kneser_ney.Discounts] = []
        unseen = Unseen()
        if method == "kneser-ney":
            levels, keep, discounts = kneser_ney.smooth(counted, thresholds)
        elif method == "add-k":
            levels, keep, unseen = baselines.add_k(counted, thresholds, constant or 0)
        else:
            levels, keep, unseen = baselines.stupid_backoff(counted, thresholds, constant or 0)
        kept = [token for token, stays in zip(vocabulary, keep.tolist(), strict=True) if stays]
        return cls(levels, kept, unit, method, constant, unseen, discounts)

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ARPA file, packed if its name ends with .gz; it is there whole or not at all.

        What ARPA does not say (characters, stupid back-off) stands in a remark, which `load` reads and others pass
        over; they take stupid back-off's factor for contexts that were seen only. UsageError for add-k, which does not
        back off.
        """
        if self.method == "add-k":
            raise UsageError("an add-k model cannot be written: ARPA files hold models that back off. Use kneser-ney.")
        constant = "" if self.constant is None else f" constant={self.constant!r}"
        remark = f"handloom unit={self.unit} method={self.method}{constant}"
        plain = self.unit == "words" and self.method == "kneser-ney"
        files.publish(Path(path), arpa_writer.blocks(self.levels, self.vocabulary, "" if plain else remark))

    @classmethod
    def load(cls, path: str | os.PathLike[str], unit: str | None = None) -> NgramModel:
        """Read an ARPA file, ours or another program's. unit: of its tokens, where the file does not say it ("words").

        HandloomError, with file and line, for a file that is missing, broken or cut short.
        """
        levels, vocabulary, remark = arpa_reader.read(Path(path))
        said = REMARK.fullmatch(remark)
        method, constant, unseen = "kneser-ney", None, Unseen()
        if said and said[1] in corpus.UNITS:
            unit = unit or said[1]
            if said[2] == "stupid-backoff" and said[3]:
                method, constant = said[2], float(said[3])
                unseen = Unseen(missing=math.log10(constant))
        return cls(levels, vocabulary, corpus.check_unit(unit or "words"), method, constant, unseen)

    # --- scores -----------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> Array:
        """The ids of one sentence, with END at last: i64[T]. Line ends in it count as blanks."""
        return corpus.encode(text.replace("\n", " "), self._numbers, self.unit)

    def tokens(self, ids: Array) -> list[str]:
        """The tokens of some ids."""
        return [self.vocabulary[number] for number in ids.tolist()]

    def scores(self, texts: Iterable[str]) -> Scores:
        """Every token's log10 probability after those before it, of sentences, with their ends; one sentence a text."""
        block = "\n".join(text.replace("\n", " ") for text in (*texts, ""))
        if not block:
            raise UsageError("there is no text to score.")
        return scoring.score(self.levels, self.unseen, corpus.encode(block[:-1], self._numbers, self.unit))

    def log10(self, text: str) -> float:
        """log10 of the probability of a sentence and its end."""
        return float(self.scores([text]).sentences[0])

    def score(self, text: str, *, source: str | None = None) -> list[NgramScore]:
        """How likely the model finds each token of a sentence, and its end, given those before it."""
        check_source(source, False)
        return next(self.score_all([text]))

    def score_all(
        self, texts: Iterable[str], *, sources: Iterable[str] | None = None
    ) -> Iterator[list[NgramScore]]:
        check_source(None if sources is None else "", False)
        rest = iter(texts)
        while some := list(islice(rest, AT_ONCE)):
            found = self.scores(some)
            parts = found.ids.tolist(), (found.log10 * math.log(10)).tolist(), found.order.tolist()
            for text, start, end in zip(some, found.starts, found.starts[1:], strict=False):
                columns = (part[start:end] for part in parts)
                yield [
                    NgramScore(self.vocabulary[token], token, value, place[0], place[1], order)
                    for token, value, order, place in zip(*columns, corpus.places(text, self.unit), strict=True)
                ]

    def perplexity(
        self, texts: Source, *, sources: Iterable[str] | None = None, encoding: str | None = None
    ) -> NgramPerplexity:
        """How well the model foretells sentences at hand, or those of a file; empty lines are passed over.

        Stupid back-off's scores are no probabilities: what comes of them can be compared with nothing else. Raises
        HandloomError for a text without a token.
        """
        check_source(None if sources is None else "", False)
        sentences, tokens, unknown, size = 0, 0, 0, 0
        total, total_known = 0.0, 0.0
        for block in corpus.blocks(texts, encoding):
            ids = corpus.filled(corpus.encode(block, self._numbers, self.unit))
            if len(ids):
                found = scoring.score(self.levels, self.unseen, ids)
                sentences += len(found.starts) - 1
                tokens += len(found.ids)
                unknown += int((~found.known).sum())
                size += len(block.encode("utf-8", "replace")) + 1
                total += float(found.log10.sum())
                total_known += float(found.log10[found.known].sum())
        if not tokens:
            raise HandloomError(f"{texts if isinstance(texts, (str, os.PathLike)) else 'the text'} holds no token.")
        total, total_known = total * math.log(10), total_known * math.log(10)
        return NgramPerplexity(sentences, tokens, 0, size, total, unknown, total_known)

    def next_token_probabilities(self, text: str = "", top: int = 10, *, source: str | None = None) -> list[Likely]:
        """The likeliest tokens to come after the beginning of a sentence, likeliest first."""
        check_source(source, False)
        check_top(top)
        found = self.distribution(text)
        return [
            Likely(self.vocabulary[one], one, float(found[one]))
            for one in np.argsort(-found, kind="stable")[:top].tolist()
        ]

    def distribution(self, text: str = "") -> Array:
        """The probabilities of all tokens to come: f64[V], by the ids of `vocabulary`; they sum to 1.

        Stupid back-off's scores are divided by their sum.
        """
        return self._next(self._history(text))

    def _history(self, text: str) -> list[int]:
        return [START, *self.encode(text)[:-1].tolist()]

    def _next(self, history: list[int]) -> Array:
        found = scoring.following(self.levels, self.unseen, np.array(history[-self.order :]))
        return found / found.sum() if self.method == "stupid-backoff" else found

    # --- sampling ---------------------------------------------------------------------------------------------------

    def sample(
        self, prompt: str = "", *, count: int = 1, length: int = 100, temperature: float = 1.0, seed: int = 0
    ) -> list[str]:
        """Texts that the model makes up, each from the prompt on to the end of a sentence or to `length` more tokens.

        The same seed gives the same texts, the first of many the same as alone. temperature: below 1 keeps to what is
        likely, above 1 ventures more. <unk> is never drawn. UsageError for a count, length or temperature that is not
        positive.
        """
        for name, value in (("count", count), ("length", length), ("temperature", temperature)):
            if not 0 < value < math.inf:
                raise UsageError(f"{name} is {value}; it must be above 0.")
        if not 0 <= seed < 1 << 64:
            raise UsageError(f"seed is {seed}; it must be between 0 and 2^64.")
        return [
            self._sampled(prompt, length, temperature, np.random.Generator(np.random.Philox(key=[seed, number])))
            for number in range(count)
        ]

    def _sampled(self, prompt: str, length: int, temperature: float, random: np.random.Generator) -> str:
        history = self._history(prompt)
        made: list[str] = []
        for _ in range(length):
            chances = self._next(history)
            chances[UNKNOWN] = 0
            chances = (chances / chances.max()) ** (1 / temperature)
            sums = np.cumsum(chances)
            token = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
            if token == END:
                break
            history.append(token)
            made.append(self.vocabulary[token])
        tokens = corpus.UNITS[self.unit](prompt.replace("\n", " "))
        return corpus.spoken([*tokens, *made], self.unit)


def _settings(
    order: int, unit: str, method: str, constant: float | None, prune: Sequence[int]
) -> tuple[list[int], float | None]:
    """A pruning threshold for each order, and the method's constant."""
    corpus.check_unit(unit)
    if method not in CONSTANTS:
        raise UsageError(f"there is no method {method!r}; there are {', '.join(CONSTANTS)}.")
    if order < 1:
        raise UsageError(
            f"the order is {order}; it must be at least 1 (1 looks at words alone, 5 at four words before)."
        )
    if constant is not None and CONSTANTS[method] is None:
        raise UsageError(f"{method} has no constant: its discounts come from the corpus.")
    constant = CONSTANTS[method] if constant is None else constant
    if constant is not None and not 0 < constant < (1 if method == "stupid-backoff" else math.inf):
        below = " and below 1" if method == "stupid-backoff" else ""
        raise UsageError(f"the constant of {method} is {constant}; it must be above 0{below}.")
    if len(prune) > order or any(one > other for one, other in zip([0, *prune], prune, strict=False)):
        raise UsageError(
            f"prune is {', '.join(map(str, prune))}; thresholds are one for each order up to {order} and do not "
            "decrease, such as 0, 0, 1."
        )
    return [*prune, *[prune[-1] if prune else 0] * (order - len(prune))], constant
