"""Tensors: what users write with. At once on NumPy, or traced into a graph."""

from handloom.tensor.function import compile
from handloom.tensor.grad import grad, value_and_grad
from handloom.tensor.losses import binary_cross_entropy, cross_entropy, linear_cross_entropy, mean_squared_error
from handloom.tensor.math import *  # noqa: F403
from handloom.tensor.rows import Gathers, distinct_rows, exchanged, gathers, replay
from handloom.tensor.scan import scan
from handloom.tensor.tensor import Tensor, Trace, TraceError, tensor

__all__ = [
    "Gathers",
    "Tensor",
    "Trace",
    "TraceError",
    "binary_cross_entropy",
    "compile",
    "cross_entropy",
    "distinct_rows",
    "exchanged",
    "gathers",
    "grad",
    "linear_cross_entropy",
    "mean_squared_error",
    "replay",
    "scan",
    "tensor",
    "value_and_grad",
]
