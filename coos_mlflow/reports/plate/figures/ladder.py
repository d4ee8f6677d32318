"""The ladder: where plates stand beside the plates of Training and Test1..4, view by view."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.svg import grid, mark, svg


def ladder(panel: dict[str, Any], low: float, high: float) -> Markup:
    """Draw one view: a row of marks for the plates and for each split, on a logarithmic axis.

    Parameters
    ----------
    panel : dict
        One of the summary's ``ladder``.
    low, high : float
        Ends of the axis, the same in all views.
    """
    width, left, top, step = 370, 98, 8, 24
    rows = panel["rows"]
    bottom = top + step * len(rows)

    def x(distance: float) -> float:
        share = math.log(max(distance, low) / low) / math.log(high / low)
        return left + share * (width - left - 14)

    parts = [_usual_band(panel["usual"], x, left, top, bottom)]
    parts += grid([(x(tick), f"{tick:g}") for tick in _ticks(low, high)], top, bottom)
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        weight = " strong" if row["key"] == "new" else ""
        parts.append(f'<text class="row{weight}" x="{left - 12}" y="{y + 4:.1f}">')
        parts.append(f"{escape(row['title'])}</text>")
        parts += [
            mark(row["key"], x(m["distance"]), y, f"{row['title']}, {m['words']}: {m['text']}")
            for m in row["marks"]
        ]
    label = f"{panel['title']}: distance of plates from Training"
    return svg(width, bottom + 22, label, parts)


def _usual_band(
    usual: float | None, x: Callable[[float], float], left: float, top: float, bottom: float
) -> str:
    if usual is None:
        return ""
    return (
        f'<rect class="usual" x="{left}" y="{top}" width="{x(usual) - left:.1f}" '
        f'height="{bottom - top}"/><line class="limit" x1="{x(usual):.1f}" x2="{x(usual):.1f}" '
        f'y1="{top}" y2="{bottom}"/>'
    )


def axis_of(panels: list[dict[str, Any]]) -> tuple[float, float]:
    """Return ends of the logarithmic axis that hold every mark of the ladder."""
    values = [mark["distance"] for p in panels for row in p["rows"] for mark in row["marks"]]
    values += [panel["usual"] for panel in panels if panel["usual"] is not None]
    positive = [value for value in values if value > 0]
    low = max(min([*positive, 0.5]) * 0.9, 0.1)
    return low, max([*positive, 4.0]) * 1.15


def _ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 100 else (1,)
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [tick for tick in ticks if low <= tick <= high]
