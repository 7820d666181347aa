"""`compile`: a function of tensors, traced once for each form of its arguments and run as a program from then on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.ceilings import choose
from handloom.compiler import Executable, build
from handloom.errors import HandloomError, UsageError
from handloom.graph.node import Dimension, Size, Spec
from handloom.passes.prepack import WEIGHTS
from handloom.split import same
from handloom.tensor import tree
from handloom.tensor.labels import Classes
from handloom.tensor.tensor import KEPT, Array, Tensor, Trace, TraceError, dtype_of, node_of, tensor


class CompiledFunction:
    """A traced function. `program` holds the program of the last call, to look inside."""

    def __init__(
        self,
        function: Callable[..., Any],
        symbols: Mapping[str, Any],
        capacity: Mapping[str, int],
        donate: Sequence[str],
        threads: int | None,
        precision: str,
        constant: Sequence[str],
        weights: str,
    ) -> None:
        self.function = function
        self.signature = inspect.signature(function)
        donate, constant = ((names,) if isinstance(names, str) else names for names in (donate, constant))
        for name in (*symbols, *donate, *constant):
            if name not in self.signature.parameters:
                raise UsageError(
                    f"{function.__name__} has no argument {name!r}; it has {', '.join(self.signature.parameters)}"
                )
        if both := sorted({*donate} & {*constant}):
            raise UsageError(f"{both[0]!r} is donated, so it changes: it cannot be constant")
        self.symbols, self.capacity, self.donate, self.threads = symbols, dict(capacity), frozenset(donate), threads
        if weights not in WEIGHTS:
            raise UsageError(f"weights must be one of {', '.join(WEIGHTS)}, and not {weights!r}")
        self.constant, self.weights = frozenset(constant), weights
        self.program: Executable | None = None
        self.precision = choose(precision)
        self._traced: dict[Any, _Traced] = {}
        self._kept: dict[str, _Given] = {}  # arguments that are likely to come again, as they were the last time

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        traced, arrays, env = self._ready(*arguments, **named)
        for place, classes in traced.labels:
            classes.check(arrays[place])
        results = traced.program(arrays + traced.captured, env)
        return tree.rebuild(traced.result, list(map(Tensor, results)))

    def reserve(self, *arguments: Any, **named: Any) -> int:
        """Traces, compiles and plans memory for a call with such arguments, without running it; gives the bytes that it
        will take beside them."""
        traced, _, env = self._ready(*arguments, **named)
        return traced.program.reserve(env)

    def _ready(self, *arguments: Any, **named: Any) -> tuple[_Traced, list[Array], dict[str, int]]:
        bound = self.signature.bind(*arguments, **named)
        bound.apply_defaults()
        given = [self._given(name, value) for name, value in bound.arguments.items()]
        arrays = [array for one in given for array in one.arrays]
        env: dict[str, int] = {}
        for one in given:
            if any(env.setdefault(name, size) != size for name, size in one.sizes.items()):
                for array, shape in one.symbolic:  # one of them tells what is wrong
                    _match(array, shape, env)
        for name, size in env.items():
            if size > self.capacity.get(name, size):
                raise HandloomError(f"{size} {name} are more than this program's capacity of {self.capacity[name]}")
        key = tuple(one.form for one in given)
        traced = self._traced.get(key)
        if traced is None:
            leaves, forms = [x for one in given for x in one.leaves], [x for one in given for x in one.form.leaves]
            traced = self._traced[key] = self._trace(bound, leaves, forms)
        self.program = traced.program
        return traced, arrays, env

    def show(self, topic: str = "kernels") -> str:
        """The program of the last call as text: its "graph", its "units" (what is fused), its "kernels" (the calls in
        order, with buffers and tasks) its LLVM "ir" or its "assembly". Raises UsageError before the first
        call."""
        if self.program is None:
            raise UsageError(f"{self.function.__name__} has not been compiled yet: call it once, then look inside")
        return self.program.show(topic)

    def _given(self, name: str, value: Any) -> _Given:
        """An argument looked at; one of the same values as last time, as constants and state that is donated often
        are, need not be looked at again."""
        kept = self._kept.get(name)
        if kept is not None and kept.holds(value):
            return kept
        leaves, shapes = [_leaf(x) for x in tree.flatten(value)], list[tuple[Dimension, ...] | None]()
        _pair(value, self.symbols.get(name), shapes, name)
        pairs = [(x, shape) for x, shape in zip(leaves, shapes, strict=True) if isinstance(x, np.ndarray)]
        forms = [(shape or x.shape, x.dtype) if isinstance(x, np.ndarray) else x
                 for x, shape in zip(leaves, shapes, strict=True)]  # fmt: skip
        symbolic = [(x, shape) for x, shape in pairs if shape is not None]
        # known again by its values only where those are what runs: a conversion may have been overwritten since
        flat = type(value) is dict and all(isinstance(x, (Tensor, np.ndarray)) for x in value.values())
        flat = flat and all(isinstance(x, Tensor) or x is y for x, y in zip(value.values(), leaves, strict=True))
        values = dict(value) if flat else None
        sizes: dict[str, int] = {}
        for array, shape in symbolic:
            _match(array, shape, sizes)
        form = _Form(tree.structure(value), tuple(forms))
        made = _Given(leaves, [x for x, _ in pairs], symbolic, sizes, form, values)
        if name in self.constant or name in self.donate:
            self._kept[name] = made
        return made

    def _trace(self, bound: inspect.BoundArguments, leaves: Sequence[Any], forms: Sequence[Any]) -> _Traced:
        trace = Trace()
        names = [name for name, value in bound.arguments.items() for _ in tree.flatten(value)]
        with trace.recording():
            values = []
            donated: list[int] = []
            constant: list[int] = []
            for name, leaf, form in zip(names, leaves, forms, strict=True):
                if not isinstance(leaf, np.ndarray):
                    values.append(leaf)
                    continue
                if name in self.donate:
                    donated.append(len(trace.inputs))
                if name in self.constant:
                    constant.append(len(trace.inputs))
                values.append(Tensor(trace.input(Spec(tuple(form[0]), dtype_of(leaf)), name)))
            rebuilt = tree.rebuild(dict(bound.arguments), values)
            call = inspect.BoundArguments(self.signature, rebuilt)
            result = self.function(*call.args, **call.kwargs)
            outputs = [node_of(x if isinstance(x, Tensor) else tensor(x)) for x in tree.flatten(result)]
        captured = [array for _, array in trace.captured.values()]
        order = [x for x in trace.inputs if x.attrs.name != "captured"] + [node for node, _ in trace.captured.values()]
        program = build(order, outputs, self.capacity, donated, self.threads, self.precision, constant, self.weights)
        labels = [(order.index(node), classes) for node, classes in trace.labels.items()]
        return _Traced(program, captured, labels, tree.transform(lambda _: 0, result))


class _Form:
    """What a program is compiled for, of one argument; its hash, over hundreds of leaves perhaps, is taken once."""

    __slots__ = ("_hash", "leaves", "structure")

    def __init__(self, structure: Any, leaves: tuple[Any, ...]) -> None:
        self.structure, self.leaves, self._hash = structure, leaves, hash((structure, leaves))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, _Form) and (self.structure, self.leaves) == (other.structure, other.leaves)
        )


@dataclass(frozen=True)
class _Given:
    """An argument's leaves, the arrays among them, those with a declared shape, the sizes found there, and its form.
    values: of a dict without others inside."""

    leaves: list[Any]
    arrays: list[Array]
    symbolic: list[tuple[Array, tuple[Dimension, ...]]]
    sizes: dict[str, int]
    form: _Form
    values: dict[Any, Any] | None

    def holds(self, value: Any) -> bool:
        """Whether an argument is a dict of the very same tensors."""
        return (
            self.values is not None
            and type(value) is dict
            and list(value) == list(self.values)
            and same(self.values.values(), value.values())
        )


@dataclass(frozen=True)
class _Traced:
    program: Executable
    captured: list[Array]
    labels: list[tuple[int, Classes]]
    result: Any


def compile(
    function: Callable[..., Any] | None = None,
    *,
    symbols: Mapping[str, Any] | None = None,
    capacity: Mapping[str, int] | None = None,
    donate: Sequence[str] = (),
    threads: int | None = None,
    precision: str = "f32",
    constant: Sequence[str] = (),
    weights: str = "f32",
) -> Any:
    """`function` as a compiled program; also a decorator.

    Arguments are trees of arrays and tensors (numbers become scalars, truth values and strings stay as they are and are
    part of what is compiled). `symbols` gives for an argument a tree of shapes with names in place of sizes,
    {"batch": {"ids": ("tokens",), "starts": ("sequences+1",)}}; the program then serves every size up to `capacity`,
    {"tokens": 2048, "sequences": 64}. `donate` names arguments whose arrays may be overwritten by results of the same
    shape: state that is replaced, such as parameters. `threads` defaults to the physical cores that may be used.
    `precision` "bf16" rounds the operands of matrix products to bf16 and sums in f32, and stores in bf16 what is only
    read again by such products and by activations; all else stays f32. "auto" takes what is faster here. `constant`
    names arguments whose arrays are the same from call to call and are never written to, such as the weights of a
    finished model: what depends on them alone is computed at the first call and when an array is another one, weights
    laid out for products included, which takes as much memory as they do. An array is known by its identity: one
    that is changed in place goes unnoticed, and one that has to be converted (a list, f64) is another one at every
    call. `weights` "bf16" and "int8" store them in a half and a quarter of that for products of f32, rounded (int8:
    with a scale for each column of the result). Results
    are tensors that own their data.
    """
    if function is None:
        return lambda f: compile(
            f, symbols=symbols, capacity=capacity, donate=donate, threads=threads, precision=precision,
            constant=constant, weights=weights,
        )  # fmt: skip
    return CompiledFunction(function, symbols or {}, capacity or {}, donate, threads, precision, constant, weights)


def _leaf(x: Any) -> Any:
    if isinstance(x, Tensor):
        if x.traced:
            raise TraceError(
                "a compiled function cannot be called with a traced tensor: call the plain function instead"
            )
        return x.numpy()
    if isinstance(x, (bool, str)):
        return x  # part of what is compiled
    return x if isinstance(x, np.ndarray) and x.dtype in KEPT else tensor(x).numpy()


def _pair(value: Any, shapes: Any, found: list[tuple[Dimension, ...] | None], where: str) -> None:
    """Walks a tree of values and the tree of shapes beside it."""
    if shapes is None or not isinstance(value, (dict, list, tuple)):
        if shapes is not None and value is not None:
            if not isinstance(shapes, (tuple, list)):
                raise UsageError(f"symbols of {where}: a tuple of sizes is needed, not {shapes!r}")
            found.append(tuple(Size.parse(size) if isinstance(size, str) else size for size in shapes))
        elif value is not None:
            found.extend(None for _ in tree.flatten(value))
    elif isinstance(value, dict):
        for name, part in value.items():
            _pair(part, shapes.get(name), found, f"{where}.{name}")
    else:
        for i, part in enumerate(value):
            _pair(part, shapes[i], found, f"{where}[{i}]")


def _match(array: Array, shape: tuple[Dimension, ...], env: dict[str, int]) -> None:
    if len(shape) != array.ndim:
        raise HandloomError(f"an array of shape {array.shape} was given where {shape} was declared")
    for size, actual in zip(shape, array.shape, strict=True):
        if isinstance(size, Size) and len(size.terms) == 1:
            (name, factor), rest = size.terms[0], actual - size.constant
            if rest % factor or rest < 0 or env.setdefault(name, rest // factor) != rest // factor:
                raise HandloomError(f"an array of shape {array.shape} was given where {shape} was declared, with {env}")
        elif size != actual and not isinstance(size, Size):
            raise HandloomError(f"an array of shape {array.shape} was given where {shape} was declared")
