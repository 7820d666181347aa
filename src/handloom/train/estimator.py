"""What all estimators do: from_pretrained · fit · evaluate · predict · save · load."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar

from handloom.data import meant_for
from handloom.data.examples import Dataset, Source, fingerprint
from handloom.data.readers import is_row, read
from handloom.data.results import result_rows
from handloom.errors import HandloomError, UsageError
from handloom.models.config import LABELLED, Config
from handloom.models.registry import load_config
from handloom.nn import Module
from handloom.tasks.scores import Scores
from handloom.tasks.task import Encoded, Task
from handloom.text.counting import counted
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling, scratch
from handloom.train.datasets import Sets, first_places
from handloom.train.engine import Engine
from handloom.train.fitting import Fit
from handloom.train.progress import Listener
from handloom.train.report import Report, framed, render
from handloom.train.run import FORMAT, versions
from handloom.train.settings import Settings


class Estimator:
    """A model folder with a tokenizer, and once it is trained (or was), a task and a model.

    `scores`: what `fit` found at its end; `report`: the same with the curves, which is how a notebook shows what `fit`
    returns; `task`, `model`: None until the labels are known.
    """

    task_name: ClassVar[str] = ""
    also_known: ClassVar[str] = ""
    """Characters that a new model's vocabulary has to know besides those of its data."""
    asks: ClassVar[tuple[str, ...]] = ()
    """What predictions may be asked for, besides how data is read: keywords of `said_of`."""
    judged_by: ClassVar[tuple[str, ...]] = ()
    """The same of `evaluate`: keywords of `judge_encoded`."""

    def __init__(
        self, folder: Path, task: Task | None = None, threads: int | None = None, precision: str = "auto"
    ) -> None:
        self.folder = folder
        self.threads, self.precision = threads, precision
        self.config: Config = load_config(folder)
        self.tokenizer = Tokenizer.load(folder)
        self.task: Task | None = None
        self.model: Module | None = None
        self.scores: Scores | None = None
        self.baselines: dict[str, Scores] = {}
        self.report: Report | None = None
        self.max_length, self.long = self.longest(self.config, None), "windows"
        self.about: dict[str, Any] = {}
        self.notes: tuple[str, ...] = ()  #: what there is to say about the last data that was read
        self.fresh = False  #: whether the weights have learnt nothing at all yet
        self.continued = False  #: whether the weights are no longer those of `folder`
        self._engine: Engine | None = None
        self._base: dict[str, Any] | None = None
        self._load_trained(task)

    # -- from and to folders

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, task: Task | None = None, threads: int | None = None,
        precision: str = "auto", **where: Any,
    ) -> Any:  # fmt: skip
        """From a folder, a name of the catalogue (`minilm-l6`), or `owner/name` on the hub.

        A folder that was trained for this task can predict at once and is trained further by `fit`; any other encoder
        gets a new head. task: an instance of your own task class, for a folder that was trained with it. precision: of
        matrix products, "f32", "bf16", or "auto" for what is faster on this machine.
        """
        return cls(find_folder(name, **where), task, threads, precision)

    @classmethod
    def new(
        cls, train: Any, *, model_type: str | None = None, config: str | os.PathLike[str] | None = None,
        threads: int | None = None, precision: str = "auto", **options: Any,
    ) -> Any:  # fmt: skip
        """A model from scratch, with a vocabulary that is learnt from training data; `fit` teaches it the rest.

        model_type: the family, such as "bert", "marian" or "handloom-rnn"; config: instead of it a config.json. The
        other keywords: layers, hidden, heads, intermediate, key_value_heads, context (models/describe.py: Shape),
        tokenizer, vocab_size, dropout, seed (train/scratch.py: Scratch), those of the reader, and whatever else
        config.json is to say, such as bidirectional=True. Raises UsageError for what makes no sense.
        """
        reading = {key: options.pop(key) for key in READING if options.get(key) is not None}
        asked = scratch.Scratch.of(
            model_type=model_type, config=None if config is None else os.fspath(config), **options
        )
        written = texts_of(read(train, cls.task_name, blanks="keep", **reading))
        if cls.also_known:
            written.append(cls.also_known)
        made = cls(scratch.make(asked, cls.task_name, written), None, threads, precision)
        made.fresh = True
        return made

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, task: Task | None = None, threads: int | None = None,
        precision: str = "auto",
    ) -> Any:  # fmt: skip
        """A folder that `save` or `fit` wrote; HandloomError if it was not trained for this."""
        place = Path(folder)
        if not place.is_dir():
            raise HandloomError(f"{place} is not a folder; a trained model is a folder with config.json and weights")
        found = cls(place, task, threads, precision)
        if found.model is None:
            raise HandloomError(f"{place} holds no model that was trained for {cls.task_name}")
        return found

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Hugging Face's layout, which transformers opens, and handloom.json."""
        model, task = self._ready()
        weights = {name: value.numpy() for name, value in model.parameters().items()}
        modeling.save(Path(folder), model, self.config, self.tokenizer, weights, self._about(task), task.problem_type)

    def _about(self, task: Task) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "task": self.task_name,
            "labels": list(task.labels),
            "task_settings": task.settings(),
            "own_task": own_name(task),
            "max_length": self.max_length,
            "long": self.long,
            **self.about,
            "versions": versions(),
        }

    def _load_trained(self, task: Task | None) -> None:
        about = modeling.read_about(self.folder)
        if about is not None:
            if about.get("task") != self.task_name and task is None:
                return
            if self.precision == "auto" and (about.get("settings") or {}).get("precision") == "f32":
                self.precision = "f32"  # trained so, and measured so
            self.max_length, self.long = (
                int(about.get("max_length", self.max_length)),
                str(about.get("long", self.long)),
            )
            self._check_own(about.get("own_task"), task)
            own = {"format", "task", "labels", "task_settings", "own_task", "max_length", "long", "versions", "weights"}
            self.about = {key: value for key, value in about.items() if key not in own}
            self._base = self.about.get("base")
            if "scores" in self.about:
                self.scores = Scores.from_dict(self.about["scores"])
            self.baselines = {name: Scores.from_dict(e) for name, e in self.about.get("baselines", {}).items()}
            kept = about.get("task_settings", {})
            try:
                self.task = task or self._task_from(about.get("labels", []), kept)
                self.task.restore(kept)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
                raise HandloomError(f"{self.folder / 'handloom.json'}: task_settings cannot be read: {problem!r}"
                                    ) from problem  # fmt: skip
        elif task is not None:
            return
        elif self.config.head == self.task_name and (self.config.labels or self.task_name not in LABELLED):
            self.task = self._task_from(self.config.labels, {})
        if self.task is not None:
            self.model, self.config, _ = modeling.build(self.folder, self.task, seed=0)
            if about is not None:
                modeling.check_complete(self.folder, self.model)

    def _check_own(self, trained: str | None, task: Task | None) -> None:
        """A folder that was trained with a user's own task is of no use without it."""
        given = None if task is None else own_name(task)
        if trained != given and (trained is not None or given is not None):
            if trained is None:
                raise HandloomError(f"{self.folder} was not trained with {given}; load it without task=")
            raise HandloomError(
                f"{self.folder} was trained with a task of your own, {trained}, not with {given or 'the usual one'}: "
                f"{type(self).__name__}.load({str(self.folder)!r}, task={trained}(…))"
            )

    def _task_from(self, labels: Sequence[str], settings: Mapping[str, Any]) -> Task:
        raise NotImplementedError

    def longest(self, config: Config, wanted: int | None) -> int:
        """Tokens that a sequence may have, if the user wants so many (None: says nothing). UsageError for too many."""
        return modeling.longest(self.tokenizer, config, wanted)

    def _ready(self) -> tuple[Module, Task]:
        if self.model is None or self.task is None:
            raise UsageError("this model has no trained head yet: call fit, or load a folder that was trained")
        return self.model, self.task

    # -- fit

    def fit(
        self,
        train: Any,
        valid: Any = None,
        test: Any = None,
        *,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        task: Task | None = None,
        listener: Listener | None = None,
        before: bool = True,
        baselines: bool | None = None,
        **options: Any,
    ) -> Any:
        """Fine-tune.

        train, valid, test: a path, a list of (text, label) or of dicts, a pandas frame, or a Dataset; without `valid`
        a stratified tenth of `train` is set aside. out: a run folder for checkpoints, log, report and the model;
        overwrite: replace it; resume: go on with it (same data and settings). task: your own task. listener: called
        with each Progress; the default prints. before: also score the model as it was, unless it is new. baselines:
        also train simple ones (default: with `out`). The other keywords are those of Settings, and of the reader:
        text_column, label_column, pair_column, delimiter, encoding; of texts problem, label_separator, label_order,
        none_label. A model that has learnt nothing begins with lr 1e-3 unless it is given. Returns self.
        """
        if isinstance(task, type):
            raise UsageError(f"task is an instance: {task.__name__}(…), not the class")
        reading = {key: options.pop(key) for key in READING if options.get(key) is not None}
        options = {key: value for key, value in options.items() if key not in READING}
        options.setdefault("threads", self.threads)
        options.setdefault("precision", self.precision)
        if self.fresh:
            options.setdefault("lr", FRESH_RATE)
        settings = Settings.of(**options)
        settings.check_meant(self.task_name)
        Fit(self, settings, reading, task, listener, before and not self.fresh, baselines).run(
            {"train": train, "valid": valid, "test": test}, out, overwrite, resume
        )
        return self

    def command(self, run: str) -> str:
        """What uses a trained model in a folder, in a terminal. FILE stands for a file of the user's."""
        return f'handloom predict {run} "…"'

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the last training, if there was one."""
        return None if self.report is None else framed(render(self.report), self.report.title)

    def make_task(self, sets: Sets, settings: Settings) -> Task:
        """The task that the data asks for, with the labels that the model knows already first."""
        raise NotImplementedError

    def remarks(self, sets: Sets, settings: Settings) -> tuple[str, ...]:
        """What is assumed of the data for the task that `make_task` makes, to be told before the training."""
        return ()

    # -- use

    def read(self, data: Any, *, labelled: bool = True, **reading: Any) -> Dataset[Any]:
        """Data as this model was trained on it; a warning where its vocabulary knows too little of the text.

        A second text is looked for only if the training data had one (`pairs`), or `pair_column` names it.
        """
        if isinstance(data, Dataset):
            return data
        _, given = parted(self.task_name, reading)
        how = self.reading_with(given)
        dataset = read(data, self.task_name, labelled=labelled, pairs=bool(self.pairs), **how)
        self.tokenizer.check_known(dataset.texts)
        count = counted(len(dataset), "example")
        self.notes = (*dataset.notes, f"{count} read from {dataset.source.path}") if dataset.source.path else ()
        return dataset

    @property
    def pairs(self) -> bool | None:
        """Whether the training data had a second text beside each; None if its folder does not say which columns."""
        columns = ((self.about.get("data") or {}).get("train") or {}).get("columns")
        return "pair" in columns if columns else None

    def reading_with(self, given: Mapping[str, Any], settings: Settings | None = None) -> dict[str, Any]:
        """What the user said of reading, with what follows from the model, or (settings) for a training of it."""
        return dict(given)

    def evaluate(self, data: Any, *, before: bool = True, seed: int = 0, **how: Any) -> Scores:
        """Scores on labelled data; `.before` holds those of the model before training, where it is at hand. how: what
        is said of reading; of Translator and Summarizer beams, as for `predict`."""
        _, task = self._ready()
        asked, reading = parted(self.task_name, how, self.judged_by)
        dataset = self.read(data, **reading)
        self.check_known(dataset, task)
        scores, _ = self.judge(self.engine(), task, dataset.examples, seed, **asked)
        if before and self._base is not None and (base := Path(self._base["folder"])).is_dir():
            untrained, _, _ = modeling.build(base, task, int(self._base["seed"]))
            engine = Engine(untrained, task, threads=self.threads, precision=self.precision)
            scores.before, _ = self.judge(engine, task, dataset.examples, seed, **asked)
        return scores

    def check_known(self, dataset: Dataset[Any], task: Task) -> None:
        """HandloomError for labels that the model has not."""
        kinds = set(task.known)
        unseen = sorted(set(dataset.labels) - kinds) if kinds else []
        if unseen:
            raise HandloomError(
                f"{dataset.source.path or 'the data'} has labels that training never saw: "
                f"{first_places(dataset, unseen)}; the model knows {', '.join(sorted(kinds)[:20])}"
            )

    def judge(
        self, engine: Engine, task: Task, examples: Sequence[Any], seed: int = 0, **asked: Any
    ) -> tuple[Scores, list[Any]]:
        """Scores and predictions of an engine's weights on labelled examples."""
        return self.judge_encoded(engine, task, examples, self.encoded(task, examples), seed, final=True, **asked)

    def encoded(self, task: Task, examples: Sequence[Any]) -> Encoded:
        """In tokens; `notes` says what of it was too long."""
        found = task.encode(examples, self.tokenizer, self.max_length, self.long)
        self.tell(found.notes)
        return found

    def tell(self, notes: Sequence[str]) -> None:
        """Adds to `notes` what they do not say yet."""
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))

    def judge_encoded(
        self, engine: Engine, task: Task, examples: Sequence[Any], encoded: Encoded, seed: int = 0, *,
        final: bool = False,
    ) -> tuple[Scores, list[Any]]:  # fmt: skip
        """final: at the end of a training, where what takes long may be measured, too; the model has its weights."""
        logits, loss = engine.logits(encoded)
        predictions = task.decode_by(engine.weights(), examples, encoded, logits)
        scores = task.score(examples, predictions, seed)
        scores.metrics.setdefault("loss", loss)
        return scores, predictions

    def predict(self, data: Any, **how: Any) -> Any:
        """What the model says: of one string, or of one row (a tuple such as (text, pair), or a dict such as {"text":
        …}), one result; of a list, a data frame, a Path or a Dataset a list.

        TextClassifier gives Prediction(label, score, scores), TokenClassifier a list of Span(start, end, label, text,
        score) for each text, RelationExtractor Relation(first, second, label, score, scores), QuestionAnswerer
        Answer(text, start, end, score, others).
        """
        found = [self.shown(one) for one in self.predict_raw(data, **how)]
        return found[0] if self.is_alone(data) else found

    def is_alone(self, data: Any) -> bool:
        """Whether predictions are asked for one row, and not for a list of them. UsageError for a dict of columns."""
        return is_row(data)

    def asked_for(self, data: Any, **reading: Any) -> Dataset[Any]:
        """What predictions are asked for; without examples where that is a list or a frame of nothing."""
        alone = self.is_alone(data)
        if not alone and isinstance(data, Sized) and not len(data):
            return Dataset((), Source(None, fingerprint([]), "list"))
        return self.read([data] if alone else data, labelled=False, **reading)

    def predict_raw(self, data: Any, **how: Any) -> list[Any]:
        """The task's own predictions, one a text, with `to_dict` for programs."""
        self._ready()
        asked, reading = parted(self.task_name, how, self.asks)
        examples = self.asked_for(data, **reading).examples
        for example in examples:
            if not example.text.strip():
                raise HandloomError(f"{example.where or 'the text'}: an empty text has nothing to judge")
        return self.said_of(examples, **asked) if examples else []

    def said_of(self, examples: Sequence[Any]) -> list[Any]:
        """The task's predictions of examples as they are."""
        return self.decoded(self._ready()[1], examples)

    def decoded(self, task: Task, examples: Sequence[Any]) -> list[Any]:
        """What a task makes of the model's logits of examples."""
        encoded, engine = self.encoded(task, examples), self.engine()
        logits, _ = engine.logits(encoded)
        return task.decode_by(engine.weights(), examples, encoded, logits)

    def predict_dicts(self, data: Any, **how: Any) -> list[dict[str, Any]]:
        """What `predict --json` prints: the text, the prediction, and the input's other columns."""
        asked, reading = parted(self.task_name, how, self.asks)
        dataset = self.asked_for(data, **reading)
        return result_rows(dataset.examples, [one.to_dict() for one in self.predict_raw(dataset, **asked)])

    def predict_frame(self, data: Any, **how: Any) -> Any:
        """The same as a pandas frame, with the index of the one that was given: a column for each label's score,
        `scores.LABEL`. Of a frame without rows its own columns. HandloomError where pandas is missing."""
        try:
            import pandas
        except ImportError as problem:
            needed = "a frame needs pandas, and it is not installed: python -m pip install 'handloom[pandas]'"
            raise HandloomError(needed) from problem
        rows = self.predict_dicts(data, **how)
        flat = [{key: value for name, part in row.items() for key, value in _flat(name, part)} for row in rows]
        given = data if hasattr(data, "to_dict") else None
        own = list(given.columns) if given is not None and not flat else None
        return pandas.DataFrame(flat, index=None if given is None else given.index, columns=own)

    def shown(self, prediction: Any) -> Any:
        return prediction

    def engine(self) -> Engine:
        """The engine that evaluates and predicts with the present weights."""
        model, task = self._ready()
        if self._engine is None:
            self._engine = Engine(model, task, threads=self.threads, precision=self.precision)
        return self._engine

    def trained(self, model: Module, config: Config, task: Task, base: dict[str, Any]) -> None:
        """Called by Fit at the end of a training."""
        self.model, self.config, self.task, self._base, self._engine = model, config, task, base, None
        self.continued, self.fresh = True, False


FRESH_RATE = 1e-3  #: the learning rate of a model that has learnt nothing
READING = (
    "text_column", "label_column", "pair_column", "delimiter", "encoding", "problem", "label_separator", "label_order",
    "none_label",
)  # fmt: skip


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if name != "scores" or not isinstance(value, dict):
        return [(name, value)]
    return [(f"{name}.{label}", score) for label, score in value.items()]


def texts_of(data: Dataset[Any]) -> list[str]:
    """All that is written in a data set, what is to be written or to be chosen from included."""
    found: list[str] = []
    for example in data.examples:
        beside = (example.pair, getattr(example, "negative", None))
        found += [example.text, *(text for text in beside if text)]
        found += [text for name in ("targets", "choices") for text in getattr(example, name, ())]
    return found


def own_name(task: Task) -> str | None:
    """The name of a user's own class of tasks; None for Handloom's."""
    return None if type(task).__module__.startswith("handloom.tasks.") else type(task).__name__


def parted(
    task: str, options: Mapping[str, Any], asks: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is asked, and what is said of reading. UsageError for anything else."""
    given = {name: value for name, value in options.items() if value is not None}
    meant_for.check(task, given)
    for name in options:
        if name not in (*READING, *asks):
            raise UsageError(f"unknown option {name!r}; there are {', '.join((*READING, *asks))}")
    reading = {name: given.pop(name) for name in READING if name in given}
    return given, reading


def check_top(top: int | None) -> None:
    """UsageError for a number of answers that is none."""
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
        raise UsageError(f"top is {top!r}; it must be a whole number, 1 or more")


def find_folder(name: str | os.PathLike[str], **where: Any) -> Path:
    """The folder that a name means."""
    from handloom.models.resolve import model_folder

    return model_folder(os.fspath(name), **where)
