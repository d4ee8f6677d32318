"""The wells at the edge of a plate beside its inner ones: they dry out, and are imaged worse."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.data.wells import N_COLUMNS, N_ROWS

SMALL_ROWS, SMALL_COLUMNS = 8, 12
"""Rows and columns of a 96-well plate (ANSI SLAS 4-2004)."""


def edge_against_inner(wells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the wells at the edge of each 384-well plate with its inner ones.

    Plates whose wells would all fit on a 96-well plate are left out, since its edge is another,
    and so are those that lack either kind.

    Parameters
    ----------
    wells : list of dict
        Those of drift.json.

    Returns
    -------
    list of dict
        ``plate``, and for ``edge`` and ``inner`` wells each ``n_wells`` and the means over wells
        of ``distance``, ``confidence`` and ``n_cells``; a distance is None where none is known.
    """
    found = []
    for plate in dict.fromkeys(well["plate"] for well in wells):
        own = [well for well in wells if well["plate"] == plate and well["row"] > 0]
        edge = [well for well in own if _is_edge(well)]
        inner = [well for well in own if not _is_edge(well)]
        if edge and inner and not fits_96(own):
            found.append({"plate": plate, "edge": _means(edge), "inner": _means(inner)})
    return found


def _is_edge(well: dict[str, Any]) -> bool:
    return well["row"] in (1, N_ROWS) or well["column"] in (1, N_COLUMNS)


def fits_96(wells: list[dict[str, Any]]) -> bool:
    """Tell whether all wells whose place is known would fit on a 96-well plate."""
    placed = [well for well in wells if well["row"] > 0]
    return bool(placed) and all(
        well["row"] <= SMALL_ROWS and well["column"] <= SMALL_COLUMNS for well in placed
    )


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
