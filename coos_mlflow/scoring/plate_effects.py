"""Label the cells of a plate by what is special about it, where a model estimates that.

It takes cells of the whole plate. So it is estimated when all parts are there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from coos_mlflow.classifiers.plate_effects import Effect, PlateEffects
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.flags import USABLE
from coos_mlflow.plates.reader import Plate
from coos_mlflow.scoring.parts import Part
from coos_mlflow.scoring.predictions import names_of

MAX_CELLS = 5000
"""Cells of a plate from which its effect is estimated, evenly over the file: with so many, the
mean on each axis is known to 0.014 standard deviations of cells."""


class PlateStep:
    """The effects of a file's plates.

    Parameters
    ----------
    model : CellModel
    plate : Plate
        The file; it may hold several plates. A file without plate ids is one plate.
    pure_wells : bool
        Whether each well holds one class.
    """

    def __init__(self, model: CellModel, plate: Plate, pure_wells: bool) -> None:
        self._model, self._plate, self._pure = model, plate, pure_wells
        self._effects: dict[str, Effect] = {}
        self._cells: dict[str, int] = {}

    def estimate(self, parts: Iterable[Part]) -> None:
        """Estimate the effect of each plate from the parts of all blocks; copies count too."""
        if self._classifier is None:
            return
        every = self._every()
        seen: dict[str, int] = defaultdict(int)
        kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for part in parts:
            plates, wells = names_of(self._plate.origins(*part.block))
            for name in np.unique(plates[part.flags == USABLE]).tolist():
                rows = np.flatnonzero((plates == name) & (part.flags == USABLE))
                chosen = rows[-seen[name] % every[name] :: every[name]]
                kept[name].append((part.plate_axes[chosen], wells[chosen]))
                seen[name] += len(rows)
        for name, pieces in kept.items():
            z, wells = (np.concatenate(column) for column in zip(*pieces, strict=True))
            self._effects[name] = self._classifier.effect(z, wells, pure=self._pure)
            self._cells[name] = len(z)

    def apply(self, part: Part, plates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and novelty of a part's cells, given the effect of their plate.

        Parameters
        ----------
        part : Part
        plates : ndarray of str, shape (n,)

        Returns
        -------
        probabilities : ndarray of float32, shape (n, classes)
        novelty : ndarray of float64, shape (n,)
        """
        if self._classifier is None:
            return part.probabilities, part.novelty
        probabilities, novelty = part.probabilities.copy(), part.novelty.copy()
        for name, effect in self._effects.items():
            rows = np.flatnonzero((plates == name) & (part.flags == USABLE))
            moved = self._classifier.probabilities(part.plate_axes[rows], effect)
            probabilities[np.ix_(rows, self._classifier.classes_)] = moved
            labels = probabilities[rows].argmax(axis=1)
            novelty[rows] = self._model.reference.novelty(part.features[rows], labels)
        return probabilities, novelty

    def facts(self) -> list[dict[str, Any]] | None:
        """Return the effects as drift.json has them; None where the model estimates none."""
        if self._classifier is None:
            return None
        return [
            {
                "plate": name,
                "n_cells": self._cells[name],
                "size": float(f"{self._classifier.size(effect):.6g}"),
            }
            for name, effect in sorted(self._effects.items())
        ]

    @property
    def _classifier(self) -> PlateEffects | None:
        return self._model.plate_effects

    def _every(self) -> dict[str, int]:
        """Return by plate which cells are kept: each one, each second one, and so on."""
        names, cells = np.unique(
            names_of(self._plate.origins(0, self._plate.n_cells))[0], return_counts=True
        )
        return {n: -(-c // MAX_CELLS) for n, c in zip(names.tolist(), cells.tolist(), strict=True)}
