"""report.html: one page without outside parts that shows what was trained, how it went, and how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from handloom.tasks.scores import NUMBERS, Scores
from handloom.text.width import shown
from handloom.train import svg


@dataclass
class Report:
    """What the page shows; parts that are empty are left out."""

    title: str
    summary: str
    metric: str  #: the name of the metric that chose the weights
    measured_on: str = "validation"
    after: Scores | None = None
    baselines: dict[str, Scores] = field(default_factory=dict)
    losses: Sequence[tuple[int, float]] = ()
    history: Sequence[Mapping[str, Any]] = ()
    details: dict[str, dict[str, object]] = field(default_factory=dict)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def measure(metric: str, value: float) -> str:
    """A metric's value: a share in percent, else a number."""
    return f"{value:.3f}" if metric in NUMBERS else percent(value)


def name_of(metric: str) -> str:
    """macro_f1 → macro F1."""
    return metric.replace("_", " ").replace("f1", "F1")


def _range(scores: Scores, metric: str) -> str:
    if metric not in scores.intervals:
        return ""
    low, high = scores.intervals[metric]
    return f"{low:.3f} – {high:.3f}" if metric in NUMBERS else f"{100 * low:.1f} – {100 * high:.1f}"


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = (), texts: Iterable[int] = ()
) -> str:
    """An HTML table; all cells are escaped. numbers, texts: columns set right, columns that may be long."""
    kinds = {**dict.fromkeys(numbers, "n"), **dict.fromkeys(texts, "text")}
    attribute = [f' class="{kinds[i]}"' if i in kinds else "" for i in range(len(head))]
    top = "".join(f"<th{attribute[i]}>{escape(cell)}</th>" for i, cell in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{attribute[i]}>{escape(str(cell))}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(title: str, *parts: str) -> str:
    inner = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inner}</section>" if inner else ""


def _cards(report: Report) -> str:
    if report.after is None:
        return ""
    cards = []
    for metric, value in report.after.metrics.items():
        if metric == "loss":
            continue
        interval = _range(report.after, metric)
        cards.append(
            f'<div class="card"><span>{escape(name_of(metric))}</span><b>{measure(metric, value)}</b>'
            f"<span>{escape(interval and '95 %: ' + interval)}</span></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _comparison(report: Report) -> str:
    before = report.after.before if report.after else None
    sides = {
        **report.baselines,
        **({"this model, before": before} if before else {}),
        **({"this model, after": report.after} if report.after else {}),
    }
    metrics = [m for m in (report.after.metrics if report.after else {}) if m != "loss"]

    def cell(scores: Scores, metric: str) -> str:
        if metric not in scores.metrics:
            return "–"
        limits = _range(scores, metric)
        return measure(metric, scores.metrics[metric]) + (f"  ({limits})" if limits else "")

    rows = [[side, *(cell(scores, metric) for metric in metrics)] for side, scores in sides.items()]
    return (
        _section(
            f"Measured on the {report.measured_on} data",
            table(["", *map(name_of, metrics)], rows, range(1, len(metrics) + 1)),
        )
        if metrics
        else ""
    )


def _curves(report: Report) -> str:
    charts = [
        svg.lines(
            "Loss",
            [
                ("training", list(report.losses)),
                (
                    "validation",
                    [(h["step"], h["metrics"]["loss"]) for h in report.history if "loss" in h.get("metrics", {})],
                ),
            ],
        )
    ]
    names = [m for m in (report.history[0].get("metrics", {}) if report.history else {}) if m != "loss"]
    charts.append(
        svg.lines("Validation", [(name_of(m), [(h["step"], h["metrics"][m]) for h in report.history]) for m in names])
    )
    charts = [chart for chart in charts if chart]
    return _section("Training", f'<div class="charts">{"".join(charts)}</div>') if charts else ""


def _labels(report: Report) -> str:
    if report.after is None or not report.after.labels:
        return ""
    before = report.after.before.labels if report.after.before else {}
    rows = []
    for label, row in sorted(report.after.labels.items(), key=lambda item: -item[1]["support"]):
        earlier = percent(before[label]["f1"]) if label in before else "–"
        rows.append(
            [
                shown(label),
                percent(row["precision"]),
                percent(row["recall"]),
                percent(row["f1"]),
                earlier,
                f"{row['support']:.0f}",
            ]
        )
    return _section(
        "Label by label", table(["label", "precision", "recall", "F1", "F1 before", "examples"], rows, range(1, 6))
    )


def _confusions(report: Report) -> str:
    if report.after is None or report.after.confusion is None or not report.after.confusion_labels:
        return ""
    matrix, labels = report.after.confusion, report.after.confusion_labels
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:12]
    pairs = [(i // len(labels), i % len(labels)) for i in order.tolist() if wrong.reshape(-1)[i]]
    rows = [
        [shown(labels[i]), shown(labels[j]), int(matrix[i, j]), percent(matrix[i, j] / max(int(matrix[i].sum()), 1))]
        for i, j in pairs
    ]
    listing = table(["true", "predicted", "times", "of the true"], rows, (2, 3)) if rows else ""
    return _section(
        "Confusions",
        "<figure><figcaption>a row a true label, a column a predicted one</figcaption>",
        svg.confusion(matrix, labels),
        "</figure><br>",
        listing,
    )


def _mistakes(report: Report) -> str:
    if report.after is None:
        return ""
    listed, mistakes = report.after.listed, report.after.mistakes
    scored = any(m.score is not None for m in mistakes)
    rows = [[m.text, m.gold, m.guess, *(["" if m.score is None else f"{m.score:.2f}"] if scored else [])]
            for m in mistakes]  # fmt: skip
    head = ["text", listed.gold, listed.guess, *([listed.score] if scored else [])]
    lead = f"<p class='lead'>{escape(listed.hint)}</p>"
    return _section(listed.title, lead, table(head, rows, (3,), (0,))) if rows else ""


def _details(report: Report) -> str:
    return "".join(
        f"<details><summary>{escape(title)}</summary>{table(['', ''], list(values.items()), texts=(1,))}</details>"
        for title, values in report.details.items()
        if values
    )


def render(report: Report) -> str:
    """The page as a string of HTML. Everything that came from outside is escaped."""
    body = "".join(part(report) for part in (_cards, _comparison, _curves, _labels, _confusions, _mistakes, _details))
    style = resources.files("handloom.train").joinpath("report.css").read_text("utf-8")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(report.title)}</title><style>{style}</style></head>'
        f'<body><main><h1>{escape(report.title)}</h1><p class="lead">{escape(report.summary)}</p>'
        f"{body}</main></body></html>\n"
    )


def framed(page: str, title: str, height: int = 560) -> str:
    """A page inside of another one, a notebook's, neither of which can change how the other looks."""
    return (
        f'<iframe title="{escape(title)}" srcdoc="{escape(page)}" sandbox '
        f'style="width:100%;height:{height}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )
