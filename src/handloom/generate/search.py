"""From prompts to token sequences: one token after the other, or by beams. Knows a model by `Decoder` alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from handloom.errors import UsageError
from handloom.generate.decoder import Decoder, Ids
from handloom.generate.sampling import Place, Sampling, check_numbers, choose, log_probabilities, processed

Finish = Literal["end", "stop", "length"]
"""Why a sequence ended: an end token, a stop string, or no room for more."""

OUT = -1e9
"""The score of what is out of the race."""


class Token(NamedTuple):
    """One token more for a sequence; finish: whether and why it is the last one (an end token belongs to the ids)."""

    sequence: int
    id: int
    finish: Finish | None


class Watcher(Protocol):
    """What looks for stop strings: told every token of a sequence, it says whether the sequence ends."""

    def __call__(self, sequence: int, token: int, /) -> bool: ...


def room(text: Ids, most: int, context: int | None) -> int:
    """How many tokens may be generated after a beginning."""
    return most if context is None else min(most, context - len(text))


def generate(
    decoder: Decoder,
    prompts: Sequence[Ids],
    how: Sampling,
    most: int,
    ends: frozenset[int] = frozenset(),
    stopped: Watcher = lambda sequence, token: False,
    samples: Sequence[int] | None = None,
) -> Iterator[Token]:
    """Goes on with all prompts at once, at most `most` tokens each; yields tokens as they come, sequences in turn.

    samples: the number by which each sequence draws its chances (0 for all, unless given). A sequence that has ended
    is not computed any further.
    """
    if most < 1:
        raise UsageError(f"at least one new token must be asked for, not {most}")
    state, logits = decoder.start(prompts)
    begun = [decoder.beginning(prompt) for prompt in prompts]
    texts = [list(map(int, text)) for text in begun]
    free = [room(text, most, decoder.context) for text in begun]
    running, place = list(range(len(prompts))), 0
    while running:
        going: list[int] = []  # places in `running`
        for i, number in enumerate(running):
            sample = samples[number] if samples else 0
            here = Place(place, place + 1 >= free[number], ends)
            token = choose(logits[i], np.array(texts[number], np.int32), how, here, sample)
            texts[number].append(token)
            finish: Finish | None = "end" if token in ends else None
            if finish is None and stopped(number, token):
                finish = "stop"
            if finish is None and place + 1 >= free[number]:
                finish = "length"
            yield Token(number, token, finish)
            if finish is None:
                going.append(i)
        if not going:
            return
        if len(going) < len(running):
            state.keep(going)
            running = [running[i] for i in going]
        place += 1
        logits = state.step(np.array([texts[number][-1] for number in running], np.int32))


@dataclass(frozen=True)
class Beams:
    """length_penalty: scores are divided by length^this. early: True stops when there are as many finished sequences
    as beams; False, when the best running one could not become better than the worst finished one at its present
    length; "never", when it could not at any length."""

    count: int = 4
    length_penalty: float = 1.0
    early: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"beams must be at least 1, and are {self.count}")
        if not math.isfinite(self.length_penalty):
            raise UsageError(f"length_penalty must be a number, and is {self.length_penalty}")
        if self.early not in (True, False, "never"):
            raise UsageError(f'early must be True, False or "never", and is {self.early!r}')


class Found(NamedTuple):
    """A finished sequence: its new tokens, its score (log-probability over length^penalty), why it ended."""

    ids: list[int]
    score: float
    finish: Finish


@dataclass
class _Running:
    ids: list[int] = field(default_factory=list)
    score: float = 0.0


def beam_search(
    decoder: Decoder,
    prompt: Ids,
    how: Sampling,
    beams: Beams,
    most: int,
    ends: frozenset[int] = frozenset(),
) -> list[Found]:
    """The likeliest continuations that beams of this number find, best first: as transformers searches.

    Of `how`, the penalties and the bias count. Every step keeps the best running sequences, and of what has just ended
    that which is among the best `count` candidates.
    """
    if most < 1:
        raise UsageError(f"at least one new token must be asked for, not {most}")
    state, logits = decoder.start([prompt])
    begun = decoder.beginning(prompt)
    most = room(begun, most, decoder.context)
    before = list(map(int, begun))
    running, finished = [_Running()], [Found([], OUT, "length")] * beams.count
    candidates = max(2, 1 + len(ends)) * beams.count
    improvable = True
    for length in range(1, most + 1):
        check_numbers(logits)
        scores = log_probabilities(logits)
        for i, beam in enumerate(running):
            text = np.array(before + beam.ids, np.int32)
            row = processed(scores[i], text, how, Place(length - 1, length == most, ends), greedy=True)
            scores[i] = (log_probabilities(row) if how.renormalize else row) + np.float32(beam.score)
        best = [found for found in _best(scores, candidates) if found[2] > OUT / 2]
        last = length == most
        over = [token in ends or last for _, token, _ in best]
        if improvable and not (beams.early is True and _full(finished)):
            for (parent, token, score), ended in zip(best[: beams.count], over, strict=False):
                if ended:
                    why: Finish = "end" if token in ends else "length"
                    finished.append(Found([*running[parent].ids, token], score / length**beams.length_penalty, why))
            finished = sorted(finished, key=lambda found: -found.score)[: beams.count]
        going = [candidate for candidate, ended in zip(best, over, strict=True) if not ended][: beams.count]
        if not going:
            break
        parents = [parent for parent, _, _ in going]
        running = [_Running([*running[parent].ids, token], score) for parent, token, score in going]
        if _full(finished):
            likely = most if beams.early == "never" and beams.length_penalty > 0 else length
            improvable = improvable and running[0].score / likely**beams.length_penalty > finished[-1].score
            if beams.early is True or not improvable:
                break
        state.keep(parents)
        logits = state.step(np.array([beam.ids[-1] for beam in running], np.int32))
    return [found for found in finished if found.score > OUT / 2]


def _full(finished: Sequence[Found]) -> bool:
    return all(found.score > OUT / 2 for found in finished)


def _best(scores: npt.NDArray[np.float32], count: int) -> list[tuple[int, int, float]]:
    """The (row, column, score) of the largest scores, best first, the first of equal ones first."""
    flat = scores.reshape(-1)
    count = min(count, len(flat))
    places = np.flatnonzero(flat >= np.partition(flat, len(flat) - count)[len(flat) - count])
    places = places[np.argsort(-flat[places], kind="stable")][:count]
    width = scores.shape[1]
    return [(int(place) // width, int(place) % width, float(flat[place])) for place in places]
