"""Differentiation of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handloom.graph import autodiff
from handloom.graph.node import FLOATS, Node
from handloom.passes.sink import sink
from handloom.tensor import tree
from handloom.tensor.tensor import Tensor, Trace, TraceError, apply_all, dtype_of, tensor


def value_and_grad(
    function: Callable[..., Any], argument: int = 0, has_aux: bool = False, recompute: bool = False
) -> Callable[..., Any]:
    """A function that returns (value, gradients): the value of `function` and, shaped like the tree given as that
    positional `argument`, the gradient of every floating-point leaf (None for the others).

    `function` returns a scalar; with `has_aux`, a pair (scalar, anything), which comes back as the value. `recompute`
    trades time for memory: of the forward pass only the tensors between its layers are kept, the rest is computed
    again when the gradient needs it.
    """

    def differentiated(*arguments: Any, **options: Any) -> Any:
        leaves = [x if isinstance(x, Tensor) else tensor(x) for x in tree.flatten(arguments[argument])]
        chosen = [i for i, leaf in enumerate(leaves) if leaf.dtype in FLOATS]
        shape: list[Any] = []

        def build(*nodes: Node) -> tuple[Node, ...]:
            given = list(leaves)
            for place, node in zip(chosen, nodes, strict=True):
                given[place] = Tensor(node)
            replaced = tree.rebuild(arguments[argument], given)
            result = function(*arguments[:argument], replaced, *arguments[argument + 1 :], **options)
            value = result[0] if has_aux else result
            if not isinstance(value, Tensor) or value.shape != ():
                raise TraceError(f"value_and_grad needs a function whose value is a scalar tensor, not {value!r}")
            results = tree.flatten(result)
            shape.append(result)
            outputs = [Trace.stack[-1].capture(x.value) if not isinstance(x.value, Node) else x.value for x in results]
            head = value.value if isinstance(value.value, Node) else Trace.stack[-1].capture(value.value)
            *outputs, head = sink([*outputs, head], redraw=True)
            return (*outputs, *autodiff.gradients(head, nodes, recompute))

        operands = [leaves[i] for i in chosen]
        if Trace.stack:  # the function may close over traced values even where its arguments are arrays
            nodes = [x.value if isinstance(x.value, Node) else Trace.stack[-1].capture(x.value) for x in operands]
            found = tuple(map(Tensor, build(*nodes)))
        else:
            found = apply_all(build, *operands)
        count = len(found) - len(chosen)
        gradients: list[Any] = [None] * len(leaves)
        for place, gradient in zip(chosen, found[count:], strict=True):
            gradients[place] = gradient
        return tree.rebuild(shape[0], found[:count]), tree.rebuild(arguments[argument], gradients)

    return differentiated


def grad(function: Callable[..., Any], argument: int = 0) -> Callable[..., Any]:
    """Only the gradients of value_and_grad."""
    both = value_and_grad(function, argument)
    return lambda *arguments, **options: both(*arguments, **options)[1]


__all__ = ["dtype_of", "grad", "value_and_grad"]
