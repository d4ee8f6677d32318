"""The wells of a report: their positions on the plate, cells, classes, confidence and distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift.edge_wells import drawn_size
from coos_mlflow.reports.plate.dataset import short_names
from coos_mlflow.reports.plate.wording import plate_words, shown

_MIN_SHARE = 0.005


def plate_maps(drift: dict[str, Any], plates: list[str]) -> list[dict[str, Any]]:
    """Return the map of each plate that has wells: its wells, its size, and its edge effect.

    Parameters
    ----------
    drift : dict
        The content of drift.json.
    plates : list of str
        Ids of the plates to draw.
    """
    several, shorts = len(drift["plates"]) > 1, short_names(drift)
    edges = {entry["plate"]: entry for entry in drift["edge_wells"]}
    maps = []
    for plate in plates:
        rows = [(n, well) for n, well in enumerate(drift["wells"]) if well["plate"] == plate]
        if not rows:
            continue
        wells = [_well(number, well, shorts, several) for number, well in rows]
        size = drawn_size([well for _, well in rows])
        maps.append(
            {
                "plate": plate_words(plate),
                "wells": wells,
                "most_cells": max(well["n_cells"] for well in wells),
                "placed": all(well["row"] > 0 for well in wells),
                "rows": size[0],
                "columns": size[1],
                "edge": edges.get(plate),
            }
        )
    return maps


def _well(number: int, well: dict[str, Any], shorts: list[str], several: bool) -> dict[str, Any]:
    """Return a well and its figures; ``id`` is its number in drift.json, as its cells have it."""
    name = shown(well["well"])
    label = int(np.argmax(well["shares"]))
    return {
        "id": number,
        "well": name,
        "name": f"well {name} of {plate_words(well['plate'])}" if several else f"well {name}",
        "row": well["row"],
        "column": well["column"],
        "n_cells": well["n_cells"],
        "confidence": well["confidence"],
        "distance": well["distance"],
        "label": label,
        "short": shorts[label],
        "words": f"{name}: {_figures(well, shorts)}",
    }


def _figures(well: dict[str, Any], shorts: list[str]) -> str:
    """Return the figures of a well in words, its commonest class first."""
    shares = sorted(enumerate(well["shares"]), key=lambda pair: -pair[1])
    classes = ", ".join(
        f"{shorts[label]} {share:.0%}" for label, share in shares if share > _MIN_SHARE
    )
    distance = "unknown" if well["distance"] is None else f"{well['distance']:.1f}"
    return (
        f"{well['n_cells']} cells; {classes}; confidence {well['confidence']:.0%}; "
        f"distance {distance}"
    )
