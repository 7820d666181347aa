"""What was probably meant by a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most resembles, or None if none does.

    >>> nearest("token-clasification", ["text-classification", "token-classification"])
    'token-classification'
    >>> nearest("ner", ["text-classification", "token-classification"])
    """
    names = list(known)
    found = get_close_matches(name, names, n=1, cutoff=0.6) or [known for known in names if known.startswith(name)]
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: what was probably meant, else all that there is.

    >>> did_you_mean("trian", ["train", "predict"])
    '; did you mean train?'
    >>> did_you_mean("xyz", ["train", "predict"])
    '; there are train, predict'
    """
    names = list(known)
    guess = nearest(name, names)
    return f"; did you mean {guess}?" if guess else f"; there are {', '.join(names)}"
