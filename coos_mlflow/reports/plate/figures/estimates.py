"""Estimates in %: errors and recalls with their ranges, and shares of the classes."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.svg import (
    Scale,
    cut,
    grid,
    label,
    linear,
    mark,
    round_ticks,
    svg,
)

_SHORT_TITLE, _LONG_TITLE = 12, 32
_VALUE_LETTER = 6.2
"""Width of a letter of a value in units of the drawing, about."""

_LETTER = 6.9
"""Width of a bold letter of a row's title in units of the drawing, about."""


def interval_rows(rows: list[dict[str, Any]], high: float, title: str) -> Markup:
    """Draw a row for each value: its mark, its range as a line, and both in words.

    Parameters
    ----------
    rows : list of dict
        ``key`` of the mark, ``title``, ``value`` (in %, None where unknown), ``low`` and ``high``
        (both None without a range; one of them where the range is open) and ``words``.
    high : float
        End of the axis in %, which begins at 0.
    title : str
        Of the drawing, for screen readers.
    """
    top, step = 6, 26
    left = _title_width([row["title"] for row in rows])
    right = left + (200 if left == _NARROW else 122)
    width = right + max([130.0, *(22 + _VALUE_LETTER * len(row["words"]) for row in rows)])
    bottom = top + step * len(rows)
    x = linear(high, left, right)
    parts = grid([(x(tick), f"{tick:g} %") for tick in round_ticks(high, 4)], top, bottom)
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        new = row["key"] == "new"
        style = "row long strong" if new else "row long"
        parts += [
            label(cut(row["title"], _LONG_TITLE), left - 12, y + 4, style),
            _range(row, x, y, high),
        ]
        if row["value"] is not None:
            words = f"{row['title']}: {row['words']}"
            parts.append(mark(row["key"], x(row["value"]), y, words, 0.7 if new else 1))
        parts.append(label(row["words"], right + 12, y + 4, "value"))
    return svg(width, bottom + 22, title, parts)


_NARROW = 100


def _title_width(titles: list[str]) -> float:
    """Return the room for the titles of rows, cut to `_LONG_TITLE`."""
    longest = max((len(cut(title, _LONG_TITLE)) for title in titles), default=0)
    return _NARROW if longest <= _SHORT_TITLE else max(178.0, 20 + _LETTER * longest)


def _range(row: dict[str, Any], x: Scale, y: float, most: float) -> str:
    """Draw the range of a value; an open end is dashed up to an arrow at the end of the axis."""
    low, high = row["low"], row["high"]
    if row["value"] is None or (low is None and high is None):
        return ""
    middle = x(row["value"])
    left, right = (middle if edge is None else x(edge) for edge in (low, high))
    start = "" if low is None else f"M{left:.1f} {y - 5:g}v10"
    end = "" if high is None else f"M{right:.1f} {y - 5:g}v10"
    line = f'<path class="range" d="{start}M{left:.1f} {y:g}H{right:.1f}{end}"/>'
    if low is None:
        line += _arrow(middle, x(0), y)
    return line if high is not None else line + _arrow(middle, x(most), y)


def _arrow(start: float, end: float, y: float) -> str:
    back = -6 if end > start else 6
    return (
        f'<path class="range open" d="M{start:.1f} {y:g}H{end:.1f}"/>'
        f'<path class="range" d="M{end + back:.1f} {y - 5:g}L{end:.1f} {y:g}l{back} 5"/>'
    )


def small_interval(estimate: dict[str, Any], high: float) -> Markup:
    """Draw one estimate with its range for the cell of a table; nothing without an estimate."""
    if estimate["value"] is None:
        return Markup("")
    width, height, margin = 150, 18, 8
    x = linear(high, margin, width - margin)
    parts = [
        f'<path class="base" d="M{margin} 9H{width - margin}"/>',
        _range(estimate, x, 9, high),
        f'<circle class="point" cx="{x(estimate["value"]):.1f}" cy="9" r="4"/>',
    ]
    return svg(width, height, f"Estimated error {estimate['words']}", parts)


def class_shares(shares: list[dict[str, Any]]) -> Markup:
    """Draw the predicted share of each class as a bar and the corrected one as a mark."""
    left, step, top = _title_width([share["name"] for share in shares]), 27, 4
    width = left + 262
    x = linear(max(max(s["predicted"], s["corrected"]) for s in shares), left, width - 108)
    parts = []
    for number, share in enumerate(shares):
        y = top + number * step
        bar, corrected = x(share["predicted"]), x(share["corrected"])
        title = f"{share['name']}: predicted {share['predicted']:.1%}, "
        title += f"corrected {share['corrected']:.1%}"
        words = f"{share['predicted']:.0%}, corr. {share['corrected']:.0%}"
        name = cut(share["name"], _LONG_TITLE)
        parts.append(
            f"<g><title>{escape(title)}</title>{label(name, left - 10, y + 15)}"
            f'<rect class="bar c{share["label"]}" x="{left}" y="{y + 3}" '
            f'width="{max(bar - left, 1):.1f}" height="16" rx="2"/>'
            f'<path class="corrected" d="M{corrected:.1f} {y}v22"/>'
            f"{label(words, max(bar, corrected) + 7, y + 15, 'value')}</g>"
        )
    return svg(width, top * 2 + step * len(shares), "Shares of the classes", parts)
