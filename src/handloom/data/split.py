"""Seeded splits in which labels keep their shares and equal texts stay together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from handloom.data.examples import Dataset
from handloom.data.labels import in_order
from handloom.data.texts import side_key
from handloom.errors import HandloomError, UsageError


def split(dataset: Dataset[Any], fractions: Sequence[float], seed: int = 0) -> tuple[Dataset[Any], ...]:
    """One data set for each fraction (they add up to 1), each in the order of the source.

    The first is the training set: it gets a text of every label. Texts that are the same (but for case and blanks),
    and questions about the same text, fall on one side. Where a text falls depends on the seed and the texts, not on
    their order: a file that was shuffled, or that holds a text twice, splits alike. Labels keep their shares as well as
    whole groups allow; tagged texts count under their rarest label.

    Raises HandloomError where a side would stay empty.
    """
    return tuple(dataset.select(chosen) for chosen in places(dataset, fractions, seed))


def places(dataset: Dataset[Any], fractions: Sequence[float], seed: int = 0) -> tuple[list[int], ...]:
    """`split`, as the indices of its parts."""
    if len(fractions) < 2 or any(part <= 0 for part in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"The parts of a split are positive and add up to 1, not {list(fractions)}.")
    groups: dict[Hashable, list[int]] = {}
    for index, example in enumerate(dataset):
        groups.setdefault(side_key(example), []).append(index)
    strata: dict[str, list[tuple[str, list[int]]]] = {}
    # The label counts of the distinct texts, so that repetitions move nothing.
    frequency = Counter(
        label for group in groups.values() for label in {name for i in group for name in dataset[i].labels}
    )
    for key, members in groups.items():
        labels = {label for index in members for label in dataset[index].labels}
        stratum = min(labels, key=lambda label: (frequency[label], label)) if labels else ""
        strata.setdefault(stratum, []).append((_draw(seed, key), members))
    sides: list[list[int]] = [[] for _ in fractions]
    carried = [0.0] * len(fractions)
    for stratum in sorted(strata):
        drawn = sorted(strata[stratum])
        wanted = [part * len(drawn) + rest for part, rest in zip(fractions, carried, strict=True)]
        for number, (_, members) in enumerate(drawn):
            side = 0
            if number or not stratum:
                side = max(range(len(fractions)), key=lambda one: (wanted[one], -one))
            wanted[side] -= 1
            sides[side].extend(members)
        carried = wanted
    for chosen, part in zip(sides, fractions, strict=True):
        if not chosen:
            if (known := _each_its_own(dataset)) is not None:
                raise HandloomError(known)
            there = "one text (repetitions count once) is" if len(groups) == 1 else f"{len(groups)} different texts are"
            raise HandloomError(f"{there} too few to set {part:.0%} of them aside; "
                "give validation data of its own (--valid, or valid= in Python).")
    return tuple(sorted(chosen) for chosen in sides)


def _each_its_own(dataset: Dataset[Any]) -> str | None:
    """What is wrong where each text has a label that no other has; None where that is not so."""
    labels = [one.labels[0] for one in dataset if len(one.labels) == 1]
    if not len(dataset) == len(set(labels)) > 1:
        return None
    right = 'if they are numbers to be learnt as such, say so: --problem number (problem="number" in Python)'
    other = "name the column that holds the labels with --label-column"
    return (f"{dataset.source.path or 'the data'}: each of the {len(labels):,} texts has a label of its own, such as "
            f"{labels[0]!r:.40} and {labels[1]!r:.40}, so that none can be set aside to be found again: "
            f"{other if in_order(labels) is None else right}.")  # fmt: skip


def _draw(seed: int, key: Hashable) -> str:
    return hashlib.sha256(repr((seed, key)).encode("utf-8", "surrogatepass")).hexdigest()
