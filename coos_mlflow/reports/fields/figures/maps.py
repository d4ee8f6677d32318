"""Maps of a plate: wells at their positions, coloured by cells, warnings or a figure."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.maps import UNPLACED_COLUMNS, WELL, colour, corner, frame
from coos_mlflow.reports.plate.figures.svg import svg


def field_map(plate: dict[str, Any], quantity: dict[str, Any]) -> Markup:
    """Draw the wells of a plate at their positions, or row by row where they have none.

    Wells without cells have a cross on every map, and wells with a warning a mark in a corner.

    Parameters
    ----------
    plate : dict
        One of `coos_mlflow.reports.fields.maps.plate_maps`.
    quantity : dict
        One of `coos_mlflow.reports.fields.maps.quantities`.
    """
    wells, placed = plate["wells"], plate["placed"]
    rows, columns = plate["rows"], plate["columns"]
    if not placed:
        rows, columns = math.ceil(len(wells) / UNPLACED_COLUMNS), UNPLACED_COLUMNS
    left, top = (18, 16) if placed else (2, 2)
    parts = frame(columns, rows, left, top) if placed else []
    for number, well in enumerate(wells):
        row, column = (well["row"] - 1, well["column"] - 1) if placed else divmod(number, columns)
        x, y = left + column * WELL + 1, top + row * WELL + 1
        square = _square(well, quantity["positions"][well["id"]], x, y)
        title = f"<title>{escape(well['words'])}</title>"
        name = f' data-n="{escape(well["name"])}"'
        parts.append(f'<g class="w" data-w="{well["id"]}"{name}>{title}{square}</g>')
    label = f"Plate map: {quantity['title']}"
    return svg(left + columns * WELL + 2, top + rows * WELL + 2, label, parts, "group")


def _square(well: dict[str, Any], position: float | None, x: float, y: float) -> str:
    unknown = position is None or well["empty"]
    fill = 'class="unknown"' if unknown else f'fill="{colour(position or 0.0)}"'
    square = f'<rect {fill} x="{x:g}" y="{y:g}"/>'
    if well["empty"]:
        square += f'<path class="cross" d="M{x + 4:g} {y + 4:g}l7 7m0-7l-7 7"/>'
    return square + (corner(x, y) if well["warned"] else "")


def empty_mark() -> Markup:
    """Return a well without cells, for the legend."""
    well = {"empty": True, "warned": False}
    drawn = _square(well, None, 1, 1).replace("<rect ", '<rect width="15" height="15" rx="3" ')
    return Markup(f'<svg class="symbol" viewBox="0 0 17 17" aria-hidden="true">{drawn}</svg>')
