"""Spans of a text, and the way between spans and one tag per word.

Offsets count characters (Unicode code points) of the user's own string; `text[start:end]` is the span.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handloom.errors import HandloomError
from handloom.text.counting import counted
from handloom.text.schemes import BEGIN, END, INSIDE, OUTSIDE, SINGLE, Scheme, recognise

Word = tuple[int, int]
"""Start and end of a word, in characters of its text."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """`text` is `whole[start:end]`; `score` is the probability the model gives it, 1 for spans that people wrote."""

    start: int
    end: int
    label: str
    text: str = ""
    score: float = 1.0

    def to_dict(self) -> dict[str, object]:
        """The form in which spans are printed and served."""
        return {"start": self.start, "end": self.end, "label": self.label, "text": self.text, "score": self.score}


Run = tuple[int, int, str]
"""A span in words: its first, one past its last, and its label."""


def runs(tags: Sequence[str | None], scheme: Scheme | None = None) -> list[Run]:
    """Each span in a sequence of tags.

    Inconsistent sequences are read as conlleval reads them: an inside tag after O, after another label or after a
    closed span begins a span. None stands for a word without a tag (no token is left of it): it neither begins nor
    ends a span.
    """
    scheme = scheme or recognise(tag for tag in tags if tag)
    found: list[Run] = []
    first, last, label = -1, -1, ""

    def close() -> None:
        nonlocal first
        if first >= 0:
            found.append((first, last + 1, label))
        first = -1

    for index, tag in enumerate(tags):
        if tag is None:
            continue
        read = scheme.read(tag)
        if read is None:
            close()
            continue
        place, name = read
        if first < 0 or place in (BEGIN, SINGLE) or name != label:
            close()
            first, label = index, name
        last = index
        if place in (END, SINGLE):
            close()
    close()
    return found


def tags_of_runs(found: Iterable[Run], length: int, scheme: Scheme) -> list[str]:
    """One tag per word for spans given in words; the inverse of `runs` for spans that the scheme can express."""
    tags = [OUTSIDE] * length
    for first, end, label in found:
        for index in range(first, end):
            place = SINGLE if end - first == 1 else BEGIN if index == first else END if index == end - 1 else INSIDE
            tags[index] = scheme.write(label, place)
    return tags


def spans_of_tags(
    text: str, words: Sequence[Word], tags: Sequence[str | None], scheme: Scheme | None = None
) -> list[Span]:
    """Spans of `text` from one tag per word."""
    if len(words) != len(tags):
        raise HandloomError(f"{len(words)} words carry {len(tags)} tags; there must be one tag for each word.")
    spans = []
    for first, end, label in runs(tags, scheme):
        start, stop = words[first][0], words[end - 1][1]
        if start < stop:
            spans.append(Span(start, stop, label, text[start:stop]))
    return spans


def tags_of_spans(words: Sequence[Word], spans: Iterable[Span], scheme: Scheme) -> tuple[list[str], list[Span]]:
    """One tag per word from spans, and the spans that do not begin and end where words do.

    Such a span is widened to the words that it touches; where two spans touch one word, the first keeps it.
    `words` are in order and do not overlap.
    """
    found, inexact = runs_of_spans(words, spans)
    return tags_of_runs(found, len(words), scheme), inexact


def runs_of_spans(words: Sequence[Word], spans: Iterable[Span]) -> tuple[list[Run], list[Span]]:
    """As `tags_of_spans`, in words."""
    found: list[Run] = []
    starts, ends = [start for start, _ in words], [end for _, end in words]
    inexact: list[Span] = []
    free = 0
    for span in sorted(spans):
        first, end = bisect_right(ends, span.start), bisect_left(starts, span.end)
        exact = first < end and first >= free and words[first][0] == span.start and words[end - 1][1] == span.end
        inexact += [] if exact else [span]
        first = max(first, free)
        if first < end:
            found.append((first, end, span.label))
            free = end
    return found, inexact


def check_spans(text: str, spans: Iterable[Span], where: str) -> tuple[Span, ...]:
    """The spans sorted, exact repetitions and blanks at their edges dropped, `text` filled in.

    Raises HandloomError, beginning with `where`, for offsets outside of the text, an empty span or one of blanks, a
    span whose own text is not what stands there, and for overlaps.
    """
    kept: list[Span] = []
    for span in sorted({(span.start, span.end, span.label, span.text) for span in spans}):
        start, end, label, given = span
        if not 0 <= start < end <= len(text):
            raise HandloomError(
                f"{where}: the span {start}–{end} ({label}) does not fit a text of {counted(len(text), 'character')}; "
                "offsets count characters from 0, the end is exclusive, and 0 ≤ start < end ≤ length."
            )
        if given and given != text[start:end]:
            raise HandloomError(
                f"{where}: the span {start}–{end} ({label}) should read {given!r}, but there stands "
                f"{text[start:end]!r}. Offsets count characters, not bytes or UTF-16 units; the end is exclusive."
            )
        own = text[start:end]
        if not own.strip():
            raise HandloomError(f"{where}: the span {start}–{end} ({label}) holds nothing but blanks")
        start, end = end - len(own.lstrip()), start + len(own.rstrip())
        if kept and start < kept[-1].end:
            before = kept[-1]
            raise HandloomError(
                f"{where}: the spans {before.start}–{before.end} ({before.label}) and {start}–{end} ({label}) overlap; "
                "a word can carry one label only. Keep one of them."
            )
        kept.append(Span(start, end, label, text[start:end]))
    return tuple(kept)
