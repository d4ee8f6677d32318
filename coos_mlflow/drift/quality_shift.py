"""Which raw-image figures of a plate differ from those of the Training plates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from coos_mlflow.drift.image_quality import RAW_FIGURE_TABLE, RawFigure
from coos_mlflow.drift.placement import PlacedPlate
from coos_mlflow.drift.statistics.raw_figures import MOVED, robust_z

LEAST_FIGURE_SPREAD = 0.01
"""Least spread of a raw-image figure over plates: 1 % of an intensity, 0.01 of a correlation."""


CELLS_PER_WELL = RawFigure("cells per well", "both", "log")
"""How densely a plate is sown, which the images of single cells do not tell."""


def raw_moves(
    placed: list[PlacedPlate],
    training: list[PlacedPlate],
    *,
    kept_share: float,
    has_ids: bool,
) -> list[dict[str, Any]]:
    """Compare the raw-image figures of each plate with those of the Training plates.

    Parameters
    ----------
    placed, training : list of PlacedPlate
        Plates are compared with Training plates judged by as many classes.
    kept_share : float
        Share of Training's cells that the reference holds, for the number of cells in a well.
    has_ids : bool
        Whether plates and wells are named; without, their cells cannot be counted.
    """
    if not training:
        return []
    return [
        _move(plate.plate, figure, z, change)
        for plate in placed
        if len(plate.classes)
        for figure, z, change in (
            *_scores(plate, training),
            *([_density(plate, training, kept_share)] if has_ids else []),
        )
    ]


def _scores(
    plate: PlacedPlate, training: list[PlacedPlate]
) -> Iterator[tuple[RawFigure, float, float]]:
    """Yield each figure with its robust z and its change."""
    n_classes = len(plate.classes)
    usual = np.concatenate([one.raw_move(n_classes) for one in training])
    (move,) = plate.raw_move(n_classes)
    scores = robust_z(move, usual, LEAST_FIGURE_SPREAD)
    yield from zip(RAW_FIGURE_TABLE, scores.tolist(), move.tolist(), strict=True)


def _density(
    plate: PlacedPlate, training: list[PlacedPlate], kept_share: float
) -> tuple[RawFigure, float, float]:
    density = np.log(plate.n_cells / plate.n_wells)
    usual = np.log([one.n_cells / one.n_wells / kept_share for one in training])
    change = np.array([density - np.median(usual)])
    (z,) = robust_z(change, (usual - np.median(usual))[:, None], LEAST_FIGURE_SPREAD)
    return CELLS_PER_WELL, float(z), float(change[0])


def _move(plate: str, figure: RawFigure, z: float, change: float) -> dict[str, Any]:
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
