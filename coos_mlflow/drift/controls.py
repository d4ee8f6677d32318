"""Wells of known class: the error that is measured in them, and what follows for the rest.

A plate map may say what a well holds. There the error is measured, the estimate is compared with
it, and the verdict uses it first. Open this to change when measured errors overrule an estimate or
a distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coos_mlflow.drift import CANNOT_TELL, SHIFTED
from coos_mlflow.drift.error_estimate import (
    AT_LEAST,
    MEASURED,
    MIN_CLASS_SHARE,
    MIN_MARGIN,
    nan_to_none,
    without_figures,
)
from coos_mlflow.drift.recall_intervals import intervals
from coos_mlflow.metrics import balanced_error, recalls
from coos_mlflow.plates.layout import NONE

MAX_EXCESS = 5.0
"""Points by which the measured error may surely exceed that of Training's left-out plates. Plates
of Training differ by less from each other, and a difference of 5 points changes results."""

Well = tuple[str, str]
"""Plate and name of a well."""


def measure(
    votes: np.ndarray,
    plates: np.ndarray,
    wells: np.ndarray,
    labels: np.ndarray,
    known: np.ndarray,
    n_cells: int,
) -> dict[str, Any]:
    """Measure the error in wells of known class.

    Parameters
    ----------
    votes : ndarray, shape (wells, classes)
        Cells of each well by label.
    plates, wells : ndarray of str, shape (wells,)
        Plate and name of each well.
    labels : ndarray of int, shape (wells,)
        The label that each well is decided for.
    known : ndarray of int, shape (wells,)
        The class of each well, or `NONE`.
    n_cells : int
        Cells of the file or plate, in all wells.

    Returns
    -------
    dict
        ``controls`` of docs/drift.md, except for the figures of the estimate.
    """
    held = known != NONE
    right, cells = votes[np.arange(len(votes)), np.maximum(known, 0)], votes.sum(axis=1)
    entry = {
        "n_wells": int(held.sum()),
        "n_cells": int(cells[held].sum()),
        "covers": float(cells[held].sum() / n_cells),
        "none": {"n_wells": int((~held).sum()), "n_cells": int(cells[~held].sum())},
        "misread": [
            {
                "plate": str(plates[n]),
                "well": str(wells[n]),
                "class": int(known[n]),
                "label": int(labels[n]),
                "n_cells": int(cells[n]),
            }
            for n in np.flatnonzero(held & (labels != known))
        ],
    }
    return entry | _figures(right[held], cells[held], known[held], plates[held], votes.shape[1])


def missing_classes(
    known: np.ndarray, cells: np.ndarray, found: set[int], n_cells: int
) -> list[dict[str, Any]]:
    """Return classes that the map names and no well is decided for, with their share of cells.

    Parameters
    ----------
    known, cells : ndarray, shape (wells,)
        Class, or `NONE`, and cells of each well of known class.
    found : set of int
        Labels that some well, of known class or not, is decided for.
    n_cells : int
        Cells of the file or plate.
    """
    return [
        {"class": int(label), "expected": float(cells[known == label].sum() / n_cells)}
        for label in np.unique(known[known != NONE])
        if int(label) not in found
    ]


def _figures(
    right: np.ndarray, cells: np.ndarray, known: np.ndarray, plates: np.ndarray, n_classes: int
) -> dict[str, Any]:
    """Return error and recalls of wells of known class, with intervals over wells and plates."""
    values, lows, highs = np.full((3, n_classes), np.nan)
    classes = np.unique(known)
    figures: dict[str, Any] = dict.fromkeys(("balanced_error", "low", "high", "wrong_labels"))
    if len(classes):
        values[classes] = [right[known == c].sum() / cells[known == c].sum() for c in classes]
        lows[classes], highs[classes], (low, high) = _widest(right, cells, known, plates)
        figures = {
            "balanced_error": float(100 * (1 - values[classes].mean())),
            "low": low,
            "high": high,
            "wrong_labels": float(100 * (1 - right.sum() / cells.sum())),
        }
    return figures | {
        "classes": classes.tolist(),
        "recalls": nan_to_none(values),
        "recall_lows": nan_to_none(lows),
        "recall_highs": nan_to_none(highs),
    }


def _widest(
    right: np.ndarray, cells: np.ndarray, known: np.ndarray, plates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return intervals over wells, widened by those over plates where there are several."""
    lows, highs, (low, high) = intervals(right, cells, known)
    names, plate = np.unique(plates, return_inverse=True)
    if len(names) == 1:
        return lows, highs, (low, high)
    units, unit = np.unique(np.stack([known, plate]), axis=1, return_inverse=True)
    sums = [np.bincount(unit.ravel(), weights=values) for values in (right, cells)]
    own_lows, own_highs, (own_low, own_high) = intervals(sums[0], sums[1], units[0])
    return (
        np.minimum(lows, own_lows),
        np.maximum(highs, own_highs),
        (min(low, own_low), max(high, own_high)),
    )


def with_controls(
    assessment: dict[str, Any],
    known_classes: Mapping[Well, int],
    estimates: Mapping[Well, np.ndarray],
    margin: float,
    training: np.ndarray | None,
) -> dict[str, Any]:
    """Return an assessment in which wells of known class have their say.

    Parameters
    ----------
    assessment : dict
        From `assess`, as it is without a plate map.
    known_classes : mapping of (str, str) to int
        By plate and well, its class or `NONE`. Wells without counted cells are passed over.
    estimates : mapping of (str, str) to ndarray, shape (classes, classes)
        By plate and well, the confusions that the chosen estimator gives it. Empty for none.
    margin : float
        Of the estimator, in points.
    training : ndarray, shape (classes, classes), or None
        Confusions of Training's left-out plates.
    """
    plates = []
    for plate in assessment["plates"]:
        own = [well for well in assessment["wells"] if well["plate"] == plate["plate"]]
        controls = _controls(own, known_classes, estimates, margin, training, plate["n_cells"])
        error = checked_error(plate["error"], controls, plate["n_cells"])
        plates.append(judged(plate | {"controls": controls, "error": error}))
    controls = _controls(
        assessment["wells"], known_classes, estimates, margin, training, assessment["n_cells"]
    )
    file_verdict, reason = _overall(plates, assessment["verdict"], assessment["reason"])
    return assessment | {
        "plates": plates,
        "verdict": file_verdict,
        "reason": reason,
        "error": checked_error(assessment["error"], controls, assessment["n_cells"]),
        "controls": controls,
    }


def _controls(
    wells: list[dict[str, Any]],
    known_classes: Mapping[Well, int],
    estimates: Mapping[Well, np.ndarray],
    margin: float,
    training: np.ndarray | None,
    n_cells: int,
) -> dict[str, Any] | None:
    """Return the controls of the file or of a plate, None where no well is known."""
    labels = [_label(well) for well in wells]
    pairs = [(well["plate"], well["well"]) for well in wells]
    chosen = [n for n, pair in enumerate(pairs) if pair in known_classes]
    if not chosen:
        return None
    known = np.array([known_classes[pairs[n]] for n in chosen])
    votes = np.array(
        [np.rint(np.multiply(wells[n]["shares"], wells[n]["n_cells"])) for n in chosen]
    )
    names = np.array([pairs[n] for n in chosen])
    decided = np.array([labels[n] for n in chosen])
    controls = measure(votes, names[:, 0], names[:, 1], decided, known, n_cells)
    controls["missing"] = missing_classes(known, votes.sum(axis=1), set(labels), n_cells)
    given = [estimates[pairs[n]] for n in chosen if known_classes[pairs[n]] != NONE and estimates]
    return controls | _compared(controls, given, margin) | _beside_training(controls, training)


def _label(well: dict[str, Any]) -> int:
    """Return the class that a well is decided for; the commonest label where wells mix classes."""
    return int(np.argmax(well["shares"])) if well["label"] is None else int(well["label"])


def _compared(
    controls: dict[str, Any], estimates: list[np.ndarray], margin: float
) -> dict[str, Any]:
    """Return the estimate for the same wells, and whether it agrees with what was measured."""
    if not estimates:
        return {"estimated": None, "agrees": None}
    total = np.sum(estimates, axis=0)
    estimated = float(balanced_error(total, min_share=MIN_CLASS_SHARE))
    width = max(margin, MIN_MARGIN)
    agrees = controls["low"] - width <= estimated <= controls["high"] + width
    return {"estimated": estimated, "agrees": bool(agrees)}


def _beside_training(controls: dict[str, Any], training: np.ndarray | None) -> dict[str, Any]:
    """Return Training's error in the same classes, and whether the controls are surely worse."""
    usual = None
    if training is not None and controls["classes"]:
        own = recalls(training)[controls["classes"]]
        usual = float(100 * (1 - np.nanmean(own))) if np.isfinite(own).any() else None
    worse = usual is not None and bool(controls["low"] - usual > MAX_EXCESS)
    return {"usual": usual, "worse": worse}


def checked_error(
    error: dict[str, Any], controls: dict[str, Any] | None, n_cells: int
) -> dict[str, Any]:
    """Return the error of a plate or file of `n_cells` cells, once compared with its controls."""
    if controls is None or controls["balanced_error"] is None:
        return error
    if controls["n_cells"] + controls["none"]["n_cells"] == n_cells:
        return error | _measured(controls, n_cells)
    if controls["agrees"] is not False or error["answer"] == CANNOT_TELL:
        return error
    measured, estimated = controls["balanced_error"], controls["estimated"]
    reason = (
        f"In the control wells the error is {measured:.1f} % ({controls['low']:.1f} to "
        f"{controls['high']:.1f} %), but is estimated to be {estimated:.1f} %: the estimate is too "
        f"{'low' if measured > estimated else 'high'} on this plate map."
    )
    n_classes = len(error["recalls"])
    if measured > estimated:
        lows = [None] * n_classes
        return error | {"answer": AT_LEAST, "high": None, "recall_lows": lows, "reason": reason}
    return without_figures(error, n_classes, reason)


def _measured(controls: dict[str, Any], n_cells: int) -> dict[str, Any]:
    keys = ("balanced_error", "low", "high", "classes", "recalls", "recall_lows", "recall_highs")
    # Every label of a well that holds none of the classes is wrong.
    wrong = controls["wrong_labels"] * controls["n_cells"] + 100 * controls["none"]["n_cells"]
    return {
        **{key: controls[key] for key in keys},
        "wrong_labels": wrong / n_cells,
        "answer": MEASURED,
        "reason": f"The plate map says what every well holds, so that the error of all {n_cells:,} "
        "cells is measured; its range is over wells.",
    }


def judged(plate: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a plate with the verdict that its wells of known class ask for."""
    controls = plate["controls"]
    if controls is None or controls["balanced_error"] is None:
        return plate
    if controls["worse"]:
        said = {CANNOT_TELL: "", SHIFTED: f" {plate['reason']}"}
        rest = said.get(plate["verdict"], " By its distances alone the plate is in range.")
        return plate | {"verdict": SHIFTED, "reason": f"{_wrong_words(controls)}{rest}"}
    if plate["verdict"] == SHIFTED or plate["beyond"]:
        return plate | {"reason": f"{plate['reason']} {right_words(controls)}"}
    return plate


def _wrong_words(controls: dict[str, Any]) -> str:
    wells = "1 control well" if controls["n_wells"] == 1 else f"{controls['n_wells']} control wells"
    return (
        f"In the {wells} the balanced error is {controls['balanced_error']:.0f} % "
        f"({controls['low']:.0f} to {controls['high']:.0f} %), where that of Training's left-out "
        f"plates was {controls['usual']:.1f} % for the same classes."
    )


def right_words(controls: dict[str, Any]) -> str:
    """Return how well the wells of known class are read, in one sentence."""
    one = controls["n_wells"] == 1
    wells = "1 control well is" if one else f"{controls['n_wells']:,} control wells are"
    right, low, high = (100 - controls[key] for key in ("balanced_error", "high", "low"))
    return f"The {wells} read right in {right:.0f} % ({low:.0f} to {high:.0f} %)."


def _overall(plates: list[dict[str, Any]], verdict: str, reason: str) -> tuple[str, str]:
    """Return verdict and reason of the file: a plate whose controls are worse makes it shifted."""
    if len(plates) == 1:
        return plates[0]["verdict"], plates[0]["reason"]
    worse = [plate for plate in plates if plate["controls"] and plate["controls"]["worse"]]
    if not worse:
        return verdict, reason
    worst = max(worse, key=lambda plate: plate["controls"]["balanced_error"])
    return SHIFTED, (
        f"On {len(worse)} of {len(plates)} plates the control wells are read worse than on those "
        f"of Training. Plate {worst['plate']}: {_wrong_words(worst['controls'])}"
    )
