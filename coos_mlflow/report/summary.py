"""Turns scores, assessment and reference into the one plain dict that the report page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

from coos_mlflow.data.cells import (
    CLASS_ABBREVIATIONS,
    CLASSES,
    SPLIT_MEANINGS,
    SPLIT_TITLES,
    SPLITS,
)
from coos_mlflow.drift.verdict import CANNOT_TELL, SHIFTED
from coos_mlflow.drift.views import VIEWS
from coos_mlflow.report import wording
from coos_mlflow.report.wells import WELL_COLUMNS, plate_maps
from coos_mlflow.report.wording import shown

__all__ = ["EXAMPLE_ROLES", "WELL_COLUMNS", "ExampleCell", "ModelInfo", "summarise"]

EXAMPLE_ROLES = {
    "typical": "Most typical",
    "doubtful": "Least confident",
    "farthest": "Farthest from the reference",
    "reference": "Reference cells",
}
"""What an example cell is an example of, and how the page names it."""

REFERENCE_CELLS = {"training": 4, "test3": 1, "test4": 1}
"""Reference cells shown beside those of each class, by split."""

VIEW_TITLES = {
    "softmax": "What the model answers",
    "features": "What the model sees",
    "raw": "What the camera recorded",
}

VIEW_MEANINGS = {
    "softmax": "probabilities of the classes",
    "features": "main axes of the representation",
    "raw": "brightness, contrast, focus and so on",
}

LEFT_OUT = "each plate predicted by a fit on the other plates"
"""What the reference's figures of Training are; on its own cells a fit looks better than it is."""

MOST_PLATES = 50
"""Plates that the page lists; the farthest come first."""

MOST_MAPS = 4
"""Plates whose map is drawn; the farthest come first."""


class ExampleCell(TypedDict):
    """A cell to look at.

    ``image`` is (2, 64, 64) raw counts, ``label`` the predicted class or, for a reference cell,
    the true one, ``role`` a key of `EXAMPLE_ROLES`, ``index`` the row in the file, ``distance``
    that from the reference cells of its class, ``split`` the origin of a reference cell.
    """

    image: np.ndarray
    label: int
    role: str
    plate: NotRequired[str]
    well: NotRequired[str]
    index: NotRequired[int]
    confidence: NotRequired[float]
    distance: NotRequired[float]
    split: NotRequired[str]


class ModelInfo(TypedDict):
    """What the page says of the model.

    ``errors`` is the balanced error in % by split, ``recalls`` the recall of each of the seven
    classes by split (a fraction, NaN where the split lacks the class), ``alias`` may be None.
    """

    name: str
    version: str
    alias: str | None
    trained_on: str
    simulated: bool
    errors: dict[str, float]
    recalls: dict[str, Sequence[float]]


def summarise(
    assessment: dict[str, Any],
    *,
    wells: pd.DataFrame,
    cells: Sequence[ExampleCell],
    model: ModelInfo,
    plate_name: str,
    plate_simulated: bool,
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Collect all that the report shows.

    Parameters
    ----------
    assessment : dict
        What `coos_mlflow.drift.verdict.assess` returned.
    wells : DataFrame
        One row a well, with `WELL_COLUMNS`.
    cells : sequence of ExampleCell
        Of the plate and of the reference, in the order in which to show them.
    model : ModelInfo
        The model that scored.
    plate_name : str
        The file, as the title spells it.
    plate_simulated : bool
        Whether the scored file says that it was simulated.
    provenance : dict
        Whatever tells how this was made, by name, in the order to show; values may be dicts.

    Returns
    -------
    dict
        Plain values, but for the images of ``cells``, which stay arrays.
    """
    plates = _farthest_first(assessment["plates"])
    alias = None if model["alias"] is None else shown(model["alias"])
    return {
        "title": shown(plate_name),
        "verdict": wording.verdict(assessment, model["errors"]),
        "simulated": wording.simulated(plate=plate_simulated, model=model["simulated"]),
        "key_figures": _key_figures(assessment, wells),
        "model": {"name": shown(model["name"]), "version": shown(model["version"]), "alias": alias},
        "plates": [_plate_row(plate) for plate in plates[:MOST_PLATES]],
        "plates_left_out": max(0, len(plates) - MOST_PLATES),
        "ladder": _ladder(assessment, plates[:MOST_PLATES]),
        "shares": _shares(assessment),
        "maps": plate_maps(wells, [plate["plate"] for plate in plates[:MOST_MAPS]]),
        "maps_left_out": max(0, len(plates) - MOST_MAPS),
        "cells": _cells(cells, assessment["class_shares"]["predicted"]),
        "moves": _moves(assessment, plates),
        "trained_on": shown(model["trained_on"]),
        "errors": _errors(model),
        "provenance": _flat(provenance),
    }


def _farthest_first(plates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(plates, key=lambda plate: np.inf if plate["score"] is None else -plate["score"])


def _key_figures(assessment: dict[str, Any], wells: pd.DataFrame) -> list[dict[str, str]]:
    plates, reference = assessment["plates"], assessment["reference"]
    figures = [("cells", f"{assessment['n_cells']:,}")]
    if assessment["has_well_ids"]:
        figures.append(("wells", f"{len(wells):,}"))
    confidence = np.average(wells["confidence"], weights=wells["n_cells"])
    figures.append(("mean confidence", f"{confidence:.0%}"))
    if len(plates) > 1:
        shifted = sum(plate["verdict"] == SHIFTED for plate in plates)
        figures.insert(0, ("plates", f"{len(plates)}"))
        figures.append(("plates shifted", f"{shifted}"))
    elif plates[0]["verdict"] != CANNOT_TELL:
        figures.append(("rank p (small: unusual)", f"{plates[0]['p']:.2g}"))
    figures.append(("reference plates, m", f"{reference['m']}"))
    figures.append(("smallest p that m allows", f"{reference['smallest_p']:.2g}"))
    return [{"label": label, "value": value} for label, value in figures]


def _plate_row(plate: dict[str, Any]) -> dict[str, Any]:
    names = ", ".join(CLASS_ABBREVIATIONS[label] for label in plate["classes"])
    keep = ("verdict", "reason", "n_cells", "n_wells", "p", "smallest_p", "distances", "usual")
    return {
        "plate": shown(plate["plate"]),
        "classes": names or "none",
        "beyond": wording.is_beyond(plate),
        **{key: plate[key] for key in keep},
    }


def _ladder(assessment: dict[str, Any], plates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each view its title, usual limit and rows of marks: the plates, then splits."""
    placed = [plate for plate in plates if plate["score"] is not None]
    splits = assessment["reference"]["ladder"]
    title = "This plate" if len(placed) == 1 else "These plates"
    panels = []
    for view in VIEWS:
        rows = [{"key": "new", "title": title, "marks": _marks(placed, view)}]
        rows += [
            {"key": split, "title": SPLIT_TITLES[split], "marks": _marks(splits[split], view)}
            for split in SPLITS
            if splits.get(split)
        ]
        panels.append(
            {
                "view": view,
                "title": VIEW_TITLES[view],
                "meaning": VIEW_MEANINGS[view],
                "usual": min((plate["usual"][view] for plate in placed), default=None),
                "rows": rows,
            }
        )
    return panels


def _marks(plates: list[dict[str, Any]], view: str) -> list[dict[str, Any]]:
    return [
        {"words": wording.plate_words(plate["plate"]), "distance": plate["distances"][view]}
        for plate in plates
    ]


def _shares(assessment: dict[str, Any]) -> list[dict[str, Any]]:
    shares = assessment["class_shares"]
    columns = zip(CLASSES, shares["predicted"], shares["corrected"], strict=True)
    return [
        {"label": label, "name": name, "predicted": predicted, "corrected": corrected}
        for label, (name, predicted, corrected) in enumerate(columns)
    ]


def _cells(cells: Sequence[ExampleCell], predicted: list[float]) -> list[dict[str, Any]]:
    """Group the example cells by class, the commonest first, and by role."""
    classes = []
    for label in sorted(range(len(CLASSES)), key=lambda label: -predicted[label]):
        own = [cell for cell in cells if cell["label"] == label]
        roles = [
            {"role": role, "title": title, "cells": [_cell(cell) for cell in _of_role(own, role)]}
            for role, title in EXAMPLE_ROLES.items()
        ]
        if any(role["cells"] for role in roles if role["role"] != "reference"):
            classes.append({"name": CLASSES[label], "share": predicted[label], "roles": roles})
    return classes


def _of_role(cells: list[ExampleCell], role: str) -> list[ExampleCell]:
    if role != "reference":
        return [cell for cell in cells if cell["role"] == role]
    known = [cell for cell in cells if cell["role"] == role]
    return [
        cell
        for split, number in REFERENCE_CELLS.items()
        for cell in [cell for cell in known if cell.get("split") == split][:number]
    ]


def _cell(cell: ExampleCell) -> dict[str, Any]:
    split = SPLIT_TITLES.get(cell.get("split", ""), "")
    confidence = f"{cell['confidence']:.0%}" if "confidence" in cell else ""
    words = [split] if split else []
    if "plate" in cell:
        words.append(wording.plate_words(cell["plate"]))
    if "well" in cell:
        words.append(f"well {shown(cell['well'])}")
    if "index" in cell:
        words.append(f"cell {cell['index']}")
    if confidence:
        words.append(f"confidence {confidence}")
    if "distance" in cell:
        words.append(f"distance {cell['distance']:.1f}")
    return {"image": cell["image"], "words": ", ".join(words), "caption": confidence or split}


def _moves(assessment: dict[str, Any], plates: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the raw-image figures of the farthest plate that has any."""
    for plate in plates:
        rows = [move for move in assessment["raw_moves"] if move["plate"] == plate["plate"]]
        if rows:
            return {
                "plate": shown(plate["plate"]),
                "others": len(plates) - 1,
                "at": assessment["settings"]["moved_at"],
                "rows": [row | {"words": _move_words(row)} for row in rows],
                "moved": [row["figure"] for row in rows if row["moved"]],
            }
    return None


def _move_words(move: dict[str, Any]) -> str:
    if move["change_is"] == "factor":
        return f"×{move['change']:.3g}"
    return f"{move['change']:+.2f}"


def _errors(model: ModelInfo) -> list[dict[str, Any]]:
    """Return balanced error and recalls of each split; a recall is None without cells."""
    unknown = [np.nan] * len(CLASSES)
    return [
        {
            "split": SPLIT_TITLES[split],
            "meaning": LEFT_OUT if split == "training" else SPLIT_MEANINGS[split],
            "error": model["errors"][split],
            "recalls": [
                None if np.isnan(value) else float(value)
                for value in model["recalls"].get(split, unknown)
            ],
        }
        for split in SPLITS
        if split in model["errors"]
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return names and values of a tree as rows of text."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += _flat(value, f"{name}: ")
        elif value is not None:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)[:1000]
            rows.append((wording.without_controls(name), wording.without_controls(text)))
    return rows
