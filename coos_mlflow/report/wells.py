"""The wells of a report: their place on the plate, cells, classes, confidence and distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow.data.cells import CLASSES
from coos_mlflow.data.wells import N_COLUMNS, N_ROWS
from coos_mlflow.report.wording import shown

WELL_COLUMNS = (
    "plate",
    "well",
    "row",
    "column",
    "n_cells",
    "confidence",
    "distance",
    *(f"share_{label}" for label in range(len(CLASSES))),
)
"""Columns of the table of wells: ids; row and column counted from 1, 0 where the id does not say;
number of cells; their mean confidence; distance (NaN where unknown); shares of the classes."""


def plate_maps(table: pd.DataFrame, plates: list[str]) -> list[dict[str, Any]]:
    """Return for each of `plates` its wells, and how its border differs from its inner wells."""
    maps = []
    for plate in plates:
        wells = table[table["plate"] == plate]
        records = [_well(dict(row)) for _, row in wells.iterrows()]
        maps.append({"plate": shown(plate), "wells": records, "border": _border(wells)})
    return maps


def _well(row: dict[Any, Any]) -> dict[str, Any]:
    shares = [float(row[f"share_{label}"]) for label in range(len(CLASSES))]
    return {
        "well": shown(row["well"]) or "no name",
        "row": int(row["row"]),
        "column": int(row["column"]),
        "n_cells": int(row["n_cells"]),
        "confidence": float(row["confidence"]),
        "distance": None if pd.isna(row["distance"]) else float(row["distance"]),
        "label": int(np.argmax(shares)),
        "share": max(shares),
    }


def _border(wells: pd.DataFrame) -> dict[str, float] | None:
    """Compare wells at the border of a 384-well plate with inner ones, where both are there."""
    known = wells[wells["distance"].notna() & (wells["row"] > 0)]
    on_border = known["row"].isin([1, N_ROWS]) | known["column"].isin([1, N_COLUMNS])
    if on_border.all() or not on_border.any():
        return None
    return {
        "border": float(known.loc[on_border, "distance"].mean()),
        "inner": float(known.loc[~on_border, "distance"].mean()),
    }
