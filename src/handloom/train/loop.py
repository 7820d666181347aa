"""The loop: steps, validations, checkpoints. Everything random in it is a function of (seed, step)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array
from handloom.train import checkpoint
from handloom.train.batches import Batches
from handloom.train.checkpoint import State
from handloom.train.engine import Engine, StepResult
from handloom.train.progress import Listener, Progress
from handloom.train.run import Log, RunFolder, read_log
from handloom.train.schedules import schedule
from handloom.train.settings import Settings
from handloom.train.stopping import Diverged, Interrupted, Signals, better

#: Called with "step 7" after each step and with "checkpoint 7" around saving; tests stop the process there.
hook: Callable[[str], None] = lambda point: None  # noqa: E731

LOG_EVERY = 10  #: steps
CHECKPOINT_SECONDS = 60.0  #: at least this long between checkpoints within an epoch …
CHECKPOINT_SHARE = 20.0  #: … and at least so many times as long as the last one took


class Loop:
    """One training. `validate` scores the weights as they are; None where there is nothing to validate on. `start`
    gives the weights that it begins with: the engine writes over them.

    run: the folder for checkpoints and the log; without it the best weights are kept in memory.
    """

    def __init__(
        self,
        engine: Engine,
        batches: Batches,
        settings: Settings,
        metric: str,
        validate: Callable[[], Scores] | None,
        start: Callable[[], Mapping[str, Array]],
        listener: Listener,
        run: RunFolder | None = None,
    ) -> None:
        self.engine, self.batches, self.settings, self.metric = engine, batches, settings, metric
        self.validate, self.start, self.listener, self.run = validate, start, listener, run
        self.rate = schedule(settings.schedule, settings.lr, batches.steps, settings.warmup, settings.final_lr)
        self.state = State()
        self.kept_step = 0  #: the step whose weights are in place at the end
        self.losses: list[tuple[int, float]] = []  #: (step, mean loss since the last of these)
        self._best: dict[str, Array] | None = None
        self._log: Log | None = None
        self._recent: list[tuple[float, float, int]] = []  # (seconds, loss per weight, tokens) of the last steps
        self._cold: bool | None = None  # whether `_recent` is the first step of this process; None before it
        self._saved_at, self._saving_took, self._saved_step = time.monotonic(), 0.0, -1
        self._stop = False

    # -- the whole

    def train(self) -> None:
        """Train to the end, from the newest checkpoint if the run has one; the weights to keep are then in place.

        Raises Interrupted after Ctrl-C or SIGTERM (a checkpoint has been written) and Diverged where the loss is no
        longer finite (the last good weights are in place).
        """
        self._resume()
        with Signals() as signals:
            try:
                while not self._finished():
                    self._step(signals)
                self._keep()
            except Diverged:
                self._retreat()
                raise
            finally:
                if self._log:
                    self._log.close()
        self._tell("end", text="stopped early" if self._stop and self.state.step < self.batches.steps else "")

    def _step(self, signals: Signals) -> None:
        state = self.state
        number = state.step
        parts = self.batches.step(number)
        began = time.perf_counter()
        result = self.engine.step(parts, number, self.rate(number))
        self._account(result, parts, time.perf_counter() - began)
        hook(f"step {state.step}")
        every = self.settings.validate_every
        if self.batches.validates_after(state.step) or (every and state.step % every == 0):
            self._validation()
        elif self._due():
            self._save()
        if signals.received is not None and not (self.run is None and self._finished()):
            self._interrupted(signals.received)

    def _finished(self) -> bool:
        return self._stop or self.state.step >= self.batches.steps

    # -- one step

    def _account(self, result: StepResult, parts: Sequence[Any], seconds: float) -> None:
        state, tokens = self.state, result.tokens
        loss = result.loss / result.weight if result.weight else 0.0
        if result.weight and not (math.isfinite(result.loss) and result.applied):
            self._diverged(result, parts)
        state.step += 1
        state.skipped += not result.applied
        state.loss_sum += result.loss
        state.loss_weight += result.weight
        state.seconds += seconds
        state.tokens += tokens
        if self._cold:  # a process's first step compiles: no measure of the others
            self._cold, self._recent = False, []
        elif self._cold is None:
            self._cold = True
        self._recent = [*self._recent[-49:], (seconds, loss, tokens)]
        self._tell("step")
        if state.step % LOG_EVERY == 0 or state.step == self.batches.steps:
            mean = float(np.mean([entry[1] for entry in self._recent[-LOG_EVERY:]]))
            self.losses.append((state.step, mean))
            if self._log:
                self._log.write({
                    "event": "step", "step": state.step, "loss": mean, "rate": self.rate(state.step - 1),
                    "norm": result.norm, "seconds": round(state.seconds, 3), "tokens": state.tokens,
                })  # fmt: skip

    def _diverged(self, result: StepResult, parts: Sequence[Any]) -> None:
        number = self.state.step
        what = self.engine.blame(parts, number)
        if self._log:
            self._log.write({"event": "diverged", "step": number + 1, "loss": str(result.loss), "tensor": what})
        best = self.state.best_step
        kept = "from before training" if best is None else f"of step {best}, the best that were validated"
        raise Diverged(
            f"training stopped at step {number + 1}: the loss is {result.loss / result.weight:g}, the gradient's norm "
            f"{result.norm:g}; the first tensor that is not finite is {what}. The weights that are kept are those "
            f"{kept}. A lower learning rate (now {self.settings.lr:g}) or a longer warm-up usually helps"
        )

    def _tell(self, kind: str, **more: object) -> None:
        state, recent = self.state, self._recent[-20:]
        seconds = sum(entry[0] for entry in recent)
        total_seconds = sum(entry[0] for entry in self._recent)
        self.listener(Progress(
            kind=kind, step=state.step, steps=self.batches.steps,
            epoch=self.batches.epochs_after(state.step), epochs=self.batches.epochs,
            loss=sum(entry[1] for entry in recent) / max(len(recent), 1),
            rate=self.rate(max(state.step - 1, 0)),
            tokens_per_second=sum(entry[2] for entry in recent) / seconds if seconds else 0.0,
            eta=None if self._cold else total_seconds / max(len(self._recent), 1) * (self.batches.steps - state.step),
            **more,  # type: ignore[arg-type]
        ))  # fmt: skip

    # -- validation and what follows from it

    def _validation(self) -> None:
        state = self.state
        loss = state.loss_sum / state.loss_weight if state.loss_weight else 0.0
        state.loss_sum = state.loss_weight = 0.0
        epochs = round(self.batches.epochs_after(state.step), 4)
        entry: dict[str, object] = {"step": state.step, "epoch": epochs, "train_loss": loss}
        best = False
        if self.validate is not None:
            scores = self.validate()
            if self.metric not in scores.metrics:
                raise UsageError(f"there is no metric {self.metric!r}; there are {', '.join(scores.metrics)}")
            value, valid_loss = scores.metrics[self.metric], scores.metrics.get("loss", 0.0)
            gain = math.isfinite(valid_loss) and better(value, state.best_metric, self.metric)
            # where the metric stands still (often at 100 %), the lower loss is kept; patience runs on all the same
            best = gain or (value == state.best_metric and better(valid_loss, state.best_loss, "loss"))
            state.waited = 0 if gain else state.waited + 1
            if best:
                state.best_metric, state.best_loss, state.best_step = value, valid_loss, state.step
                if self.run is None:
                    self._best = {name: array.copy() for name, array in self.engine.trainable().items()}
            entry["metrics"] = scores.metrics
            self._stop = self._waited_enough()
        state.history.append(dict(entry))
        if self._log:
            self._log.write({"event": "validation", **entry, "best": best})
        if self.validate is not None:
            self._tell("validation", metrics=scores.metrics, best=best)
        self._save()

    def _waited_enough(self) -> bool:
        """Whether so many validations in a row, the patience (at least one), were without gain."""
        patience = self.settings.patience
        return patience is not None and self.state.waited >= max(patience, 1)

    def _keep(self) -> None:
        """Put the best weights in place, if they are to be kept and are not the last."""
        best = self.state.best_step
        self.kept_step = self.state.step
        if self.settings.keep == "best" and best is not None and best != self.state.step:
            self._restore(best)

    def _retreat(self) -> None:
        """Put weights in place that are known to be good: the best that were validated, else those of the start."""
        best = self.state.best_step
        if best is not None:
            self._restore(best)
        else:
            self.kept_step = 0
            self.engine.restore(self.start())

    def _restore(self, best: int) -> None:
        self.kept_step = best
        if self.run is None:
            assert self._best is not None
            self.engine.restore(self._best)
        else:
            self.engine.restore(checkpoint.load_weights(checkpoint.step_folder(self.run.checkpoints, best)))

    # -- checkpoints

    def _due(self) -> bool:
        waited = time.monotonic() - self._saved_at
        return self.run is not None and waited > max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self._saving_took)

    def _save(self) -> None:
        if self.run is None or self._log is None or self._saved_step == self.state.step:
            return
        began = time.monotonic()
        self.state.log_bytes = self._log.sync()
        hook(f"checkpoint {self.state.step}")
        checkpoint.save_checkpoint(
            self.run.checkpoints, self.state, self.engine.trainable(), self.engine.moment_arrays()
        )
        hook(f"checkpoint {self.state.step} done")
        self._saved_at, self._saved_step = time.monotonic(), self.state.step
        self._saving_took = self._saved_at - began
        self._tell("checkpoint")

    def _resume(self) -> None:
        if self.run is None:
            return
        place, damaged = checkpoint.latest(self.run.checkpoints)
        if damaged:
            instead = f"goes on from {place.name}" if place else "begins anew, for no checkpoint is whole"
            self._tell("note", text=f"{', '.join(map(str, damaged))}: damaged, and left aside; training {instead}")
        if place is not None:
            self.state = checkpoint.load_state(place)
            weights = checkpoint.load_weights(place)
            _check_same(weights, self.engine.trainable(), place)
            self.engine.restore(weights, checkpoint.load_moments(place))
            self._saved_step = self.state.step
            self._stop = self._waited_enough()
        self._log = Log(self.run.path / "log.jsonl", self.state.log_bytes)
        self.losses = [(entry["step"], entry["loss"]) for entry in read_log(self._log.path) if entry["event"] == "step"]

    def _interrupted(self, number: int) -> None:
        self._save()
        where = f"step {self.state.step} of {self.batches.steps}"
        if self.run is None:
            raise Interrupted(number, f"stopped at {where}")
        raise Interrupted(number, f"stopped at {where}; go on with: handloom resume {self.run.path}")


def _check_same(found: dict[str, Array], wanted: dict[str, Array], place: Path) -> None:
    if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in wanted.items()}:
        raise HandloomError(f"{place} holds other parameters than this model has; it belongs to another training")
