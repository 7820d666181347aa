"""From prompts to token sequences: one token after the other, or by beams. Knows a model by `Decoder` alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from handloom.errors import UsageError
from handloom.generate.constraints import Constraint, Follower
from handloom.generate.decoder import Decoder, Ids
from handloom.generate.sampling import Place, Sampling, check_numbers, choose, log_probabilities, processed

Finish = Literal["end", "stop", "length", "closed"]
"""Why a sequence ended: an end token or a constraint that allows nothing more, a stop string, no room for more;
"closed": no room, and what a constraint still lacked was added the shortest way."""

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
    constraints: Sequence[Constraint | None] | None = None,
    close: bool = True,
) -> Iterator[Token]:
    """Goes on with all prompts at once, at most `most` tokens each; yields tokens as they come, sequences in turn.

    samples: the number by which each sequence draws its chances (0 for all, unless given). A sequence that has ended
    is not computed any further. constraints: what each sequence must be like. close: those that have no room left get
    the tokens by which they come to an end the shortest way; these are not the model's.
    """
    if most < 1:
        raise UsageError(f"at least one new token must be asked for, not {most}")
    state, logits = decoder.start(prompts)
    begun = [decoder.beginning(prompt) for prompt in prompts]
    texts = [list(map(int, text)) for text in begun]
    free = [room(text, most, decoder.context) for text in begun]
    followers = [constraint.start() if constraint else None for constraint in constraints or [None] * len(prompts)]
    running, place = list(range(len(prompts))), 0
    while running:
        going: list[int] = []  # places in `running`
        for i, number in enumerate(running):
            sample = samples[number] if samples else 0
            follower = followers[number]
            here = Place(place, place + 1 >= free[number], ends, free[number] - place, follower)
            token = choose(logits[i], np.array(texts[number], np.int32), how, here, sample)
            texts[number].append(token)
            if follower is not None:
                follower.advance(token)
            finish: Finish | None = "end" if token in ends else None
            if finish is None and stopped(number, token):
                finish = "stop"
            if finish is None and follower is not None and follower.over:
                finish = "end"
            if finish is None and place + 1 >= free[number]:
                finish = "length"
            closing = close and finish == "length" and follower is not None and follower.closes
            rest = follower.completion() if closing and follower is not None else None
            if rest is not None:
                for more in rest:
                    yield Token(number, token, None)
                    stopped(number, more)
                    token = more
                finish = "closed"
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
    follower: Follower | None = None

    def then(self, token: int, score: float) -> _Running:
        follower = None if self.follower is None else self.follower.copy()
        if follower is not None:
            follower.advance(token)
        return _Running([*self.ids, token], score, follower)


def beam_search(
    decoder: Decoder,
    prompt: Ids,
    how: Sampling,
    beams: Beams,
    most: int,
    ends: frozenset[int] = frozenset(),
    constraint: Constraint | None = None,
    close: bool = True,
) -> list[Found]:
    """The likeliest continuations that beams of this number find, best first: as transformers searches.

    Of `how`, the penalties and the bias count. Every step keeps the best running sequences, and of what has just ended
    that which is among the best `count` candidates. Where a constraint wants words, beams are divided among those that
    have as many of their tokens (`_shared_out`). constraint, close: as in `generate`.
    """
    if most < 1:
        raise UsageError(f"at least one new token must be asked for, not {most}")
    state, logits = decoder.start([prompt])
    begun = decoder.beginning(prompt)
    most = room(begun, most, decoder.context)
    before = list(map(int, begun))
    running = [_Running(follower=constraint.start() if constraint else None)]
    finished = [Found([], OUT, "length")] * beams.count
    candidates = max(2, 1 + len(ends)) * beams.count
    improvable = True
    for length in range(1, most + 1):
        check_numbers(logits)
        scores = log_probabilities(logits)
        for i, beam in enumerate(running):
            text = np.array(before + beam.ids, np.int32)
            here = Place(length - 1, length == most, ends, most - length + 1, beam.follower)
            row = processed(scores[i], text, how, here, greedy=True)
            scores[i] = (log_probabilities(row) if how.renormalize else row) + np.float32(beam.score)
        best = [found for found in _best(scores, candidates) if found[2] > OUT / 2]
        if constraint is not None:
            best = _shared_out(best, running, scores, beams.count)
        last = length == most
        after = [running[parent].then(token, score) for parent, token, score in best]
        sated = [beam.follower is not None and beam.follower.over for beam in after]
        over = [token in ends or last or ended for (_, token, _), ended in zip(best, sated, strict=True)]
        if improvable and not (beams.early is True and _full(finished)):
            for beam, ended, full in zip(after[: beams.count], over, sated, strict=False):
                if ended:
                    why: Finish = "end" if full or beam.ids[-1] in ends else "length"
                    finished.append(Found(beam.ids, beam.score / length**beams.length_penalty, why))
            finished = sorted(finished, key=lambda found: -found.score)[: beams.count]
        going = [i for i, ended in enumerate(over) if not ended][: beams.count]
        if not going:
            break
        parents = [best[i][0] for i in going]
        running = [after[i] for i in going]
        if _full(finished):
            likely = most if beams.early == "never" and beams.length_penalty > 0 else length
            improvable = improvable and running[0].score / likely**beams.length_penalty > finished[-1].score
            if beams.early is True or not improvable:
                break
        state.keep(parents)
        logits = state.step(np.array([beam.ids[-1] for beam in running], np.int32))
    found = [found for found in finished if found.score > OUT / 2]
    return [_closed(one, constraint) for one in found] if constraint is not None and close else found


def _closed(found: Found, constraint: Constraint) -> Found:
    """A sequence that had no room left, with what it lacks."""
    if found.finish != "length":
        return found
    follower = constraint.start()
    for token in found.ids:
        follower.advance(token)
    rest = follower.completion() if follower.closes else None
    return found if rest is None else Found([*found.ids, *rest], found.score, "closed")


Candidate = tuple[int, int, float]
"""(beam, token, score)"""


def _shared_out(
    best: Sequence[Candidate], running: Sequence[_Running], scores: npt.NDArray[np.float32], count: int
) -> list[Candidate]:
    """Candidates in the order in which beams are given out where words must come (dynamic beam allocation; Post and
    Vilar, 2018): to the best ones come those that go on with a wanted word and the best of every beam; they are put
    into banks by how many tokens of the words they have, and every bank gives one in turn, the fullest first."""
    followers = [beam.follower for beam in running]
    if not any(follower is not None and (follower.progress or follower.wanted()) for follower in followers):
        return list(best)
    pool = {(parent, token): score for parent, token, score in best}
    for i, follower in enumerate(followers):
        for token in (*(follower.wanted() if follower else ()), int(scores[i].argmax())):
            if scores[i, token] > OUT / 2:
                pool[i, token] = float(scores[i, token])
    banks: dict[int, list[Candidate]] = {}
    for (parent, token), score in sorted(pool.items(), key=lambda entry: -entry[1]):
        follower = running[parent].then(token, score).follower
        banks.setdefault(follower.progress if follower else 0, []).append((parent, token, score))
    order = [banks[progress] for progress in sorted(banks, reverse=True)]
    rounds = [[bank[turn] for bank in order if turn < len(bank)] for turn in range(max(map(len, order)))]
    return [candidate for turn in rounds for candidate in turn]


def _full(finished: Sequence[Found]) -> bool:
    return all(found.score > OUT / 2 for found in finished)


def _best(scores: npt.NDArray[np.float32], count: int) -> list[Candidate]:
    """The (row, column, score) of the largest scores, best first, the first of equal ones first."""
    flat = scores.reshape(-1)
    count = min(count, len(flat))
    places = np.flatnonzero(flat >= np.partition(flat, len(flat) - count)[len(flat) - count])
    places = places[np.argsort(-flat[places], kind="stable")][:count]
    width = scores.shape[1]
    return [(int(place) // width, int(place) % width, float(flat[place])) for place in places]
