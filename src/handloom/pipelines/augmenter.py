"""`augment`: labelled data and more of it, by any of the ways of data/augment.py, those with models included."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handloom.data import augment as ways_of
from handloom.data.examples import TEXT, Dataset
from handloom.data.files import read_text
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.pipelines.fill_mask import FillMask
from handloom.text.counting import counted
from handloom.train.rewriters import Translator

WAYS = {
    "mention": "names of a kind that has other names",
    "typo": "words of four Latin letters or more",
    "synonym": "words that stand in the list",
    "infill": "words of letters for which the model has another",
    "back-translation": "texts that come back in other words",
}
"""By its name, what a way changes."""
TOP = 8
"""Words that may stand behind a mask."""
AT_ONCE = 64


def augment(
    data: Any,
    task: str = TEXT,
    how: str | Sequence[str] = "typo",
    *,
    times: int = 1,
    seed: int = 0,
    synonyms: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    forth: str | os.PathLike[str] | None = None,
    back: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    must: bool = False,
    **reading: Any,
) -> Dataset[Any]:
    """Training data with copies behind it, for `fit` or a file: never for data that a model is measured on.

    data, reading: as for `read`. how: some of WAYS, in a list or separated by commas. times: copies of each example by
    each way. synonyms: a file with words on each line that may stand for each other. model: a masked language model,
    for infill. forth, back: translation models from and into the data's language. must: no copy of any example is an
    error. Raises UsageError for a way without what it needs, or that loses the labels.
    """
    names = [name.strip() for name in how.split(",")] if isinstance(how, str) else list(how)
    for name in names:
        if name not in WAYS:
            raise UsageError(f"there is no augmentation {name!r}; there are {', '.join(WAYS)}")
    dataset = read(data, task, **reading)
    ways = {name: _way(name, dataset, synonyms, model, forth, back, threads) for name in names}
    found = ways_of.augmented(dataset, ways, times, seed)
    if must and len(found) == len(dataset):
        changed = "; ".join(f"{name} changes {WAYS[name]}" for name in ways)
        raise HandloomError(f"{dataset.source.path or 'the data'}: no copy came of {counted(len(dataset), 'example')}: "
                            f"{changed}. {'. '.join(found.notes[len(dataset.notes):])}")  # fmt: skip
    return found


def _way(name: str, dataset: Dataset[Any], synonyms: Any, model: Any, forth: Any, back: Any, threads: Any) -> Any:
    if name == "synonym":
        if synonyms is None:
            raise UsageError("synonym needs synonyms (--synonyms), a file of words: those of a line may stand for each "
                             "other")  # fmt: skip
        path = Path(synonyms)
        return ways_of.synonyms(dataset, read_text(path).text, str(path))
    if name == "infill":
        if model is None:
            raise UsageError("infill needs model (--model), a masked language model that guesses the words")
        filler = FillMask.from_pretrained(model, threads=threads)
        return ways_of.infill(dataset, filler.mask, lambda texts: _guesses(filler, texts))
    if name == "back-translation":
        if forth is None or back is None:
            raise UsageError("back-translation needs forth and back (--forth, --back), two translation models")
        there, here = (Translator.from_pretrained(which, threads=threads) for which in (forth, back))
        return ways_of.back_translation(dataset, lambda texts: list(there.predict(texts)),
                                        lambda texts: list(here.predict(texts)))  # fmt: skip
    return ways_of.plain_ways(dataset, [name])[name]


def _guesses(filler: FillMask, texts: list[str]) -> list[list[list[str]]]:
    """The likeliest whole words for each mask; none for a text that is too long for the model."""
    found: list[list[list[str]]] = [[] for _ in texts]
    coded = filler.tokenizer.encode_batch(texts)
    fitting = [i for i, one in enumerate(coded) if len(one) <= filler.max_length]
    for at in range(0, len(fitting), AT_ONCE):
        some = fitting[at : at + AT_ONCE]
        for i, masks in zip(some, filler.predict([texts[i] for i in some], TOP), strict=True):
            found[i] = [[c.word for c in mask if not filler.tokenizer.token(c.id).startswith("##")] for mask in masks]
    return found
