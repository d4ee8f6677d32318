"""Where plates lie beside the plates of all splits, one figure for each view."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from coos_mlflow.reports.plate.figures.svg import Scale, cut, grid, label, mark, svg, usual_band

_LETTER = 6.4
"""Width of a letter of a row's title in units of the drawing, about."""

_LONGEST_TITLE = 22
"""Characters of a row's title that are shown."""


def plate_comparison(view: dict[str, Any], low: float, high: float) -> Markup:
    """Draw one view: a row of marks for the plates and for each split, on a logarithmic axis.

    Parameters
    ----------
    view : dict
        One of the summary's ``comparison``.
    low, high : float
        Ends of the axis, the same in all views.
    """
    width, top, step = 370, 8, 24
    left = max(
        98.0, 20 + _LETTER * max(len(cut(row["title"], _LONGEST_TITLE)) for row in view["rows"])
    )
    bottom = top + step * len(view["rows"])

    def x(distance: float) -> float:
        share = math.log(max(distance, low) / low) / math.log(high / low)
        return left + share * (width - left - 14)

    parts = [] if view["usual"] is None else _usual_range(left, x(view["usual"]), top, bottom)
    parts += grid([(x(tick), f"{tick:g}") for tick in _ticks(low, high)], top, bottom)
    for number, row in enumerate(view["rows"]):
        parts += _row(row, x, left - 12, top + step * (number + 0.5))
    title = f"{view['title']}: distance of plates from Training"
    return svg(width, bottom + 22, title, parts)


def _usual_range(left: float, limit: float, top: float, bottom: float) -> list[str]:
    line = f'<line class="limit" x1="{limit:.1f}" x2="{limit:.1f}" y1="{top}" y2="{bottom}"/>'
    return [usual_band(left, limit, top, bottom), line]


def _row(row: dict[str, Any], x: Scale, label_x: float, y: float) -> list[str]:
    style = "row strong" if row["key"] == "new" else "row"
    marks = [
        mark(row["key"], x(m["distance"]), y, f"{row['title']}, {m['words']}: {m['text']}")
        for m in row["marks"]
    ]
    return [label(cut(row["title"], _LONGEST_TITLE), label_x, y + 4, style), *marks]


def comparison_axis(views: list[dict[str, Any]]) -> tuple[float, float]:
    """Return ends of a logarithmic axis that hold every mark of all views."""
    values = [mark["distance"] for view in views for row in view["rows"] for mark in row["marks"]]
    values += [view["usual"] for view in views if view["usual"] is not None]
    positive = [value for value in values if value > 0]
    low = max(min([*positive, 0.5]) * 0.9, 0.1)
    return low, max([*positive, 4.0]) * 1.15


def _ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 100 else (1,)
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [tick for tick in ticks if low <= tick <= high]
