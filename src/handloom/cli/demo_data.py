"""The demo's sentences: rated by people from −4 to 4, read as negative, neutral and positive.

There are four files, one a kind of text, with three columns separated by tabs: number, mean rating, sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handloom.data.examples import Dataset, Source, TextExample, fingerprint
from handloom.errors import HandloomError

BORDER = 0.5  #: mean ratings beyond ± this are positive or negative
KINDS = {
    "tweets": "tweets_GroundTruth.txt",
    "film reviews": "movieReviewSnippets_GroundTruth.txt",
    "product reviews": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
#: Sentences of each split: as many as fit three minutes on two cores.
SIZES = {"train": 9000, "valid": 500, "test": 2000}


@dataclass(frozen=True)
class Rated:
    """One sentence: where it was found (a key of KINDS), the mean of its ratings, and itself."""

    kind: str
    rating: float
    text: str

    @property
    def label(self) -> str:
        return "positive" if self.rating > BORDER else "negative" if self.rating < -BORDER else "neutral"

    def example(self) -> TextExample:
        return TextExample(self.text, label=self.label, extra={"kind": self.kind, "rating": self.rating})


def dataset(sentences: Sequence[Rated]) -> Dataset[TextExample]:
    """Sentences as Handloom's own data set."""
    examples = tuple(sentence.example() for sentence in sentences)
    source = Source(None, fingerprint([[one.text, one.label] for one in sentences]), "rated sentences")
    return Dataset(examples, source)


def read(folder: Path) -> list[Rated]:
    """All rated sentences of the four files in `folder`."""
    return [sentence for kind, name in KINDS.items() for sentence in read_file(folder / name, kind)]


def read_file(path: Path, kind: str) -> list[Rated]:
    """The sentences of one file. HandloomError, with the line, where it is not as described above."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split("\t")
        try:
            _, rating, text = columns
            found.append(Rated(kind, float(rating), text.strip()))
        except ValueError:
            what = f"a number, a rating and a sentence were expected, not {line[:60]!r}"
            raise HandloomError(f"{path}:{number}: {what}") from None
    return found


def splits(sentences: Sequence[Rated], sizes: dict[str, int] = SIZES) -> dict[str, list[Rated]]:
    """Disjoint splits, the same everywhere and always: sentences are drawn by the hash of their text.

    Repeated sentences count once. Every kind of text and every label keeps its share in every split.
    """
    once = {sentence.text: sentence for sentence in sentences if sentence.text}
    groups: dict[tuple[str, str], list[Rated]] = {}
    for sentence in sorted(once.values(), key=lambda s: hashlib.sha256(s.text.encode()).digest()):
        groups.setdefault((sentence.kind, sentence.label), []).append(sentence)
    found: dict[str, list[Rated]] = {}
    begin = 0.0
    for name, size in sizes.items():
        end = begin + min(size, len(once)) / len(once)
        if end > 1:
            raise HandloomError(f"{sum(sizes.values())} sentences are wanted, but there are {len(once)}")
        chosen = [s for group in groups.values() for s in group[round(begin * len(group)) : round(end * len(group))]]
        found[name] = sorted(chosen, key=lambda s: hashlib.sha256(s.text.encode()).digest())
        begin = end
    return found
