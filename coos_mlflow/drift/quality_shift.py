"""Raw-image figures of new plates, compared with those of the Training plates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from coos_mlflow.drift.image_quality import RAW_FIGURE_TABLE, RawFigure
from coos_mlflow.drift.placement import ComparedPlate
from coos_mlflow.drift.statistics.raw_figures import MOVED, robust_z

MIN_SPREAD = 0.01
"""Minimum spread of a figure over plates: 1 % of an intensity, 0.01 of a correlation."""

CELLS_PER_WELL = RawFigure("cells per well", "both", "log")
"""The seeding density, which the images of single cells do not show."""


def quality_shifts(
    plates: list[ComparedPlate],
    training: list[ComparedPlate],
    *,
    kept_share: float,
    has_ids: bool,
) -> list[dict[str, Any]]:
    """Compare the raw-image figures of each plate with those of the Training plates.

    Parameters
    ----------
    plates, training : list of ComparedPlate
        A plate with k classes is compared with Training plates by choices of k of their classes.
    kept_share : float
        Share of Training's cells that the reference contains; corrects the cells per well.
    has_ids : bool
        Whether plates and wells are named, which counting cells per well needs.

    Returns
    -------
    list of dict
        ``plate``, ``figure``, ``channel``, ``z`` (robust), ``moved`` (whether |z| reaches `MOVED`),
        ``change``, and ``change_is``, "factor" or "difference".
    """
    if not training:
        return []
    return [
        _entry(plate.plate, figure, z, change)
        for plate in plates
        if len(plate.classes)
        for figure, z, change in (
            *_scores(plate, training),
            *([_density(plate, training, kept_share)] if has_ids else []),
        )
    ]


def _scores(
    plate: ComparedPlate, training: list[ComparedPlate]
) -> Iterator[tuple[RawFigure, float, float]]:
    """Yield each figure with its robust z and its change."""
    n_classes = len(plate.classes)
    usual = np.concatenate([one.quality_shift(n_classes) for one in training])
    (shift,) = plate.quality_shift(n_classes)
    scores = robust_z(shift, usual, MIN_SPREAD)
    yield from zip(RAW_FIGURE_TABLE, scores.tolist(), shift.tolist(), strict=True)


def _density(
    plate: ComparedPlate, training: list[ComparedPlate], kept_share: float
) -> tuple[RawFigure, float, float]:
    """Return the cells per well with their robust z and their change."""
    density = np.log(plate.n_cells / plate.n_wells)
    usual = np.log([one.n_cells / one.n_wells / kept_share for one in training])
    change = np.array([density - np.median(usual)])
    (z,) = robust_z(change, (usual - np.median(usual))[:, None], MIN_SPREAD)
    return CELLS_PER_WELL, float(z), float(change[0])


def _entry(plate: str, figure: RawFigure, z: float, change: float) -> dict[str, Any]:
    logarithm = figure.scale == "log"
    return {
        "plate": plate,
        "figure": figure.name,
        "channel": figure.channel,
        "z": z,
        "moved": bool(abs(z) >= MOVED),
        "change": float(np.exp(change)) if logarithm else change,
        "change_is": "factor" if logarithm else "difference",
    }
