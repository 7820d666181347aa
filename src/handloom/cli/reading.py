"""Data for a trained model: read as the model was trained, and looked at for what its vocabulary does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from handloom.data.readers import read

if TYPE_CHECKING:
    from handloom.train.estimators import Estimator


def read_for(estimator: Estimator, data: Any, labelled: bool, how: Mapping[str, Any]) -> Any:
    """A Dataset. A second text is looked for only if the model was trained with pairs, or `how` names its column."""
    dataset = read(data, estimator.task_name, labelled=labelled, pairs=trained_with_pairs(estimator), **how)
    estimator.tokenizer.check_known(dataset.texts)
    return dataset


def trained_with_pairs(estimator: Estimator) -> bool:
    """Whether the training data had a column with a second text."""
    train = (estimator.about.get("data") or {}).get("train") or {}
    return "pair" in train.get("columns", {})
