"""Recurrent language models trained on a stream of text: truncated back-propagation through time with carried state.

The text is cut into rows that are read side by side. A step goes over the next `time` tokens of every row, and hands
the state that it ends with to the next one: what came before goes on to count, though no gradient reaches back to it
(Williams and Peng 1990; Mikolov and others 2010).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.models.rnn import RNNForCausalLM
from handloom.nn.recurrent import State
from handloom.tensor import Tensor, random
from handloom.train.engine import StepResult
from handloom.train.optimisers import Moments, Optimiser, Scalars, Tree, apply

Array = np.ndarray[Any, Any]


def rows_of(ids: Array, rows: int) -> Array:
    """A text as i32 [length, rows]: `rows` pieces of one length side by side, without the few tokens that are over.

    Raises HandloomError where a piece would have fewer than two tokens.
    """
    if rows < 1:
        raise UsageError(f"a stream needs at least one row, not {rows}")
    length = len(ids) // rows
    if length < 2:
        raise HandloomError(f"{len(ids)} tokens are too few for {rows} rows: each needs at least two")
    return np.ascontiguousarray(np.asarray(ids[: length * rows], np.int32).reshape(rows, length).T)


def windows(stream: Array, time: int) -> Iterator[tuple[Array, Array]]:
    """(tokens, the tokens that follow each) in turn, i32 [up to `time`, rows], over the whole of a stream."""
    if time < 1:
        raise UsageError(f"a window needs at least one step of time, not {time}")
    for at in range(0, len(stream) - 1, time):
        end = min(at + time, len(stream) - 1)
        yield stream[at:end], stream[at + 1 : end + 1]


class StreamTraining:
    """A language model, its optimiser's state, and the state of the rows that it is reading.

    clip: of the mean gradient's global norm, None for none. `time` is the longest window. The model's own arrays are
    left as they are; `weights` gives the trained ones.
    """

    def __init__(
        self, model: RNNForCausalLM, rule: Optimiser, rows: int, time: int, *, clip: float | None = 5.0, seed: int = 0,
        threads: int | None = None, precision: str = "f32",
    ) -> None:  # fmt: skip
        self.model, self.rule, self.rows, self.clip, self.seed = model, rule, rows, clip, seed
        arrays = {name: np.array(value.numpy()) for name, value in model.parameters().items()}
        self.params: Tree = {name: ht.tensor(array) for name, array in arrays.items()}
        self.moments: Moments = {
            key: {name: ht.tensor(array) for name, array in tree.items()} for key, tree in rule.init(arrays).items()
        }
        self.state: State = model.begin(rows)
        self.steps = 0
        shapes = {"ids": ("time", rows), "labels": ("time", rows)}
        how: dict[str, Any] = {
            "symbols": shapes, "capacity": {"time": time}, "threads": threads, "precision": precision,
        }  # fmt: skip
        self.program = ht.compile(self._step, donate=("params", "moments"), **how)
        self._ask = ht.compile(self._losses, **how)

    def weights(self) -> dict[str, Array]:
        """All parameters: views of the state, good until the next step."""
        return {name: value.numpy() for name, value in self.params.items()}

    def begin(self) -> None:
        """The rows begin anew: what was read is forgotten, what was learned is not."""
        self.state = self.model.begin(self.rows)

    def step(self, ids: Array, labels: Array, rate: float) -> StepResult:
        """One update from the next window of every row."""
        self.steps += 1
        given = {key: np.float32(value) for key, value in self.rule.scalars(rate, self.steps).items()}
        drawn = random.state(self.seed, self.steps - 1).numpy()
        loss, weight, self.params, self.moments, norm, self.state = self.program(
            self.params, self.moments, ids, labels, self.state, drawn, given
        )
        return StepResult(float(loss), float(weight), float(norm))

    def epoch(self, stream: Array, time: int, rate: float) -> float:
        """Reads a stream once, from its beginning; gives the mean loss of a token, in nats."""
        self.begin()
        results = [self.step(ids, labels, rate) for ids, labels in windows(stream, time)]
        return sum(result.loss for result in results) / sum(result.weight for result in results)

    def perplexity(self, stream: Array, time: int) -> float:
        """Of a stream [length, any rows], read from its beginning; the rows in training are left alone."""
        if stream.shape[1] != self.rows:
            raise UsageError(f"the stream has {stream.shape[1]} rows, the training {self.rows}")
        state, total, count = self.model.begin(self.rows), 0.0, 0.0
        for ids, labels in windows(stream, time):
            loss, weight, state = self._ask(self.params, ids, labels, state)
            total, count = total + float(loss), count + float(weight)
        return math.exp(total / count)

    # -- the functions that are compiled

    def _losses(self, params: Tree, ids: Tensor, labels: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        with self.model.bound(params):
            hidden, state = self.model.stream(ids, state)
            return *ht.cross_entropy(self.model.score(hidden, {}), labels.reshape(-1)), state

    def _step(
        self, params: Tree, moments: Moments, ids: Tensor, labels: Tensor, state: State, drawn: Tensor, given: Scalars
    ) -> tuple[Tensor, Tensor, Tree, Moments, Tensor, State]:
        def loss_of(params: Tree) -> tuple[Tensor, Tensor, State]:
            with random.using(drawn):
                return self._losses(params, ids, labels, state)

        (loss, weight, last), grads = ht.value_and_grad(loss_of, has_aux=True)(params)
        return loss, weight, *apply(self.rule, self.clip, params, moments, grads, weight, given), last
