"""Labels that are probably wrong: those that a model, which has not seen them, contradicts with confidence.

The examples are parted in folds, and each fold is judged by a model that was trained on the others. Confident learning
(Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels") then estimates how
often label i stands where j is true, and takes as many examples of each (i, j), those whose judges are surest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.examples import RELATION, TEXT, TOKEN, Dataset, RelationExample, TokenExample, unlabelled
from handloom.data.labels import NUMBER, ONE, SAID, SEVERAL
from handloom.data.split import places
from handloom.errors import HandloomError, UsageError
from handloom.tasks.text_classification import TextClassification
from handloom.tasks.token_classification import TokenClassification
from handloom.text.counting import agreed, counted
from handloom.text.schemes import Scheme
from handloom.text.width import shown
from handloom.train.baselines import marked, tag_shares
from handloom.train.estimators import ESTIMATORS
from handloom.train.linear import linear
from handloom.train.progress import silent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 5
LINEAR = "linear"
SHOWN = 20  #: in the plain text
Judge = Callable[[Sequence[Any], Sequence[Any]], Floats]
"""(training examples, those asked about) → f64 [judged, labels]."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is probably wrong. where: file and line of the example; word: of tagged text, the word that it is
    about. margin: by how much the suggested label is likelier, 0 to 1."""

    where: str
    text: str
    word: str
    given: str
    suggested: str
    margin: float


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """judged: texts, or words; agreed: the share of which the judge says the same; noise: the share of labels that are
    estimated to be wrong. suspects: the surest first."""

    judge: str
    folds: int
    judged: int
    agreed: float
    noise: float
    suspects: tuple[Suspect, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"label errors, by {self.folds} folds of {self.judge}: about {self.noise:.1%} of {self.judged:,} labels "
            f"look wrong; the judge agrees with {self.agreed:.1%}"
        ]
        for one in self.suspects[:SHOWN]:
            said = f" {one.word!r} in" if one.word else ""
            change = f"{shown(one.given)} → {shown(one.suggested)} ({one.margin:.2f})"
            lines.append(f"  {one.where}: {change}{said} {shown(one.text, 80)}")
        if len(self.suspects) > SHOWN:
            lines.append(f"  … {len(self.suspects) - SHOWN:,} more: --json lists all")
        return "\n".join(lines)


# -- confident learning ----------------------------------------------------------------------------------------------


def joint(given: Ints, shares: Floats) -> Floats:
    """f64 [labels, labels], sums to 1: how often label i is given where j is true.

    An example counts as one of j if its share of j is at least the mean share of j among the examples given j; of
    several such labels the likeliest. Rows are scaled to the number of examples that are given i.
    """
    count = shares.shape[1]
    sizes = np.bincount(given, minlength=count)
    means = np.array([shares[given == j, j].mean() if sizes[j] else np.inf for j in range(count)])
    sure = np.where(shares >= means, shares, -1.0)
    known = sure.max(-1) >= 0
    table = np.zeros((count, count))
    np.add.at(table, (given[known], sure[known].argmax(-1)), 1.0)
    empty = table.sum(-1) == 0
    table[empty, empty] = 1.0
    table *= (sizes / table.sum(-1))[:, None]
    return table / max(len(given), 1)


def suspected(given: Ints, shares: Floats) -> list[tuple[int, int, float]]:
    """(example, label that it should have, margin), the greatest margin first: for each two labels i ≠ j as many
    examples given i as `joint` estimates to be j, those with the greatest margin of j over i, where j is ahead."""
    own = shares[np.arange(len(given)), given]
    table = np.rint(joint(given, shares) * len(given)).astype(int)
    found: dict[int, tuple[float, int]] = {}
    for i, j in zip(*np.nonzero(table), strict=True):
        if i == j:
            continue
        mine = np.flatnonzero(given == i)
        margins = shares[mine, j] - own[mine]
        for at in np.argsort(-margins, kind="stable")[: table[i, j]]:
            best = (float(margins[at]), int(j))
            if best[0] > 0 and best > found.get(int(mine[at]), (0.0, -1)):
                found[int(mine[at])] = best
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return [(example, label, margin) for example, (margin, label) in ranked]


# -- judges ------------------------------------------------------------------------------------------------------------


def find(
    data: Dataset[Any], task: str, judge: str = LINEAR, *, folds: int = FOLDS, seed: int = 0,
    threads: int | None = None, say: Callable[[str], None] = lambda text: None, **settings: Any,
) -> LabelErrors:  # fmt: skip
    """Labels of a data set that are probably wrong.

    judge: "linear", a bag of words (features of words and their neighbours for tagged text), or the folder of a model
    that is fine-tuned once a fold, with `settings` as `fit` takes them. say: is told of each fold. Texts that are the
    same are judged together.
    Raises UsageError for a task without labels and for a judge that cannot judge it, HandloomError where there are too
    few examples.
    """
    if task not in (TEXT, TOKEN, RELATION):
        raise UsageError(f"label errors are looked for in classification and tagging, not in {task}")
    if getattr(data, "problem", ONE) in (SEVERAL, NUMBER):
        raise UsageError(f"label errors are looked for where a text has one label; these are {SAID[data.problem]}")
    if folds < 2:
        raise UsageError(f"label errors need 2 folds or more, not {folds}")
    labelled = data.select([i for i, e in enumerate(data) if e != unlabelled(e) and e.text.strip()])
    if len(labelled) < 2 * folds:
        few = agreed(len(labelled), "[is|are] too few")
        raise HandloomError(f"{counted(len(labelled), 'labelled example')} {few} for {folds} folds")
    if task == TOKEN:
        if judge != LINEAR:
            raise UsageError(f"words are judged by {LINEAR} only, not by {judge}")
        return _of_words(labelled, folds, seed, threads, say)
    odd = next((example for example in labelled if not isinstance(example.label, str)), None)
    if odd is not None:
        raise UsageError(f"{odd.where}: label errors are looked for where each text has one name, not {odd.label!r}")
    labels = labelled.labels
    given = np.array([labels.index(example.label) for example in labelled], np.int64)
    ask = _linear(labels, seed, threads) if judge == LINEAR else _tuned(judge, task, labels, seed, threads, settings)
    shares = np.zeros((len(labelled), len(labels)))
    for held, rest in _folds(labelled, folds, seed, say):
        shares[held] = ask([labelled[i] for i in rest], [labelled[i] for i in held])
    suspects = [
        Suspect(labelled[i].where, _shown(labelled[i]), "", labels[given[i]], labels[j], margin)
        for i, j, margin in suspected(given, shares)
    ]
    return _report(judge, folds, given, shares, suspects)


def _folds(
    data: Dataset[Any], folds: int, seed: int, say: Callable[[str], None]
) -> Iterator[tuple[list[int], list[int]]]:
    """The places of each part, and of all others."""
    parts = places(data, [1 / folds] * folds, seed)
    for number, held in enumerate(parts, 1):
        say(f"label errors: part {number} of {folds} is judged by the others")
        yield held, [i for other in parts if other is not held for i in other]


def _report(judge: str, folds: int, given: Ints, shares: Floats, suspects: list[Suspect]) -> LabelErrors:
    agreed = float((shares.argmax(-1) == given).mean())
    noise = 1 - float(np.trace(joint(given, shares)))
    return LabelErrors(judge, folds, len(given), agreed, max(noise, 0.0), tuple(suspects))


def _shown(example: Any) -> str:
    if isinstance(example, RelationExample):
        return example.marked("[", "]", "[", "]")
    return example.text if example.pair is None else f"{example.text} ⏐ {example.pair}"


def _linear(labels: Sequence[str], seed: int, threads: int | None) -> Judge:
    task = TextClassification(labels)

    def judge(train: Sequence[Any], asked: Sequence[Any]) -> Floats:
        flat = [[marked(e) if isinstance(e, RelationExample) else e for e in side] for side in (train, asked)]
        said = linear(task, flat[0], flat[1], seed, threads)
        return np.array([[one.scores[label] for label in labels] for one in said])

    return judge


def _tuned(
    model: str, task: str, labels: Sequence[str], seed: int, threads: int | None, settings: dict[str, Any]
) -> Judge:
    def judge(train: Sequence[Any], asked: Sequence[Any]) -> Floats:
        one = ESTIMATORS[task].from_pretrained(model, threads=threads)
        one.fit(list(train), before=False, listener=silent, seed=seed, **settings)
        said = one.said_of([unlabelled(example) for example in asked])
        return np.array([[found.scores.get(label, 0.0) for label in labels] for found in said])

    return judge


def _of_words(
    data: Dataset[TokenExample], folds: int, seed: int, threads: int | None, say: Callable[[str], None]
) -> LabelErrors:
    """Word by word, what kind of span it is of: where spans begin is not judged."""
    scheme = data.scheme or Scheme()
    task = TokenClassification(scheme.tags(data.labels), scheme, data.unit)
    read = [scheme.read(tag) for tag in task.labels]
    kinds = sorted({"O", *(found[1] for found in read if found is not None)})
    column = [kinds.index("O" if found is None else found[1]) for found in read]
    gather = np.zeros((len(column), len(kinds)))
    gather[np.arange(len(column)), column] = 1.0
    shares: list[Floats] = [np.zeros((0, len(kinds)))] * len(data)
    for held, rest in _folds(data, folds, seed, say):
        asked = [data[i] for i in held]
        said = tag_shares(task, [data[i] for i in rest], asked, seed, threads) @ gather
        ends = np.cumsum([len(task.words(example)) for example in asked])[:-1]
        for i, rows in zip(held, np.split(said, ends), strict=True):
            shares[i] = rows
    place = {tag: kind for tag, kind in zip(task.labels, column, strict=True)}
    given = np.array([place[tag] for example in data for tag in task.tags(example) or ()], np.int64)
    words = [(example, word) for example in data for word in task.words(example)]
    everything = np.concatenate(shares)
    suspects = [
        Suspect(words[i][0].where, words[i][0].text, words[i][0].text[slice(*words[i][1])],
                kinds[given[i]], kinds[j], margin)
        for i, j, margin in suspected(given, everything)
    ]  # fmt: skip
    return _report(LINEAR, folds, given, everything, suspects)
