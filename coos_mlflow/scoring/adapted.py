"""Results of a model that was adapted to a plate: what its reference no longer tells.

The reference is that of the version before. Estimates without labels are calibrated for that one.
"""

from __future__ import annotations

import math
from typing import Any

from coos_mlflow.drift.error_estimate import MEASURED, without_figures
from coos_mlflow.registry.adapted import Adapted
from coos_mlflow.registry.versions import ModelRef


def adapted_entry(model: ModelRef) -> dict[str, Any] | None:
    """Return what drift.json says of an adapted model; None for one that was trained."""
    found = Adapted.of(model.tags)
    if found is None:
        return None
    return {
        "version": found.parent,
        "plate": found.plate,
        "sha256": found.sha256,
        "labels": found.labels,
        "error": [None if math.isnan(value) else value for value in found.after],
    }


def without_estimate(drift: dict[str, Any]) -> dict[str, Any]:
    """Return drift.json without errors that were estimated, where the model was adapted.

    Errors that a plate map measures stay.
    """
    adapted = drift["model"].get("adapted")
    if adapted is None:
        return drift
    reason, n_classes = _reason(adapted, drift), len(drift["dataset"]["classes"])

    def told(entry: dict[str, Any]) -> dict[str, Any]:
        error = entry["error"]
        measured = error is None or error["answer"] == MEASURED
        return entry if measured else entry | {"error": without_figures(error, n_classes, reason)}

    return told(drift) | {"plates": [told(plate) for plate in drift["plates"]]}


def _reason(adapted: dict[str, Any], drift: dict[str, Any]) -> str:
    if adapted["sha256"] != drift["plate_file"]["sha256"]:
        return (
            f"The model was adapted to another plate, {adapted['plate']}; what it does to this one "
            "was never measured."
        )
    value, low, high = adapted["error"]
    figure = "" if value is None else f" is {value:.1f} % ({low:.1f} to {high:.1f} %)"
    return (
        f"The model was adapted to this plate by {adapted['labels']} labelled cells. Its balanced "
        f"error on such cells, left out of the fit,{figure or ' is not known'}."
    )
