"""How a training shows on a terminal: a bar with loss, speed and the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from handloom.train import progress
from handloom.train.progress import duration


class Bar:
    """A bar at the foot of the terminal; validations and notes stay above it."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]:.2f}/{task.fields[epochs]:g}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]:.4f}"),
            TextColumn("[dim]{task.fields[speed]}[/]  {task.fields[left]} left"),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None, epoch=0.0, epochs=0.0, loss=float("nan"), speed="", left="?")

    def __call__(self, event: progress.Progress) -> None:
        if event.kind == "step":
            self.bar.update(
                self.task,
                completed=event.step,
                total=event.steps,
                epoch=event.epoch,
                epochs=event.epochs,
                loss=event.loss,
                speed=f"{event.tokens_per_second:,.0f} tokens/s",
                left="?" if event.eta is None else duration(event.eta),
            )
            self.bar.start()
        elif event.kind == "validation":
            values = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in event.metrics.items())
            best = ("  best so far", "green") if event.best else ""
            self.console.print(Text.assemble((f"epoch {event.epoch:5.2f}  ", "dim"), values, best))
        elif event.kind == "note":
            self.console.print(Text(event.text, "dim"))
        elif event.kind == "end":
            self.close()

    def close(self) -> None:
        """Give the terminal back, after an error as well."""
        if self.bar.live.is_started:
            self.bar.stop()
