"""Numbers of things in sentences: 1 text is, 2 texts are."""

from __future__ import annotations

import re

_FORMS = re.compile(r"\[([^][|]*)\|([^][|]*)\]")


def counted(count: int, noun: str, plural: str = "") -> str:
    """As "1 text", or "2 texts"; plural: where that is not made with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def agreed(count: int, sentence: str) -> str:
    """The sentence with one of the two forms wherever it has both, as in "[is|are] read"."""
    return _FORMS.sub(r"\1" if count == 1 else r"\2", sentence)
