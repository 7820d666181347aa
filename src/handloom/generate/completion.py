"""The shortest way to end a text that a grammar has begun, found with nothing but the grammar's masks.

As a program of its own (`python -I`, without Handloom) it tries a grammar out before the house uses it: what takes too
much time or memory to compile, or has no text that ends, is found out where the system can stop it.
"""

from __future__ import annotations

import bisect
import heapq
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

MOST = 10_000
"""Beginnings that a search looks at."""
LONGEST = 1 << 12
"""Bytes of a text that is looked for."""
ALIKE = 3
"""Texts of one length, with the same tokens allowed next, that are all followed."""
TRIED = 1 << 18
"""Tokens of ends of a known text that are tried, all together."""
WALKS, WALKED, KEPT = 18, 256, 128
"""Texts that are begun at random to see whether a grammar grows too large on the way, bytes of each, and bytes for
which some keep to few that are the same."""
AHEAD = 10
"""How many times the work of a mask over single bytes one over a vocabulary takes, whose tokens look bytes ahead: with
so much less, nested repetitions break off at the same places (`(a{1,100}){1,100}` behind 81 bytes, and behind 83 with
SmolLM2's vocabulary)."""
SET = [[bit for bit in range(8) if bits >> bit & 1] for bits in range(256)]
"""Which bits of a byte are set."""
OPENING = 8
"""What a bracket costs more than a letter, because that which it opens must come to its end, too; and a comma where a
bracket could close instead."""
OUTSIDE, INSIDE, ESCAPED = range(3)
QUOTE, ESCAPE = 0x22, b"\\"
_LETTERS = (range(48, 58), range(65, 91), range(97, 123), range(128, 256))
CLASSES = (*map(frozenset, _LETTERS), frozenset(range(128)).difference(*_LETTERS))
"""Bytes of which the first and the last that are allowed are enough to try."""


def singles(spelt: Sequence[bytes | None]) -> dict[bytes, int]:
    """The tokens of one byte or one character, by their bytes."""
    return {text: index for index, text in reversed(list(enumerate(spelt))) if text and _is_one(text)}


class Atoms:
    """The tokens that are tried: of one byte or one character each, by their bytes. hints: bytes that stand in the
    grammar itself, each of which may be the one that goes on."""

    def __init__(self, spelt: Sequence[bytes | None], hints: bytes, ids: Mapping[bytes, int] | None = None) -> None:
        """spelt: the bytes of every token of the vocabulary, None for those that stand for no text; ids: `singles` of
        them, if they are known."""
        self.spelt = spelt
        self._ids = ids = singles(spelt) if ids is None else ids
        self.complete = all(bytes([byte]) in ids for byte in range(256))
        self._solid = [index for text, index in ids.items() if not text.isspace()]
        chosen = frozenset(hints) | {QUOTE}
        self._hints = [index for text, index in ids.items() if text[0] in chosen]
        rest = sorted((text, index) for text, index in ids.items() if text[0] not in chosen)
        self._groups = [[index for text, index in rest if text[0] in group] for group in CLASSES]

    def spell(self, text: str) -> list[int] | None:
        """A text in tokens of one character, or its bytes; None if there are none for it."""
        parts = [[own] if (own := char.encode()) in self._ids else [bytes([byte]) for byte in own] for char in text]
        found = [self._ids.get(one) for part in parts for one in part]
        return None if None in found else [index for index in found if index is not None]

    def allowed(self, mask: bytes, inside: int | None) -> Iterator[int]:
        """The tokens to try where the mask, a bit a token, says what may come. Between the strings of JSON there are
        few, and space is needless; elsewhere one of a kind is as good as another."""
        for index in self._solid if inside == OUTSIDE else self._hints:
            if mask[index >> 3] >> (index & 7) & 1:
                yield index
        for group in self._groups if inside != OUTSIDE else ():
            first = next((index for index in group if mask[index >> 3] >> (index & 7) & 1), None)
            if first is not None:
                yield first
                last = next(index for index in reversed(group) if mask[index >> 3] >> (index & 7) & 1)
                if last != first:
                    yield last


def shortest(
    matcher: Any, atoms: Atoms, text: bytes = b"", is_json: bool = False, examples: Sequence[str] = ()
) -> list[int] | None:
    """The tokens of a short text that completes `text`, which the matcher has read; None if the search finds none.

    examples: short whole texts; what is left of them, shorter parts first, is tried before anything is searched.

    Of JSON every string and bracket that closes is taken for good, which finds a short text fast; if that does not
    lead to an end, and for all other grammars, all beginnings are followed, the shortest first.
    """
    for example in examples:
        if (found := _end_of(example, matcher, atoms)) is not None:
            return found
    if is_json:
        found = _search(matcher, atoms, _inside(text), True)
        if found is not None:
            return found
    return _search(matcher, atoms, _inside(text) if is_json else None, False)


def _end_of(example: str, matcher: Any, atoms: Atoms) -> list[int] | None:
    """What is left of a known text where it leads to an end, the shortest first."""
    tokens, left = atoms.spell(example), TRIED
    if tokens is None:
        return None
    for begin in range(len(tokens), -1, -1):
        end, now = tokens[begin:], matcher.deep_copy()
        left -= len(end)
        if left < 0:
            return None
        if (not end or now.consume_tokens(end)) and now.is_accepting():
            return end
    return None


def _search(matcher: Any, atoms: Atoms, inside: int | None, commits: bool) -> list[int] | None:
    """inside: where in JSON the text stands (see `_inside`); None for a text that is none."""
    heap: list[Any] = [(0, 0, 0, None, inside, matcher.deep_copy())]
    seen: dict[tuple[int, bytes], int] = {}
    tried, ties = 0, map(_mixed, count())
    while heap:
        cost, _, length, path, inside, now = heapq.heappop(heap)
        if length > LONGEST or now.is_error():
            continue
        if now.is_accepting():
            return _tokens(path)
        if commits and path is not None and path[2]:
            heap.clear()
            seen.clear()
        forced = now.compute_ff_tokens()
        if forced:
            spelt = b"".join(atoms.spelt[index] or b"" for index in forced)
            if now.consume_tokens(forced):
                for index in forced:
                    path = (path, index, False)
                longer = length + len(spelt)
                heapq.heappush(heap, (cost + len(spelt), next(ties), longer, path, _inside(spelt, inside), now))
            continue
        mask = now.compute_bitmask()
        alike = seen[length, mask] = seen.get((length, mask), 0) + 1
        if alike > (1 if commits else ALIKE):
            continue
        children = list(atoms.allowed(mask, inside))
        if inside == INSIDE:  # hardly anything needs a mark of escape to end
            children = [index for index in children if atoms.spelt[index] != ESCAPE] or children
        closable = any(atoms.spelt[index] in (b"}", b"]") for index in children)
        costly = b"{[," if closable else b"{["
        for place, index in enumerate(children, 1):
            own = atoms.spelt[index] or b""
            after = now.deep_copy() if place < len(children) else now
            tried += 1
            if after.consume_token(index):
                closes = (inside == OUTSIDE and own in b"}],:") or (inside == INSIDE and own == b'"')
                opens = inside == OUTSIDE and own in costly
                weight = cost + OPENING * opens + (not commits or opens or not closes)
                item = (weight, next(ties), length + 1, (path, index, closes), _inside(own, inside), after)
                heapq.heappush(heap, item)
        if tried > MOST + 16 * length:
            return None
    return None


def too_large(start: Any, hints: bytes) -> str:
    """What a grammar, over the bytes as tokens, breaks off with while texts of it are begun at random; "" where it does
    not. Of three texts one takes any byte of ASCII each time, or the first or last of others; two keep for a while to
    three bytes, or one, of the grammar itself, which leaves most ways to repeat open."""
    for walk in range(WALKS):
        draw, now = Random(walk), start.deep_copy()
        few = (0, 3, 1)[walk % 3]
        kept: list[int] = []
        for _ in range(WALKED):
            mask = now.compute_bitmask()
            live = [byte for byte in kept if mask[byte >> 3] >> (byte & 7) & 1]
            if not live or draw.random() < 1 / KEPT:
                may = [8 * at + bit for at in range(32) if (bits := mask[at]) for bit in SET[bits]]
                if now.is_error() or not may:
                    break
                more = bisect.bisect(may, 127)
                live = may[:more] + may[more : more + 1] + may[more + 1 :][-1:]
                if few:
                    known = [byte for byte in live if byte in hints] or live
                    kept = live = draw.sample(known, min(few, len(known)))
            now.consume_token(draw.choice(live))
        if now.is_error():
            return str(now.get_error())
    return ""


def _mixed(number: int) -> int:
    """Another order for what costs the same: what is followed of it shall differ."""
    return number * 0x9E3779B1 & 0xFFFFFFFF


def _tokens(path: Any) -> list[int]:
    found = []
    while path is not None:
        path, index, _ = path
        found.append(index)
    return found[::-1]


def _inside(text: bytes, place: int | None = OUTSIDE) -> int | None:
    """Where JSON goes on after this text: OUTSIDE of strings, INSIDE of one, or ESCAPED, behind a backslash in one.
    place: the same before it; None stays None.

    >>> _inside(b'{"a') == INSIDE, _inside(b'{"a" ') == OUTSIDE, _inside(rb'{"a\\"') == INSIDE
    (True, True, True)
    """
    for byte in text if place is not None else b"":
        if place == ESCAPED:
            place = INSIDE
        elif place == INSIDE and byte == ESCAPE[0]:
            place = ESCAPED
        elif byte == QUOTE:
            place = OUTSIDE if place == INSIDE else INSIDE
    return place


def _is_one(text: bytes) -> bool:
    """Whether it is one byte, or one character."""
    try:
        return len(text) == 1 or len(text.decode()) == 1
    except UnicodeDecodeError:
        return False


class Bytes:
    """A vocabulary of all single bytes, as llguidance asks for one."""

    eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def bound(seconds: int, megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # no such limits on this system: the caller's own timeout is left
        return
    for what, limit in (("RLIMIT_CPU", seconds), ("RLIMIT_AS", megabytes << 20)):
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, what), (limit, limit))


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """{"text"}: a shortest text of a grammar, as its bytes; {"error"}: what is wrong with it."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

    bound(task["seconds"], task["megabytes"])
    every = LLTokenizer(TokenizerWrapper(Bytes()), eos_token=[256], slices=[])
    matcher = LLMatcher(every, task["grammar"], log_level=0, limits=LLParserLimits(**task["limits"]))
    if matcher.is_error():
        return {"error": matcher.get_error()}
    atoms = Atoms((*Bytes.tokens[:256], None), bytes(task["hints"]))
    found = shortest(matcher.deep_copy(), atoms, is_json=task["json"], examples=task["examples"])
    if found is None:
        matcher.compute_bitmask()
        return {"error": matcher.get_error() or "endless"}
    less = {**task["limits"], "step_lexer_fuel": task["limits"]["step_lexer_fuel"] // AHEAD}
    walked = LLMatcher(every, task["grammar"], log_level=0, limits=LLParserLimits(**less))
    if error := walked.get_error() or too_large(walked, bytes(task["hints"])):
        return {"large": error}
    return {"text": found, "warnings": matcher.get_grammar_warnings()}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin.buffer)), sys.stdout)
