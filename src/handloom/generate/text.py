"""Tokens as text while they come: whole characters only, and an eye on stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from handloom.errors import UsageError

UNFINISHED = "\ufffd"  # how a tokenizer shows bytes that are no character yet
BEFORE = 16
"""Tokens of the prompt that are decoded together with the first new ones: whether a word begins with a space is told
by what stands before it."""


class Detokenizer(Protocol):
    def decode(self, ids: Sequence[int], /) -> str: ...


class TextStream:
    """The text of one sequence. `text` is all that has been given out; `stopped`, whether a stop string has come."""

    def __init__(self, tokenizer: Detokenizer, prompt: Sequence[int], stop: Sequence[str] = (), trims: bool = False):
        """trims: a space at the beginning is left out. Raises UsageError for an empty stop string."""
        if "" in stop:
            raise UsageError("a stop string must not be empty")
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._ids = [int(token) for token in prompt[-BEFORE:]]
        self._from, self._read = 0, len(self._ids)  # tokens from here on are decoded; up to there their text is known
        self._held = ""  # might be the beginning of a stop string
        self.text, self.stopped, self._trims = "", False, trims

    def push(self, token: int) -> str:
        """What is certain to be text now that this token has come."""
        if self.stopped:
            return ""
        self._ids.append(token)
        before, now = (self._tokenizer.decode(self._ids[self._from : end]) for end in (self._read, len(self._ids)))
        if now.endswith(UNFINISHED) or len(now) <= len(before):
            return ""
        self._from, self._read = self._read, len(self._ids)
        return self._out(now[len(before) :])

    def finish(self) -> str:
        """What was held back until more would come, which does not."""
        if self.stopped:
            return ""
        before, now = (self._tokenizer.decode(self._ids[self._from : end]) for end in (self._read, len(self._ids)))
        self._from = self._read = len(self._ids)
        certain = self._out(now[len(before) :])
        rest, self._held = self._held if not self.stopped else "", ""
        self.text += rest
        return certain + rest

    def _out(self, new: str) -> str:
        if self._trims and new:
            new, self._trims = new.removeprefix(" "), False
        text = self._held + new
        found = [at for at in (text.find(word) for word in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            certain = text[: min(found)]
        else:
            keep = max((_overlap(text, word) for word in self._stop), default=0)
            certain, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self.text += certain
        return certain


def _overlap(text: str, word: str) -> int:
    """How many characters at the end of the text are a beginning of the word.

    >>> _overlap("abc<|", "<|end|>")
    2
    """
    return next((n for n in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:n])), 0)
