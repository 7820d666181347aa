"""How good answers are: exact match and F1, as the official scripts of SQuAD and of CMRC 2018 compute them.

Rajpurkar et al. 2016, "SQuAD", and 2018, "Know what you don't know": case, punctuation and English articles do not
count, F1 is that of the bags of words, and the best of several true answers counts. Cui et al. 2019, "A span-extraction
dataset for Chinese machine reading comprehension": Chinese goes by the character, and F1 by the longest run of
characters in common.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""What CMRC's script leaves out; its ellipsis of two characters it never finds."""


def unit_of(contexts: Sequence[str]) -> str:
    """ "characters" where most letters of the texts are Chinese characters or kana, else "words"."""
    own = sum(len(_CHARACTER.findall(text)) for text in contexts)
    return "characters" if 2 * own > sum(sum(map(str.isalpha, text)) for text in contexts) else "words"


def normal(text: str, unit: str = "words") -> str:
    """What of an answer is compared."""
    if unit == "characters":
        return text.lower().translate(_MARKS).strip()
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def pieces(text: str, unit: str = "words") -> list[str]:
    """Words, or Chinese characters and words between them, of what is compared."""
    shown = normal(text, unit)
    return _PIECE.findall(shown) if unit == "characters" else shown.split()


def exact(gold: str, guess: str, unit: str = "words") -> bool:
    return normal(gold, unit) == normal(guess, unit)


def f1(gold: str, guess: str, unit: str = "words") -> float:
    """0 to 1; where one of the two has no words, whether the other has none either."""
    true, found = pieces(gold, unit), pieces(guess, unit)
    if not true or not found:
        return float(true == found)
    same = longest_run(true, found) if unit == "characters" else sum((Counter(true) & Counter(found)).values())
    return 2 * same / (len(true) + len(found))


def best(golds: Sequence[str], guess: str, unit: str = "words") -> tuple[bool, float]:
    """(exact match, F1) with the true answer that fits best; without one, an empty guess is right."""
    golds = [gold for gold in golds if normal(gold, unit)] or [""]
    return any(exact(gold, guess, unit) for gold in golds), max(f1(gold, guess, unit) for gold in golds)


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """The most neighbours that two sequences have in common."""
    longest, ends = 0, [0] * (len(other) + 1)
    for piece in one:
        ends = [0, *(ends[j] + 1 if piece == other[j] else 0 for j in range(len(other)))]
        longest = max(longest, *ends)
    return longest
