"""Scores as tables for a terminal: per label before → after, the confusion matrix coloured, the worst mistakes.

rich drops the colours by itself where the output is not a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from handloom.text.width import shown

if TYPE_CHECKING:
    from handloom.tasks.scores import Scores

MOST_LABELS = 30  #: rows of the table per label
WIDEST_CONFUSION = 12  #: labels of a confusion matrix; beyond that the pairs most often confused are listed
#: From the lightest to the darkest cell of a confusion matrix: (right, wrong).
SHADES = (("grey37", "grey37"), ("green4", "orange4"), ("green3", "dark_orange3"), ("bold green1", "bold red1"))


def plain(title: str | None = None) -> Table:
    """A table without a frame, at least as wide as its title."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        min_width=len(title or "") + 2,
    )


def change(before: float | None, after: float, better: int = 1) -> Text:
    """`0.333 → 0.812`, green or red by which way it went; better is −1 where less is better."""
    if before is None:
        return Text(f"{after:.3f}")
    gain = (after - before) * better
    style = "green" if gain > 0 else "red" if gain < 0 else ""
    return Text.assemble((f"{before:.3f} → ", "dim"), (f"{after:.3f}", style))


def metrics_table(scores: Scores) -> Table:
    from handloom.tasks.scores import ERRORS

    table = plain("Scores" + (", before → after" if scores.before else ""))
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right", style="dim")
    for name, value in scores.metrics.items():
        before = scores.before.metrics.get(name) if scores.before else None
        low_high = scores.intervals.get(name)
        table.add_row(
            name.replace("_", " "),
            change(before, value, -1 if name in ERRORS else 1),
            f"{low_high[0]:.3f} – {low_high[1]:.3f}" if low_high else "",
        )
    return table


def comparison_table(scores: Scores, baselines: Mapping[str, Scores]) -> Table:
    """The model before and after beside simple ones, by every metric that one of those has, too. What was before a
    training may not have all of them: nothing is written by a model that is not trained yet."""
    columns = {**baselines, **({"before": scores.before} if scores.before else {}), "after": scores}
    table = plain("Beside simple models")
    table.add_column("metric")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right", style="bold" if name == "after" else "")
    for metric in scores.metrics:
        if any(metric in simple.metrics for simple in baselines.values()):
            values = [found.metrics.get(metric) for found in columns.values()]
            table.add_row(metric.replace("_", " "), *("–" if value is None else f"{value:.3f}" for value in values))
    return table


def labels_table(scores: Scores) -> Table:
    """F1 of each label; where there are very many, the most frequent ones."""
    rows = sorted(scores.labels.items(), key=lambda item: -item[1]["support"])[:MOST_LABELS]
    left_out = len(scores.labels) - len(rows)
    table = plain("Per label" + (f" (the {len(rows)} most frequent of {len(scores.labels)})" if left_out else ""))
    table.add_column("label", overflow="fold")
    for column in ("examples", "precision", "recall", "f1"):
        table.add_column(column, justify="right")
    before = scores.before.labels if scores.before else {}
    for label, row in rows:
        old = before[label]["f1"] if label in before else None
        table.add_row(
            Text(shown(label)),
            f"{row['support']:.0f}",
            f"{row['precision']:.3f}",
            f"{row['recall']:.3f}",
            change(old, row["f1"]),
        )
    return table


def confusion_table(scores: Scores) -> Table | None:
    """Rows are true, columns predicted; with many labels the pairs most often confused."""
    matrix, names = scores.confusion, scores.confusion_labels
    if matrix is None:
        return None
    if len(names) > WIDEST_CONFUSION:
        return confused_pairs(scores)
    table = plain("Confusion (a row is a true label)")
    table.add_column("")
    for name in names:
        table.add_column(Text(shown(name), overflow="fold"), justify="right")
    for row, name in enumerate(names):
        total = max(int(matrix[row].sum()), 1)
        cells = [
            Text(str(int(count)), SHADES[min(int(count / total * 4), 3) if count else 0][column != row])
            for column, count in enumerate(matrix[row])
        ]
        table.add_row(Text(shown(name)), *cells)
    return table


def confused_pairs(scores: Scores, most: int = 10) -> Table:
    assert scores.confusion is not None
    matrix, names = scores.confusion, scores.confusion_labels
    pairs = [
        (int(matrix[row, column]), names[row], names[column])
        for row in range(len(names))
        for column in range(len(names))
        if row != column and matrix[row, column]
    ]
    table = plain("Most often confused")
    table.add_column("times", justify="right")
    table.add_column("true", overflow="fold")
    table.add_column("predicted", overflow="fold")
    for count, true, guess in sorted(pairs, key=lambda pair: -pair[0])[:most]:
        table.add_row(str(count), Text(shown(true)), Text(shown(guess)))
    return table


def mistakes_table(scores: Scores, most: int = 5) -> Table:
    """The worst of them; a column of scores where there are any."""
    listed, mistakes = scores.listed, scores.mistakes[:most]
    scored = any(mistake.score is not None for mistake in mistakes)
    table = plain(listed.title)
    if scored:
        table.add_column(listed.score, justify="right")
    table.add_column(listed.gold, overflow="fold")
    table.add_column(listed.guess, overflow="fold")
    table.add_column("text", overflow="fold", ratio=1)
    for mistake in mistakes:
        sure = ["" if mistake.score is None else f"{mistake.score:.2f}"] if scored else []
        gold, guess, text = (shown(" ".join(part.split()), 160) for part in (mistake.gold, mistake.guess, mistake.text))
        table.add_row(*sure, Text(gold, "green"), Text(guess, "red"), Text(text))
    return table


def show_scores(console: Console, scores: Scores) -> None:
    """All tables that there is something to say in."""
    tables = [metrics_table(scores)]
    if scores.labels:
        tables.append(labels_table(scores))
    if confusion := confusion_table(scores):
        tables.append(confusion)
    if scores.mistakes:
        tables.append(mistakes_table(scores))
    for table in tables:
        console.print(Padding(table, (1, 0, 0, 0)))
