"""Values with their ranges: dots on lines, for estimated errors and recalls."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.svg import grid, mark, round_ticks, svg

_SHORT_TITLE = 12


def interval_rows(rows: list[dict[str, Any]], high: float, label: str) -> Markup:
    """Draw a row for each value: its mark, its range as a line, and both in words.

    Parameters
    ----------
    rows : list of dict
        ``key`` of the mark, ``title``, ``value`` (in %, None where unknown), ``low`` and ``high``
        (None without a range) and ``words``.
    high : float
        End of the axis in %, which begins at 0.
    label : str
        What the drawing shows.
    """
    width, right, top, step = 430, 300, 6, 26
    left = 178 if any(len(row["title"]) > _SHORT_TITLE for row in rows) else 100
    bottom = top + step * len(rows)

    def x(value: float) -> float:
        return left + min(value, high) / high * (right - left)

    parts = grid([(x(tick), f"{tick:g} %") for tick in round_ticks(high, 4)], top, bottom)
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        strong = " strong" if row["key"] == "new" else ""
        title = escape(row["title"])
        parts.append(f'<text class="row long{strong}" x="{left - 12}" y="{y + 4}">{title}</text>')
        parts.append(_line(row, x, y))
        if row["value"] is not None:
            words = f"{row['title']}: {row['words']}"
            parts.append(mark(row["key"], x(row["value"]), y, words, 0.7 if strong else 1))
        parts.append(f'<text class="value" x="{right + 12}" y="{y + 4}">{escape(row["words"])}')
        parts.append("</text>")
    return svg(width, bottom + 22, label, parts)


def _line(row: dict[str, Any], x: Any, y: float) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    low, high = x(row["low"]), x(row["high"])
    return (
        f'<path class="range" d="M{low:.1f} {y - 5:g}v10M{low:.1f} {y:g}H{high:.1f}'
        f'M{high:.1f} {y - 5:g}v10"/>'
    )


def small_interval(estimate: dict[str, Any], high: float) -> Markup:
    """Draw one estimate with its range for the cell of a table; nothing where there is none."""
    if estimate["value"] is None:
        return Markup("")
    width, height, margin = 150, 18, 8

    def x(value: float) -> float:
        return margin + min(value, high) / high * (width - 2 * margin)

    base = f'<path class="base" d="M{margin} 9H{width - margin}"/>'
    drawn = [base, _line(estimate, x, 9)]
    drawn.append(f'<circle class="point" cx="{x(estimate["value"]):.1f}" cy="9" r="4"/>')
    return svg(width, height, f"Estimated error {estimate['words']}", drawn)
