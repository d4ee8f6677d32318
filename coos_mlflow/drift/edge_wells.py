"""Edge wells compared with inner wells: edge wells dry out, and are often imaged worse."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.plates.wells import PLATE_SIZES, plate_size


def edge_against_inner(wells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the wells at the edge of each plate with its inner ones.

    A plate is assumed to have 384 wells, or 1,536 if its well positions need as many. Plates whose
    wells would all fit on a 96-well plate are left out, since the edge of that size lies elsewhere.
    Plates without edge wells or without inner wells are left out too.

    Parameters
    ----------
    wells : list of dict
        ``wells`` of drift.json.

    Returns
    -------
    list of dict
        ``plate``, and for ``edge`` and ``inner`` wells each ``n_wells`` and the means over wells
        of ``distance``, ``confidence`` and ``n_cells``; distance is None where no well has one.
    """
    comparisons = []
    for plate in dict.fromkeys(well["plate"] for well in wells):
        own = [well for well in wells if well["plate"] == plate and well["row"] > 0]
        size = drawn_size(own)
        edge = [well for well in own if _is_edge(well, size)]
        inner = [well for well in own if not _is_edge(well, size)]
        if edge and inner and size != PLATE_SIZES[0]:
            comparisons.append({"plate": plate, "edge": _means(edge), "inner": _means(inner)})
    return comparisons


def _is_edge(well: dict[str, Any], size: tuple[int, int]) -> bool:
    rows, columns = size
    return well["row"] in (1, rows) or well["column"] in (1, columns)


def drawn_size(wells: list[dict[str, Any]]) -> tuple[int, int]:
    """Return rows and columns of the smallest plate that has all wells with a known position."""
    rows = max((well["row"] for well in wells), default=0)
    columns = max((well["column"] for well in wells), default=0)
    return plate_size(rows, columns) or PLATE_SIZES[-1]


def _means(wells: list[dict[str, Any]]) -> dict[str, Any]:
    distances = [well["distance"] for well in wells if well["distance"] is not None]
    return {
        "n_wells": len(wells),
        "distance": _mean(distances) if distances else None,
        "confidence": _mean([well["confidence"] for well in wells]),
        "n_cells": _mean([well["n_cells"] for well in wells]),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
