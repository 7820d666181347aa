"""SentenceMatcher: texts as vectors that are alike where the texts are, and a search among them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import SIMILARITY, Dataset, MatchExample
from handloom.data.matches import assumed_span, span_of
from handloom.errors import HandloomError, UsageError
from handloom.models.config import Config
from handloom.models.sentence_folder import files, recipe
from handloom.nn import Module
from handloom.tasks.matching import (
    LABELLED,
    METRICS,
    SCORED,
    Compared,
    Match,
    Matching,
    kind_of,
    normal,
)
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, Encoded, Feature, Task
from handloom.text.counting import agreed, counted
from handloom.text.windows import cut_all
from handloom.train import modeling
from handloom.train.datasets import Sets
from handloom.train.engine import Engine
from handloom.train.estimator import Estimator
from handloom.train.search_index import SearchIndex, read_texts
from handloom.train.settings import Settings
from handloom.train.storage import publish_json

F32 = NDArray[np.float32]


class SentenceMatcher(Estimator):
    """An encoder whose vectors of texts are compared by their cosine. Any encoder can be asked at once; a folder of
    sentence-transformers says how its texts are pooled, others get the mean of their tokens, of unit length."""

    task_name = SIMILARITY

    def __init__(
        self, folder: Path, task: Task | None = None, threads: int | None = None, precision: str = "auto"
    ) -> None:
        self.recipe = recipe(folder)
        self.home: Path | None = self.recipe.folder  #: where the weights lie; None: in memory only
        super().__init__(self.recipe.folder, task, threads, precision)

    def _load_trained(self, task: Task | None) -> None:
        super()._load_trained(task)
        if self.task is None and task is None:
            self.max_length = self.longest(self.config, None)
            self.task = Matching(pooling=self.recipe.pooling, normalise=self.recipe.normalise)
            self.model, self.config, _ = modeling.build(self.folder, self.task, seed=0)

    def longest(self, config: Config, wanted: int | None) -> int:
        """Tokens that a text may have: as a folder of sentence-transformers says, unless the user says otherwise."""
        own = self.recipe.max_length
        return modeling.longest(self.tokenizer, config, min(own, config.max_length) if own and not wanted else wanted)

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        known = self.task if isinstance(self.task, Matching) else Matching()
        kind = kind_of(sets.train.examples)
        span = settings.score_range or (0.0, 1.0)
        if kind == SCORED and settings.score_range is None:
            span = span_of(_scores(sets))
        for data in _given(sets):
            _check_scores(data, span)
        scores = {example.score for example in sets.train.examples}
        if kind in (SCORED, LABELLED) and len(scores) == 1:
            raise HandloomError(f"every pair of the training data has the score {scores.pop():g}: there is nothing to "
                                "tell apart (pairs that all belong together need no score)")  # fmt: skip
        task = Matching(
            kind, settings.pooling or known.pooling, known.normalise, symmetric=settings.symmetric, span=span,
            together=settings.batch_size or 16,
        )  # fmt: skip
        if sets.valid is not None:
            found = METRICS[kind_of(sets.valid.examples, kind)]
            task.metric, task.metrics = found[0], (*dict.fromkeys((*found, *task.metrics)),)
        return task

    def remarks(self, sets: Sets, settings: Settings) -> tuple[str, ...]:
        assumed = settings.score_range is None and kind_of(sets.train.examples) == SCORED
        return assumed_span(_scores(sets)) if assumed else ()

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        return Matching.of(settings)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Also what sentence-transformers wants to know, which opens the folder, too."""
        _, task = self._ready()
        if isinstance(task, Matching):
            place = Path(folder)
            for name, value in files(task.pooling, task.normalise, self.config.hidden_size, self.max_length).items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                publish_json(place / name, value)
        super().save(folder)
        self.home = Path(folder)

    def trained(self, model: Module, config: Config, task: Task, base: dict[str, Any]) -> None:
        super().trained(model, config, task, base)
        self.home = None

    # -- judging

    def judge_encoded(
        self, engine: Engine, task: Task, examples: Sequence[Any], encoded: Encoded, seed: int = 0, *,
        final: bool = False,
    ) -> tuple[Scores, list[Any]]:  # fmt: skip
        """Each different text is encoded once."""
        if not isinstance(task, Matching):
            return super().judge_encoded(engine, task, examples, encoded, seed, final=final)
        features: list[Any] = encoded.features
        vectors = _vectors(engine, features)
        said = task.decode(examples, encoded, vectors)
        scores = task.score(examples, said, seed)
        if kind_of(examples, task.kind) == task.kind:
            scores.metrics["loss"] = task.mean_loss(features, vectors)
        return scores, said

    def said_of(self, examples: Sequence[Any]) -> list[Any]:
        return self._said_of(examples, search=True)

    def _said_of(self, examples: Sequence[Any], search: bool) -> list[Any]:
        _, task = self._ready()
        if not isinstance(task, Matching):
            return super().said_of(examples)
        encoded = self.encoded(task, examples)
        return task.decode(examples, encoded, _vectors(self.engine(), encoded.features), search)

    # -- use

    def predict_raw(self, data: Any, **reading: Any) -> list[Match]:
        self._ready()
        if isinstance(data, str):
            raise UsageError("two texts are compared: predict((text, other)); one among many: index(texts).search(…)")
        examples = self.asked_for(data, **reading).examples
        return self._said_of(examples, search=False) if examples else []

    def predict(self, data: Any, **reading: Any) -> Match | list[Match]:
        """How alike two texts are: of (text, other), of one row as a dict, or of a list of such, a path or a data
        set."""
        found: Match | list[Match] = super().predict(data, **reading)
        return found

    def command(self, run: str) -> str:
        return f'handloom sentence-similarity {run} "…" "…"'

    def encode(self, texts: str | Sequence[str]) -> F32:
        """f32 [texts, width], or [width] of one string. Of a text that is too long the beginning is read (`notes` says
        how many there were)."""
        given = [texts] if isinstance(texts, str) else list(texts)
        for number, text in enumerate(given, start=1):
            if not isinstance(text, str) or not text.strip():
                where = "the text" if isinstance(texts, str) else f"text {number}"
                raise HandloomError(f"{where}: a text is needed, not {text!r:.60}")
        different = list(dict.fromkeys(given))
        cuts, found = cut_all(self.tokenizer.encode_batch(different), self.max_length, "head")
        self.notes = (str(found),) if found.long else ()
        features = [_alone(made.windows[0], i) for i, made in enumerate(cuts)]
        vectors, _ = self.engine().logits(Encoded(list(features), len(features)))
        place = {text: i for i, text in enumerate(different)}
        rows = [vectors[place[text]][0] for text in given]
        return rows[0] if isinstance(texts, str) else np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def similarity(self, texts: str | Sequence[str], others: str | Sequence[str]) -> F32:
        """Cosines, f32 [texts, others]; a string stands for one text."""
        sides = [normal(self.encode([side] if isinstance(side, str) else side)) for side in (texts, others)]
        found: F32 = sides[0] @ sides[1].T
        return found

    def index(self, texts: str | os.PathLike[str] | Iterable[str], **reading: Any) -> SearchIndex:
        """To search among texts, given as a list or as a file of them: `.search(query)`; `save` keeps it."""
        rows = read_texts(texts, **reading)
        vectors = normal(self.encode([row["text"] for row in rows]))
        return SearchIndex(self, vectors.astype(np.float32), rows)

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides a text's vector: weights, pooling, length."""
        model, task = self._ready()
        digest = hashlib.sha256()
        how = (getattr(task, "pooling", ""), getattr(task, "normalise", ""), self.max_length)
        digest.update(repr(how).encode())
        for name, value in sorted(model.parameters().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.numpy()).data)
        return digest.hexdigest()


def _alone(encoding: Any, key: int) -> Compared:
    kept = np.arange(len(encoding), dtype=np.int32)
    return Compared(encoding, key, None, kept, len(kept), keys=(key,))


def _vectors(engine: Engine, features: Sequence[Any]) -> list[Array]:
    """Of each feature's texts, f32 [texts, width]; each different sequence of tokens is encoded once."""
    alone: dict[bytes, Compared] = {}
    names = [[coded.ids.tobytes() for coded in feature.encodings] for feature in features]
    for feature, own in zip(features, names, strict=True):
        for name, coded in zip(own, feature.encodings, strict=True):
            alone.setdefault(name, _alone(coded, len(alone)))
    distinct: list[Feature] = list(alone.values())
    rows, _ = engine.logits(Encoded(distinct, len(distinct)))
    found = dict(zip(alone, rows, strict=True))
    return [np.concatenate([found[name] for name in own]) for own in names]


def _given(sets: Sets) -> list[Dataset[MatchExample]]:
    return [one for one in (sets.train, sets.valid, sets.test) if one is not None]


def _scores(sets: Sets) -> list[float]:
    return [one.score for data in _given(sets) for one in data.examples if one.score is not None]


def _check_scores(data: Dataset[MatchExample], span: tuple[float, float]) -> None:
    outside = [e for e in data.examples if e.score is not None and not span[0] <= e.score <= span[1]]
    if outside:
        places = ", ".join(f"{e.where or 'a pair'} ({e.score:g})" for e in outside[:5])
        raise HandloomError(
            f"{len(outside):,} of {counted(len(data), 'score')} {agreed(len(outside), '[is|are]')} outside of "
            f"{span[0]:g} to {span[1]:g}: {places}"
        )
