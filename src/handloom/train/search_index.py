"""Texts with their vectors, to be searched: all of them are compared with a question, so what is found is the best.

On disk: index.json (which model made it, how many texts there are, hashes), vectors.safetensors, texts.jsonl.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import TEXT
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.models.config import read_json
from handloom.models.safetensors_file import SafetensorsFile
from handloom.text.counting import counted
from handloom.train.storage import complete, publish_folder, safetensors_blocks

if TYPE_CHECKING:
    from handloom.train.matchers import SentenceMatcher
    from handloom.train.text_classifier import TextClassifier

F32 = NDArray[np.float32]
FORMAT = 1
ROWS = 65_536  #: vectors that are compared at once
QUERIES = 256
CANDIDATES = 50
VECTORS, TEXTS, ABOUT = "vectors.safetensors", "texts.jsonl", "index.json"


@dataclass(frozen=True, slots=True)
class Hit:
    """A text of an index, its number there, and how alike it is: a cosine, or what a second model says. extra: the
    other columns of the file that it came from."""

    text: str
    number: int
    score: float
    extra: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "number": self.number, "score": self.score, **(
            {"extra": self.extra} if self.extra else {})}  # fmt: skip


def read_texts(texts: str | os.PathLike[str] | Iterable[str], **reading: Any) -> list[dict[str, Any]]:
    """[{"text": …, "extra": {…}}] of a list of texts, or of a file. HandloomError for empty ones, and for none."""
    if isinstance(texts, str) and not Path(texts).exists():
        raise HandloomError(f"there is no file {texts}; texts themselves are given as a list")
    given = texts if isinstance(texts, (str, os.PathLike)) else list(texts)
    dataset = read(given, TEXT, labelled=False, pairs=False, **reading)
    return [{"text": example.text, "extra": _plain(example.extra)} for example in dataset.examples]


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if isinstance(value, (str, int, float, bool, type(None)))}


class SearchIndex:
    """vectors: f32 [texts, width] of unit length; rows: the texts, in the same order."""

    def __init__(self, matcher: SentenceMatcher, vectors: F32, rows: Sequence[Mapping[str, Any]]) -> None:
        self.matcher, self.vectors, self.rows = matcher, vectors, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> list[str]:
        return [str(row["text"]) for row in self.rows]

    # -- searching

    def search(
        self, query: str, top: int = 5, *, rerank: TextClassifier | None = None, candidates: int = CANDIDATES,
        relevant: str | None = None,
    ) -> list[Hit]:  # fmt: skip
        """The `top` texts most alike, the best first; of equals the one that stands first.

        rerank: a model of pairs that reads the query and each of the `candidates` nearest texts together, and decides
        their order; relevant: its label for texts that belong to the query, if it has labels and none is "1".
        """
        return self.search_all([query], top, rerank=rerank, candidates=candidates, relevant=relevant)[0]

    def search_all(
        self, queries: Sequence[str], top: int = 5, *, rerank: TextClassifier | None = None,
        candidates: int = CANDIDATES, relevant: str | None = None,
    ) -> list[list[Hit]]:  # fmt: skip
        """`search` for each of several queries."""
        if top < 1 or candidates < 1:
            raise UsageError(f"top and candidates must be at least 1, not {min(top, candidates)}")
        if rerank is not None and candidates < top:
            raise UsageError(f"{candidates} candidates are fewer than the {top} texts to be found")
        from handloom.tasks.matching import normal

        asked = normal(self.matcher.encode(list(queries)))
        near = list(self._nearest(asked, top if rerank is None else candidates)) if len(queries) else []
        if rerank is not None:
            near = _reranked(rerank, queries, near, self.texts, relevant)
        return [[self._hit(number, score) for number, score in found[:top]] for found in near]

    def _hit(self, number: int, score: float) -> Hit:
        row = self.rows[number]
        return Hit(str(row["text"]), number, score, dict(row.get("extra", {})))

    def _nearest(self, asked: F32, top: int) -> Iterator[list[tuple[int, float]]]:
        """(number, cosine) of the nearest texts of each query, the nearest first."""
        for begin in range(0, len(asked), QUERIES):
            some = asked[begin : begin + QUERIES]
            scores = np.zeros((len(some), 0), np.float32)
            numbers = np.zeros((len(some), 0), np.int64)
            for at in range(0, len(self.vectors), ROWS):
                more = some @ self.vectors[at : at + ROWS].T
                scores = np.concatenate([scores, more], 1)
                numbers = np.concatenate([numbers, np.broadcast_to(np.arange(at, at + more.shape[1]), more.shape)], 1)
                scores, numbers = _best(scores, numbers, top)
            for row, own in zip(scores, numbers, strict=True):
                yield list(zip(own.tolist(), row.tolist(), strict=True))

    # -- on disk

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Written aside and renamed. UsageError where something else than an index is there."""
        place = Path(folder)
        if place.exists() and not (place / ABOUT).is_file():
            raise UsageError(f"{place} exists already and is no index; choose another place")
        home = self.matcher.home
        about = {
            "format": FORMAT, "texts": len(self.rows), "width": int(self.vectors.shape[1]),
            "model": "" if home is None else str(home.resolve()), "identity": self.matcher.identity,
        }  # fmt: skip
        publish_folder(place, {
            VECTORS: safetensors_blocks({"vectors": self.vectors}),
            TEXTS: ((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass") for row in self.rows),
            ABOUT: [json.dumps(about, ensure_ascii=False, indent=2).encode()],
        })  # fmt: skip

    @classmethod
    def load(cls, folder: str | os.PathLike[str], matcher: SentenceMatcher | None = None) -> SearchIndex:
        """An index that `save` wrote, with the model that made it (None: it is looked for where it was).

        HandloomError where the model is another one, or where the files are not whole.
        """
        place = Path(folder)
        about = _about(place)
        if not complete(place):
            raise HandloomError(f"{place} is not whole: a file is missing or was changed; make the index again")
        if matcher is None:
            from handloom.train.matchers import SentenceMatcher

            model = Path(about["model"])
            if not about["model"] or not model.is_dir():
                there = f"the model in {model}, which is not there" if about["model"] else "a model that was in memory"
                raise HandloomError(f"{place} was made by {there}; name the model (--model)")
            matcher = SentenceMatcher.from_pretrained(model)
        if matcher.identity != about["identity"]:
            raise HandloomError(f"{place} was made by another model than {matcher.folder} (its weights, pooling or "
                                f"length differ): its vectors mean nothing to this one")  # fmt: skip
        count, width = about["texts"], about["width"]
        vectors = SafetensorsFile(place / VECTORS).read("vectors")
        if vectors.shape != (count, width) or vectors.dtype != np.float32:
            what = f"f32 ({count}, {width}) is needed"
            raise HandloomError(f"{place / VECTORS}: {vectors.dtype} {vectors.shape}, and {what}")
        if not np.isfinite(vectors).all():
            raise HandloomError(f"{place / VECTORS}: a vector holds a number that is not finite")
        return cls(matcher, vectors, _rows(place / TEXTS, count))


def _about(place: Path) -> dict[str, Any]:
    if not (place / ABOUT).is_file():
        raise HandloomError(f"{place} is no index: it has no {ABOUT} (handloom index FILE --out {place} makes one)")
    about = read_json(place / ABOUT)
    whole = all(type(about.get(name)) is int and about[name] >= 1 for name in ("format", "texts", "width"))
    if not whole or not all(isinstance(about.get(name), str) for name in ("model", "identity")):
        raise HandloomError(f"{place / ABOUT}: damaged; make the index again")
    if about["format"] != FORMAT:
        raise HandloomError(f"{place / ABOUT}: format {about['format']}; this version reads format {FORMAT}")
    return about


def _rows(path: Path, count: int) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8", errors="surrogatepass") as lines:
            rows = [json.loads(line) for line in islice(lines, count + 1)]
    except (OSError, ValueError, RecursionError) as problem:
        raise HandloomError(f"{path}: cannot be read ({problem}); make the index again") from problem
    if len(rows) != count or not all(isinstance(row, dict) and isinstance(row.get("text"), str) for row in rows):
        raise HandloomError(f"{path}: must hold {counted(count, 'text')}; make the index again")
    return rows


def _best(scores: F32, numbers: NDArray[np.int64], top: int) -> tuple[F32, NDArray[np.int64]]:
    """The columns of the greatest scores in each row, the greatest first; of equals the least number."""
    if scores.shape[1] > 4 * top:  # nothing below the score at place `top` matters
        edge = np.partition(scores, scores.shape[1] - top, axis=1)[:, scores.shape[1] - top]
        most = int((scores >= edge[:, None]).sum(1).max())
        some = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        scores, numbers = np.take_along_axis(scores, some, 1), np.take_along_axis(numbers, some, 1)
    order = np.lexsort((numbers, -scores), axis=1)[:, :top]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)


def _reranked(
    judge: TextClassifier, queries: Sequence[str], near: Sequence[Sequence[tuple[int, float]]], texts: Sequence[str],
    relevant: str | None,
) -> list[list[tuple[int, float]]]:  # fmt: skip
    """The same texts in the order of what a model of pairs says."""
    pairs = [(query, texts[number]) for query, found in zip(queries, near, strict=True) for number, _ in found]
    said = iter(judge.predict(pairs) if pairs else [])
    result = []
    for found in near:
        scored = [(number, _relevance(next(said), relevant)) for number, _ in found]
        result.append(sorted(scored, key=lambda one: -one[1]))
    return result


def _relevance(said: Any, relevant: str | None) -> float:
    """Of a number the number; of labels the probability of the one that means that texts belong together."""
    if isinstance(value := getattr(said, "value", None), float):
        return value
    label = relevant or "1"
    if label not in said.scores:
        raise UsageError(f"which label of the second model says that two texts belong together? There are "
                         f"{', '.join(said.scores)}; name it (relevant=, --relevant)")  # fmt: skip
    return float(said.scores[label])
