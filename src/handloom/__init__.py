"""Handloom trains and fine-tunes language models on the CPU that you already own.

from handloom import TextClassifier, TokenClassifier  # the five steps of fine-tuning
import handloom as hl                             # the engine: Tensor, nn, value_and_grad, compile
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MATH = [
    "abs",
    "attention",
    "concatenate",
    "cos",
    "dropout",
    "erf",
    "exp",
    "flip",
    "floor",
    "gelu",
    "iota",
    "is_finite",
    "layer_norm",
    "linear",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "maximum",
    "minimum",
    "ones",
    "put",
    "relu",
    "rms_norm",
    "rsqrt",
    "sigmoid",
    "scatter_add",
    "silu",
    "sin",
    "softmax",
    "sqrt",
    "stack",
    "stop_gradient",
    "take",
    "tanh",
    "where",
    "zeros",
    "cast",
]

# where a public name lives; each module is imported when its first name is asked for
_HOMES = {
    **dict.fromkeys(
        _MATH,
        "handloom.tensor.math",
    ),
    "Tensor": "handloom.tensor.tensor",
    "cross_entropy": "handloom.tensor.losses",
    "binary_cross_entropy": "handloom.tensor.losses",
    "linear_cross_entropy": "handloom.tensor.losses",
    "mean_squared_error": "handloom.tensor.losses",
    "scan": "handloom.tensor.scan",
    "grad": "handloom.tensor.grad",
    "value_and_grad": "handloom.tensor.grad",
    "compile": "handloom.tensor.function",
    "TextClassifier": "handloom.train.text_classifier",
    "TokenClassifier": "handloom.train.estimators",
    "RelationExtractor": "handloom.train.estimators",
    "QuestionAnswerer": "handloom.train.estimators",
    "SentenceMatcher": "handloom.train.matchers",
    "MultipleChooser": "handloom.train.choosers",
    "LikelihoodChooser": "handloom.pipelines.likelihood_chooser",
    "SearchIndex": "handloom.train.search_index",
    "Translator": "handloom.train.rewriters",
    "Summarizer": "handloom.train.rewriters",
    "TextGenerator": "handloom.train.generators",
    "pretrain": "handloom.train.pretraining",
    "NgramModel": "handloom.ngram.model",
    "FillMask": "handloom.pipelines.fill_mask",
    "SentenceEncoder": "handloom.pipelines.sentence_encoder",
    "Scorer": "handloom.scoring",
    "scorer": "handloom.pipelines.scorer",
    "augment": "handloom.pipelines.augmenter",
    "HandloomError": "handloom.errors",
    "UsageError": "handloom.errors",
}
_MODULES = {"nn": "handloom.nn", "random": "handloom.tensor.random", "optim": "handloom.train.optimisers"}

__all__ = [*_HOMES, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'handloom' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
