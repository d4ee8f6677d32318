"""What differs on a plate: raw-image figures on an axis of robust z, and effect sizes."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.svg import label, mark, svg, usual_band


def raw_moves(rows: list[dict[str, Any]], moved_at: float, high: float) -> Markup:
    """Draw the robust z of raw-image figures on a square-root axis; moved ones are filled.

    Parameters
    ----------
    rows : list of dict
        Of one channel of the summary's ``moves``.
    moved_at : float
        Robust z from which a figure counts as moved.
    high : float
        Robust z at the ends of the axis.
    """
    width, left, step, top = 430, 226, 22, 4
    bottom = top + step * len(rows)
    half = (width - left - 68) / 2
    centre = left + half + 6

    def x(z: float) -> float:
        return centre + math.copysign(math.sqrt(min(abs(z), high) / high), z) * half

    parts = [
        usual_band(x(-moved_at), x(moved_at), top, bottom),
        f'<line class="grid" x1="{centre}" x2="{centre}" y1="{top}" y2="{bottom}"/>',
    ]
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        title = escape(f"{row['figure']}: {row['words']}, robust z {row['z']:.1f}")
        parts.append(
            f'<g class="move{" moved" if row["moved"] else ""}"><title>{title}</title>'
            f"{label(row['short'], left - 8, y + 4)}"
            f'<line class="stem" x1="{centre}" x2="{x(row["z"]):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot" cx="{x(row["z"]):.1f}" cy="{y}" r="4.5"/>'
            f"{label(row['words'], width - 50, y + 4, 'value')}</g>"
        )
    return svg(width, bottom + 4, "Raw-image figures against the reference plates", parts)


def effect_strip(row: dict[str, Any]) -> Markup:
    """Draw an effect size of a plate and those of the splits on one line, the plate's on top."""
    width, margin, y = 190, 12, 12
    values = [entry["value"] for entry in row["values"] if entry["value"] is not None]
    if not values:
        return Markup("")
    low, high = min([*values, 0.0]), max(values)
    span = max(high - low, 1e-12)
    parts = [f'<path class="base" d="M{margin} {y}H{width - margin}"/>']
    for entry in reversed(row["values"]):
        if entry["value"] is not None:
            x = margin + (entry["value"] - low) / span * (width - 2 * margin)
            parts.append(mark(entry["key"], x, y, f"{entry['title']}: {entry['text']}"))
    return svg(width, 24, row["title"], parts)
