"""What becomes of a row of logits before a token is chosen from it, and the choice.

Each rule is a pure function of a row f32[vocabulary]; a token that must not come has −∞. Their order in `processed` and
what each does at its edges are transformers' own, so that settings carry over.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError, UsageError
from handloom.generate.constraints import Follower, masked
from handloom.graph import philox

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

NEVER = np.float32(-np.inf)
SITE = 0x67656E  # of philox: numbers that no dropout draws


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. temperature 0: the likeliest (greedy); the rest is off by default.

    bad_words: tokens in a row that must not come; suppress: tokens that must not, suppress_first: not as the first new
    one. force_first: what follows a beginning of one token (an encoder–decoder's); force_last: what the longest text
    ends with. min_length: tokens of a text with its beginning, min_new_tokens: without it, before it may end.
    renormalize: what beams add up are log-probabilities again after all rules.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    bad_words: Sequence[Sequence[int]] = ()
    suppress: Sequence[int] = ()
    suppress_first: Sequence[int] = ()
    force_first: int | None = None
    force_last: Sequence[int] = ()
    min_length: int = 0
    min_new_tokens: int = 0
    renormalize: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for a setting that makes no sense."""
        for name, good, need in (
            ("temperature", self.temperature >= 0 and math.isfinite(self.temperature), "0 or more"),
            ("top_k", self.top_k is None or _whole(self.top_k, 1), "a whole number, at least 1"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", self.min_p is None or 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0 (1 changes nothing)"),
            ("min_length", _whole(self.min_length, 0), "a whole number, 0 (off) or more"),
            ("min_new_tokens", _whole(self.min_new_tokens, 0), "a whole number, 0 (off) or more"),
            ("bad_words", all(len(word) for word in self.bad_words), "lists of one token or more"),
            ("no_repeat_ngram", _whole(self.no_repeat_ngram, 0), "a whole number, 0 (off) or more"),
            ("seed", _whole(self.seed, 0) and self.seed < 2**64, "a whole number from 0 to 2⁶⁴ − 1"),
        ):
            if not good:
                raise UsageError(f"{name} must be {need}, and is {getattr(self, name)}")
        if not self.temperature and any(x is not None for x in (self.top_k, self.top_p, self.min_p)):
            raise UsageError("top_k, top_p and min_p choose among several tokens: give a temperature above 0 with them")


class Place(NamedTuple):
    """Where in a text a token is chosen. new: how many new ones stand before it; last: there is no room for another;
    ends: the tokens that end a text; left: how many there is room for; follower: what a constraint says of the text."""

    new: int = 0
    last: bool = False
    ends: Collection[int] = ()
    left: int = sys.maxsize
    follower: Follower | None = None


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def bias(row: Floats, values: Mapping[int, float]) -> Floats:
    """Adds to the logits of some tokens. Raises UsageError for a token that the vocabulary does not have."""
    row = row.copy()
    for token, value in values.items():
        if not 0 <= token < len(row):
            raise UsageError(f"logit_bias names the token {token}; the vocabulary has 0 to {len(row) - 1}")
        row[token] += np.float32(value)
    return row


def repetition_penalty(row: Floats, before: Ids, penalty: float) -> Floats:
    """Tokens that have come before become less likely (Keskar and others, 2019): their positive logits are divided by
    the penalty, their negative ones multiplied with it."""
    seen = np.unique(before)
    row, old = row.copy(), row[seen]
    row[seen] = np.where(old < 0, old * np.float32(penalty), old / np.float32(penalty))
    return row


def no_repeat_ngram(row: Floats, before: Ids, size: int) -> Floats:
    """No token that would make an n-gram of this size come twice."""
    if len(before) < size:
        return row
    grams = np.lib.stride_tricks.sliding_window_view(before, size)
    tail = before[len(before) - size + 1 :]
    row = row.copy()
    row[grams[(grams[:, :-1] == tail).all(1), -1]] = NEVER
    return row


def constrained(row: Floats, before: Ids, how: Sampling, place: Place) -> Floats:
    """What must not come at this place, and what must; in transformers' order, where the later rule wins."""
    lists = (how.bad_words, how.suppress, how.suppress_first, how.force_last)
    if not any(map(len, lists)) and how.force_first is None and not how.min_length and not how.min_new_tokens:
        return row
    row = row.copy()
    for *head, tail in how.bad_words:
        if (head and before[-len(head) :].tolist() == head) or (not head and tail not in place.ends):
            row[tail] = NEVER
    if len(before) < how.min_length or place.new < how.min_new_tokens:
        row[list(place.ends)] = NEVER
    alone = len(before) == 1
    if how.force_first is not None and alone:
        row = _only(row, [how.force_first])
    if how.force_last and place.last:
        row = _only(row, how.force_last)
    row[list(how.suppress)] = NEVER
    begun_with_one = len(before) - place.new == 1
    if place.new == (1 if begun_with_one and how.force_first is not None else 0):
        row[list(how.suppress_first)] = NEVER
    return row


def _only(row: Floats, tokens: Sequence[int]) -> Floats:
    found = np.full_like(row, NEVER)
    found[list(tokens)] = 0
    return found


COLDEST = 1e-6
"""A lower temperature is this one: the likeliest word is as good as certain, and nothing overflows."""


def temperature(row: Floats, value: float) -> Floats:
    divided: Floats = row / np.float32(max(value, COLDEST))
    return divided


def top_k(row: Floats, k: int) -> Floats:
    """The k likeliest tokens, and those as likely as the last of them."""
    if k >= len(row):
        return row
    kept: Floats = np.where(row < np.partition(row, len(row) - k)[len(row) - k], NEVER, row)
    return kept


def top_p(row: Floats, p: float) -> Floats:
    """The likeliest tokens that together have the probability p (Holtzman and others, 2020); at least one."""
    order = np.argsort(row, kind="stable")
    below = np.cumsum(probabilities(row[order])) <= 1 - p
    below[-1] = False
    row = row.copy()
    row[order[below]] = NEVER
    return row


def min_p(row: Floats, p: float) -> Floats:
    """Tokens at least p times as likely as the likeliest (Nguyen and others, 2024)."""
    likely = probabilities(row)
    kept: Floats = np.where(likely < np.float32(p) * likely.max(), NEVER, row)
    return kept


def probabilities(row: Floats) -> Floats:
    """Of one row, in its own dtype."""
    e: Floats = np.exp(row - row.max())
    e /= e.sum()
    return e


def log_probabilities(rows: Floats) -> Floats:
    """Of each row, f32[…, vocabulary]; the sum is taken in f64."""
    top = rows.max(-1, keepdims=True)
    total = np.exp(rows - top).sum(-1, keepdims=True, dtype=np.float64)
    found: Floats = rows - (top + np.log(total)).astype(np.float32)
    return found


def processed(row: Floats, before: Ids, how: Sampling, place: Place, greedy: bool = False) -> Floats:
    """All rules that are set; of those that need chance, none where the likeliest token is wanted. `before`: the
    tokens of the sequence so far, its beginning included."""
    given = row
    if how.logit_bias:
        row = bias(row, how.logit_bias)
    if how.repetition_penalty != 1:
        row = repetition_penalty(row, before, how.repetition_penalty)
    if how.no_repeat_ngram:
        row = no_repeat_ngram(row, before, how.no_repeat_ngram)
    row = constrained(row, before, how, place)
    if place.follower is not None:
        row = masked(given, row, place.follower, place.left, place.ends)
    if greedy or not how.temperature:
        return row
    if how.temperature != 1:
        row = temperature(row, how.temperature)
    if how.top_k is not None:
        row = top_k(row, how.top_k)
    if how.top_p is not None and how.top_p < 1:
        row = top_p(row, how.top_p)
    if how.min_p is not None:
        row = min_p(row, how.min_p)
    return row


def check_numbers(rows: Floats) -> None:
    """Raises HandloomError for logits that are no numbers."""
    if np.isnan(rows).any():
        raise HandloomError("the model's scores are not numbers (NaN): its weights hold NaN or infinity")


def choose(row: Floats, before: Ids, how: Sampling, place: Place, sample: int = 0) -> int:
    """The token at `place`, from its row of logits.

    Chance depends on the seed, the place and the number of the sample alone: not on threads, nor on what else is
    generated beside it.
    """
    check_numbers(row)
    row = processed(row, before, how, place)
    if not how.temperature:
        return int(row.argmax())
    state = np.array([how.seed & 0xFFFFFFFF, how.seed >> 32, place.new & 0xFFFFFFFF, 0], np.uint32)
    drawn = float(philox.uniform(state, SITE, [sample], 1)[0, 0])
    sums = np.cumsum(probabilities(row), dtype=np.float64)
    return int(np.searchsorted(sums, drawn * sums[-1], side="right"))
