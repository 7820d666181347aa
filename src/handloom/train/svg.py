"""Two small drawings for the report: lines over steps, and a confusion matrix. Colours come from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from handloom.tasks.metrics import Counts
from handloom.text.width import shown, widest

Line = tuple[str, Sequence[tuple[float, float]]]  #: a name and its points


def _ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that cover low … high, about `wanted` of them."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = math.floor(low / step)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def lines(title: str, series: Sequence[Line], width: int = 560, height: int = 240) -> str:
    """A line chart over steps. Points that are not finite are left out."""
    kept = [(name, [(x, y) for x, y in points if math.isfinite(y)]) for name, points in series]
    kept = [(name, points) for name, points in kept if points]
    if not kept:
        return ""
    xs = [x for _, points in kept for x, _ in points]
    ys = [y for _, points in kept for _, y in points]
    across, up = _ticks(min(0.0, min(xs)), max(xs), 5), _ticks(min(ys), max(ys))
    left, right, top, bottom = 52, width - 12, 12, height - 26

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - across[0]) / (across[-1] - across[0]) * (right - left),
            bottom - (y - up[0]) / (up[-1] - up[0]) * (bottom - top),
        )

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for y in up:
        at = place(across[0], y)[1]
        parts.append(
            f'<line class="rule" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(y)}</text>'
        )
    for x in across:
        at = place(x, up[0])[0]
        parts.append(f'<text class="tick" x="{at:.1f}" y="{height - 8}" text-anchor="middle">{_number(x)}</text>')
    for i, (_name, points) in enumerate(kept):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline class="line c{i % 4}" points="{path}"/>')
        if len(points) <= 40:
            parts += [
                f'<circle class="dot c{i % 4}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
                for x, y in (place(*point) for point in points)
            ]
    parts.append("</svg>")
    legend = "".join(f'<span><i class="key c{i % 4}"></i>{escape(name)}</span>' for i, (name, _) in enumerate(kept))
    caption = f'<figcaption>{escape(title)} <span class="legend">{legend}</span></figcaption>'
    return f"<figure>{caption}{''.join(parts)}</figure>"


def confusion(matrix: Counts, labels: Sequence[str]) -> str:
    """A confusion matrix as coloured cells: a row a true label, a column a predicted one; shade = share of the row."""
    count = len(labels)
    cell = 44 if count <= 12 else 26 if count <= 25 else 10
    names = [shown(label, 24) for label in labels]
    margin = 8 + widest(names) * 7
    size = cell * count
    named, numbered = count <= 25, count <= 12
    left = margin if named else 4
    top = margin if named else 4
    parts = [
        f'<svg class="matrix" viewBox="0 0 {left + size + 4} {top + size + 4}" '
        f'style="max-width:{left + size + 4}px" role="img" aria-label="confusion matrix">'
    ]
    for i, label in enumerate(labels):
        total = int(matrix[i].sum())
        if named:
            middle, short = i * cell + cell / 2, escape(names[i])
            parts.append(
                f'<text class="tick" x="{left - 6}" y="{top + middle + 4:.0f}" text-anchor="end">{short}</text>'
                f'<text class="tick" transform="translate({left + middle + 4:.0f},{top - 6}) rotate(-90)">'
                f"{short}</text>"
            )
        for j, other in enumerate(labels):
            box = f'x="{left + j * cell}" y="{top + i * cell}" width="{cell - 1}" height="{cell - 1}"/>'
            value = int(matrix[i, j])
            share = value / total if total else 0.0
            kind = "right" if i == j else "wrong"
            parts.append(
                f'<g><title>{escape(label)} → {escape(other)}: {value} of {total}</title><rect class="cell" {box}'
            )
            if value:
                parts.append(
                    f'<rect class="{kind}" fill-opacity="{0.08 + 0.92 * share:.3f}" x="{left + j * cell}" '
                    f'y="{top + i * cell}" width="{cell - 1}" height="{cell - 1}"/>'
                )
            if numbered and value:
                parts.append(
                    f'<text class="{"count strong" if share > 0.55 else "count"}" x="{left + j * cell + cell / 2:.0f}" '
                    f'y="{top + i * cell + cell / 2 + 4:.0f}" text-anchor="middle">{value}</text>'
                )
            parts.append("</g>")
    return "".join(parts) + "</svg>"
