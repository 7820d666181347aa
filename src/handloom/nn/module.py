"""A module: an object whose attributes are its parameters and its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError
from handloom.tensor import Tensor, tensor

Array = npt.NDArray[Any]
Seed = np.random.Generator | int | None
"""What a layer draws its first values from; None: it is left empty."""


class Module:
    """Base of all layers and models.

    Attributes that are Tensors are parameters; attributes that are Modules, or lists of Modules, are parts. A
    parameter's name is the way to it, `encoder.layer.0.output.dense.weight`: name attributes as the checkpoint names
    its tensors and the weights load without a table. Calling a module calls `forward`; one that returns more than a
    tensor declares its own `__call__`.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Tensor:
        found: Tensor = self.forward(*arguments, **options)
        return found

    def forward(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs a method `forward`")

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        """Fresh values for the parameters that are this module's own (not its parts'): a leaf layer's duty."""
        return {}

    def modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each with its dotted name ("" for this one), in the order of assignment."""
        yield prefix, self
        for name, part in self._parts():
            yield from part.modules(f"{prefix}.{name}" if prefix else name)

    def parameters(self) -> dict[str, Tensor]:
        """Dotted name -> parameter, this module's own first, then its parts' in the order of assignment."""
        return {name: value for name, (_, _, value) in self._places().items()}

    def load(self, values: Mapping[str, Array | Tensor]) -> None:
        """Replaces parameters by name; the ones not named stay. Shapes must agree, values become f32."""
        places = self._places()
        for name, value in values.items():
            if name not in places:
                raise HandloomError(f"{type(self).__name__} has no parameter {name!r}")
            owner, attribute, old = places[name]
            new = value if isinstance(value, Tensor) else tensor(np.asarray(value, np.float32))
            if tuple(new.shape) != tuple(old.shape):
                raise HandloomError(f"parameter {name!r} has shape {list(old.shape)}, the new value {list(new.shape)}")
            setattr(owner, attribute, new)

    @contextmanager
    def bound(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Runs the block with other tensors, traced ones perhaps, in the parameters' places.

        `values` may name a part of the parameters; the old tensors return at the end of the block.
        """
        places = self._places()
        for name in values:
            if name not in places:
                raise HandloomError(f"{type(self).__name__} has no parameter {name!r}")
        try:
            for name, value in values.items():
                owner, attribute, _ = places[name]
                setattr(owner, attribute, value)
            yield
        finally:
            for name in values:
                owner, attribute, old = places[name]
                setattr(owner, attribute, old)

    def count(self) -> int:
        """The number of parameters, as people count a model's size."""
        return sum(value.numpy().size for value in self.parameters().values())

    def _parts(self) -> Iterator[tuple[str, Module]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Module) for item in value):
                yield from ((f"{name}.{number}", item) for number, item in enumerate(value))

    def _places(self) -> dict[str, tuple[Module, str, Tensor]]:
        """Dotted name -> (the module that holds it, the attribute's name, the parameter)."""
        places: dict[str, tuple[Module, str, Tensor]] = {}
        for prefix, module in self.modules():
            for attribute, value in vars(module).items():
                if isinstance(value, Tensor):
                    places[f"{prefix}.{attribute}" if prefix else attribute] = (module, attribute, value)
        return places


def zeros(*shape: int) -> Tensor:
    """A parameter that waits for its values; the system gives such memory only when it is touched."""
    return tensor(np.zeros(shape, np.float32))


def generator(seed: Seed) -> np.random.Generator | None:
    """A generator as it is, a new one for a seed, None for None."""
    return np.random.default_rng(seed) if isinstance(seed, (int, np.integer)) else seed


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Array:
    """f32 values of a normal distribution around 0."""
    values: Array = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(std)
    return values
