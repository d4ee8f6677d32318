"""Maps of a plate: wells at their positions, coloured by class, share, confidence and so on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from coos_mlflow.plates.wells import row_letters
from coos_mlflow.reports.plate.figures.svg import svg

WELL = 17
"""Side of a well in units of the drawing. The style sheet draws its rectangle 2 smaller."""

UNPLACED_COLUMNS = 24
"""Wells in a row where ids give no position: as many as on a 384-well plate."""

FAR_WELL = 4.0
"""Distance of the last colour of the scale."""

_CIVIDIS = ((0, 34, 78), (66, 78, 108), (124, 123, 120), (187, 173, 108), (254, 232, 56))
"""Five stops of matplotlib's cividis, made for colour-blind readers (Nunez et al. 2018)."""


def plate_map(plate: dict[str, Any], quantity: str) -> Markup:
    """Draw the wells of a plate at their positions, or row by row where ids give no position.

    Parameters
    ----------
    plate : dict
        One of the summary's ``maps``.
    quantity : str
        ``"class"``, ``"share"``, ``"confidence"``, ``"distance"`` or ``"cells"``. On the map of
        classes a corner marks the wells with a warning.
    """
    wells, placed, most_cells = plate["wells"], plate["placed"], plate["most_cells"]
    rows, columns = plate["rows"], plate["columns"]
    if not placed:
        rows, columns = math.ceil(len(wells) / UNPLACED_COLUMNS), UNPLACED_COLUMNS
    left, top = (18, 16) if placed else (2, 2)
    parts = frame(columns, rows, left, top) if placed else []
    for number, well in enumerate(wells):
        row, column = (well["row"] - 1, well["column"] - 1) if placed else divmod(number, columns)
        drawn = _square(well, quantity, most_cells, left + column * WELL + 1, top + row * WELL + 1)
        named = f' data-n="{escape(well["name"])}"' if quantity == "class" else ""
        title = escape(well["words"])
        parts.append(f'<g class="w" data-w="{well["id"]}"{named}><title>{title}</title>{drawn}</g>')
    label = f"Plate map: {quantity} by well"
    return svg(left + columns * WELL + 2, top + rows * WELL + 2, label, parts, "group")


def frame(columns: int, rows: int, left: float, top: float) -> list[str]:
    """Draw the outline of a plate with the names of its rows and columns."""
    parts = [
        f'<rect class="plate" x="{left}" y="{top}" width="{columns * WELL}" '
        f'height="{rows * WELL}" rx="5"/>'
    ]
    parts += [
        f'<text class="tick" x="{left + (c + 0.5) * WELL}" y="{top - 5}">{c + 1}</text>'
        for c in range(columns)
        if c == 0 or (c + 1) % 4 == 0
    ]
    parts += [
        f'<text class="tick" x="{left - 8}" y="{top + (r + 0.5) * WELL + 3}">'
        f"{row_letters(r + 1)}</text>"
        for r in range(rows)
    ]
    return parts


def _square(well: dict[str, Any], quantity: str, most_cells: int, x: int, y: int) -> str:
    if quantity == "class":
        letters = escape(well["short"][:2])
        text = f'<text x="{x + 7.5:g}" y="{y + 10.5:g}">{letters}</text>'
        warning = corner(x, y) if well["warned"] else ""
        return f'<rect class="c{well["label"]}" x="{x}" y="{y}"/>{text}{warning}'
    if quantity == "distance" and well["distance"] is None:
        return f'<rect class="unknown" x="{x}" y="{y}"/>'
    fill = colour(position_of(well, quantity, most_cells))
    return f'<rect fill="{fill}" x="{x}" y="{y}"/>'


def corner(x: float, y: float) -> str:
    """Draw the mark of a warning into the upper right corner of a well."""
    return f'<path class="warning" d="M{x + 9:g} {y - 1:g}h7v7z"/>'


def warning_mark() -> Markup:
    """Return a well with the mark of a warning, for the legend."""
    well = '<rect class="unknown" x="1" y="1" width="15" height="15" rx="3"/>'
    return Markup(
        f'<svg class="symbol" viewBox="0 0 17 17" aria-hidden="true">{well}{corner(1, 1)}</svg>'
    )


def position_of(well: dict[str, Any], quantity: str, most_cells: int) -> float:
    """Return the position of a well on the colour scale, 0 to 1.

    Share and confidence run from 0 to 100 %, distance from 0 to `FAR_WELL`, cells from 0 to
    `most_cells`.
    """
    ends = {"share": 1.0, "confidence": 1.0, "distance": FAR_WELL, "n_cells": max(most_cells, 1)}
    key = "n_cells" if quantity == "cells" else quantity
    return float(np.clip(well[key] / ends[key], 0, 1))


def colour(position: float) -> str:
    """Return the colour of a position on the scale, 0 to 1, as ``#rrggbb``."""
    place = position * (len(_CIVIDIS) - 1)
    below = min(int(place), len(_CIVIDIS) - 2)
    pairs = zip(_CIVIDIS[below], _CIVIDIS[below + 1], strict=True)
    channels = [round(a + (b - a) * (place - below)) for a, b in pairs]
    return "#{:02x}{:02x}{:02x}".format(*channels)


def colour_scale() -> Markup:
    """Return the CSS gradient of the maps' colours."""
    return Markup("linear-gradient(90deg,{})").format(
        Markup(",".join("#{:02x}{:02x}{:02x}".format(*stop) for stop in _CIVIDIS))
    )
