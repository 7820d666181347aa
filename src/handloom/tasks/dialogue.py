"""Conversations as tokens, of which those are learnt that the assistant says, with the token that ends its turn.

A conversation that is longer than the model reads at once is cut between exchanges (what is asked, and the reply), so
that every reply is learnt once, behind as much of what was said before as there is room for from there on; what the
system says stands before every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from handloom.data.examples import GenerationExample, Turn
from handloom.errors import HandloomError, UsageError
from handloom.tasks.continuing import feature, spelt
from handloom.tasks.task import Array, Feature
from handloom.text.chat import Marked, Message, marked
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Ints
from handloom.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Part:
    """Exchanges `begin` to `end` of conversation number `example`."""

    example: int
    begin: int
    end: int


@dataclass
class Dialogues:
    """template: in Jinja. ends: tokens that are known to end a text; `turn_ends`, those that are found to end a turn.

    `features` and `notes` are what comes of `read`. HandloomError for a template that does not tell the assistant's
    words apart, or that ends its turns with no special token: the model would never learn to stop.
    """

    tokenizer: Tokenizer
    template: str
    ends: frozenset[int]
    max_length: int
    long: str = "windows"
    features: list[tuple[Part, Feature]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    turn_ends: set[int] = field(default_factory=set)

    def read(self, examples: Sequence[tuple[int, GenerationExample]]) -> None:
        if self.long == "head-tail":
            raise UsageError("long is 'head-tail'; a conversation is read from its head, or in windows of whole turns")
        special = np.array(sorted({*self.tokenizer.special_ids, *self.ends}), np.int32)
        of, split = dict(examples), {number: exchanges(example.turns) for number, example in examples}
        waiting = [Part(number, 0, len(found[1])) for number, found in split.items() if found[1]]
        long: set[int] = set()
        left_out: list[str] = []
        unlike = 0
        while waiting:
            said = [messages([*split[p.example][0], *sum(split[p.example][1][p.begin : p.end], ())]) for p in waiting]
            texts = marked(self.template, said, self.tokenizer.token_names, [of[p.example].where for p in waiting])
            coded = self.tokenizer.ids_with_ends([one.text for one in texts])
            following: list[Part] = []
            for part, text, (ids, ends) in zip(waiting, texts, coded, strict=True):
                count = len(split[part.example][1])
                places = self._replies(text, ids, ends, special, of[part.example].where)
                fits = int(sum(stop <= self.max_length + 1 for _, stop in places))  # the last token is never shown
                if fits == len(places):
                    learnt = np.zeros(len(ids), bool)
                    for start, stop in places:
                        learnt[start:stop] = True
                    made = feature(part.example, ids, learnt)
                    assert made is not None
                    self.features.append((part, made))
                    self.turn_ends.update(int(ids[stop - 1]) for _, stop in places)
                    unlike += self._unlike(text, ids)
                    if part.end < count and self.long == "windows":
                        following.append(Part(part.example, part.end, count))
                    continue
                long.add(part.example)
                if fits or part.end - part.begin > 1:
                    following.append(Part(part.example, part.begin, part.begin + max(fits, 1)))
                    continue
                left_out.append(f"{of[part.example].where or f'conversation {part.example + 1}'}, exchange {part.end}")
                if part.end < count and self.long == "windows":
                    following.append(Part(part.example, part.end, count))
            waiting = following
        self.features.sort(key=lambda one: (one[0].example, one[0].begin))
        self._tell(long, left_out, unlike, {number: len(found[1]) for number, found in split.items()})

    def _replies(self, text: Marked, ids: Ints, ends: Ints, special: Array, where: str) -> list[tuple[int, int]]:
        """(first, behind the last) token of each reply, the token that ends the turn being its last."""
        found = []
        ending = np.isin(ids, special)
        for start, stop in text.replies:
            own = np.flatnonzero(spelt(ends, [(start, stop)]))
            first = int(own[0]) if len(own) else 0
            behind = int(own[-1]) + 1 if len(own) else 0
            last = behind - 1
            begins = np.concatenate([[0], ends[:-1]])
            while last > first and not ending[last] and not text.text[int(begins[last]) : int(ends[last])].strip():
                last -= 1  # a line end behind the token
            if len(own) and not ending[last] and behind < len(ids) and ending[behind]:
                last = behind  # the template's mark leaves it out
            if not len(own) or not ending[last]:
                said = text.text[start:stop]
                raise HandloomError(
                    f"{where + ': ' if where else ''}the chat template ends what the assistant says, {said[-30:]!r}, "
                    "without a special token, so that the model could not learn to stop"
                )
            found.append((first, last + 1))
        return found

    def _unlike(self, text: Marked, ids: Ints) -> bool:
        """Whether what stands before a reply is other tokens when it stands alone, as it does when a reply is made."""
        alone = self.tokenizer.ids_batch([text.text[:start] for start, _ in text.replies])
        return any(len(one) > len(ids) or bool((ids[: len(one)] != one).any()) for one in alone)

    def _tell(self, long: set[int], left_out: list[str], unlike: int, counts: dict[int, int]) -> None:
        if cut := [one for one in long if any(part.example == one for part, _ in self.features)]:
            parts = sum(part.example in long for part, _ in self.features)
            kept = sum(part.end - part.begin for part, _ in self.features if part.example in long)
            lost = sum(counts[one] for one in long) - kept - len(left_out)
            how = f"in {counted(parts, 'part')} of whole turns, each with what the system says"
            if self.long == "head":
                left = agreed(lost, "behind those [is|are] left out")
                how = f"from {agreed(len(cut), '[its|their]')} first turns alone; {counted(lost, 'exchange')} {left}"
            are = agreed(len(cut), f"[is|are] longer than {self.max_length} tokens and [is|are] learnt")
            self.notes.append(f"{len(cut):,} of {counted(len(counts), 'conversation')} {are} {how}")
        if left_out:
            are = agreed(len(left_out), f"[is|are] longer than {self.max_length} tokens by [itself|themselves] and "
                                        "[is|are] left out")  # fmt: skip
            shown = "; ".join(left_out[:3]) + " …" * (len(left_out) > 3)
            self.notes.append(f"{counted(len(left_out), 'exchange')} {are}: {shown}")
        if unlike:
            self.notes.append(f"in {counted(unlike, 'conversation')} the text before a reply has other tokens when it "
                              "stands alone: replies will begin a little otherwise than they were learnt")  # fmt: skip


Exchange = tuple[Turn, ...]


def exchanges(turns: Sequence[Turn]) -> tuple[Exchange, list[Exchange]]:
    """What the system says, and the exchanges, each up to a reply; what follows the last reply is none."""
    system = tuple(turn for turn in turns[:1] if turn.role == "system")
    found, begin = [], len(system)
    for at, turn in enumerate(turns):
        if turn.role == "assistant":
            found.append(tuple(turns[begin : at + 1]))
            begin = at + 1
    return system, found


def messages(turns: Sequence[Turn]) -> list[Message]:
    """As templates take them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]
