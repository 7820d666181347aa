"""What every kind of language model is asked: how likely it finds a text, and what may come next in it.

n-gram models, decoders, recurrent models, encoder–decoders and masked models all are a `Scorer`. Logarithms are natural
ones, so that a loss in nats, a score and a perplexity are the same thing in three forms.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from handloom.errors import HandloomError, UsageError


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token of a text, as the vocabulary spells it, its number there, and its log-probability: None for one that the
    model is not asked for (the first, which nothing precedes; a mark that frames the text).

    start, end: its characters in the text; equal where it is not of the text.
    """

    token: str
    id: int
    log_probability: float | None
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Likely:
    """A token that may come next."""

    token: str
    id: int
    probability: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well a model foretells texts. tokens: that have a score; unscored: that have none; size: bytes of the texts
    in UTF-8; log_probability: the sum of all scores."""

    texts: int
    tokens: int
    unscored: int
    size: int
    log_probability: float

    @property
    def loss(self) -> float:
        """Nats a token."""
        return -self.log_probability / self.tokens

    @property
    def perplexity(self) -> float:
        """Per token; a masked model's is its pseudo-perplexity."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Comparable between vocabularies: the loss of all tokens, in bits, over the bytes. A token without a score is
        taken to cost as much as the others."""
        return self.loss * (self.tokens + self.unscored) / self.size / math.log(2)

    def to_dict(self) -> dict[str, float]:
        derived = {name: getattr(self, name) for name in ("perplexity", "loss", "bits_per_byte")}
        return {**derived, **asdict(self)}


class Scorer(ABC):
    """A language model that can be asked. source: what an encoder–decoder reads before it writes the text; it needs
    one, and no other model takes one (UsageError)."""

    @abstractmethod
    def score(self, text: str, *, source: str | None = None) -> Sequence[TokenScore]:
        """How likely the model finds each token of a text, given those before it; a masked model: given all others."""

    @abstractmethod
    def next_token_probabilities(self, text: str = "", top: int = 10, *, source: str | None = None) -> list[Likely]:
        """The likeliest tokens to come after the beginning of a text, likeliest first."""

    def score_all(
        self, texts: Iterable[str], *, sources: Iterable[str] | None = None
    ) -> Iterator[Sequence[TokenScore]]:
        """`score` of each text, in order; of many short ones it may be faster. sources: one for each text."""
        return (self.score(text, source=source) for text, source in paired(texts, sources))

    def perplexity(self, texts: Iterable[str], *, sources: Iterable[str] | None = None) -> Perplexity:
        """How well the model foretells texts (each by itself, blank ones passed over), given their sources if it is an
        encoder–decoder. HandloomError where no token of them has a score."""
        if isinstance(texts, str):
            raise UsageError("perplexity takes a list of texts; of one text: [text]")
        count = tokens = unscored = size = 0
        total = 0.0
        for text, source in paired(texts, sources):
            if not text.strip():
                continue
            found = self.score(text, source=source)
            known = [one.log_probability for one in found if one.log_probability is not None]
            count, size = count + 1, size + len(text.encode("utf-8", "replace"))
            tokens, unscored = tokens + len(known), unscored + sum(map(_unscored, found))
            total += math.fsum(known)
        if not tokens:
            raise HandloomError("the text has no token that could be scored")
        return Perplexity(count, tokens, unscored, size, total)


def log_probability(scores: Iterable[TokenScore]) -> float:
    """Of a text, from those of its tokens."""
    return math.fsum(one.log_probability for one in scores if one.log_probability is not None)


def check_source(source: str | None, reads: bool) -> None:
    """UsageError for a source that a model cannot read, and for one that it lacks."""
    if reads and source is None:
        raise UsageError("this model writes a text given another one that it reads: name that, too (source)")
    if not reads and source is not None:
        raise UsageError("this model reads nothing before it writes: a source is for encoder–decoders")


def check_top(top: int) -> None:
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")


def _unscored(one: TokenScore) -> bool:
    """Whether a token is of the text itself and has no score."""
    return one.end > one.start and one.log_probability is None


def paired(texts: Iterable[str], sources: Iterable[str] | None) -> Iterator[tuple[str, str | None]]:
    """Each text with its source. UsageError where there are more or fewer of them."""
    if sources is None:
        yield from ((text, None) for text in texts)
        return
    rest = iter(sources)
    for text in texts:
        source = next(rest, None)
        if source is None:
            raise UsageError("there are fewer sources than texts")
        yield text, source
    if next(rest, None) is not None:
        raise UsageError("there are more sources than texts")
