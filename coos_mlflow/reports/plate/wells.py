"""The wells of a report: their positions, classes, shares, warnings, and further figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from coos_mlflow.drift.edge_wells import drawn_size
from coos_mlflow.drift.wells import TORN
from coos_mlflow.reports.plate.dataset import short_names
from coos_mlflow.reports.plate.wording import plate_words, shown, without_controls

MAX_COLUMNS = 8
"""Largest number of a layout's columns that the figures of a well show."""

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
    odd = {entry["plate"]: entry["odd_wells"] for entry in drift["plates"]}
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
                "have_classes": drift["wells_have_classes"],
                "warnings": _warning_counts([well for _, well in rows]),
                "odd": [shown(name) for name in odd[plate]],
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
    commonest = int(np.argmax(well["shares"]))
    label = commonest if well["label"] is None else well["label"]
    return {
        "id": number,
        "well": name,
        "name": f"well {name} of {plate_words(well['plate'])}" if several else f"well {name}",
        "row": well["row"],
        "column": well["column"],
        "n_cells": well["n_cells"],
        "confidence": well["confidence"],
        "distance": well["distance"],
        "share": well["shares"][commonest],
        "warned": bool(well["warnings"]),
        "label": label,
        "short": shorts[label],
        "words": f"{name}: {_figures(well, shorts)}",
    }


def _figures(well: dict[str, Any], shorts: list[str]) -> str:
    """Return the figures of a well in words: class or shares, warnings, layout, then the rest."""
    distance = "unknown" if well["distance"] is None else f"{well['distance']:.1f}"
    parts = [
        *_class_words(well, shorts),
        f"{well['n_cells']} cells",
        _share_words(well, shorts),
        *(f"warning: {without_controls(warning)}" for warning in well["warnings"]),
        *_layout_words(well["layout"] or {}),
        f"confidence {well['confidence']:.0%}",
        f"distance {distance}",
    ]
    return "; ".join(parts)


def _class_words(well: dict[str, Any], shorts: list[str]) -> list[str]:
    if well["label"] is None:
        return []
    return [
        f"{shorts[well['label']]}, probability {_probability(well['probability'])}",
        f"{well['disagree']:.0%} of its cells disagree",
    ]


def _share_words(well: dict[str, Any], shorts: list[str]) -> str:
    """Return the shares, the largest first; with intervals where they are the result."""
    order = sorted(range(len(shorts)), key=lambda label: -well["shares"][label])
    words = []
    for label in order:
        share, low, high = (well[key][label] for key in ("shares", "share_lows", "share_highs"))
        if share > _MIN_SHARE:
            interval = f" ({low:.0%} to {high:.0%})" if well["label"] is None else ""
            words.append(f"{shorts[label]} {share:.0%}{interval}")
    return ", ".join(words)


def _layout_words(values: dict[str, Any]) -> list[str]:
    known = [(name, value) for name, value in values.items() if value is not None]
    return [f"{shown(name)} {shown(value)}" for name, value in known[:MAX_COLUMNS]]


def _probability(value: float) -> str:
    return "above 99.9%" if value > 0.999 else f"{value:.1%}"


def _warning_counts(wells: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Return each kind of warning and its number of wells, the commonest first."""
    kinds = Counter(_kind(warning) for well in wells for warning in well["warnings"])
    return kinds.most_common()


def _kind(warning: str) -> str:
    return f"{TORN} two classes" if warning.startswith(TORN) else warning
