"""Which raw-image figures of a plate differ from those of the Training plates."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift.ladder import PlacedPlate
from coos_mlflow.drift.statistics.raw_figures import MOVED, robust_z
from coos_mlflow.drift.views import RAW_FIGURE_TABLE

LEAST_FIGURE_SPREAD = 0.01
"""Least spread of a raw-image figure over plates: 1 % of an intensity, 0.01 of a correlation."""


def raw_moves(placed: list[PlacedPlate], training: list[PlacedPlate]) -> list[dict[str, Any]]:
    """Compare the raw-image figures of each plate with those of the Training plates."""
    if not training:
        return []
    usual = np.stack([plate.raw_move for plate in training])
    moves = []
    for plate in placed:
        if len(plate.classes) == 0:
            continue
        scores = robust_z(plate.raw_move, usual, LEAST_FIGURE_SPREAD)
        for figure, z, move in zip(RAW_FIGURE_TABLE, scores, plate.raw_move, strict=True):
            logarithm = figure.scale == "log"
            moves.append(
                {
                    "plate": plate.plate,
                    "figure": figure.name,
                    "channel": figure.channel,
                    "z": float(z),
                    "moved": bool(abs(z) >= MOVED),
                    "change": float(np.exp(move) if logarithm else move),
                    "change_is": "factor" if logarithm else "difference",
                }
            )
    return moves
