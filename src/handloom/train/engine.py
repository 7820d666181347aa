"""A model in training: its state and the compiled programs that move it.

Two functions make a step: `accumulate` (forward and backward of one micro-batch: summed loss, its weight, gradients)
and `apply` (clip, update; see optimisers.py). With one micro-batch a step, the usual case, they are compiled as one
program: the gradients then never leave its arena, nothing is zeroed or added. With several they are two programs.
Parameters and moments are donated state; frozen parameters are plain inputs: no gradient of theirs is asked for.
Of a large table a step of one program moves only the rows that its batch reads; see backlog.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.ceilings import choose
from handloom.compiler import Executable
from handloom.errors import UsageError
from handloom.nn import Module
from handloom.runtime import memory
from handloom.split import SplitProgram
from handloom.tasks.task import Array, Batch, Encoded, Feature, Task
from handloom.tensor import Tensor, random
from handloom.train.backlog import Backlog, Past, RowsRead, caught_up
from handloom.train.batches import capacity, filled
from handloom.train.optimisers import LARGEST, Moments, Optimiser, Scalars, Tree, apply

EVALUATION_TOKENS = 4096
EVALUATION_SEQUENCES = 256
CARRIED = "carried"
"""Among the moments of a checkpoint: what goes on from step to step (`Task.begin`)."""


@dataclass(frozen=True)
class StepResult:
    """loss: sum over the batch; weight: what it is divided by; norm: of the mean gradient before clipping; tokens: of
    the batch. applied: whether parameters changed (see optimisers.apply)."""

    loss: float
    weight: float
    norm: float
    tokens: int = 0

    @property
    def applied(self) -> bool:
        return self.norm < LARGEST


class Engine:
    """Parameters, moments and programs of one training or evaluation.

    rule: None for a model that is only asked. capacity: the most that a micro-batch of training holds. accumulates:
    whether any step has several micro-batches. owns: train in
    the model's own arrays, of which nobody else may need the values; else in copies of them. recompute: keep little of
    the forward pass, and compute it again for the gradients. faster: see `optimisers.apply`.
    """

    def __init__(
        self,
        model: Module,
        task: Task,
        rule: Optimiser | None = None,
        *,
        clip: float | None = 1.0,
        seed: int = 0,
        threads: int | None = None,
        frozen: Iterable[str] = (),
        capacity: Mapping[str, int] | None = None,
        accumulates: bool = False,
        precision: str = "f32",
        owns: bool = False,
        recompute: bool = False,
        faster: Mapping[str, float] | None = None,
    ) -> None:
        self.model, self.task, self.rule, self.seed = model, task, rule, seed
        self._clip, self._accumulates, self._recompute = clip, accumulates, recompute
        self._how: dict[str, Any] = {"threads": threads, "precision": precision}
        self._capacity, self._faster = dict(capacity or {}), dict(faster or {})
        constant = set(frozen)
        everything = model.parameters()
        self.params: Tree = {}
        self.frozen: Tree = {}
        for name, value in everything.items():
            if name in constant or rule is None:
                self.frozen[name] = value
            else:  # the program writes over it
                self.params[name] = value if owns else ht.tensor(np.array(value.numpy()))
        self._order = list(everything)
        self.moments: Moments = {}
        self.carried = () if rule is None else task.begin(model)
        if rule is not None:
            arrays = {name: value.numpy() for name, value in self.params.items()}
            self.moments = {key: _tensors(tree) for key, tree in rule.init(arrays).items()}
        tables = self.params if rule is not None and not accumulates else {}
        self._backlog = Backlog(rule, {name: value.numpy().shape for name, value in tables.items()})
        self._programs: dict[str, Any] = {}
        self._untouched = sum(value.numpy().nbytes for tree in self.moments.values() for value in tree.values())
        self._evaluate: tuple[dict[str, int], Callable[..., Any]] | None = None

    @property
    def precision(self) -> str:
        """In what products are computed: "f32" or "bf16"."""
        return choose(self._how["precision"])

    # -- state

    def weights(self) -> dict[str, Array]:
        """All parameters in the model's order: views of the state, good until the next step."""
        self._catch_up()
        return {name: (self.params[name] if name in self.params else self.frozen[name]).numpy() for name in self._order}

    def trainable(self) -> dict[str, Array]:
        self._catch_up()
        return {name: value.numpy() for name, value in self.params.items()}

    def moment_arrays(self) -> dict[str, Array]:
        self._catch_up()
        found = {f"{key}/{name}": value.numpy() for key, tree in self.moments.items() for name, value in tree.items()}
        return {**found, **{f"{CARRIED}/{i}": part.numpy() for i, part in enumerate(self.carried)}}

    def forget_moments(self) -> None:
        """Gives up the optimiser's state: nothing will be trained any more."""
        self._catch_up()
        self.moments = {}

    def put(self, weights: Mapping[str, Array]) -> None:
        """Take over weights as they are, without a copy: to be asked, not to be trained further."""
        self._backlog.clear()
        for name in self.params:
            self.params[name] = ht.tensor(weights[name])

    def restore(self, weights: Mapping[str, Array], moments: Mapping[str, Array] | None = None) -> None:
        """Take over weights (all or the trainable ones) and moments, copied; None: the moments that there are go on."""
        if moments is None:
            self._catch_up()
        else:
            self._untouched = 0
            self._backlog.clear()
        for name in self.params:
            self.params[name] = ht.tensor(np.array(weights[name]))
        for key, tree in self.moments.items():
            for name in tree:
                if moments is not None:
                    tree[name] = ht.tensor(np.array(moments[f"{key}/{name}"]))
        if moments is not None:
            self.carried = tuple(ht.tensor(np.array(moments[f"{CARRIED}/{i}"])) for i in range(len(self.carried)))

    # -- a step

    def reserve(self, parts: Sequence[Any]) -> int:
        """Compiles the programs of a step on such micro-batches, and gives the most memory that the process will hold
        in such a step, in bytes."""
        assert self.rule is not None
        given = {key: np.float32(value) for key, value in self.rule.scalars(0.0, 1).items()}
        batch, state = self.pack(parts[0]), self._random(0, 0)
        if len(parts) == 1 and not self._accumulates:
            run = self._program("step", self._step, ("params", "moments", "seen"))
            seen, past = self._backlog.seen, self._backlog.past()
            needed = run.reserve(self.params, self.moments, seen, past, self.frozen, batch, state, given, self.carried)
        else:
            nothing = np.float32(0)
            grads = {name: ht.tensor(np.zeros_like(value.numpy())) for name, value in self.params.items()}
            first = self._program("accumulate", self._accumulate, ())
            more = self._program("accumulate_more", self._accumulate_more, ("grads",))
            update = self._program("apply", self._apply, ("params", "moments"))
            needed = first.reserve(self.params, self.frozen, batch, state)
            needed += more.reserve(self.params, self.frozen, grads, nothing, nothing, batch, state)
            needed += update.reserve(self.params, self.moments, grads, nothing, given)
        return memory.resident_bytes() + self._untouched + int(needed)

    def step(self, parts: Sequence[Any], number: int, rate: float) -> StepResult:
        """Step `number` (from 0) on a batch given as micro-batches, each as the task packs it (lists of features)."""
        assert self.rule is not None
        packed = [self.pack(part) for part in parts]
        given = {key: np.float32(value) for key, value in self.rule.scalars(rate, number + 1).items()}
        single = len(parts) == 1 and not self._accumulates
        if single:
            run = self._program("step", self._step, ("params", "moments", "seen"))
            seen, past = self._backlog.seen, self._backlog.past()
            drawn = self._random(number, 0)
            loss, weight, self.params, self.moments, self._backlog.seen, norm, self.carried = run(
                self.params, self.moments, seen, past, self.frozen, packed[0], drawn, given, self.carried
            )
        else:
            loss, weight, grads = self._gradients(packed, number)
            update = self._program("apply", self._apply, ("params", "moments"))
            self.params, self.moments, norm = update(self.params, self.moments, grads, weight, given)
        result = StepResult(float(loss), float(weight), float(norm), sum(map(_tokens, packed)))
        if single and result.applied:
            self._backlog.note(given)
            if self._backlog.full:
                self._catch_up()
        return result

    def _catch_up(self) -> None:
        """Brings the rows up to date of which the updates were put off."""
        if self._backlog.count:
            seen = self._backlog.seen
            tables = {name: self.params[name] for name in seen}
            moments = {key: {name: tree[name] for name in seen} for key, tree in self.moments.items()}
            run = self._program("catch_up", self._all_rows, ("tables", "moments"))
            tables, moments = run(tables, moments, seen, self._backlog.past())
            self.params.update(tables)
            for key, tree in moments.items():
                self.moments[key].update(tree)
        self._backlog.clear()

    def _gradients(self, packed: Sequence[dict[str, Array]], number: int) -> tuple[Tensor, Tensor, Tree]:
        """Loss, weight and gradients summed over micro-batches."""
        first = self._program("accumulate", self._accumulate, ())
        self._catch_up()
        loss, weight, grads = first(self.params, self.frozen, packed[0], self._random(number, 0))
        for index, batch in enumerate(packed[1:], 1):
            more = self._program("accumulate_more", self._accumulate_more, ("grads",))
            state = self._random(number, index)
            loss, weight, grads = more(self.params, self.frozen, grads, loss, weight, batch, state)
        return loss, weight, grads

    def blame(self, parts: Sequence[Any], number: int) -> str:
        """The first parameter, or else the first gradient of this step, that is not finite."""
        for name, value in self.weights().items():
            if not np.isfinite(value).all():
                return f"the parameter {name}"
        _, _, grads = self._gradients([self.pack(part) for part in parts], number)
        for name, grad in grads.items():
            if not np.isfinite(grad.numpy()).all():
                return f"the gradient of {name}"
        return "the loss"

    def pack(self, part: Any) -> dict[str, Array]:
        """A packed batch, with what the model's family adds to one."""
        batch = self.task.pack(part)
        arrange = getattr(self.model, "arrange", None)
        return batch if arrange is None else {**batch, **arrange(batch)}

    def _shapes(self) -> dict[str, tuple[Any, ...]]:
        arranged = getattr(self.model, "arranged", dict)
        return {**self.task.symbols(), **arranged()}

    def _random(self, step: int, micro_batch: int) -> Array:
        return random.state(self.seed, step, micro_batch).numpy()

    # -- the functions that are compiled

    def _loss(
        self, params: Tree, frozen: Tree, batch: Batch, state: Tensor, carried: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        with self.model.bound({**params, **frozen}), random.using(state):
            found: object = self.task.carry(self.model, batch, carried)
        if not (isinstance(found, tuple) and len(found) > 1 and all(isinstance(one, Tensor) for one in found)):
            raise UsageError(
                f"`loss` of {type(self.task).__name__} returns (sum, weight), two tensors of one number each, and not "
                f"a {type(found).__name__}; handloom.testing.check_task looks at all methods of a task"
            )
        return found

    def _accumulate(self, params: Tree, frozen: Tree, batch: Batch, state: Tensor) -> tuple[Tensor, Tensor, Tree]:
        carried = self.task.begin(self.model)  # only where a step has one part can anything go on
        loss_of = lambda chosen: self._loss(chosen, frozen, batch, state, carried)  # noqa: E731
        (loss, weight, *_), grads = ht.value_and_grad(loss_of, has_aux=True, recompute=self._recompute)(params)
        return loss, weight, grads

    def _accumulate_more(
        self, params: Tree, frozen: Tree, grads: Tree, loss: Tensor, weight: Tensor, batch: Batch, state: Tensor
    ) -> tuple[Tensor, Tensor, Tree]:
        more_loss, more_weight, more = self._accumulate(params, frozen, batch, state)
        return loss + more_loss, weight + more_weight, {name: grad + more[name] for name, grad in grads.items()}

    def _apply(
        self, params: Tree, moments: Moments, grads: Tree, weight: Tensor, given: Scalars
    ) -> tuple[Tree, Moments, Tensor]:
        assert self.rule is not None
        return apply(self.rule, self._clip, params, moments, grads, weight, given, self._faster)

    def _step(
        self, params: Tree, moments: Moments, seen: Tree, past: Past, frozen: Tree, batch: Batch, state: Tensor,
        given: Scalars, carried: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor, Tree, Moments, Tree, Tensor, tuple[Tensor, ...]]:  # fmt: skip
        assert self.rule is not None
        values = self._loss(params, frozen, batch, state, carried)
        rows = RowsRead(self.rule, values, params, moments, seen, past)
        loss_of = lambda _: rows.values  # noqa: E731  (made of the same nodes as what it would be given)
        differentiated = ht.value_and_grad(loss_of, has_aux=True, recompute=self._recompute)
        (loss, weight, *after), grads = differentiated(rows.params)
        params, moments, norm = apply(
            self.rule, self._clip, rows.params, rows.moments, grads, weight, given, self._faster
        )
        return loss, weight, *rows.put_back(params, moments, norm), norm, tuple(after)

    def _all_rows(self, tables: Tree, moments: Moments, seen: Tree, past: Past) -> tuple[Tree, Moments]:
        assert self.rule is not None
        return caught_up(self.rule, tables, moments, seen, past)

    def _program(self, name: str, function: Callable[..., Any], donate: tuple[str, ...]) -> Any:
        if name not in self._programs:
            alone = name in ("apply", "catch_up")  # of state alone, without a batch
            shapes = {} if alone else {"batch": self._shapes()}
            room = {} if alone else self._capacity
            self._programs[name] = ht.compile(function, symbols=shapes, capacity=room, donate=donate, **self._how)
        return self._programs[name]

    # -- asking

    def logits(self, encoded: Encoded) -> tuple[list[Array], float]:
        """The logits of each feature, f32 [classes] or [rows, classes], and the mean loss (0 without labels).

        Features of like length share a batch. Nothing random happens.
        """
        features = encoded.features
        found: list[Array] = [np.zeros(0, np.float32)] * len(features)
        total = weight = 0.0
        self._catch_up()
        run = self._forward(features)
        for indices in self._groups(features):
            group = [features[i] for i in indices]
            out, loss, counted = run(self.params, self.frozen, self.pack(group))
            total, weight = total + float(loss), weight + float(counted)
            for index, rows in zip(indices, rows_of(out.numpy(), group, self.task), strict=True):
                found[index] = rows
        return found, total / weight if weight else 0.0

    def total(self, parts: Iterable[Any]) -> tuple[float, float]:
        """(sum, weight) of the loss over micro-batches that fit the capacity of training. Nothing random happens."""
        loss = weight = 0.0
        self._catch_up()
        carried = self.task.begin(self.model)
        for part in parts:
            run = self._program("total", self._total, ())
            more, counted, *after = run(self.params, self.frozen, self.pack(part), carried)
            carried = tuple(after)
            loss, weight = loss + float(more), weight + float(counted)
        return loss, weight

    def parts(self, features: Sequence[Feature]) -> Iterator[list[Feature]]:
        """Micro-batches of all features, those of like length together, that fit the capacity of training."""
        tokens = self._capacity.get("tokens", EVALUATION_TOKENS)
        sequences = self._capacity.get("sequences", EVALUATION_SEQUENCES)
        for group in self._groups(features, tokens, sequences):
            yield [features[i] for i in group]

    def _groups(
        self, features: Sequence[Feature], tokens: int = EVALUATION_TOKENS, sequences: int = EVALUATION_SEQUENCES
    ) -> Iterator[list[int]]:
        lengths = np.fromiter(map(len, features), np.int64, len(features))
        ranked = np.argsort(-lengths, kind="stable")
        for group in filled(ranked, lengths, tokens, sequences):
            yield group.tolist()

    def ask(self, features: Sequence[Feature]) -> Array:
        """The logits of a batch as it is."""
        self._catch_up()
        out, _, _ = self._forward(features)(self.params, self.frozen, self.pack(features))
        return np.asarray(out.numpy())

    def program(self, name: str = "step") -> Executable:
        """The program of the last "step" or of the last "evaluate", to look inside. Raises KeyError before there is
        one."""
        compiled: Any = self._evaluate[1] if name == "evaluate" and self._evaluate else self._programs[name]
        program: Executable = compiled.program
        return program.rest if isinstance(program, SplitProgram) else program

    def _forward(self, features: Sequence[Feature]) -> Callable[..., Any]:
        """The program that evaluates, made anew only if these features do not fit the last one."""
        total, longest = sum(map(len, features)), max(map(len, features), default=1)
        tokens = max(longest, min(total, EVALUATION_TOKENS))
        most = max((feature.sequences for feature in features), default=1)
        needed = capacity(tokens, min(len(features), EVALUATION_SEQUENCES), most)
        if self._evaluate is None or any(self._evaluate[0][key] < size for key, size in needed.items()):
            room = {key: max(size, (self._evaluate or ({}, None))[0].get(key, 0)) for key, size in needed.items()}
            constant = ("frozen",) if self.rule is None else ()
            shapes = {"batch": self._shapes()}
            program = ht.compile(self._ask, symbols=shapes, capacity=room, constant=constant, **self._how)
            self._evaluate = room, program
        return self._evaluate[1]

    def _total(
        self, params: Tree, frozen: Tree, batch: Batch, carried: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        with self.model.bound({**params, **frozen}):
            return self.task.carry(self.model, batch, carried)

    def _ask(self, params: Tree, frozen: Tree, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        with self.model.bound({**params, **frozen}):
            logits = self.model(batch)
            return (logits, *self.task.cost(self.model, logits, batch))


def _tokens(batch: Mapping[str, Array]) -> int:
    return sum(len(batch[name]) for name in ("ids", "source_ids") if name in batch)


def _tensors(tree: Mapping[str, Array]) -> Tree:
    return {name: ht.tensor(value) for name, value in tree.items()}


def rows_of(logits: Array, features: Sequence[Feature], task: Task) -> Iterator[Array]:
    """A batch's logits, feature by feature, copied out of the batch."""
    at = 0
    for feature in features:
        if task.rows == "sequences":
            yield logits[at].copy()
            at += 1
        else:
            count = task.row_count(feature)
            yield logits[at : at + count].copy()
            at += count
