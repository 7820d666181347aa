"""The estimators by their tasks, and a trained model whatever its task: load, resume."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from handloom.data.documents import read_paragraphs
from handloom.data.examples import (
    CHOICE,
    GENERATION,
    QUESTION,
    RELATION,
    SIMILARITY,
    SUMMARIZATION,
    TEXT,
    TOKEN,
    TRANSLATION,
    Dataset,
    RelationExample,
    TokenExample,
)
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.models.registry import load_config
from handloom.tasks.question_answering import LONGEST, Answer, QuestionAnswering
from handloom.tasks.relation_extraction import (
    MARKS,
    Relation,
    RelationExtraction,
    Triple,
    known_marks,
    pairs_of,
    triples_of,
)
from handloom.tasks.task import Task
from handloom.tasks.token_classification import Tagged, TokenClassification
from handloom.text.counting import counted
from handloom.text.schemes import Scheme
from handloom.text.spans import Span
from handloom.train import modeling
from handloom.train.choosers import MultipleChooser
from handloom.train.datasets import Sets, labels_of
from handloom.train.estimator import Estimator, check_top
from handloom.train.generators import TextGenerator
from handloom.train.matchers import SentenceMatcher
from handloom.train.open_book import OpenBook
from handloom.train.progress import Console, Listener, Progress
from handloom.train.rewriters import Summarizer, Translator
from handloom.train.run import RunFolder
from handloom.train.settings import Settings
from handloom.train.text_classifier import TextClassifier, weights_of


class TokenClassifier(Estimator):
    """Spans of a text: names, places, whatever the tags spell."""

    task_name = TOKEN

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        known = self.task if isinstance(self.task, TokenClassification) else None
        scheme = known.scheme if known else sets.train.scheme or Scheme()
        unit = sets.train.unit
        labels = labels_of(sets, known.labels if known else (), scheme)
        bare = TokenClassification(labels, scheme, unit)
        counts = Counter(tag for e in sets.train if isinstance(e, TokenExample) for tag in bare.tags(e) or ())
        weights = weights_of(settings, counts, labels)
        subwords = settings.subwords or (known.subwords if known else "first")
        crf = (known.crf if known else False) if settings.crf is None else settings.crf
        return TokenClassification(labels, scheme, unit, weights, settings.label_smoothing, subwords, crf)

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        from handloom.text.schemes import recognise

        scheme = Scheme(**settings["scheme"]) if "scheme" in settings else recognise(labels)
        subwords, crf = str(settings.get("subwords", "first")), bool(settings.get("crf", False))
        return TokenClassification(labels, scheme, str(settings.get("unit", "words")), subwords=subwords, crf=crf)

    def shown(self, prediction: Tagged) -> list[Span]:
        return list(prediction.spans)


class RelationExtractor(Estimator):
    """How two places of a text are related."""

    task_name = RELATION
    also_known = "".join(map("".join, MARKS))  # one pair marks the two places

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        known = self.task if isinstance(self.task, RelationExtraction) else None
        labels = labels_of(sets, known.labels if known else (), None)
        counts = Counter(e.label for e in sets.train if isinstance(e, RelationExample) and e.label)
        marks = known.marks if known else known_marks(self.tokenizer)
        return RelationExtraction(labels, marks, weights_of(settings, counts, labels), settings.label_smoothing)

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        return RelationExtraction(labels, settings.get("marks") or known_marks(self.tokenizer))

    def predict(self, data: Any, **reading: Any) -> Relation | list[Relation]:
        """Texts with <e1>…</e1> and <e2>…</e2> in them, or (text, first, second) with places [start, end]; one row may
        be a dict."""
        found: Relation | list[Relation] = super().predict(data, **reading)
        return found

    def command(self, run: str) -> str:
        return f'handloom predict {run} "… <e1>…</e1> … <e2>…</e2> …"'

    def triples(
        self, texts: Sequence[str], entities: TokenClassifier | Sequence[Sequence[Span]], within: int = 300
    ) -> list[list[Triple]]:
        """For each text what is related to what: every two entities with at most `within` characters between them are
        asked about, and those that have a relation are returned, in the order of the text.

        entities: a model that finds them, or the spans of each text. Where relations have no direction in their
        labels, every two are asked about in both orders.
        """
        _, task = self._ready()
        assert isinstance(task, RelationExtraction)
        if isinstance(texts, str):
            raise UsageError("triples are looked for in a list of texts: triples([text], …)")
        if isinstance(entities, Estimator) and not isinstance(entities, TokenClassifier):
            raise UsageError(f"entities are found by a model for {TOKEN}, not for {entities.task_name}")
        found = entities.predict(list(texts)) if isinstance(entities, TokenClassifier) else entities
        if len(found) != len(texts):
            raise UsageError(f"{counted(len(texts), 'text')} and the entities of {len(found):,}: all texts need theirs")
        asked = pairs_of(texts, found, task.directed, within)
        said = self.predict([pair.example for pair in asked]) if asked else []
        assert isinstance(said, list)
        return triples_of(len(texts), asked, said)


class QuestionAnswerer(Estimator):
    """The place in a text that answers a question."""

    task_name = QUESTION
    asks = ("top",)

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        known = self.task if isinstance(self.task, QuestionAnswering) else QuestionAnswering()
        silent = any(example.answers == () for example in sets.train)
        threshold = 0.0 if silent and known.threshold is None else known.threshold
        return QuestionAnswering(settings.longest_answer or known.longest, threshold)

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        threshold = settings.get("threshold")
        return QuestionAnswering(int(settings.get("longest", LONGEST)), None if threshold is None else float(threshold))

    def predict(self, data: Any, **how: Any) -> Answer | list[Answer]:
        """(question, context), a dict of both, or a list of such. top: so many answers in all, the best one and the
        next best in `others`; 5 if not given."""
        if isinstance(data, str):
            raise UsageError("a question is asked of a text: predict((question, context)), or search(…).ask(question)")
        found: Answer | list[Answer] = super().predict(data, **how)
        return found

    def said_of(self, examples: Sequence[Any], top: int | None = None) -> list[Any]:
        check_top(top)
        _, task = self._ready()
        if top is not None and isinstance(task, QuestionAnswering):
            task = copy(task)
            task.candidates = top
        return self.decoded(task, examples)

    def command(self, run: str) -> str:
        return f'handloom predict {run} "…" --context FILE'

    def search(self, documents: str | os.PathLike[str] | Sequence[str], encoding: str | None = None) -> OpenBook:
        """To ask questions of a file, of all text files of a folder, or of a list of paragraphs: `.ask(question)`."""
        self._ready()
        return OpenBook(self, read_paragraphs(documents, encoding))


#: Estimators by task name.
ESTIMATORS: dict[str, type[Estimator]] = {
    TEXT: TextClassifier,
    TOKEN: TokenClassifier,
    RELATION: RelationExtractor,
    QUESTION: QuestionAnswerer,
    SIMILARITY: SentenceMatcher,
    CHOICE: MultipleChooser,
    TRANSLATION: Translator,
    SUMMARIZATION: Summarizer,
    GENERATION: TextGenerator,
}


def load(folder: str | os.PathLike[str], threads: int | None = None, precision: str = "auto") -> Estimator:
    """A trained model, whatever its task."""
    place = Path(folder)
    if not place.is_dir():
        raise HandloomError(f"{place} is not a folder; a trained model is a folder with config.json and weights")
    about = modeling.read_about(place)
    name = about["task"] if about else load_config(place).head
    if name not in ESTIMATORS:
        raise HandloomError(f"{place} holds no model trained for one of: {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name].load(place, threads=threads, precision=precision)  # type: ignore[no-any-return]


def resume(
    run: str | os.PathLike[str],
    threads: int | None = None,
    listener: Listener | None = None,
    moved: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Estimator:
    """Go on with a training that was stopped; ends with the bits of one that was not. A finished run is loaded.

    moved: where "train", "valid", "test" or "model" lie now, if elsewhere than at the start. Their hashes must be the
    same. Raises HandloomError where they are not, or where something is missing.
    """
    with RunFolder.open(run) as folder:
        found, finished = folder.settings(), folder.finished
    if finished:
        (listener or Console())(Progress("note", text=f"{run} had been trained to its end: nothing is left to do"))
        return load(run, threads)
    data = {name: entry and entry["path"] for name, entry in found["data"].items()}
    places = {**data, "model": found["base"]["folder"], **(moved or {})}
    data = {name: parallel(places[name]) for name in data}
    if any(entry and entry["path"] is None for entry in found["data"].values()):
        raise HandloomError(
            f"{run} was trained on data given in Python: go on there, with fit(…, out={str(run)!r}, resume=True)"
        )
    if found["task"] not in ESTIMATORS or found["own_task"]:
        raise HandloomError(f"{run} was trained with a task of your own: go on with fit(…, task=…, resume=True)")
    if found["continued"]:
        raise HandloomError(f"{run} began with weights that were in memory only; they are gone with that process")
    estimator = ESTIMATORS[found["task"]](_still_there(run, places), threads=threads)
    settings = {**found["settings"], **({"threads": threads} if threads else {})}
    return estimator.fit(  # type: ignore[no-any-return]
        **data, out=run, resume=True, listener=listener, before=found["before"], baselines=found["baselines"],
        **found["reading"], **settings,
    )  # fmt: skip


def learnt_from(run: str | os.PathLike[str]) -> Dataset[Any]:
    """The training examples of a run, read once more. Raises HandloomError where they are gone or have changed."""
    with RunFolder.open(run) as folder:
        found = folder.settings()
    entry = found["data"].get("train") if found.get("task") in ESTIMATORS else None
    if entry is None or entry["path"] is None:
        raise HandloomError(f"{run} does not say which labelled file it learnt from: name that file")
    data = read(parallel(entry["path"]), found["task"], **found["reading"])
    if data.source.sha256 != entry["sha256"]:
        raise HandloomError(f"{entry['path']} is not what {run} learnt from any more")
    return data


def parallel(place: Any) -> Any:
    """The two paths of parallel files as `read` takes them; anything else as it is."""
    return tuple(map(Path, place)) if isinstance(place, list) else place


def _still_there(run: str | os.PathLike[str], places: Mapping[str, Any]) -> Path:
    """The model's folder. Raises HandloomError if it, or a file of data, is no longer where it was."""
    for name, place in places.items():
        parts = place if isinstance(place, (list, tuple)) else [place]
        if place is not None and not all(Path(part).exists() for part in parts):
            what = "model" if name == "model" else f"{name} data"
            raise HandloomError(
                f"{run} was trained on the {what} {place}, which is not there any more; "
                f"if it was moved: handloom resume {run} --{name} PLACE"
            )
    return Path(places["model"])
