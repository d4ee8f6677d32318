"""What moved: raw-image figures on an axis of robust z, effect sizes beside those of the splits."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.svg import mark, svg


def raw_moves(rows: list[dict[str, Any]], at: float, high: float) -> Markup:
    """Draw the robust z of raw-image figures on a square-root axis, moved ones filled.

    Parameters
    ----------
    rows : list of dict
        Of one channel of the summary's ``moves``.
    at : float
        Robust z from which a figure is said to have moved.
    high : float
        Robust z at the ends of the axis.
    """
    width, left, step, top = 430, 226, 22, 4
    bottom = top + step * len(rows)
    half = (width - left - 68) / 2
    centre = left + half + 6

    def x(z: float) -> float:
        return centre + math.copysign(math.sqrt(min(abs(z), high) / high), z) * half

    near, far = x(-at), x(at)
    parts = [
        f'<rect class="usual" x="{near:.1f}" y="{top}" width="{far - near:.1f}" '
        f'height="{bottom - top}"/>',
        f'<line class="grid" x1="{centre}" x2="{centre}" y1="{top}" y2="{bottom}"/>',
    ]
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        moved = " moved" if row["moved"] else ""
        title = escape(f"{row['figure']}: {row['words']}, robust z {row['z']:.1f}")
        parts.append(
            f'<g class="move{moved}"><title>{title}</title>'
            f'<text class="row long" x="{left - 8}" y="{y + 4}">{escape(row["short"])}</text>'
            f'<line class="stem" x1="{centre}" x2="{x(row["z"]):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot" cx="{x(row["z"]):.1f}" cy="{y}" r="4.5"/>'
            f'<text class="value" x="{width - 50}" y="{y + 4}">{escape(row["words"])}</text></g>'
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
