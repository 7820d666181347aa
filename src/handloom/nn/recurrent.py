"""Recurrent layers: LSTM (Hochreiter and Schmidhuber 1997; Gers and others 2000) and GRU (Cho and others 2014).

Parameters are those of torch.nn.LSTM and GRU, name by name, gate by gate: their state dicts load and save.

Time goes along the first axis and rows, side by side, along the second. What the inputs contribute to the gates is one
product over all time steps, outside the loop; in the loop stand one product, with the hidden state, and the cell.
Sequences of unequal length are laid out in *lanes* (nn/lanes.py): no padding is computed, but at a lane's end.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.nn.dropout import Dropout
from handloom.nn.lanes import Lanes
from handloom.nn.module import Array, Module, Seed, generator, zeros
from handloom.tensor import Tensor

State = tuple[Tensor, ...]
"""What goes from step to step, each f32 [layers · directions, rows, hidden], as torch orders it: layer by layer, in
each the forward direction first. (hidden, cell) of an LSTM, (hidden,) of a GRU."""


def _parts(x: Tensor, count: int) -> list[Tensor]:
    width = x.shape[1] // count
    return [x[:, i * width : (i + 1) * width] for i in range(count)]


class Recurrent(Module):
    """What LSTM and GRU share; they differ in the cell, the gates and the state.

    input_size, hidden_size, num_layers, bias, dropout, bidirectional: as in torch. dropout acts on the outputs of every
    layer but the last. weight_dropout: DropConnect on the matrices from hidden state to gates, one mask for all time
    steps of a batch (Merity, Keskar and Socher 2018). Values are uniform within ±1/√hidden_size, drawn from `rng`, a
    generator or a seed; with `rng=None` they are zeros that wait for `load`.
    """

    gates: ClassVar[int]
    states: ClassVar[int]
    adds: ClassVar[bool]
    """Whether the two biases only ever stand added up."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, dropout: float = 0.0,
        bidirectional: bool = False, weight_dropout: float = 0.0, *, rng: Seed = 0,
    ) -> None:  # fmt: skip
        if min(input_size, hidden_size, num_layers) < 1:
            raise UsageError(f"sizes and layers must be at least 1, not {input_size}, {hidden_size}, {num_layers}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.directions = bias, 2 if bidirectional else 1
        self.dropout, self.weight_dropout = Dropout(dropout), Dropout(weight_dropout)
        for name, shape in self._shapes().items():
            setattr(self, name, zeros(*shape))
        if (drawn := generator(rng)) is not None:
            self.load(self.initial(drawn, 0.0))

    def cell(self, given: Tensor, weight: Tensor, state: State, bias: Tensor | None) -> State:
        """One step: what the inputs contribute to the gates [rows, gates · hidden], W_hh and, where it does not stand
        in `given` already, b_hh; the state, each part [rows, hidden], before and after."""
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        rows = self.gates * self.hidden_size
        found: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            width = self.hidden_size * self.directions if layer else self.input_size
            for end in self._ends(layer):
                found[f"weight_ih_{end}"] = (rows, width)
                found[f"weight_hh_{end}"] = (rows, self.hidden_size)
                if self.bias:
                    found |= {f"bias_ih_{end}": (rows,), f"bias_hh_{end}": (rows,)}
        return found

    def _ends(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: self.directions]

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        """As torch draws them: `std` is not asked."""
        bound = self.hidden_size**-0.5
        return {
            name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in self._shapes().items()
        }

    def __call__(  # type: ignore[override]
        self, x: Tensor, state: State | None = None, lanes: Lanes | None = None
    ) -> tuple[Tensor, State]:
        """x [time, rows, input_size] -> (outputs [time, rows, directions · hidden], state after the last step).

        With `lanes`, x [cells, input_size] and the outputs [cells, directions · hidden] have one row for each cell of
        the layout, and a state has a row for each sequence. Without a state, all begins with zeros. Raises
        HandloomError where shapes do not fit.
        """
        given = x if lanes is None else x.reshape(-1, lanes.width, self.input_size)
        if given.ndim != 3 or given.shape[2] != self.input_size:
            raise HandloomError(f"{type(self).__name__}: inputs of {self.input_size} are needed, not {list(x.shape)}")
        firsts = self._firsts(state)
        lasts: list[State] = []
        out = given
        for layer in range(self.num_layers):
            if layer:
                out = self.dropout(out)
            sides = []
            for direction, end in enumerate(self._ends(layer)):
                y, last = self._run(out, end, firsts[len(lasts)], lanes, reverse=direction == 1)
                sides.append(y)
                lasts.append(last)
            out = sides[0] if len(sides) == 1 else ht.concatenate(sides, -1)
        final = tuple(ht.stack(parts) for parts in zip(*lasts, strict=True))
        return (out if lanes is None else out.reshape(-1, self.hidden_size * self.directions)), final

    def _firsts(self, state: State | None) -> list[State | None]:
        count = self.num_layers * self.directions
        if state is None:
            return [None] * count
        if len(state) != self.states or any(x.ndim != 3 or x.shape[::2] != (count, self.hidden_size) for x in state):
            shapes = ", ".join(str(list(x.shape)) for x in state)
            raise HandloomError(
                f"{type(self).__name__}: a state of {self.states} × [{count}, rows, {self.hidden_size}] is needed, "
                f"not {shapes}"
            )
        return [tuple(x[i] for x in state) for i in range(count)]

    def _run(
        self, x: Tensor, end: str, first: State | None, lanes: Lanes | None, reverse: bool
    ) -> tuple[Tensor, State]:
        """One direction of one layer: outputs [time, rows, hidden], and the state after the last step."""
        weight = self.weight_dropout(getattr(self, f"weight_hh_{end}"))
        bias = inner = None
        if self.bias:
            bias, inner = getattr(self, f"bias_ih_{end}"), getattr(self, f"bias_hh_{end}")
            if self.adds:
                bias, inner = bias + inner, None
        given = ht.linear(x, getattr(self, f"weight_ih_{end}"), bias)
        begin = first or (ht.zeros(x.shape[1], self.hidden_size),) * self.states
        if lanes is None:

            def step(state: State, z: Tensor) -> tuple[State, Tensor]:
                state = self.cell(z, weight, state, inner)
                return state, state[0]

            last, outputs = ht.scan(step, begin, given, reverse=reverse)
            return outputs, last

        opening, following = lanes.marks(reverse)
        fresh: State = ()
        if first is not None:
            begin = tuple(ht.take(part, _number(opening)) for part in first)
            numbers = _number(following.reshape(-1))
            fresh = tuple(ht.take(part, numbers).reshape(*following.shape, self.hidden_size) for part in first)

        def step_in_lanes(state: State, xs: tuple[Tensor, Tensor, State]) -> tuple[State, State]:
            z, mark, fresh = xs
            state = self.cell(z, weight, state, inner)
            begins = mark[:, None] > 0
            news: tuple[Tensor | float, ...] = fresh or (0.0,) * self.states
            return tuple(ht.where(begins, new, part) for new, part in zip(news, state, strict=True)), state

        _, states = ht.scan(step_in_lanes, begin, (given, following, fresh), reverse=reverse)
        return states[0], tuple(lanes.last(part.reshape(-1, self.hidden_size), reverse) for part in states)


def _number(mark: Tensor) -> Tensor:
    """The number of the sequence that a mark names, some number where it names none."""
    return ht.maximum(mark - 1, 0)


class LSTM(Recurrent):
    """Long short-term memory; see Recurrent. The state is (hidden, cell)."""

    gates, states, adds = 4, 2, True

    def cell(self, given: Tensor, weight: Tensor, state: State, bias: Tensor | None) -> State:
        """Gates in torch's order: input, forget, cell, output."""
        hidden, cell = state
        gates = given + ht.matmul(hidden, weight, transpose_b=True)
        entry, forget, fresh, exit = _parts(gates, 4)
        cell = ht.sigmoid(forget) * cell + ht.sigmoid(entry) * ht.tanh(fresh)
        return ht.sigmoid(exit) * ht.tanh(cell), cell


class GRU(Recurrent):
    """Gated recurrent units; see Recurrent. The state is (hidden,)."""

    gates, states, adds = 3, 1, False

    def cell(self, given: Tensor, weight: Tensor, state: State, bias: Tensor | None) -> State:
        """Gates in torch's order: reset, update, new. The reset gate acts on W h + b, as in torch and cuDNN, and not
        on h."""
        (hidden,) = state
        own = ht.matmul(hidden, weight, transpose_b=True)
        if bias is not None:
            own = own + bias
        (reset, update, fresh), (own_reset, own_update, own_fresh) = _parts(given, 3), _parts(own, 3)
        fresh = ht.tanh(fresh + ht.sigmoid(reset + own_reset) * own_fresh)
        return (fresh + ht.sigmoid(update + own_update) * (hidden - fresh),)
