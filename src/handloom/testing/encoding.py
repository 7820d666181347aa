"""Checks of what a task makes of examples: features, windows of long texts, packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from handloom.errors import HandloomError
from handloom.tasks.task import Encoded
from handloom.testing.subject import MARK, DoesNotApply, Subject, require
from handloom.text.windows import HOW

KINDS = {"i32": np.dtype(np.int32), "f32": np.dtype(np.float32)}


def features_cover_the_examples(subject: Subject) -> None:
    """Every example has a feature at least, in the order of the examples."""
    _cover(subject.encoded, len(subject.examples))


def _cover(encoded: Encoded, count: int) -> None:
    found = [feature.example for feature in encoded.features]
    require(encoded.examples == count, f"Encoded.examples is {encoded.examples}; there are {count} examples")
    require(found == sorted(found), f"features are not in the order of their examples: {found}")
    missing = sorted(set(range(count)) - set(found))
    require(not missing, f"examples {missing} have no feature")
    require(set(found) <= set(range(count)), f"Feature.example is {max(found, default=0)}; there are {count} examples")


def long_texts_are_cut_as_asked(subject: Subject) -> None:
    """Each `long` mode gives sequences that fit, made of tokens of the whole text, and says what became of long texts.
    Windows leave nothing out, unless it is said."""
    size = max(len(feature.encoding) for feature in subject.whole.features) * 2 // 3
    if size < 12:
        raise DoesNotApply("no example has twenty tokens or more")
    whole: list[list[Any]] = [[] for _ in subject.examples]
    for feature in subject.whole.features:
        whole[feature.example].append(feature.encoding.ids)
    for how in HOW:
        encoded = subject.encode(subject.examples, size, how)
        _cover(encoded, len(subject.examples))
        for feature in encoded.features:
            ids, kept, where = feature.encoding.ids, feature.kept, f"{how}: example {feature.example}"
            require(len(ids) <= size, f"{where} has {len(ids)} tokens; max_length is {size}")
            require(len(kept) == len(ids), f"{where}: {len(kept)} indices are kept of {len(ids)} tokens")
            require((np.diff(kept) > 0).all(), f"{where}: the indices that are kept do not ascend: {kept.tolist()}")
            same = [len(text) == feature.length and kept[-1] < len(text) and (text[kept] == ids).all()
                    for text in whole[feature.example]]  # fmt: skip
            require(any(same), f"{where}: `kept` and `length` do not lead to these tokens in the whole text")
        longer = [feature.example for feature in encoded.features if feature.length > size]
        require(encoded.notes or not longer, f"{how}: examples {longer} were cut, and no note says so")


def labels_are_not_needed_and_not_looked_at(subject: Subject) -> None:
    """Examples without labels are encoded, packed and judged, and what is said of them is the same."""
    bare = subject.bare
    encoded = subject.encode(bare)
    _cover(encoded, len(bare))
    left = [feature.example for feature in encoded.features if feature.label is not None]
    require(not left, f"features of examples {left} have labels; their examples have none")
    if subject.decodes:
        subject.task.pack(encoded.features)
    _same_predictions(subject, subject.predict(bare), "without its label")


def packs_what_it_declares(subject: Subject) -> None:
    """`pack` gives the arrays that `symbols` names, of the shapes and dtypes that it says."""
    task = subject.task
    for first in (None, subject.encoded.features[0].example):  # all of them, and the first alone
        features = [f for f in subject.encoded.features if first is None or f.example == first]
        batch, shapes = task.pack(features), task.symbols()
        require(batch.keys() == shapes.keys(), f"pack gives {sorted(batch)}; symbols declares {sorted(shapes)}")
        sizes: dict[str, int] = {}
        for name, shape in shapes.items():
            array = batch[name]
            require(array.dtype in KINDS.values(), f"{name} is {array.dtype}; batches are i32 and f32")
            require(array.ndim == len(shape), f"{name} has the shape {array.shape}; symbols says {shape}")
            for axis, (size, declared) in enumerate(zip(array.shape, shape, strict=True)):
                key, _, more = str(declared).partition("+")
                wanted = int(key) if key.isdecimal() else sizes.setdefault(key, size - int(more or 0))
                require(size == wanted + int(more or 0),
                        f"axis {axis} of {name} has {size} places; {declared} would be {wanted + int(more or 0)}")
        kind = KINDS[task.label_dtype]
        require("labels" not in batch or batch["labels"].dtype == kind, f"labels are not {task.label_dtype}")
        for prefix in ("", "source_"):
            if f"{prefix}starts" in batch:
                starts, tokens = batch[f"{prefix}starts"], len(batch[f"{prefix}ids"])
                right = starts[0] == 0 and starts[-1] == tokens and (np.diff(starts) > 0).all()
                require(right, f"{prefix}starts {starts.tolist()} do not part {tokens} tokens")


def logits_have_the_rows_that_are_counted(subject: Subject) -> None:
    """A model's logits have a row for each that `row_count` counts."""
    if not subject.decodes:
        raise DoesNotApply("the task has no logits of its own")
    features = subject.encoded.features
    for feature, rows in zip(features, subject.estimator.engine().logits(subject.encoded)[0], strict=True):
        require(np.isfinite(rows).all(), f"the logits of example {feature.example} are not finite")
        wanted = subject.task.row_count(feature)
        require(subject.task.rows == "sequences" or len(rows) == wanted,
                f"example {feature.example} has {len(rows)} rows of logits; row_count says {wanted}")


def nothing_in_nothing_out(subject: Subject) -> None:
    """No examples, no features, no predictions."""
    encoded = subject.encode([])
    require(not encoded.features and encoded.examples == 0, "encode([]) gives features")
    require(not encoded.notes, f"encode([]) has something to say: {encoded.notes}")
    said = subject.predict([])
    require(list(said) == [], f"nothing was asked, and {said!r} was said")


def odd_texts_are_judged(subject: Subject) -> None:
    """One token, emoji, combining marks, Chinese: each is judged, alone as among others."""
    if not subject.odd:
        raise DoesNotApply("no odd examples were given")
    _cover(subject.encode(subject.odd), len(subject.odd))
    together = subject.predict(subject.odd)
    require(len(together) == len(subject.odd), f"{len(subject.odd)} examples have {len(together)} predictions")
    for example, said in zip(subject.odd, together, strict=True):
        [alone] = subject.predict([example])
        require(alone.to_dict() == said.to_dict(),
                f"of {example!r:.80} alone {alone.to_dict()} is said, among others {said.to_dict()}")
        places_are_places(example, said.to_dict())


def places_are_places(example: Any, said: Any) -> None:
    """Wherever a prediction holds `start`, `end` and `text`, that is a place in one of the example's texts."""
    if isinstance(said, dict):
        if {"start", "end", "text"} <= said.keys():
            texts = [example.text, getattr(example, "pair", None) or ""]
            cuts = [text[said["start"] : said["end"]] for text in texts]
            require(said["text"] in cuts, f"{said} is no place of {example!r:.80}")
        for value in said.values():
            places_are_places(example, value)
    elif isinstance(said, (list, tuple)):
        for value in said:
            places_are_places(example, value)


def unknown_labels_say_where(subject: Subject) -> None:
    """A label that the task has not is a HandloomError that names file and line."""
    if subject.unknown is None:
        raise DoesNotApply("the examples have no labels that could be unknown")
    try:
        subject.encode([subject.unknown])
    except HandloomError as error:
        require(subject.unknown.where in str(error), f"the error does not say where: {error}")
        return
    except Exception as error:
        require(False, f"an unknown label is a {type(error).__name__}, not a HandloomError: {error}")
    require(False, f"{subject.unknown!r:.80} has a label that the task cannot know, and is encoded ({MARK})")


def _same_predictions(subject: Subject, said: Sequence[Any], how: str) -> None:
    for number, (one, other) in enumerate(zip(said, subject.predictions, strict=True)):
        require(one.to_dict() == other.to_dict(), 
                f"of example {number} {how} something else is said: {one} for {other}")  # fmt: skip
